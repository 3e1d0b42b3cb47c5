"""The examples of clients run as they stand, against the whole service."""

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from system import COMMAND, ROOT, System, eventually, opened_system

EXAMPLES = ROOT / "schema/examples"
TOLD = ["created example", "listed", "told token.created", "revoked APPLIED"]


@pytest.fixture
async def system(
    addresses: list[str], tmp_path: Path, worker_id: str, request: pytest.FixtureRequest
) -> AsyncIterator[System]:
    """A service of this test's own."""
    language = "typescript" if "typescript" in request.node.name else "python"
    async with opened_system(addresses, tmp_path, f"{language}_{worker_id}") as system:
        yield system


async def run(*words: str | Path, cwd: Path = ROOT, given: dict[str, str] | None = None) -> str:
    """Run a program to its good end and return what it says."""
    process = await asyncio.create_subprocess_exec(
        *map(str, words),
        cwd=cwd,
        env=given,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, (output + errors).decode()
    return output.decode()


async def signed_up(system: System) -> list[str]:
    """Start the service with the demo in it; return what an example is called with."""
    demo = json.loads(await run(*COMMAND, "demo", "--json", given=system.environment))
    system.start("web")
    await eventually(system.is_ready)
    person = demo["signIns"][-1]
    return [f"{system.web}/graphql", person["email"], person["password"]]


def assert_told(output: str) -> None:
    assert len(output.splitlines()) == len(TOLD), output
    for line in TOLD:
        assert line in output, output
    assert "listed true" in output.lower()


async def test_the_python_example_creates_lists_watches_and_revokes(system: System) -> None:
    arguments = await signed_up(system)

    output = await run(sys.executable, EXAMPLES / "python/example.py", *arguments)

    assert_told(output)


@pytest.mark.needs("node")
@pytest.mark.needs("npm")
async def test_the_typescript_example_is_typed_by_the_schema_and_runs(
    system: System, tmp_path: Path
) -> None:
    arguments = await signed_up(system)
    shutil.copytree(
        EXAMPLES / "typescript",
        tmp_path / "examples/typescript",
        ignore=shutil.ignore_patterns("node_modules", "build"),
    )
    shutil.copy(ROOT / "schema/schema.graphql", tmp_path)
    here = tmp_path / "examples/typescript"

    await run("npm", "ci", "--no-progress", cwd=here)
    await run("npm", "run", "build", cwd=here)
    output = await run("node", "build/example.js", *arguments, cwd=here)

    assert_told(output)
