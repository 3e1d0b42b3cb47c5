"""The relay delivers each drop until it is confirmed, and again one and two leases later."""

import asyncio
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pytest
from conftest import FrozenClock
from factories import Platform, make_token
from redis.asyncio import Redis

from service.access.system import system_outbox_lag
from service.cache import Cache, Drop, channel_of, hot_client, read_drop
from service.composition import Service, compose
from service.local.servers import APP_ROLE
from service.outbox import BATCH, KEPT, Relay
from service.receipts import PropagationState
from service.settings import Settings
from service.token_changes import drop_token

LEASE = 4.0


class TickingClock:
    """A clock that has moved on by a second whenever somebody looks."""

    def __init__(self, began: datetime) -> None:
        self.began = began
        self._now = began

    def now(self) -> datetime:
        """Return the instant, and move on."""
        now, self._now = self._now, self._now + timedelta(seconds=1)
        return now


@pytest.fixture
def cut_off(service: Service, settings: Settings) -> Service:
    """The use cases of a process whose Redis is not there."""
    nowhere = Cache(hot_client("redis://127.0.0.1:1"), b"k" * 32, LEASE)
    return compose(settings, nowhere, service.clock, passwords=service.accounts.passwords)


@pytest.fixture
def broken(cut_off: Service) -> Relay:
    """Its relay."""
    return cut_off.relay


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
    redis, began = service.cache.redis, clock.now()
    await revoke_some(service, platform, 1)
    assert await tombstones(redis) == 1
    [first] = await rows(owner)
    assert (first["committed_at"], first["confirmed_at"]) == (began, began)

    for stage in (1, 2):
        [row] = await rows(owner)
        assert (row["stage"], row["done_at"]) == (stage, None)
        assert row["due_at"] == began + timedelta(seconds=stage * LEASE)
        await redis.flushdb()  # a Redis that lost what it had confirmed
        clock.advance(seconds=LEASE, microseconds=-1)
        assert await service.relay.relay_due() == 0
        clock.advance(microseconds=1)
        assert await service.relay.relay_due() == 1
        assert await tombstones(redis) == 1
        assert await service.relay.relay_due() == 0

    clock.advance(hours=1)
    assert await service.relay.relay_due() == 0
    [row] = await rows(owner)
    assert (row["stage"], row["done_at"]) == (3, began + timedelta(seconds=2 * LEASE))
    kept = ("committed_at", "confirmed_at", "epoch", "revision")
    assert [row[name] for name in kept] == [first[name] for name in kept]


async def test_while_redis_is_away_rows_wait_with_their_commit_noted_and_the_lag_grows(
    cut_off: Service,
    service: Service,
    platform: Platform,
    owner: asyncpg.Connection,
    clock: FrozenClock,
    broken: Relay,
) -> None:
    assert await system_outbox_lag(clock.now()) == 0
    began = clock.now()
    await revoke_some(cut_off, platform, 2)
    before = await rows(owner)
    assert {(row["stage"], row["committed_at"], row["due_at"]) for row in before} == {
        (0, began, began)
    }
    assert {(row["confirmed_at"], row["epoch"], row["revision"]) for row in before} == {
        (None, None, None)
    }

    clock.advance(seconds=30)
    assert await broken.relay_due() == 0
    assert await rows(owner) == before
    assert await system_outbox_lag(clock.now()) == 30

    clock.advance(seconds=30)
    await service.cache.redis.flushdb()
    assert await service.relay.relay_due() == 2
    assert await tombstones(service.cache.redis) == 2
    assert await system_outbox_lag(clock.now()) == 0
    for row in await rows(owner):
        assert (row["committed_at"], row["confirmed_at"]) == (began, clock.now())


async def test_a_commit_that_nobody_noted_is_noted_by_the_relay_redis_or_not(
    cut_off: Service, platform: Platform, owner: asyncpg.Connection, clock: FrozenClock
) -> None:
    """As when the process died between its commit and its delivery."""
    await revoke_some(cut_off, platform, 1)
    await owner.execute("UPDATE outbox_event SET committed_at = NULL")
    clock.advance(seconds=1)

    await cut_off.relay.relay_due()

    [row] = await rows(owner)
    assert (row["committed_at"], row["confirmed_at"]) == (clock.now(), None)


