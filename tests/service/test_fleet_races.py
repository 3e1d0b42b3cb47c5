"""Counts under fire: whoever changes tokens at once neither waits in a circle nor miscounts."""

import asyncio
import random
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import asyncpg
from conftest import FrozenClock
from factories import Platform, make_token
from fleet_scene import assert_sums_hold, counted, kept_counts, true_counts

from service.access.system import Use, system_record_uses
from service.composition import Service
from service.settings import Settings
from service.sweep import sweep_expired

ROOT = Path(__file__).parents[2]
SUSPEND = "UPDATE api_token SET suspended_at = now() WHERE id = ANY($1)"
MANY = """
WITH many AS (
    INSERT INTO account (id, kind, reseller_id, name, grantable_scopes, created_at)
    SELECT gen_random_uuid(), 'CUSTOMER', $1::uuid, 'Customer ' || n, '{*}', $2::timestamptz
    FROM generate_series(1, 60) n RETURNING id, reseller_id
)
INSERT INTO api_token (id, account_id, reseller_id, kind, name, scopes, allowed_ip_ranges,
    audiences, created_at, version)
SELECT gen_random_uuid(), id, reseller_id, 'API_TOKEN', 'token ' || n, '{*}', '{}', '{}', $2, 1
FROM many, generate_series(1, 20) n
"""


async def impatient(settings: Settings) -> asyncpg.Connection:
    """Return a connection that rather fails than waits for a lock."""
    return await asyncpg.connect(
        settings.database_owner_url.get_secret_value(), server_settings={"lock_timeout": "3s"}
    )


async def test_recounting_side_by_side_counts_each_token_once(
    service: Service, platform: Platform, clock: FrozenClock, owner: asyncpg.Connection
) -> None:
    for _ in range(5):
        await make_token(service, platform.customer)
    clock.advance(days=24)

    found = await asyncio.gather(*(service.fleet.recount_due(batch=2) for _ in range(3)))

    again = await service.fleet.recount_due()
    assert sum(found) + again == 5
    assert await kept_counts(owner) == await true_counts(owner, clock.now())


async def test_an_account_takes_its_counts_with_it_to_another_reseller(
    service: Service, platform: Platform, owner: asyncpg.Connection, settings: Settings
) -> None:
    await make_token(service, platform.customer)
    mover = await asyncpg.connect(settings.database_owner_url.get_secret_value())
    try:
        async with mover.transaction():
            for table, key in (("account", "id"), ("api_token", "account_id")):
                await mover.execute(
                    f"UPDATE {table} SET reseller_id = $1 WHERE {key} = $2",  # noqa: S608 - our own
                    platform.other_reseller.account_id,
                    platform.customer.account_id,
                )
            # Somebody else counts one more meanwhile, and is not held up.
            await make_token(service, platform.sibling)
    finally:
        await mover.close()

    left = await service.fleet.totals(platform.reseller)
    gained = await service.fleet.totals(platform.other_reseller)
    assert (left.accounts, left.counts.live) == (1, 1)
    assert (gained.accounts, gained.counts.live) == (2, 1)
    await assert_sums_hold(owner)
    assert await service.fleet.counts_of(platform.reseller, [platform.customer.account_id]) == [
        None
    ]


async def test_transactions_that_change_the_same_accounts_crosswise_do_not_deadlock(
    service: Service, platform: Platform, owner: asyncpg.Connection, settings: Settings
) -> None:
    """Counters are taken at the commit alone: with ones taken at once, these would."""
    first, second = [await impatient(settings) for _ in range(2)]
    accounts = (platform.customer, platform.stranger)
    tokens = [[(await make_token(service, actor)).token.id for actor in accounts] for _ in range(2)]
    suspend = "UPDATE api_token SET suspended_at = now() WHERE id = $1"
    try:
        transactions = first.transaction(), second.transaction()
        for transaction in transactions:
            await transaction.start()
        await first.execute(suspend, tokens[0][0])
        await second.execute(suspend, tokens[1][1])
        await first.execute(suspend, tokens[0][1])
        await second.execute(suspend, tokens[1][0])
        await asyncio.gather(*(transaction.commit() for transaction in transactions))
    finally:
        await first.close()
        await second.close()

    for actor in accounts:
        assert (await counted(service, actor)).suspended == 2
    await assert_sums_hold(owner)


