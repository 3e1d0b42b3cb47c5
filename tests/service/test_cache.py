"""What Redis says is believed only as far as it can be proven, and never waited for."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import cast
from uuid import UUID

import pytest
from redis.asyncio import Redis
from strategies import record

from service.cache import CHANNEL, Answer, Cache, Drop, channel_of, hot_client, read_drop
from service.settings import Settings

LEASE = 4.0
ACCOUNT, RESELLER, STRANGER = UUID(int=10), UUID(int=20), UUID(int=30)
DIGEST, OTHER = bytes(31) + b"\1", bytes(31) + b"\2"
KEY = f"tk:{DIGEST.hex()}"
CHAIN = (ACCOUNT, RESELLER)
PAYLOAD = record(ACCOUNT, RESELLER).encode()


@pytest.fixture
async def redis(settings: Settings, clean: None) -> AsyncIterator[Redis]:  # noqa: ARG001 - an empty Redis
    """A client that may take its time, to look and to tamper."""
    client = Redis.from_url(settings.redis_url.get_secret_value())
    yield client
    await client.aclose()


@pytest.fixture
async def cache(settings: Settings, redis: Redis) -> AsyncIterator[Cache]:  # noqa: ARG001 - it is empty
    client = hot_client(settings.redis_url.get_secret_value(), timeout_seconds=2)
    yield Cache(client, b"k" * 32, LEASE)
    await client.aclose()


async def look(cache: Cache, digest: bytes = DIGEST, *, age: float = LEASE) -> Answer:
    answer = await cache.look_up(digest, age_seconds_max=age)
    assert answer is not None
    return answer


async def fill(cache: Cache, digest: bytes = DIGEST) -> Answer:
    """Fill a digest as a validator does; return the miss before it."""
    miss = await look(cache, digest)
    assert await cache.fill(digest, miss, CHAIN, PAYLOAD) == "OK"
    return miss


async def server_ms(redis: Redis) -> int:
    seconds, micros = await redis.time()
    return int(seconds) * 1000 + int(micros) // 1000


async def entry_of(redis: Redis, key: str) -> dict[bytes, bytes]:
    return cast(dict[bytes, bytes], await redis.hgetall(key))


async def put_entry(redis: Redis, entry: dict[bytes, bytes]) -> None:
    await redis.delete(KEY)
    for field, value in entry.items():
        await redis.hset(KEY, field, value)


async def next_millisecond(redis: Redis) -> None:
    now = await server_ms(redis)
    while await server_ms(redis) == now:
        pass


async def test_what_was_filled_is_found_with_the_age_of_its_read(
    cache: Cache, redis: Redis
) -> None:
    miss = await fill(cache)

    hit = await look(cache)

    assert miss.payload is None
    assert (hit.payload, hit.asof_ms, hit.epoch) == (PAYLOAD, miss.asof_ms, miss.epoch)
    assert 0 <= hit.age_seconds < LEASE
    assert 0 < await redis.pttl(KEY) <= LEASE * 1000
    assert (await look(cache, OTHER)).payload is None


async def test_an_entry_older_than_was_asked_for_is_a_miss(cache: Cache, redis: Redis) -> None:
    await fill(cache)
    await next_millisecond(redis)

    assert (await look(cache, age=0.001)).payload is None
    assert (await look(cache)).payload == PAYLOAD


async def test_an_entry_is_a_miss_once_its_lease_has_run_out_though_the_key_is_still_there(
    cache: Cache, redis: Redis
) -> None:
    """As when Redis' clock went back and its TTL with it: the as-of decides, not the TTL."""
    stale = replace(await look(cache), asof_ms=await server_ms(redis) - int(LEASE * 1000))
    long_lived = Cache(cache.redis, b"k" * 32, 60.0)
    assert await long_lived.fill(DIGEST, stale, CHAIN, PAYLOAD) == "OK"

    assert (await look(cache)).payload is None
    assert (await look(long_lived, age=60)).payload == PAYLOAD


async def test_a_slow_reader_fills_nothing(cache: Cache, redis: Redis) -> None:
    miss = await look(cache)
    now = await server_ms(redis)

    for asof in (now - int(LEASE * 1000) - 1, now + 60_000):
        told = await cache.fill(DIGEST, replace(miss, asof_ms=asof), CHAIN, PAYLOAD)
        assert told == "SLOW"

    assert await redis.exists(KEY) == 0


async def test_a_reader_of_another_epoch_fills_nothing(cache: Cache, redis: Redis) -> None:
    miss = await look(cache)
    await redis.flushdb()

    assert await cache.fill(DIGEST, miss, CHAIN, PAYLOAD) == "EPOCH"

    assert await redis.keys("*") == [CHANNEL.encode()]


