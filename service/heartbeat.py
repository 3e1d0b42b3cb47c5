"""A sign of life of the workers: a task ran, which a process that merely exists does not prove."""

from redis.asyncio import Redis

from service.clock import Clock

KEY = "heartbeat:worker"
KEPT_SECONDS = 3600


async def beat(redis: Redis, clock: Clock) -> None:
    """Note that a worker runs tasks; harmless to repeat."""
    await redis.set(KEY, str(clock.now().timestamp()), ex=KEPT_SECONDS)


async def seconds_since_beat(redis: Redis, clock: Clock) -> float | None:
    """Return how long ago a worker last ran a task, or None where none has for an hour.

    Raises:
        service.cache.Failed: If Redis does not answer; then nothing is known.
    """
    told = await redis.get(KEY)
    if told is None:
        return None
    return max(0.0, clock.now().timestamp() - float(told))