async def test_a_relay_notes_no_commit_earlier_than_it_saw_the_row(
    service: Service, cut_off: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    """Else a receipt would count the bound from before the commit."""
    await revoke_some(cut_off, platform, 1)
    await owner.execute("UPDATE outbox_event SET committed_at = NULL, due_at = created_at")
    ticking = TickingClock(service.clock.now())

    await Relay(service.cache, ticking, LEASE).relay_due()

    [row] = await rows(owner)
    assert row["committed_at"] > ticking.began


async def test_a_change_notes_its_commit_at_an_instant_after_it(
    service: Service, settings: Settings, platform: Platform, owner: asyncpg.Connection
) -> None:
    """Not that of its beginning: a unit may have waited for locks in between."""
    ticking = compose(
        settings,
        service.cache,
        TickingClock(service.clock.now()),
        passwords=service.accounts.passwords,
    )

    await revoke_some(ticking, platform, 1)

    [row] = await rows(owner)
    assert row["committed_at"] > row["created_at"]


async def test_relays_side_by_side_deliver_each_row_once_per_stage(
    service: Service,
    settings: Settings,
    platform: Platform,
    owner: asyncpg.Connection,
    clock: FrozenClock,
) -> None:
    listener = Redis.from_url(settings.redis_url.get_secret_value())
    pubsub = listener.pubsub()
    await pubsub.subscribe(channel_of(listener))
    await pubsub.get_message(timeout=1)
    await revoke_some(service, platform, 12)
    mine = [row["subject"] for row in await rows(owner)]

    for stage in (1, 2):
        clock.advance(seconds=LEASE)
        counts = await asyncio.gather(*(service.relay.relay_due() for _ in range(5)))
        # A relay that came too late to see a row leaves it to the one that holds it.
        assert sum(counts) == 12
        assert {row["stage"] for row in await rows(owner)} == {stage + 1}

    heard: Counter[str] = Counter()
    while message := await pubsub.get_message(timeout=0.2):
        told = read_drop(message)
        if told is not None and told[0].subject in mine:  # other tests' channel is the same
            heard[told[0].subject] += 1
    assert heard == dict.fromkeys(mine, 3)
    await pubsub.aclose()  # type: ignore[no-untyped-call] # redis-py leaves it unannotated
    await listener.aclose()


async def test_a_change_and_a_relay_that_deliver_one_row_together_count_as_one(
    cut_off: Service,
    service: Service,
    platform: Platform,
    owner: asyncpg.Connection,
    clock: FrozenClock,
) -> None:
    await revoke_some(cut_off, platform, 1)
    [row] = await rows(owner)
    ids, drops = [row["id"]], [Drop(row["kind"], row["subject"])]

    revisions, one, two = await asyncio.gather(
        service.relay.deliver(ids, drops, clock.now()),
        service.relay.relay_due(),
        service.relay.relay_due(),
    )

    assert revisions is not None
    assert one + two <= 1
    [row] = await rows(owner)
    assert (row["stage"], row["due_at"]) == (1, clock.now() + timedelta(seconds=LEASE))


async def test_what_cannot_be_noted_fails_no_change_and_is_delivered_again(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    created = await make_token(service, platform.customer)
    await owner.execute(f"REVOKE UPDATE ON outbox_event FROM {APP_ROLE}")
    try:
        changed = await service.tokens.revoke(platform.customer, created.token.id)
    finally:
        await owner.execute(f"GRANT UPDATE ON outbox_event TO {APP_ROLE}")

    assert changed.propagation is not None
    assert changed.propagation.state is PropagationState.CONFIRMED
    [row] = await rows(owner)
    assert (row["stage"], row["committed_at"], row["revision"]) == (0, None, None)
    assert await service.relay.relay_due() == 1


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
            await drop_token(unit, created.token)
            await unit.write()
            raise RuntimeError("a late failure")

    with pytest.raises(RuntimeError, match="late"):
        await fail()

    assert await rows(owner) == []
    assert await service.relay.relay_due() == 0
    assert await tombstones(service.cache.redis) == 0