async def test_a_flush_begins_a_new_epoch_in_which_every_entry_is_a_miss(
    cache: Cache, redis: Redis
) -> None:
    before = await fill(cache)
    entry = await redis.dump(KEY)
    assert entry is not None
    await redis.delete(CHANNEL)  # what is evicted or lost alone; then an old dump comes back

    answer = await look(cache)
    await redis.flushdb()
    again = await look(cache)
    await redis.restore(KEY, 0, entry)

    assert answer.payload is None
    assert len({before.epoch, answer.epoch, again.epoch}) == 3
    assert (await look(cache)).payload is None


@pytest.mark.parametrize(
    "drop",
    [Drop.of_secret(DIGEST), Drop.of_account(ACCOUNT), Drop.of_account(RESELLER)],
    ids=["secret", "account", "reseller"],
)
async def test_a_drop_makes_a_miss_and_refuses_what_was_read_before_it(
    cache: Cache, redis: Redis, drop: Drop
) -> None:
    await fill(cache)
    before = await look(cache, OTHER)

    assert await cache.revoke([drop]) is not None

    assert (await look(cache)).payload is None
    digest = DIGEST if drop.kind == "TOKEN" else OTHER
    assert await cache.fill(digest, before, CHAIN, PAYLOAD) == "STALE"
    assert (await look(cache, digest)).payload is None
    await next_millisecond(redis)
    assert await cache.fill(digest, await look(cache, digest), CHAIN, PAYLOAD) == "OK"
    assert (await look(cache, digest)).payload == PAYLOAD


async def test_a_read_of_the_same_millisecond_as_a_drop_is_refused(
    cache: Cache, redis: Redis
) -> None:
    miss = await look(cache)
    await cache.revoke([Drop.of_secret(DIGEST), Drop.of_account(STRANGER)])
    await redis.hset(KEY, "asof", miss.asof_ms)
    await redis.set(f"cut:{STRANGER}", miss.asof_ms)

    assert await cache.fill(DIGEST, miss, CHAIN, PAYLOAD) == "STALE"
    assert await cache.fill(OTHER, miss, (STRANGER,), PAYLOAD) == "STALE"


async def test_a_drop_of_one_leaves_the_others(cache: Cache) -> None:
    await fill(cache)
    await fill(cache, OTHER)

    await cache.revoke([Drop.of_secret(OTHER), Drop.of_account(STRANGER)])

    assert (await look(cache)).payload == PAYLOAD
    assert (await look(cache, OTHER)).payload is None


async def test_a_tombstone_and_a_cut_off_stay_for_two_leases_and_then_fade_by_themselves(
    cache: Cache, redis: Redis
) -> None:
    await cache.revoke([Drop.of_secret(DIGEST), Drop.of_account(ACCOUNT)])

    for key in (KEY, f"cut:{ACCOUNT}"):
        assert LEASE * 1000 < await redis.pttl(key) <= 2 * LEASE * 1000
    assert set(await redis.hgetall(KEY)) == {b"state", b"asof", b"epoch"}


async def test_every_drop_is_told_to_who_listens(cache: Cache, redis: Redis) -> None:
    pubsub = redis.pubsub()
    await pubsub.subscribe(channel_of(redis))
    await pubsub.get_message(timeout=1)
    drops = [Drop.of_secret(DIGEST), Drop.of_account(ACCOUNT)]

    revisions = await cache.revoke(drops)

    assert revisions is not None
    told = [await pubsub.get_message(timeout=1) for _ in drops]
    expected = list(zip(drops, revisions, strict=True))
    assert [message and read_drop(message) for message in told] == expected
    await pubsub.aclose()  # type: ignore[no-untyped-call] # redis-py leaves it unannotated


ASOFS = ["in the future", "-1", "1e309", "-1e309", "nan", "-nan", "inf", "", "soon", "0x10"]


@pytest.mark.parametrize("asof", ASOFS)
async def test_an_as_of_that_is_no_instant_of_the_past_lease_is_a_miss(
    cache: Cache, redis: Redis, asof: str
) -> None:
    """Also under a right signature, as when Redis' clock has gone back."""
    await fill(cache)
    entry = await entry_of(redis, KEY)
    if asof == "in the future":
        asof = str(await server_ms(redis) + 60_000)
    signed = (entry[b"epoch"], asof.encode(), entry[b"chain"], entry[b"payload"])
    signature = cache._sign(DIGEST, *signed)  # noqa: SLF001 - only who has the key can do this

    await put_entry(redis, entry | {b"asof": asof.encode(), b"signature": signature})

    assert (await look(cache)).payload is None


@pytest.mark.parametrize("field", ["state", "asof", "epoch", "chain", "payload", "signature"])
async def test_an_entry_with_a_field_missing_or_empty_is_a_miss(
    cache: Cache, redis: Redis, field: str
) -> None:
    await fill(cache)

    await redis.hset(KEY, field, "")
    assert (await look(cache)).payload is None
    await redis.hdel(KEY, field)
    assert (await look(cache)).payload is None


