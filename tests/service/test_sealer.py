"""The sealer gives each event one place, in the order of commits, and nothing else ever changes."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from conftest import FrozenClock
from factories import Platform, make_token
from redis.asyncio import Redis
from stores import eventually, everything, one_row
from trail_scene import forms, intact

from service import chain, database
from service.access.actor import EVERYTHING, Reach
from service.access.door import Statement, open_door
from service.access.seals import SEALING_LOCK, system_unsealed
from service.cache import hot_client
from service.chain import Head
from service.composition import Service
from service.sealer import BATCH, Sealer, channel_of
from service.settings import Settings


async def unsealed(owner: asyncpg.Connection) -> int:
    return int(await owner.fetchval("SELECT count(*) FROM audit_event WHERE position IS NULL"))


async def tell(owner: asyncpg.Connection, account_id: UUID, count: int) -> None:
    """Add events as a sweep does: by one statement."""
    await owner.execute(
        "INSERT INTO audit_event (id, account_id, occurred_at, action, subject_id, details)"
        " SELECT gen_random_uuid(), $1, now() + n * interval '1 ms', 'token.expired',"
        " gen_random_uuid(), '{}' FROM generate_series(1, $2::int) AS n",
        account_id,
        count,
    )


async def test_each_event_gets_a_dense_position_and_a_sequence_of_its_account(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    assert await unsealed(owner) > 0

    sealed = await service.sealer.seal()
    await make_token(service, platform.customer)
    again = await service.sealer.seal()

    events = await forms(owner)
    assert (again, await unsealed(owner)) == (1, 0)
    assert [event["position"] for event in events] == list(range(1, sealed + 2))
    for account_id in {event["account_id"] for event in events}:
        own = [event["sequence"] for event in events if event["account_id"] == account_id]
        assert own == list(range(1, len(own) + 1))
    assert await intact(owner)


async def test_the_hash_is_over_the_documented_form_and_nothing_of_ours_is_needed_to_check_it(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    await make_token(service, platform.customer, name='Ünï "x"')
    await service.sealer.seal()

    row = await one_row(
        owner,
        "SELECT e.*, e.details::text AS text, p.hash AS previous FROM audit_event e"
        " JOIN audit_event p ON p.account_id = e.account_id AND p.sequence = e.sequence - 1"
        " WHERE e.action = 'token.created'",
    )

    # The same by the database alone; jsonb prints no escapes, and ``COLLATE "C"`` sorts bytes.
    told = await owner.fetchval(
        """
        SELECT sha256($1::bytea || convert_to(replace(replace(
            '{"account_id":"' || account_id || '","action":"' || action
            || '","actor_account_id":"' || actor_account_id
            || '","actor_member_id":"' || actor_member_id
            || '","actor_token_id":"' || actor_token_id
            || '","address":"' || address || '","details":' || (
                SELECT '{' || string_agg(to_json(key)::text || ':' || value::text, ','
                    ORDER BY key COLLATE "C") || '}' FROM jsonb_each(details)
            ) || ',"id":"' || id || '","occurred_at":"'
            || to_char(occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
            || '","position":' || position || ',"request_id":"' || request_id
            || '","reseller_id":"' || reseller_id || '","sequence":' || sequence
            || ',"subject_id":"' || subject_id || '"}', '", "', '","'), '": ', '":'), 'UTF8'))
        FROM audit_event WHERE id = $2
        """,
        row["previous"],
        row["id"],
    )
    assert bytes(row["hash"]) == bytes(told)


def test_every_column_but_the_hash_is_hashed(
    opened: None,  # noqa: ARG001 - loads the models
) -> None:
    from tortoise import Tortoise  # noqa: PLC0415 - the models are known once they are opened

    assert Tortoise.apps is not None
    columns = set(Tortoise.apps["service"]["AuditEvent"]._meta.fields_db_projection)  # noqa: SLF001 - no public name

    assert columns == {*chain.COLUMNS, "hash"}


async def test_sealers_side_by_side_and_with_writers_leave_one_unbroken_chain(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    sealers = [Sealer(service.cache.redis) for _ in range(3)]
    people = (platform.customer, platform.sibling, platform.reseller)

    async def write(number: int) -> None:
        for _ in range(4):
            await make_token(service, people[number % 3])

    async def keep(sealer: Sealer) -> int:
        return sum([await sealer.seal() for _ in range(12)])

    await asyncio.gather(*(write(n) for n in range(6)), *(keep(sealer) for sealer in sealers))
    await service.sealer.seal()

    assert await unsealed(owner) == 0
    assert await intact(owner)


async def test_more_than_a_batch_is_sealed_by_one_call(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    await service.sealer.seal()
    await tell(owner, platform.customer.account_id, BATCH + 1)

    assert await service.sealer.seal() == BATCH + 1

    assert await intact(owner)


async def test_an_event_that_commits_late_comes_after_those_that_were_sealed_before(
    service: Service, platform: Platform, settings: Settings, owner: asyncpg.Connection
) -> None:
    """What is told in a transaction that goes on for long has an earlier instant, a later place."""
    late = await asyncpg.connect(settings.database_owner_url.get_secret_value())
    try:
        await service.sealer.seal()
        transaction = late.transaction()
        await transaction.start()
        await tell(late, platform.customer.account_id, 1)
        created = await make_token(service, platform.customer)
        assert await service.sealer.seal() == 1

        await transaction.commit()
        assert await service.sealer.seal() == 1
    finally:
        await late.close()

    newest = (await forms(owner))[-2:]
    assert [event["action"] for event in newest] == ["token.created", "token.expired"]
    assert newest[0]["subject_id"] == str(created.token.id)
    assert await intact(owner)


async def test_a_sealer_waits_for_the_one_at_work_and_sees_what_that_has_sealed(
    service: Service, platform: Platform, settings: Settings, owner: asyncpg.Connection
) -> None:
    await service.sealer.seal()
    await make_token(service, platform.customer)
    holder = await asyncpg.connect(settings.database_owner_url.get_secret_value())
    try:
        transaction = holder.transaction()
        await transaction.start()
        await holder.execute("SELECT pg_advisory_xact_lock($1)", SEALING_LOCK)
        sealing = asyncio.create_task(service.sealer.seal())

        async def waits() -> bool:
            return bool(
                await owner.fetchval(
                    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
                )
            )

        await eventually(waits, seconds=5)
        assert not sealing.done()
        await transaction.rollback()
        assert await sealing == 1
    finally:
        await holder.close()

    assert await intact(owner)


@pytest.mark.usefixtures("platform")
async def test_where_nothing_waits_no_lock_is_taken(
    service: Service, owner: asyncpg.Connection
) -> None:
    await service.sealer.seal()
    await owner.execute("SELECT pg_advisory_lock($1)", SEALING_LOCK)
    try:
        assert await service.sealer.seal() == 0
    finally:
        await owner.execute("SELECT pg_advisory_unlock($1)", SEALING_LOCK)


async def test_a_change_wakes_the_sealer_of_its_process(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    await service.sealer.seal()
    sealing = asyncio.create_task(service.sealer.keep_sealing())
    try:
        await eventually(lambda: _is_idle(service.sealer), seconds=5)
        for _ in range(3):  # were they sealed by the poll alone, this would take three seconds
            await make_token(service, platform.customer)
            await eventually(lambda: _is_sealed(owner), seconds=0.9)
    finally:
        sealing.cancel()

    assert await intact(owner)


async def _is_idle(sealer: Sealer) -> bool:
    return not sealer._news.is_set()  # noqa: SLF001 - nothing else tells


async def _is_sealed(owner: asyncpg.Connection) -> bool:
    return await unsealed(owner) == 0


@pytest.mark.usefixtures("platform")
async def test_without_redis_events_are_sealed_all_the_same(owner: asyncpg.Connection) -> None:
    await Sealer(hot_client("redis://127.0.0.1:1")).seal()

    assert await unsealed(owner) == 0
    assert await intact(owner)


@pytest.mark.usefixtures("platform")
async def test_followers_are_told_the_newest_position(service: Service, settings: Settings) -> None:
    redis = Redis.from_url(settings.redis_url.get_secret_value())
    pubsub = redis.pubsub()
    await pubsub.subscribe(channel_of(redis))
    count = await service.sealer.seal()

    async def heard() -> bool:
        message = await pubsub.get_message(ignore_subscribe_messages=True)
        return message is not None and message["data"] == str(count).encode()

    await eventually(heard, seconds=5)
    await pubsub.aclose()  # type: ignore[no-untyped-call] # redis-py leaves it unannotated
    await redis.aclose()


async def test_how_much_waits_and_for_how_long_can_be_asked(
    service: Service, platform: Platform, clock: FrozenClock
) -> None:
    await service.sealer.seal()
    empty = await system_unsealed(clock.now())
    await make_token(service, platform.customer)
    clock.advance(seconds=7)
    waiting = await system_unsealed(clock.now())

    assert (empty.count, empty.oldest_seconds) == (0, 0.0)
    assert (waiting.count, waiting.oldest_seconds) == (1, 7.0)


# What the database refuses ------------------------------------------------------------------------

SEAL = "SET position = 9999, sequence = 9999, hash = sha256('')"


CHANGES = (
    "SET action = 'token.renamed'",
    "SET details = '{}'",
    "SET occurred_at = now()",
    "SET account_id = gen_random_uuid()",
    "SET id = gen_random_uuid()",
)


async def refuse(owner: asyncpg.Connection, change: str) -> None:
    """Fail unless a change of any event is refused."""
    with pytest.raises(asyncpg.CheckViolationError):
        await owner.execute(change)


@pytest.mark.usefixtures("platform")
async def test_a_sealed_event_is_never_changed_not_even_by_the_owner(
    service: Service, owner: asyncpg.Connection
) -> None:
    await service.sealer.seal()
    before = await forms(owner)

    for change in (*CHANGES, SEAL, "SET position = NULL, sequence = NULL, hash = NULL"):
        await refuse(owner, f"UPDATE audit_event {change} WHERE action = 'session.begun'")
    await refuse(owner, "DELETE FROM audit_event WHERE action = 'session.begun'")

    assert await forms(owner) == before


@pytest.mark.usefixtures("platform")
async def test_a_whole_seal_is_all_that_an_event_can_get(owner: asyncpg.Connection) -> None:
    before = await everything(owner)

    for change in (*CHANGES, "SET position = 1", "SET position = 1, sequence = 1"):
        await refuse(owner, f"UPDATE audit_event {change} WHERE action = 'session.begun'")
    for change in CHANGES:
        with_seal = change.replace("SET", f"{SEAL},")
        await refuse(owner, f"UPDATE audit_event {with_seal} WHERE action = 'session.begun'")
    await refuse(owner, "DELETE FROM audit_event WHERE action = 'session.begun'")

    assert await everything(owner) == before


async def test_an_event_cannot_be_born_with_a_seal(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    before = await service.sealer.seal()
    row: dict[str, Any] = {
        "id": uuid4(),
        "account_id": platform.customer.account_id,
        "occurred_at": service.clock.now(),
        "action": "token.created",
        "subject_id": uuid4(),
        "details": "{}",
        "position": before + 1,
        "sequence": 1,
        "hash": bytes(32),
    }

    with pytest.raises(Exception, match="append-only"):
        async with open_door(EVERYTHING) as door:
            await door.query(Statement().insert("audit_event", [row]))

    assert len(await forms(owner)) == before


@pytest.mark.parametrize("column", ["action = 'x'", "details = '{}'", "address = NULL"])
async def test_the_application_has_no_right_to_any_other_column(
    column: str,
    opened: None,  # noqa: ARG001 - the pool
) -> None:
    with pytest.raises(Exception, match="permission denied"):
        await database.query(f"UPDATE audit_event SET {column}")  # noqa: S608 - our own words


async def test_a_seal_is_written_within_reach_alone(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    """Without a reach of everything, row-level security lets no seal through."""
    await make_token(service, platform.customer)
    statement = Statement("UPDATE audit_event " + SEAL + " WHERE action = 'token.created'")

    async with open_door(Reach(EVERYTHING.extent.ACCOUNT, platform.stranger.account_id)) as door:
        await door.query(statement)

    assert await owner.fetchval("SELECT max(position) FROM audit_event") is None


def test_a_head_is_before_the_first_event() -> None:
    assert Head() == Head(0, bytes(32))
