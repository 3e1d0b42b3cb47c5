"""Published scanners, run as they are against a real socket; `.ci/run` installs them."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from conftest import SCANNERS
from edge_scene import People
from factories import make_token
from web_scene import served

from service.app import create_app
from service.composition import Service
from service.settings import Settings
from service.validator import Validator

SECONDS_MAX = 100
EXAMPLES = 1

# What the schema is made of: a guesser with a better list than any.
WORDS = "viewer token tokens account accounts node id name email scopes edges signIn password"

# Answers that a fuzzer takes for mistakes of ours, and that are refusals with a code.
EXPECTED = re.compile(r"ST113|ST206")


@asynccontextmanager
async def opened(settings: Settings, service: Service, validator: Validator) -> AsyncIterator[str]:
    app = create_app(settings)
    app.open(service, validator)
    async with served(app) as url:
        yield f"{url}/graphql"


async def run(program: str, *arguments: str) -> str:
    """Run a scanner to its end; return what it said."""
    process = await asyncio.create_subprocess_exec(
        str(SCANNERS / program),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(SECONDS_MAX):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return said.decode(errors="replace")


@pytest.mark.needs("clairvoyance")
async def test_a_stranger_who_guesses_names_rebuilds_no_part_of_the_schema(
    settings: Settings, service: Service, validator: Validator, tmp_path: Path
) -> None:
    words, found = tmp_path / "words", tmp_path / "schema.json"
    words.write_text(WORDS.replace(" ", "\n"))
    production = settings.model_copy(update={"environment": "production"})

    async with opened(production, service, validator) as url:
        said = await run("clairvoyance", "-w", str(words), "-o", str(found), url)

    assert "Iteration 1" in said, "it has begun"
    if found.exists():
        types = json.loads(found.read_text())["data"]["__schema"]["types"]
        assert not [kind for kind in types if kind["name"] in {"Viewer", "ApiToken", "Account"}]


@pytest.mark.needs("schemathesis")
async def test_a_fuzzer_finds_nothing_but_refusals_with_a_code(
    settings: Settings, service: Service, validator: Validator
) -> None:
    people = await People.make(service)
    token = await make_token(service, people.reseller.actor, scopes=("*",))

    async with opened(settings, service, validator) as url:
        said = await run(
            "schemathesis",
            *("run", url, "-H", f"Authorization: Bearer {token.secret}"),
            *("--phases", "fuzzing", "--max-examples", str(EXAMPLES), "--seed", "1"),
            *("--workers", "1", "--continue-on-failure", "--no-color"),
        )

    assert re.search(r"Tested: +\d+", said), said[-2_000:]
    others = [
        line for line in re.findall(r"^- .*$", said, re.MULTILINE) if not EXPECTED.search(line)
    ]
    assert others == []
    assert '"INTERNAL"' not in said
    assert "UNAUTHENTICATED" not in said, "it was let in"