async def test_a_tampered_entry_is_refused(cache: Cache, redis: Redis) -> None:
    """Whoever may write to Redis, but has not the key, mints and prolongs nothing."""
    await fill(cache)
    await fill(cache, OTHER)
    entry = await entry_of(redis, KEY)
    other = await entry_of(redis, f"tk:{OTHER.hex()}")
    revived = replace(record(ACCOUNT, RESELLER), scopes=("*", "more:scopes")).encode()
    now = await server_ms(redis)
    tampered: dict[str, dict[bytes, bytes]] = {
        "payload": {b"payload": revived},
        "truncated payload": {b"payload": PAYLOAD[:-1]},
        "younger as-of": {b"asof": str(now).encode() + b".0"},
        "same as-of spelled otherwise": {b"asof": entry[b"asof"] + b".0"},
        "chain without the account": {b"chain": str(STRANGER).encode()},
        "no chain": {b"chain": b","},
        "part moved to the neighbour": {
            b"chain": entry[b"chain"] + PAYLOAD[:1],
            b"payload": PAYLOAD[1:],
        },
        "signature cut": {b"signature": entry[b"signature"][:-1]},
        "signature of another token": {b"signature": other[b"signature"]},
        "entry of another token": other,
    }
    assert entry[b"signature"] != other[b"signature"]

    for what, change in tampered.items():
        await put_entry(redis, entry | change)
        assert (await look(cache)).payload is None, what
    await put_entry(redis, entry)
    assert (await look(cache)).payload == PAYLOAD  # the control: untouched it is believed


async def test_a_dropped_entry_is_not_revived_by_flipping_its_state(
    cache: Cache, redis: Redis
) -> None:
    await fill(cache)
    await cache.revoke([Drop.of_secret(DIGEST)])

    await redis.hset(KEY, "state", "LIVE")

    assert (await look(cache)).payload is None


async def test_an_entry_signed_with_another_key_is_a_miss(cache: Cache) -> None:
    await fill(Cache(cache.redis, b"j" * 32, LEASE))

    assert (await look(cache)).payload is None


async def test_a_chain_of_thousands_is_answered_like_any_other(cache: Cache) -> None:
    chain = tuple(UUID(int=number) for number in range(10_000))
    assert await cache.fill(DIGEST, await look(cache), chain, PAYLOAD) == "OK"

    assert (await look(cache)).payload == PAYLOAD
    await cache.revoke([Drop.of_account(chain[-1])])
    assert (await look(cache)).payload is None


@pytest.mark.parametrize("kind", ["SET", "RPUSH", "SADD"])
async def test_a_cut_off_of_the_wrong_type_makes_a_miss_until_the_next_one(
    cache: Cache, redis: Redis, kind: str
) -> None:
    await fill(cache)
    await redis.execute_command(kind, f"cut:{ACCOUNT}", "soon")  # type: ignore[no-untyped-call] # redis-py leaves it unannotated

    miss = await look(cache)
    assert miss.payload is None
    assert await cache.fill(DIGEST, miss, CHAIN, PAYLOAD) == "STALE"
    assert await cache.revoke([Drop.of_account(ACCOUNT)]) is not None
    await next_millisecond(redis)

    await fill(cache)
    assert (await look(cache)).payload == PAYLOAD


@pytest.mark.parametrize("key", [KEY, CHANNEL])
async def test_a_value_of_the_wrong_type_is_a_miss_and_mends_itself(
    cache: Cache, redis: Redis, key: str
) -> None:
    await fill(cache)
    await redis.delete(key)
    await redis.set(key, "1")

    miss = await look(cache)

    assert miss.payload is None
    assert await cache.fill(DIGEST, miss, CHAIN, PAYLOAD) == "OK"
    assert (await look(cache)).payload == PAYLOAD


@pytest.mark.parametrize("cut_off", ["nan", "1e309", "", "soon"])
async def test_a_cut_off_that_is_no_instant_makes_a_miss(
    cache: Cache, redis: Redis, cut_off: str
) -> None:
    await fill(cache)
    await redis.set(f"cut:{ACCOUNT}", cut_off)

    miss = await look(cache)

    assert miss.payload is None
    assert await cache.fill(DIGEST, miss, CHAIN, PAYLOAD) == "STALE"


async def test_no_redis_at_all_is_no_answer() -> None:
    client = hot_client("redis://127.0.0.1:1")
    cache = Cache(client, b"k" * 32, LEASE)

    assert await cache.look_up(DIGEST, age_seconds_max=LEASE) is None
    assert await cache.fill(DIGEST, Answer(0, b""), CHAIN, PAYLOAD) == "UNREACHABLE"
    assert await cache.revoke([Drop.of_secret(DIGEST)]) is None
    await client.aclose()
