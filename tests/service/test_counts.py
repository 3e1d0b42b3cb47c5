"""Counts that went wrong are found, and counted anew, also while tokens are being made."""

import asyncio
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest
from conftest import FrozenClock
from factories import Platform, make_token
from fleet_scene import assert_sums_hold, kept_counts, true_counts
from processes import environment
from stores import eventually

from service.access.recounts import Difference
from service.composition import Service
from service.counts import differing_accounts, differing_fleets, repair
from service.settings import Settings

ROOT = Path(__file__).parents[2]
UNSEEN = "SET session_replication_role = replica"  # as a restore does it: no trigger runs
SEEN = "SET session_replication_role = origin"


async def command(settings: Settings, name: str) -> subprocess.CompletedProcess[str]:
    """Run a subcommand on this worker's database, in a process of its own."""
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "service.command", "counts", name],
        cwd=ROOT,
        env=environment(
            database_url=settings.database_url.get_secret_value(),
            database_owner_url=settings.database_owner_url.get_secret_value(),
        ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def differing(clock: FrozenClock) -> list[Difference]:
    return [difference async for difference in differing_accounts(clock)]


async def repaired(settings: Settings, clock: FrozenClock) -> int:
    return len([difference async for difference in repair(settings, clock)])


async def fill(service: Service, platform: Platform, clock: FrozenClock) -> None:
    """Make tokens of several facets in two fleets."""
    soon = clock.now() + timedelta(days=3)
    for actor in (platform.customer, platform.sibling, platform.stranger, platform.operator):
        suspended = await make_token(service, actor, expires_at=soon)
        await service.tokens.suspend(actor, suspended.token.id)
        await make_token(service, actor, scopes=("*",), allowed_ip_ranges=("192.0.2.0/24",))


async def test_counts_that_triggers_kept_are_right_and_nothing_is_repaired(
    service: Service, platform: Platform, clock: FrozenClock, settings: Settings
) -> None:
    await fill(service, platform, clock)
    clock.advance(days=3)  # what is due and was not counted yet is not wrong

    assert (await differing(clock), await differing_fleets()) == ([], [])
    assert await repaired(settings, clock) == 0


async def test_a_falsified_counter_is_told_by_account_and_facet_and_then_counted_anew(
    service: Service,
    platform: Platform,
    clock: FrozenClock,
    settings: Settings,
    owner: asyncpg.Connection,
) -> None:
    await fill(service, platform, clock)
    account_id = platform.customer.account_id
    await owner.execute(UNSEEN)
    await owner.execute("UPDATE token_count SET live = 9 WHERE account_id = $1", account_id)
    await owner.execute("UPDATE token_total SET expired = 1 WHERE account_id IS NULL")
    await owner.execute(SEEN)

    [found] = await differing(clock)
    fleets = set(await differing_fleets())

    assert (found.account_id, found.kept, found.true) == (account_id, {"live": 9}, {"live": 2})
    assert (found.misjudged, found.is_stale) == (0, False)
    assert fleets == {None, platform.reseller.account_id}
    assert await repaired(settings, clock) == 1
    assert (await differing(clock), await differing_fleets()) == ([], [])
    assert await kept_counts(owner) == await true_counts(owner, clock.now())
    await assert_sums_hold(owner)
    assert await repaired(settings, clock) == 0


async def test_what_was_written_where_no_trigger_ran_is_counted(
    service: Service,
    platform: Platform,
    clock: FrozenClock,
    settings: Settings,
    owner: asyncpg.Connection,
) -> None:
    """A suspension, a rename, a lost row of counts: each is seen by what it is, and mended."""
    await fill(service, platform, clock)
    await owner.execute(UNSEEN)
    await owner.execute(
        "UPDATE api_token SET suspended_at = $2 WHERE account_id = $1 AND kind = 'API_TOKEN'",
        platform.customer.account_id,
        clock.now(),
    )
    await owner.execute(
        "UPDATE account SET name = 'Renamed' WHERE id = $1", platform.sibling.account_id
    )
    await owner.execute(
        "DELETE FROM token_count WHERE account_id = $1", platform.stranger.account_id
    )
    await owner.execute(SEEN)

    found = {difference.account_id: difference for difference in await differing(clock)}

    told = {account_id: (one.misjudged, one.is_stale) for account_id, one in found.items()}
    assert told == {
        platform.customer.account_id: (1, False),  # the other one was suspended before
        platform.sibling.account_id: (0, True),
        platform.stranger.account_id: (0, True),
    }
    assert await repaired(settings, clock) == 3
    assert await differing(clock) == []
    assert await kept_counts(owner) == await true_counts(owner, clock.now())
    await assert_sums_hold(owner)


async def test_counting_anew_loses_nothing_of_what_is_made_meanwhile(
    service: Service,
    platform: Platform,
    clock: FrozenClock,
    settings: Settings,
    owner: asyncpg.Connection,
) -> None:
    actors = (platform.customer, platform.sibling)

    async def falsify_and_repair() -> None:
        for _ in range(5):
            await owner.execute("UPDATE token_count SET live = live + 5, never_used = 0")
            await repaired(settings, clock)

    await asyncio.gather(
        falsify_and_repair(),
        *(make_token(service, actor) for actor in actors for _ in range(30)),
    )

    assert (await differing(clock), await differing_fleets()) == ([], [])
    assert await kept_counts(owner) == await true_counts(owner, clock.now())
    await assert_sums_hold(owner)


async def test_a_counter_waits_for_a_commit_and_then_sees_it(
    service: Service,
    platform: Platform,
    clock: FrozenClock,
    settings: Settings,
    owner: asyncpg.Connection,
) -> None:
    """One who looked before it held the counter would write over what was committed since."""
    await make_token(service, platform.customer)
    url = settings.database_owner_url.get_secret_value()
    other = await asyncpg.connect(url)
    account_id = platform.customer.account_id
    try:
        transaction = other.transaction()
        await transaction.start()
        await other.execute(
            "UPDATE api_token SET suspended_at = $2 WHERE account_id = $1 AND kind = 'API_TOKEN'",
            account_id,
            clock.now(),
        )
        await other.execute("SET CONSTRAINTS ALL IMMEDIATE")  # its counter is held from here on
        pid = await owner.fetchval("SELECT pg_backend_pid()")
        counting = asyncio.create_task(owner.execute("SELECT recount_account($1)", account_id))
        waits = "SELECT pg_blocking_pids($1) <> '{}'"
        await eventually(lambda: other.fetchval(waits, pid), seconds=4)
        await transaction.commit()
        await counting
    finally:
        await other.close()

    assert await differing(clock) == []


async def test_the_application_may_not_count_anew(
    platform: Platform, settings: Settings, owner: asyncpg.Connection
) -> None:
    application = await asyncpg.connect(settings.database_url.get_secret_value())
    kept = await kept_counts(owner)
    try:
        for call in ("recount_fleets()", f"recount_account('{platform.customer.account_id}')"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await application.execute(f"SELECT {call}")
    finally:
        await application.close()

    assert await kept_counts(owner) == kept


async def test_an_operator_checks_and_repairs_by_commands(
    service: Service,
    platform: Platform,
    clock: FrozenClock,
    settings: Settings,
    owner: asyncpg.Connection,
) -> None:
    await fill(service, platform, clock)
    account_id = platform.customer.account_id
    await owner.execute("UPDATE token_count SET live = 7 WHERE account_id = $1", account_id)
    await owner.execute("UPDATE token_total SET expired = 1 WHERE account_id IS NULL")

    checked = await command(settings, "check")
    told = await command(settings, "repair")
    again = await command(settings, "check")

    assert checked.returncode == 1
    assert f"Account {account_id}: live 7, is 2." in checked.stdout
    assert "The sums of the platform are not those of the accounts." in checked.stdout
    assert "tokenward counts repair" in checked.stderr
    assert (told.returncode, told.stdout.count("Account ")) == (0, 1)
    assert (again.returncode, again.stdout) == (0, "Every count is right.\n")
