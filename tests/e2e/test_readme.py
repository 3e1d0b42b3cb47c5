"""The README's lines, run as they stand."""

import re
import subprocess
from pathlib import Path

import pytest
from system import COMMAND, ROOT, eventually, opened_system

README = (ROOT / "README.md").read_text(encoding="utf-8")


def lines_to_try() -> str:
    """Return the shell lines of "Try it"."""
    return README.partition("## Try it")[2].partition("```sh\n")[2].partition("```")[0]


@pytest.mark.needs("curl")
async def test_the_lines_to_try_create_use_revoke_and_see_refused(
    addresses: list[str], tmp_path: Path, worker_id: str
) -> None:
    async with opened_system(addresses, tmp_path, f"readme_{worker_id}") as system:
        demo = subprocess.run(  # noqa: ASYNC221, S603 - our own program, and nothing runs beside it
            [*COMMAND, "demo"], cwd=ROOT, env=system.environment, capture_output=True, check=True
        )
        system.start("web")
        await eventually(system.is_ready)

        tried = subprocess.run(  # noqa: ASYNC221, S603 - as above
            ["/bin/bash", "-euc", lines_to_try().replace("http://127.0.0.1:8000", system.web)],
            capture_output=True,
            text=True,
            check=False,
        )

    assert b"olsen@demo.example" in demo.stdout
    assert (tried.returncode, tried.stderr) == (0, "")
    before, revoked, after = tried.stdout.splitlines()
    assert (before, after) == ("200", "401")
    assert re.search(r'"state": ?"(CONFIRMED|APPLIED)"', revoked)
