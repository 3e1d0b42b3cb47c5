"""``tokenward audit`` as an operator meets it: sentences, exit codes, and files to keep."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
from click.testing import CliRunner, Result
from factories import Platform, make_token
from processes import environment

from schema import node_ids
from service.audit_command import audit
from service.composition import Service
from service.settings import Settings
from service.trail_export import LINE_CHARACTERS_MAX, lines_of

ROOT = Path(__file__).parents[2]


async def run(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a subcommand on this worker's database, in a process of its own."""
    url = settings.database_url.get_secret_value()
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "service.command", "audit", *arguments],
        cwd=ROOT,
        env=environment(database_url=url),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def here(*arguments: str) -> Result:
    """Run a subcommand that needs no database."""
    return CliRunner().invoke(audit, list(arguments))


async def test_an_operator_keeps_heads_and_an_export_and_finds_by_them_what_was_done(
    service: Service,
    platform: Platform,
    settings: Settings,
    owner: asyncpg.Connection,
    tmp_path: Path,
) -> None:
    await make_token(service, platform.customer)
    count = await service.sealer.seal()
    account_id = platform.customer.account_id

    verified, exported = await asyncio.gather(
        run(settings, "verify", "--print-heads"),
        run(settings, "export", "--account", node_ids.encode(node_ids.ACCOUNT, account_id)),
    )

    assert (verified.returncode, exported.returncode, exported.stderr) == (0, 0, "")
    assert verified.stderr == f"{count} events of 6 accounts are as they were sealed.\n"
    heads, extract = tmp_path / "heads", tmp_path / "export.jsonl"
    heads.write_text(verified.stdout)
    extract.write_text(exported.stdout)
    lines = exported.stdout.splitlines()
    assert {json.loads(line)["account_id"] for line in lines} == {str(account_id)}
    checked = here("verify", "--from-file", str(extract), "--print-heads")
    assert checked.exit_code == 0
    assert [line for line in verified.stdout.splitlines() if line.startswith(str(account_id))] == [
        checked.stdout.strip()
    ]

    extract.write_text("\n".join([lines[0], *lines[2:]]))
    shortened = here("verify", "--from-file", str(extract))
    assert shortened.exit_code == 1
    assert f"Account {account_id}, event 3: The event 2 of the chain is missing" in shortened.output

    await owner.execute("SET session_replication_role = replica")
    await owner.execute("DELETE FROM audit_event WHERE position = $1", count)
    await owner.execute("RESET session_replication_role")
    cut = await run(settings, "verify", "--heads", str(heads))
    assert (cut.returncode, cut.stdout) == (1, "")
    assert f"Error: Account {account_id}, event " in cut.stderr
    assert "are missing." in cut.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("export",), "Name one account, or --all."),
        (("export", "--all", "--account", "0" * 32), "Name one account, or --all."),
        (("export", "--account", "nobody"), "That is no account's id."),
        (("export", "--all", "--since", "yesterday"), "Write an instant with its time zone"),
        (("export", "--all", "--until", "2030-01-01"), "Write an instant with its time zone"),
        (("verify", "--from-file", "/dev/null", "--account", "0" * 32), "leave --account out"),
        (("verify", "--heads", __file__), "Line 1 is no head of a chain."),
        (("verify", "--from-file", __file__), "Line 1 is not one of an export."),
    ],
)
def test_what_makes_no_sense_is_one_sentence(arguments: tuple[str, ...], told: str) -> None:
    ran = here(*arguments)

    assert ran.exit_code != 0
    assert told in ran.output
    assert "Traceback" not in ran.output


@pytest.mark.parametrize("option", ["--heads", "--from-file"])
@pytest.mark.parametrize("content", [b"\xff\xfe", b"\x00" * (LINE_CHARACTERS_MAX + 1)])
def test_a_file_of_anything_is_refused_with_its_line(
    option: str, content: bytes, tmp_path: Path
) -> None:
    brought = tmp_path / "brought"
    brought.write_bytes(content)

    ran = here("verify", option, str(brought))

    assert (ran.exit_code, ran.output[:14]) == (1, "Error: Line 1 ")


def test_no_more_of_a_line_is_read_than_an_event_takes(tmp_path: Path) -> None:
    brought = tmp_path / "brought"
    brought.write_text(" " * LINE_CHARACTERS_MAX * 3)

    with brought.open(encoding="utf-8") as file:
        longest = max(map(len, lines_of(file)))

    assert longest == LINE_CHARACTERS_MAX
