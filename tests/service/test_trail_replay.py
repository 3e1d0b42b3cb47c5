"""What was revoked after the backup is refused after the restore, once the trail is replayed."""

import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import asyncpg
import pytest
from conftest import FrozenClock
from factories import Platform, make_token
from pool_scene import service_over
from processes import environment
from pydantic import SecretStr
from stores import everything

from service.composition import Service
from service.errors import InvalidInput
from service.local import postgres_files
from service.rotation import NewRotation
from service.settings import Settings
from service.token_changes import TokenChanges
from service.tokens import Created, RevocationReason
from service.trail_export import Extract, Format, export_everything, write
from service.trail_replay import read_losses, take_away
from service.validator import open_validator
from service.verdict import Status

ROOT = Path(__file__).parents[2]
WIDE = ("dns:read", "dns:write")
VALID, SUSPENDED = Status.VALID, Status.SUSPENDED


@dataclass
class Drill:
    """A backup of before, an export of after, and the tokens of both times by what was done."""

    restored: Settings
    export: Path
    tokens: dict[str, Created]

    @property
    def lines(self) -> list[str]:
        return self.export.read_text().splitlines(keepends=True)

    async def statuses(self, clock: FrozenClock) -> dict[str, Status]:
        """Return what a validator on the restored database says of each token."""
        async with open_validator(self.restored, clock=clock) as validator:
            return {
                name: (await validator.check(made.secret, scope="dns:write", is_use=False)).status
                for name, made in self.tokens.items()
            }


def run_program(name: str, *words: str) -> None:
    subprocess.run([postgres_files.programs() / name, *words], check=True)  # noqa: S603 - its own


@pytest.fixture
async def drill(
    service: Service,
    platform: Platform,
    settings: Settings,
    owner: asyncpg.Connection,
    tmp_path: Path,
) -> AsyncIterator[Drill]:
    """Dump the database, take things away, export the trail, and restore the dump beside it."""
    names = (
        *("left", "revoked", "leaked", "suspended", "resumed", "narrowed", "rotated", "renamed"),
        *("rotated and resumed", "cancelled", "completed"),
    )
    tokens = {name: await make_token(service, platform.customer, scopes=WIDE) for name in names}
    for name in ("cancelled", "completed"):
        wanted = NewRotation(token_id=tokens[name].token.id, grace_period_seconds=3_600)
        rotated = await service.rotations.begin(platform.customer, wanted)
        tokens[f"{name}, its new secret"] = replace(tokens[name], secret=rotated.secret)
    tokens["closed"] = await make_token(service, platform.sibling, scopes=WIDE)
    await service.tokens.suspend(platform.customer, tokens["resumed"].token.id)
    await service.sealer.seal()
    url = settings.database_owner_url.get_secret_value()
    run_program("pg_dump", "-Fc", "-f", str(tmp_path / "dump"), url)

    await take(service, platform, tokens)
    tokens["young"] = await make_token(service, platform.customer, scopes=WIDE)
    await service.tokens.revoke(platform.customer, tokens["young"].token.id)
    await service.sealer.seal()
    export = tmp_path / "trail.jsonl"
    batches = [batch async for batch in export_everything(Extract())]
    export.write_text("".join(write(batch, Format.JSONL) for batch in batches))

    name = url.rpartition("/")[2] + "_restored"
    await owner.execute(f"CREATE DATABASE {name}")
    try:
        there = {
            field: SecretStr(
                getattr(settings, field).get_secret_value().rpartition("/")[0] + f"/{name}"
            )
            for field in ("database_url", "database_owner_url")
        }
        restored = settings.model_copy(update=there)
        run_program(
            "pg_restore",
            "-d",
            restored.database_owner_url.get_secret_value(),
            str(tmp_path / "dump"),
        )
        await service.cache.redis.flushdb()
        yield Drill(restored, export, tokens)
    finally:
        await owner.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def take(service: Service, platform: Platform, tokens: dict[str, Created]) -> None:
    ids = {name: made.token.id for name, made in tokens.items()}
    actor = platform.customer
    await service.tokens.revoke(actor, ids["revoked"])
    await service.tokens.revoke(actor, ids["leaked"], reason=RevocationReason.LEAKED)
    await service.tokens.suspend(actor, ids["suspended"])
    await service.tokens.resume(actor, ids["resumed"])
    await service.tokens.update(actor, ids["narrowed"], TokenChanges(scopes=("dns:read",)))
    await service.tokens.rename(actor, ids["renamed"], "another name")
    await service.rotations.begin(
        actor, NewRotation(token_id=ids["rotated"], grace_period_seconds=0)
    )
    again = ids["rotated and resumed"]
    await service.rotations.begin(actor, NewRotation(token_id=again, grace_period_seconds=0))
    await service.tokens.suspend(actor, again)
    await service.tokens.resume(actor, again)
    await service.rotations.cancel(actor, ids["cancelled"])
    await service.rotations.complete(actor, ids["completed"])
    sibling = platform.sibling.account_id
    account = await service.accounts.get(platform.reseller, sibling)
    await service.accounts.close(platform.reseller, sibling, expected_name=account.name)


