"""The relay delivers each drop until it is confirmed, and again one and two leases later."""

import asyncio
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from conftest import FrozenClock
from factories import Platform, make_token
from redis.asyncio import Redis

from service.access.system import system_outbox_lag
from service.cache import CHANNEL, Cache, hot_client
from service.composition import Service
from service.outbox import BATCH, KEPT, Relay
from service.settings import Settings

LEASE = 4.0


@pytest.fixture
def broken(service: Service) -> Relay:
    """A relay whose Redis is not there."""
    nowhere = Cache(hot_client("redis://127.0.0.1:1"), b"k" * 32, LEASE)
    return Relay(nowhere, service.clock, LEASE)


async def rows(owner: asyncpg.Connection) -> list[dict[str, Any]]:
    return [dict(row) for row in await owner.fetch("SELECT * FROM outbox_event ORDER BY id")]


async def revoke_some(service: Service, platform: Platform, count: int) -> None:
    for _ in range(count):
        created = await make_token(service, platform.customer)
        await service.tokens.revoke(platform.customer, created.token.id)


async def tombstones(redis: Redis) -> int:
    return len(await redis.keys("tk:*"))


async def test_a_drop_is_delivered_now_and_after_one_and_two_leases_and_no_more(
    service: Service, platform: Platform, owner: asyncpg.Connection, clock: FrozenClock
) -> None:
    await revoke_some(service, platform, 1)
    redis = service.cache.redis
    began = clock.now()

    for stage in range(3):
        await redis.flushdb()  # a Redis that lost what it had confirmed
        assert await service.relay.relay_due() == 1
        assert await tombstones(redis) == 1
        [row] = await rows(owner)
        assert (row["stage"], row["confirmed_at"]) == (stage + 1, began)
        assert (row["done_at"] is None) is (stage < 2)
        assert await service.relay.relay_due() == 0
        if stage < 2:
            assert row["due_at"] == clock.now() + timedelta(seconds=LEASE)
            clock.advance(seconds=LEASE, microseconds=-1)
            assert await service.relay.relay_due() == 0
            clock.advance(microseconds=1)

    clock.advance(hours=1)
    assert await service.relay.relay_due() == 0
    [row] = await rows(owner)
    assert row["done_at"] == began + timedelta(seconds=2 * LEASE)


async def test_while_redis_is_away_rows_wait_and_the_lag_grows(
    service: Service,
    platform: Platform,
    owner: asyncpg.Connection,
    clock: FrozenClock,
    broken: Relay,
) -> None:
    assert await system_outbox_lag(clock.now()) == 0
    await revoke_some(service, platform, 2)
    before = await rows(owner)

    clock.advance(seconds=30)
    assert await broken.relay_due() == 0
    assert await rows(owner) == before
    assert await system_outbox_lag(clock.now()) == 30

    clock.advance(seconds=30)
    await service.cache.redis.flushdb()
    assert await service.relay.relay_due() == 2
    assert await tombstones(service.cache.redis) == 2
    assert await system_outbox_lag(clock.now()) == 0


async def test_relays_side_by_side_deliver_each_row_once_per_stage(
    service: Service,
    settings: Settings,
    platform: Platform,
    owner: asyncpg.Connection,
    clock: FrozenClock,
) -> None:
    await revoke_some(service, platform, 12)
    listener = Redis.from_url(settings.redis_url.get_secret_value())
    pubsub = listener.pubsub()
    await pubsub.subscribe(CHANNEL)
    await pubsub.get_message(timeout=1)
    mine = {f"TOKEN {row['subject']}".encode() for row in await rows(owner)}

    for stage in range(3):
        counts = await asyncio.gather(*(service.relay.relay_due() for _ in range(5)))
        # A relay that came too late to see a row leaves it to the one that holds it.
        assert sum(counts) == 12
        assert {row["stage"] for row in await rows(owner)} == {stage + 1}
        clock.advance(seconds=LEASE)

    heard: list[bytes] = []
    while message := await pubsub.get_message(timeout=0.2):
        if message["data"] in mine:  # other tests' channel is the same
            heard.append(message["data"])
    assert len(heard) == 3 * 12
    assert set(heard) == mine
    await pubsub.aclose()  # type: ignore[no-untyped-call] # redis-py leaves it unannotated
    await listener.aclose()


async def test_more_than_a_batch_is_delivered_in_one_go(
    service: Service, platform: Platform, owner: asyncpg.Connection, clock: FrozenClock
) -> None:
    await owner.execute(
        "INSERT INTO outbox_event (id, account_id, kind, subject, created_at, due_at, stage)"
        " SELECT gen_random_uuid(), $1, 'TOKEN', encode(sha256(n::text::bytea), 'hex'), $2, $2, 0"
        " FROM generate_series(1, $3) AS n",
        platform.customer.account_id,
        clock.now(),
        BATCH + 7,
    )

    assert await service.relay.relay_due() == BATCH + 7

    assert {row["stage"] for row in await rows(owner)} == {1}


async def test_what_is_done_is_forgotten_after_a_day_and_nothing_else_is(
    service: Service,
    platform: Platform,
    owner: asyncpg.Connection,
    clock: FrozenClock,
    broken: Relay,
) -> None:
    await revoke_some(service, platform, 1)
    for _ in range(3):
        await service.relay.relay_due()
        clock.advance(seconds=LEASE)
    done_at = clock.now() - timedelta(seconds=LEASE)
    await revoke_some(service, platform, 1)

    clock.advance(seconds=(done_at + KEPT - clock.now()).total_seconds())
    await broken.relay_due()
    assert len(await rows(owner)) == 2
    clock.advance(microseconds=1)
    await broken.relay_due()

    [left] = await rows(owner)
    assert left["done_at"] is None


async def test_a_rolled_back_change_is_never_delivered(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    created = await make_token(service, platform.customer)

    async def fail() -> None:
        actor = platform.customer
        async with service.tokens.work.begin(actor.reach, actor) as unit:
            await service.tokens._drop(unit, created.token)  # noqa: SLF001 - what every narrowing calls
            await unit.write()
            raise RuntimeError("a late failure")

    with pytest.raises(RuntimeError, match="late"):
        await fail()

    assert await rows(owner) == []
    assert await service.relay.relay_due() == 0
    assert await tombstones(service.cache.redis) == 0
