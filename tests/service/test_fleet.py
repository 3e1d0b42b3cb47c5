"""Drops are numbered for good, and what Redis says of the validators is read with care."""

from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from redis.asyncio import Redis

from service.cache import (
    CHANNEL,
    NOTHING_DROPPED,
    REPORTS,
    Cache,
    Drop,
    Failed,
    Fleet,
    Revision,
    channel_of,
    hot_client,
    read_drop,
)
from service.settings import Settings

LEASE = 4.0
BOUND = 10.0
DROP = Drop.of_secret(bytes(31) + b"\1")
CUT_OFF = Drop.of_account(UUID(int=10))
EPOCH = "0123456789abcdef0123456789abcdef"


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


async def drop(cache: Cache, *drops: Drop) -> list[Revision]:
    revisions = await cache.revoke(list(drops) or [DROP])
    assert revisions is not None
    return revisions


async def fleet(cache: Cache) -> Fleet:
    found = await cache.fleet(silent_seconds_max=BOUND)
    assert found is not None
    return found


async def server_micros(redis: Redis) -> int:
    seconds, micros = await redis.time()
    return int(seconds) * 1_000_000 + int(micros)


async def test_every_drop_has_a_later_number_than_the_one_before(
    cache: Cache, redis: Redis
) -> None:
    revisions = await drop(cache, *[DROP, CUT_OFF] * 50)

    numbers = [revision.number for revision in revisions]
    assert numbers == sorted(set(numbers))
    assert {revision.epoch for revision in revisions} == {revisions[0].epoch}
    assert numbers[-1] <= await server_micros(redis) + len(numbers)
    assert await cache.last_revision() == revisions[-1]
    assert (await fleet(cache)).last == revisions[-1]


async def test_numbers_go_on_where_the_clock_of_redis_has_gone_back(
    cache: Cache, redis: Redis
) -> None:
    await drop(cache)
    an_hour_ahead = await server_micros(redis) + 3_600_000_000
    await redis.hset(CHANNEL, "revision", an_hour_ahead)

    numbers = [revision.number for revision in await drop(cache, DROP, CUT_OFF, DROP)]

    assert numbers == [an_hour_ahead + 1, an_hour_ahead + 2, an_hour_ahead + 3]


async def test_a_redis_that_comes_back_from_an_old_dump_gives_no_number_twice(
    cache: Cache, redis: Redis
) -> None:
    [old] = await drop(cache)
    dumped = await redis.dump(CHANNEL)
    assert dumped is not None
    lost = await drop(cache, *[DROP] * 20)
    await redis.restore(CHANNEL, 0, dumped, replace=True)
    assert await cache.last_revision() == old

    [again] = await drop(cache)

    assert again.epoch == old.epoch
    assert again.number > lost[-1].number


@pytest.mark.parametrize(
    "number", ["", "soon", "nan", "-1", "1e309", "inf", "-inf", "9" * 16, "9" * 400, "0x", "\xff"]
)
async def test_a_number_that_none_of_us_wrote_is_begun_anew(
    cache: Cache, redis: Redis, number: str
) -> None:
    await drop(cache)
    before = await server_micros(redis)
    await redis.hset(CHANNEL, "revision", number)

    [revision] = await drop(cache)

    assert before <= revision.number <= await server_micros(redis)
    assert await cache.last_revision() == revision


@pytest.mark.parametrize("kind", ["SET", "RPUSH", "SADD"])
async def test_a_shared_key_of_the_wrong_type_is_healed_by_a_drop(
    cache: Cache, redis: Redis, kind: str
) -> None:
    [before] = await drop(cache)
    for key in (CHANNEL, f"tk:{DROP.subject}", f"cut:{CUT_OFF.subject}"):
        await redis.delete(key)
        await redis.execute_command(kind, key, "1")  # type: ignore[no-untyped-call] # redis-py leaves it unannotated

    revisions = await drop(cache, DROP, CUT_OFF)

    assert revisions[0].epoch == revisions[1].epoch != before.epoch
    assert await cache.last_revision() == revisions[1]
    assert await redis.hget(f"tk:{DROP.subject}", "state") == b"DROPPED"
    assert await redis.pttl(f"cut:{CUT_OFF.subject}") > 0


async def test_a_redis_that_was_flushed_begins_another_epoch(cache: Cache, redis: Redis) -> None:
    [before] = await drop(cache)
    await redis.flushdb()
    assert await cache.last_revision() == NOTHING_DROPPED

    [after] = await drop(cache)

    assert after.epoch != before.epoch
    assert not after.covers(before)
    assert not before.covers(after)


@pytest.mark.parametrize("epoch", [b"", b"-", b"Z" * 32, b"a" * 40, b"two words", b"\xff\xfe"])
async def test_an_epoch_that_none_of_us_wrote_is_begun_anew_and_the_drop_is_heard(
    cache: Cache, redis: Redis, epoch: bytes
) -> None:
    await redis.hset(CHANNEL, mapping={"epoch": epoch, "revision": "1"})
    pubsub = redis.pubsub()
    await pubsub.subscribe(channel_of(redis))
    heard = []
    try:
        [revision] = await drop(cache)

        while message := await pubsub.get_message(timeout=0.2):
            if message["type"] == "message":  # other tests' channel is the same
                heard.append(read_drop(message))
    finally:
        await pubsub.aclose()  # type: ignore[no-untyped-call] # redis-py leaves it unannotated
    assert (DROP, revision) in heard
    assert await cache.last_revision() == revision