async def test_what_was_taken_away_since_the_backup_is_taken_away_again(
    drill: Drill, clock: FrozenClock
) -> None:
    before = await drill.statuses(clock)
    async with service_over(drill.restored, clock) as restored:
        work = restored.tokens.work
        await take_away(work, await read_losses(drill.lines))
        after = await drill.statuses(clock)
        reader = await asyncpg.connect(drill.restored.database_owner_url.get_secret_value())
        once = await everything(reader)
        await take_away(work, await read_losses(drill.lines))
        twice = await everything(reader)
        told = "SELECT DISTINCT details->>'by' FROM audit_event WHERE occurred_at = $1"
        assert await reader.fetchval(f"{told} AND details ? 'by'", clock.now()) == "trail"
        await reader.close()

    unchanged = {"left": VALID, "renamed": VALID, "young": Status.UNKNOWN}
    rotations = (
        *("rotated", "rotated and resumed", "cancelled", "cancelled, its new secret"),
        *("completed", "completed, its new secret"),
    )
    assert before == unchanged | {
        **dict.fromkeys(("revoked", "leaked", "suspended", "narrowed", "closed"), VALID),
        **dict.fromkeys(rotations, VALID),
        "resumed": SUSPENDED,
    }
    assert after == unchanged | {
        "revoked": Status.REVOKED,
        "leaked": Status.REVOKED,
        "suspended": SUSPENDED,
        "resumed": SUSPENDED,  # what gives back is never repeated
        "narrowed": Status.INSUFFICIENT_SCOPE,
        **dict.fromkeys(rotations, SUSPENDED),  # which secret lives on cannot be repeated
        "closed": SUSPENDED,
    }
    for table in ("api_token", "account", "audit_event", "secret"):
        assert once[table] == twice[table], table


async def test_an_export_that_was_altered_takes_nothing_away(
    drill: Drill, clock: FrozenClock
) -> None:
    before = await drill.statuses(clock)
    async with service_over(drill.restored, clock):
        for lines in (
            [*drill.lines[:-2], drill.lines[-1].replace("token.", "tokem.")],
            [line.replace("LEAKED", "POLICY") for line in drill.lines],
            [*drill.lines, "{}\n"],
        ):
            with pytest.raises(InvalidInput):
                await read_losses(lines)

    assert await drill.statuses(clock) == before


async def test_the_command_tells_what_it_would_do_and_does_nothing_unless_told_to(
    drill: Drill, clock: FrozenClock
) -> None:
    before = await drill.statuses(clock)

    ran = subprocess.run(  # noqa: ASYNC221, S603 - our own program, and nothing runs beside it
        [sys.executable, "-m", "service.command", "revoke", "--from-trail", drill.export],
        cwd=ROOT,
        env=environment(
            database_url=drill.restored.database_url.get_secret_value(),
            redis_url=drill.restored.redis_url.get_secret_value(),
        ),
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
    assert f"token {drill.tokens['leaked'].token.id}: revoked\n" in ran.stdout
    assert f"token {drill.tokens['narrowed'].token.id}: narrowed (scopes)\n" in ran.stdout
    assert ran.stdout.endswith("8 tokens and 1 accounts would be changed; --apply does it.\n")
    assert await drill.statuses(clock) == before
