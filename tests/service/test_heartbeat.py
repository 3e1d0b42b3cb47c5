"""A sign of life of the workers."""

from conftest import FrozenClock

from service.composition import Service
from service.heartbeat import KEPT_SECONDS, KEY, beat, seconds_since_beat


async def test_the_age_of_the_last_sign_is_told(service: Service, clock: FrozenClock) -> None:
    redis = service.cache.redis
    assert await seconds_since_beat(redis, clock) is None

    await beat(redis, clock)
    clock.advance(seconds=90)

    assert await seconds_since_beat(redis, clock) == 90
    assert 0 < await redis.ttl(KEY) <= KEPT_SECONDS


async def test_a_sign_from_a_clock_ahead_is_not_older_than_now(
    service: Service, clock: FrozenClock
) -> None:
    await beat(service.cache.redis, clock)
    clock.advance(seconds=-3)

    assert await seconds_since_beat(service.cache.redis, clock) == 0
