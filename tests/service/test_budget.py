"""A caller spends no more points than it has, whichever process it asks."""

import asyncio

import pytest
from redis.asyncio import Redis

from service.budget import BREAK_SECONDS, SHARED_KEY, Budget
from service.cache import hot_client
from service.composition import Service

CAPACITY = 5_000
AHEAD = CAPACITY // 100
KEY = f"{SHARED_KEY}:somebody"


@pytest.fixture
def redis(service: Service) -> Redis:
    return service.cache.redis


def budget(redis: Redis, *, restored: int = 1) -> Budget:
    return Budget(redis, CAPACITY, restored)


async def left(redis: Redis) -> float:
    """Return what a bucket holds."""
    held = await redis.get(KEY)
    assert held is not None
    return float(held.split()[0])


async def holds(redis: Redis, points: float, *, since_ms_ago: int = 0) -> None:
    """Have a bucket that held so many points then."""
    seconds, micros = await redis.time()
    at = int(seconds) * 1000 + int(micros) // 1000 - since_ms_ago
    await redis.set(KEY, f"{points:.3f} {at}")


async def test_many_at_once_in_two_processes_spend_no_more_than_there_is(redis: Redis) -> None:
    processes = (budget(redis), budget(redis))

    balances = await asyncio.gather(
        *(processes[n % 2].spend("somebody", 100) for n in range(CAPACITY // 50))
    )

    spent = sum(100 for balance in balances if not balance.retry_after_seconds)
    assert CAPACITY - 2 * AHEAD - 100 <= spent <= CAPACITY
    assert all(balance.available >= 0 for balance in balances)


async def test_what_is_refused_costs_nothing_and_says_when_there_will_be_enough(
    redis: Redis,
) -> None:
    await holds(redis, 100)

    first = await budget(redis, restored=10).spend("somebody", 200)
    second = await budget(redis, restored=10).spend("somebody", 200)

    assert (first.retry_after_seconds, second.retry_after_seconds) == (10, 10)
    assert first.available == 100
    assert (await budget(redis, restored=10).spend("somebody", 100)).retry_after_seconds == 0


async def test_points_come_back_by_the_second_and_never_beyond_the_capacity(redis: Redis) -> None:
    await holds(redis, 0, since_ms_ago=2_000)
    assert (await budget(redis, restored=100).spend("somebody", 200)).retry_after_seconds == 0

    await holds(redis, 0, since_ms_ago=3_600_000)
    balance = await budget(redis, restored=100).spend("somebody", 1)

    assert balance.available == CAPACITY - 1


async def test_a_bucket_that_is_full_again_is_forgotten(redis: Redis) -> None:
    await budget(redis, restored=100).spend("somebody", 150)

    assert 0 < await redis.pttl(KEY) <= (150 + AHEAD) * 10 + 1


async def test_a_clock_that_goes_back_neither_restores_nor_takes(redis: Redis) -> None:
    await holds(redis, 300, since_ms_ago=-60_000)

    balance = await budget(redis, restored=100).spend("somebody", 100)

    assert balance.available == 200


@pytest.mark.parametrize("junk", ["", "x", "-5 1", "nan 1", "1e9 1", "5", "5 5 5", "\xff"])
async def test_what_nobody_of_us_wrote_counts_as_a_full_bucket(junk: str, redis: Redis) -> None:
    await redis.set(KEY, junk)

    assert (await budget(redis).spend("somebody", 1)).available == CAPACITY - 1


async def test_a_key_of_another_type_counts_as_a_full_bucket(redis: Redis) -> None:
    await redis.hset(KEY, "a", "b")

    assert (await budget(redis).spend("somebody", CAPACITY)).retry_after_seconds == 0


async def test_callers_do_not_share_a_bucket(redis: Redis) -> None:
    await holds(redis, 0)
    asked = budget(redis)

    assert (await asked.spend("somebody", 10)).retry_after_seconds == 10
    assert (await asked.spend("somebody else", 10)).retry_after_seconds == 0


async def test_small_requests_share_one_question(redis: Redis) -> None:
    asked = budget(redis)

    told = [await asked.spend("somebody", 1) for _ in range(AHEAD)]

    assert [balance.available for balance in told] == list(
        range(CAPACITY - 1, CAPACITY - 1 - AHEAD, -1)
    )
    assert await left(redis) == CAPACITY - 1 - AHEAD


async def test_many_at_once_hold_no_more_than_one_purse(redis: Redis) -> None:
    asked = budget(redis)

    await asyncio.gather(*(asked.spend("somebody", 1) for _ in range(40)))

    assert await left(redis) >= CAPACITY - 40 - 2 * AHEAD


async def test_without_redis_everything_may_pass_and_redis_is_left_alone_for_a_while() -> None:
    nowhere = hot_client("redis://127.0.0.1:1/0")
    asked = Budget(nowhere, CAPACITY, 1)

    for _ in range(3):
        balance = await asked.spend("somebody", CAPACITY)
        assert (balance.available, balance.retry_after_seconds) == (CAPACITY, 0)

    assert BREAK_SECONDS <= 1
    await nowhere.aclose()