@pytest.mark.parametrize(
    "word",
    [
        b"",
        b"TOKEN " + DROP.subject.encode(),
        f"TOKEN {DROP.subject} {EPOCH}".encode(),
        f"TOKEN {DROP.subject} {EPOCH} ".encode(),
        f"TOKEN {DROP.subject} {EPOCH} -1".encode(),
        f"TOKEN {DROP.subject} {EPOCH} 1e3".encode(),
        f"TOKEN {DROP.subject} {EPOCH} 1\n".encode(),
        f"TOKEN {DROP.subject} {EPOCH} {'9' * 17}".encode(),
        f"TOKEN {DROP.subject} {EPOCH} \u0661".encode(),
        f"TOKEN {DROP.subject[1:]} {EPOCH} 1".encode(),
        f"TOKEN {CUT_OFF.subject} {EPOCH} 1".encode(),
        f"ACCOUNT {DROP.subject} {EPOCH} 1".encode(),
        f"ACCOUNT {CUT_OFF.subject.replace('-', '')} {EPOCH} 1".encode(),
        f"EVERYTHING {CUT_OFF.subject} {EPOCH} 1".encode(),
        b"\xff\xfe",
    ],
)
def test_what_is_no_drop_is_read_as_none(word: bytes) -> None:
    assert read_drop({"data": word}) is None


def test_a_drop_is_read_as_it_was_told() -> None:
    for told in (DROP, CUT_OFF):
        word = f"{told.kind} {told.subject} {EPOCH} 17".encode()

        assert read_drop({"data": word}) == (told, Revision(EPOCH, 17))


async def test_a_fleet_is_whoever_reported_with_what_it_has_applied(cache: Cache) -> None:
    assert await fleet(cache) == Fleet(NOTHING_DROPPED, ())
    [first, second] = await drop(cache, DROP, CUT_OFF)

    await cache.report("one", first)
    await cache.report("two", NOTHING_DROPPED)
    await cache.report("one", second)

    found = await fleet(cache)
    assert found.last == second
    assert {report.name: report.applied for report in found.reports} == {
        "one": second,
        "two": NOTHING_DROPPED,
    }
    assert all(0 <= report.silent_seconds < BOUND for report in found.reports)
    await cache.forget_report("one")
    assert [report.name for report in (await fleet(cache)).reports] == ["two"]


async def test_who_was_not_heard_for_too_long_or_in_the_future_is_forgotten(
    cache: Cache, redis: Redis
) -> None:
    now_ms = await server_micros(redis) // 1000
    for name, heard_ms in {
        "old": now_ms - 10_001,
        "quiet": now_ms - 3000,
        "early": now_ms + 60_000,
    }.items():
        await redis.hset(REPORTS, name, f"{heard_ms} {EPOCH} 7")

    [report] = (await fleet(cache)).reports

    assert report.name == "quiet"
    assert 3 <= report.silent_seconds < BOUND
    assert await redis.hkeys(REPORTS) == [b"quiet"]


@pytest.mark.parametrize("kind", ["SET", "RPUSH", "SADD"])
async def test_reports_of_the_wrong_type_are_healed_by_whoever_comes_first(
    cache: Cache, redis: Redis, kind: str
) -> None:
    await redis.execute_command(kind, REPORTS, "1")  # type: ignore[no-untyped-call] # redis-py leaves it unannotated
    assert (await fleet(cache)).reports == ()
    assert await redis.exists(REPORTS) == 0
    await redis.execute_command(kind, REPORTS, "1")  # type: ignore[no-untyped-call] # redis-py leaves it unannotated

    await cache.report("one", NOTHING_DROPPED)

    assert [report.name for report in (await fleet(cache)).reports] == ["one"]


@pytest.mark.parametrize("told", [b"", b"soon", b"nan", b"-1 - 0", b"1e309 - 0", b"\xff", b" "])
async def test_a_report_without_an_instant_is_forgotten(
    cache: Cache, redis: Redis, told: bytes
) -> None:
    await redis.hset(REPORTS, "odd", told)
    await cache.report("one", NOTHING_DROPPED)

    assert [report.name for report in (await fleet(cache)).reports] == ["one"]


@pytest.mark.parametrize(
    "applied", [b"", b" ", b"x 1", b"- 1e3", b"- -1", b"- 1 2", b"\xff \xff", b"- " + b"9" * 17]
)
async def test_a_report_of_what_is_no_drop_is_of_none(
    cache: Cache, redis: Redis, applied: bytes
) -> None:
    now_ms = await server_micros(redis) // 1000
    await redis.hset(REPORTS, "odd", str(now_ms).encode() + b" " + applied)

    [report] = (await fleet(cache)).reports

    assert report.applied == NOTHING_DROPPED


@pytest.mark.parametrize("rest", [b"x - 0", b".5 - 0", b"e3 - 0", b"\xff - 0"])
async def test_an_instant_with_anything_behind_it_breaks_nothing(
    cache: Cache, redis: Redis, rest: bytes
) -> None:
    now_ms = await server_micros(redis) // 1000
    await redis.hset(REPORTS, b"\xff", str(now_ms).encode() + rest)
    await cache.report("one", NOTHING_DROPPED)

    names = [report.name for report in (await fleet(cache)).reports]

    assert "one" in names


async def test_without_redis_nobody_is_known_and_nothing_is_claimed() -> None:
    client = hot_client("redis://127.0.0.1:1")
    cache = Cache(client, b"k" * 32, LEASE)

    assert await cache.fleet(silent_seconds_max=BOUND) is None
    with pytest.raises(Failed):
        await cache.last_revision()
    with pytest.raises(Failed):
        await cache.report("one", NOTHING_DROPPED)
    await client.aclose()