async def test_everything_at_once_neither_deadlocks_nor_miscounts(
    service: Service, platform: Platform, clock: FrozenClock, owner: asyncpg.Connection
) -> None:
    actors = [platform.customer, platform.sibling, platform.stranger, platform.reseller]
    soon = clock.now() + timedelta(hours=1)
    for actor in actors:
        for number in range(12):
            await make_token(service, actor, expires_at=None if number % 2 else soon)
    clock.advance(hours=1)
    rows = await owner.fetch(
        "SELECT t.id, t.expires_at, s.id AS secret, t.account_id FROM api_token t"
        " JOIN secret s ON s.token_id = t.id WHERE t.kind = 'API_TOKEN' ORDER BY t.id DESC"
    )
    uses: list[Use] = [(row["secret"], clock.now(), "192.0.2.1") for row in rows]
    lasting = [row for row in rows if row["expires_at"] is None]
    whose = {actor.account_id: actor for actor in actors}

    outcomes = await asyncio.gather(
        sweep_expired(clock, batch=5),
        sweep_expired(clock, batch=7),
        service.fleet.recount_due(batch=5),
        service.fleet.recount_due(batch=7),
        system_record_uses(uses),
        system_record_uses(uses[::-1]),
        *(make_token(service, actor) for actor in actors for _ in range(3)),
        *(
            (service.tokens.revoke if number % 2 else service.tokens.suspend)(
                whose[row["account_id"]], row["id"]
            )
            for number, row in enumerate(lasting)
        ),
        return_exceptions=True,
    )

    assert [outcome for outcome in outcomes if isinstance(outcome, BaseException)] == []
    await service.fleet.recount_due()
    assert await kept_counts(owner) == await true_counts(owner, clock.now())
    await assert_sums_hold(owner)


async def test_batches_over_many_accounts_commit_side_by_side(
    platform: Platform, owner: asyncpg.Connection, settings: Settings, clock: FrozenClock
) -> None:
    """Each takes its counters in one order, whatever order its rows came in."""
    await owner.execute(MANY, platform.reseller.account_id, clock.now())
    tokens = [
        row["id"] for row in await owner.fetch("SELECT id FROM api_token WHERE kind = 'API_TOKEN'")
    ]
    chance = random.Random(7)  # noqa: S311 - repeatable
    chance.shuffle(tokens)
    connections = [await impatient(settings) for _ in range(4)]

    async def change(connection: asyncpg.Connection, ids: list[UUID]) -> None:
        for batch in batched_by(ids, 30):
            async with connection.transaction():
                await connection.execute(SUSPEND, batch)

    try:
        shares = [tokens[number::4] for number in range(4)]
        await asyncio.gather(*map(change, connections, shares))
    finally:
        for connection in connections:
            await connection.close()

    assert await kept_counts(owner) == await true_counts(owner, clock.now())
    await assert_sums_hold(owner)


def batched_by(ids: list[UUID], size: int) -> list[list[UUID]]:
    return [ids[first : first + size] for first in range(0, len(ids), size)]


def test_nobody_has_deferred_constraints_checked_at_once() -> None:
    """A count would be settled before its statement has noted it, and be lost."""
    sources = [
        path
        for package in ("service", "schema", "workers")
        for path in (ROOT / package).rglob("*")
        if path.suffix in {".py", ".sql"}
    ]

    told = [path for path in sources if "SET CONSTRAINTS" in path.read_text(encoding="utf-8")]

    assert len(sources) > 100
    assert told == []
