"""How often something may be done in a span of time, counted in Redis for all processes."""

from collections.abc import Iterable
from dataclasses import dataclass

import structlog
from redis.asyncio import Redis

from service.cache import Failed
from service.errors import TooManyAttempts

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Limit:
    """How often something may be done.

    Attributes:
        key: Who does what, such as ``sign-in::192.0.2.7``; never a secret or an e-mail address.
        count_max: As often, and no more, until the window ends.
        window_seconds: From the first time that is counted.
    """

    key: str
    count_max: int
    window_seconds: int


@dataclass(frozen=True, slots=True)
class Throttle:
    """Counts in Redis. Without Redis nothing is counted, and everything may pass."""

    redis: Redis

    async def check(self, limits: Iterable[Limit]) -> None:
        """Let something pass that has not happened yet; it is not counted.

        Raises:
            TooManyAttempts: If one of its limits is used up.
        """
        limits = tuple(limits)
        try:
            counts = await self.redis.mget([limit.key for limit in limits])
        except Failed:
            log.warning("throttle.uncounted")
            return
        if any(
            _number(count) >= limit.count_max for count, limit in zip(counts, limits, strict=True)
        ):
            raise TooManyAttempts

    async def count(self, limits: Iterable[Limit]) -> bool:
        """Count something that happens; return whether it is still within all of its limits.

        Counted and compared in one step, so that many at once do not all pass. What is refused
        counts too, but never prolongs the window.
        """
        limits = tuple(limits)
        try:
            async with self.redis.pipeline(transaction=True) as pipeline:
                for limit in limits:
                    pipeline.incr(limit.key)
                    pipeline.expire(limit.key, limit.window_seconds, nx=True)
                counts = (await pipeline.execute())[::2]
        except Failed:
            log.warning("throttle.uncounted")
            return True
        return all(count <= limit.count_max for count, limit in zip(counts, limits, strict=True))


def _number(told: bytes | str | None) -> int:
    """Return a counter's value; one that is no number was not written by us, and counts nothing."""
    return int(told) if told and told.isdigit() else 0
