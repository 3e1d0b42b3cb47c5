"""How much one caller may ask for in a span of time: points in Redis, shared by all processes.

A bucket holds so many points and is filled up by so many a second; what is refused costs nothing.
Without Redis everything may pass: whoever must revoke a token then must not be kept from it, and
the database has bounds of its own.
"""

from dataclasses import dataclass
from importlib import resources
from math import ceil

import structlog
from redis.asyncio import Redis

from service.batches import Batches
from service.cache import Failed
from service.clock import boottime

BREAK_SECONDS = 1.0
SHARED_KEY = "budget"
PURSES_MAX = 10_000

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Balance:
    """What is left to a caller who wanted to spend points.

    Attributes:
        available: Points that may be spent at once.
        capacity: Points that there are at the most.
        restored_per_second: Points that come back each second.
        retry_after_seconds: When there will be enough; 0 where there were, and they are spent.
    """

    available: int
    capacity: int
    restored_per_second: int
    retry_after_seconds: int = 0


@dataclass(frozen=True, slots=True)
class Purse:
    """Points that this process holds for a caller, and what was left in Redis when it took them."""

    points: int = 0
    left: int = 0


class Budget:
    """Spends points.

    A process takes a hundredth of a caller's points ahead, so that many small requests share one
    question to Redis. What it holds is spent by it alone: with n processes a caller may find n
    hundredths less than there are, never more.

    Args:
        redis: Its socket timeout is the longest wait.
        capacity: Points of a caller who has spent none lately.
        restored_per_second: Points that come back each second.
    """

    def __init__(self, redis: Redis, capacity: int, restored_per_second: int) -> None:
        self._capacity = capacity
        self._restored = restored_per_second
        self._ahead = capacity // 100
        script = resources.files("service").joinpath("budget.lua").read_text(encoding="utf-8")
        shared = f"{capacity} {restored_per_second} {self._ahead}"
        self._asking = Batches(redis, script, SHARED_KEY, lambda: shared)
        self._purses: dict[str, Purse] = {}
        self._taking_ahead: set[str] = set()
        self._broken_until = 0.0

    async def spend(self, payer: str, points: int) -> Balance:
        """Take points if there are as many, and return what is left.

        Args:
            payer: Whose they are: a credential's id, or where a stranger calls from.
            points: At most the capacity.
        """
        held = self._purses.pop(payer, Purse())
        if held.points < points:
            return await self._ask(payer, points, held)
        self._keep(payer, Purse(held.points - points, held.left))
        return self._balance(held.points - points + held.left)

    async def _ask(self, payer: str, points: int, held: Purse) -> Balance:
        if boottime() < self._broken_until:
            return self._balance(self._capacity)
        wanted = min(points, self._capacity) - held.points
        # Of many at once only one takes points ahead, or they would empty the bucket.
        takes_ahead = payer not in self._taking_ahead
        self._taking_ahead.add(payer)
        try:
            key = f"{SHARED_KEY}:{payer}"
            _, _, answer = await self._asking.ask(key, wanted if takes_ahead else -wanted)
        except Failed:
            # Nobody waits for a Redis that does not answer.
            self._broken_until = boottime() + BREAK_SECONDS
            log.warning("budget.uncounted")
            return self._balance(self._capacity)
        finally:
            if takes_ahead:
                self._taking_ahead.discard(payer)
        left, ahead, wait_ms = answer
        if wait_ms:
            self._keep(payer, Purse(held.points, left))
            return self._balance(left + held.points, ceil(wait_ms / 1000))
        self._keep(payer, Purse(ahead, left))
        return self._balance(left + ahead)

    def _keep(self, payer: str, purse: Purse) -> None:
        """Hold a purse beside one that a request of the same caller has brought meanwhile."""
        other = self._purses.pop(payer, None)
        if len(self._purses) >= PURSES_MAX:
            del self._purses[next(iter(self._purses))]  # the one that was used longest ago
        self._purses[payer] = (
            purse
            if other is None
            else Purse(purse.points + other.points, min(purse.left, other.left))
        )

    def _balance(self, available: int, retry_after_seconds: int = 0) -> Balance:
        return Balance(
            min(available, self._capacity), self._capacity, self._restored, retry_after_seconds
        )
