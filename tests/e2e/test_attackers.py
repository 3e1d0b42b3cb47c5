"""Published scanners, run as they are against a real socket; `.ci/run` installs them."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import SCANNERS
from edge_scene import People
from factories import make_token
from web_scene import served

from service.app import create_app
from service.budget import Budget
from service.composition import Service
from service.settings import Settings
from service.validator import Validator

SECONDS_MAX = 100
LONG_SECONDS_MAX = 900
EXAMPLES = 2
MANY_EXAMPLES = 30

# What the schema is made of: a guesser with a better list than any.
WORDS = "viewer token tokens account accounts node id name email scopes edges signIn password"

TYPES = {"Viewer", "ApiToken", "Account"}

# Answers that a fuzzer takes for mistakes of ours, and that are refusals with a code of their own.
EXPECTED = {
    # An error beside a query without data: a value that no schema can tell, such as `first: 0`.
    "ST113": {"INVALID_INPUT"},
    # An error before anything ran: an input field that may be left out, but not null.
    "ST206": {"INVALID_OPERATION"},
}
FINDING = re.compile(r"^- (ST\d+)(.*?)(?=^- ST|^Reproduce with:)", re.MULTILINE | re.DOTALL)
CODE = re.compile(r'"code":"(\w+)"')


@asynccontextmanager
async def opened(settings: Settings, service: Service, validator: Validator) -> AsyncIterator[str]:
    app = create_app(settings)
    app.open(service, validator)
    async with served(app) as url:
        yield f"{url}/graphql"


async def run(program: str, *arguments: str, seconds_max: float = SECONDS_MAX) -> str:
    """Run a scanner to its end; return what it said."""
    process = await asyncio.create_subprocess_exec(
        str(SCANNERS / program),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(seconds_max):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return said.decode(errors="replace")


async def rebuilt(url: str, directory: Path) -> set[str]:
    """Return the names of the types that a guesser finds."""
    words, found = directory / "words", directory / "schema.json"
    words.write_text(WORDS.replace(" ", "\n"))
    said = await run("clairvoyance", "-w", str(words), "-o", str(found), url)
    assert "Iteration 1" in said, "it has begun"
    if not found.exists():
        return set()
    types = json.loads(found.read_text())["data"]["__schema"]["types"]
    return {kind["name"] for kind in types}


@pytest.mark.needs("clairvoyance")
async def test_a_stranger_who_guesses_names_rebuilds_no_part_of_the_schema(
    settings: Settings, service: Service, validator: Validator, tmp_path: Path
) -> None:
    production = settings.model_copy(update={"environment": "production"})

    async with opened(production, service, validator) as url:
        found = await rebuilt(url, tmp_path)

    assert not found & TYPES


@pytest.mark.needs("clairvoyance")
async def test_the_same_guesser_rebuilds_it_where_names_are_suggested(
    settings: Settings, service: Service, validator: Validator, tmp_path: Path
) -> None:
    """Without this, the test above might as well look at a guesser that finds nothing anywhere."""
    async with opened(settings, service, validator) as url:
        found = await rebuilt(url, tmp_path)

    assert found & TYPES


@pytest.mark.needs("schemathesis")
@pytest.mark.parametrize(
    ("examples", "seconds_max"),
    [
        (EXAMPLES, SECONDS_MAX),
        pytest.param(
            MANY_EXAMPLES,
            LONG_SECONDS_MAX,
            marks=[pytest.mark.faults, pytest.mark.timeout(LONG_SECONDS_MAX)],
        ),
    ],
)
async def test_a_fuzzer_finds_nothing_but_refusals_with_a_code(
    settings: Settings,
    service: Service,
    validator: Validator,
    examples: int,
    seconds_max: float,
) -> None:
    people = await People.make(service)
    token = await make_token(service, people.reseller.actor, scopes=("*",))
    tireless = replace(service, budget=Budget(service.cache.redis, 10**9, 10**9))

    async with opened(settings, tireless, validator) as url:
        said = await run(
            "schemathesis",
            *("run", url, "-H", f"Authorization: Bearer {token.secret}"),
            *("--phases", "fuzzing", "--max-examples", str(examples), "--seed", "1"),
            *("--workers", "1", "--continue-on-failure", "--no-color"),
            seconds_max=seconds_max,
        )

    assert re.search(r"Tested: +\d+", said), said[-2_000:]
    findings = FINDING.findall(said)
    assert len(findings) == len(re.findall("^- ", said, re.MULTILINE)), said
    for kind, told in findings:
        codes = set(CODE.findall(told))
        assert codes, told
        assert codes <= EXPECTED.get(kind, set()), told
    assert '"INTERNAL"' not in said
    assert "UNAUTHENTICATED" not in said, "it was let in"
