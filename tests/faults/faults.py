"""The faults, in lanes: what hurts the same thing takes turns, everything else overlaps."""

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial

from fault_proxy import (
    CUT,
    FORGET,
    PASS,
    REFUSE,
    SLOW,
    STALL,
    STALL_REPLIES,
    STALL_REQUESTS,
    Behaviour,
    FaultProxy,
)
from stack import LEASE_SECONDS, WEBS, Stack, postgres_pids, signal_postgres

Fault = Callable[[], Awaitable[None]]

PAUSE_SECONDS = {
    "redis": (0.1, 0.6),
    "redis links": (0.1, 0.6),
    "database": (2.0, 4.0),
    "processes": (1.0, 2.5),
}
"""The lanes, and how long one rests; while the database hurts, no refusal counts as false."""

LATE_SECONDS = 6.5 * LEASE_SECONDS
"""Longer than the bound: who believes what was true so long ago must break it."""

QUIET_SECONDS = 2 * LEASE_SECONDS
"""After a step of the clock and after a failover: the bound allows for one at a time."""


class Faults:
    """Every fault of a campaign, with its random choices.

    Args:
        stack: What is hurt.
        random_source: Seeded.
        seconds_max: How long a stop may last.
    """

    def __init__(self, stack: Stack, random_source: random.Random, seconds_max: float) -> None:
        self._stack = stack
        self._random = random_source
        self._seconds_max = seconds_max

    def of_lane(self, lane: str) -> list[Fault]:
        """Return the faults that take turns, because they hurt the same; the first one begins."""
        lanes: dict[str, list[Fault]] = {
            "redis": [
                self.flush_redis,
                self.kill_redis,
                self.freeze_redis,
                self.restore_old_dump,
                self.fail_over,
                self.evict,
                self.step_clock,
                self.cut_subscriptions,
                self.empty_broker,
                self.flush_scripts,
            ],
            "redis links": [
                partial(self.hurt_redis_link, behaviour)
                for behaviour in (
                    REFUSE,
                    STALL,
                    STALL_REQUESTS,
                    STALL_REPLIES,
                    FORGET,
                    SLOW,
                    CUT,
                )
            ],
            "database": [
                self.stall_database_replies,
                self.freeze_database,
                self.crash_database,
                self.hurt_database_link,
            ],
            "processes": [
                self.kill_checker,
                self.freeze_checker,
                self.kill_web,
                self.freeze_web,
                self.kill_worker,
                self.freeze_worker,
            ],
        }
        return lanes[lane]

    async def _last(self, seconds_max: float = 3.0) -> None:
        limit = min(seconds_max, self._seconds_max)
        await asyncio.sleep(self._random.uniform(0.3, limit))

    async def kill_redis(self) -> None:
        """Kill Redis, and start it empty."""
        with self._stack.during("redis: kill -9"):
            self._stack.redis.primary.kill()
            await self._last(1.0)
            await self._stack.redis.primary.start()

    async def freeze_redis(self) -> None:
        """Stop Redis for a while."""
        node = self._stack.redis.primary
        with self._stack.during("redis: SIGSTOP"):
            node.freeze()
            try:
                await self._last(self._seconds_max)
            finally:
                node.thaw()

    async def flush_redis(self) -> None:
        """Empty Redis, the broker with it."""
        with self._stack.during("redis: FLUSHALL"):
            await self._stack.redis.primary.command("FLUSHALL")

    async def restore_old_dump(self) -> None:
        """Bring back what Redis knew a moment ago."""
        with self._stack.during("redis: restart from an old dump"):
            await self._stack.redis.primary.save()
            await self._last()
            self._stack.redis.primary.kill()
            await self._stack.redis.primary.start(with_dump=True)

    async def fail_over(self) -> None:
        """Have Sentinel promote a replica that lags."""
        with self._stack.during("redis: failover to a lagging replica"):
            await self._stack.redis.fail_over(self._random.uniform(0.3, 2.0))
            self._stack.point_at_primary()
        await asyncio.sleep(QUIET_SECONDS)

    async def evict(self) -> None:
        """Have Redis evict at random, tombstones and epoch included."""
        node = self._stack.redis.primary
        with self._stack.during("redis: eviction"):
            await node.command("CONFIG", "SET", "maxmemory-policy", "allkeys-random")
            await node.command("CONFIG", "SET", "maxmemory", "1mb")
            try:
                await self._last(1.5)
            finally:
                await node.command("CONFIG", "SET", "maxmemory", "0")
                await node.command("CONFIG", "SET", "maxmemory-policy", "noeviction")

    async def step_clock(self) -> None:
        """Step Redis' clock, once."""
        seconds = self._random.choice([-3600.0, -0.9, -0.5, 0.5, 3600.0])
        with self._stack.during(
            f"redis: clock step of {seconds:+g} s", "clock", *self._stack.checkers
        ):
            self._stack.clock.step(seconds)
        await asyncio.sleep(QUIET_SECONDS)

    async def cut_subscriptions(self) -> None:
        """Cut every connection that listens for drops."""
        with self._stack.during("redis: subscriptions cut"):
            await self._stack.redis.primary.command("CLIENT", "KILL", "TYPE", "PUBSUB")

    async def empty_broker(self) -> None:
        """Lose every job."""
        with self._stack.during("broker: emptied"):
            lua = "redis.call('SELECT', 1) return redis.call('FLUSHDB')"
            await self._stack.redis.primary.command("EVAL", lua, 0)

    async def flush_scripts(self) -> None:
        """Have Redis forget the scripts."""
        with self._stack.during("redis: SCRIPT FLUSH"):
            await self._stack.redis.primary.command("SCRIPT", "FLUSH")

    async def hurt_redis_link(self, behaviour: Behaviour) -> None:
        """Keep one process from Redis."""
        name = self._random.choice([*self._stack.checkers, *WEBS, "worker"])
        with self._stack.during(f"link to redis: {behaviour.name}"):
            await self._hurt([self._stack.redis_links[name]], behaviour)

    async def freeze_database(self) -> None:
        """Stop PostgreSQL for a while."""
        with self._stack.during("database: SIGSTOP", "database", *self._stack.checkers):
            signal_postgres(self._stack.postgres, signal.SIGSTOP)
            try:
                await self._last(self._seconds_max)
            finally:
                signal_postgres(self._stack.postgres, signal.SIGCONT)
            await self._stack.owner_says("SELECT 1")

    async def crash_database(self) -> None:
        """Kill a backend, after which PostgreSQL ends every session and recovers."""
        with self._stack.during(
            "database: kill -9 and recovery", "database", *self._stack.checkers
        ):
            query = "SELECT pid FROM pg_stat_activity WHERE application_name = 'tokenward' LIMIT 1"
            pid = await self._stack.owner_says(query)
            if isinstance(pid, int) and pid in postgres_pids(self._stack.postgres):
                os.kill(pid, signal.SIGKILL)
            await self._stack.owner_says("SELECT 1")

    async def stall_database_replies(self) -> None:
        """Have every validator's read arrive late: it was true when it was made."""
        links = [self._stack.database_links[name] for name in self._stack.checkers]
        with self._stack.during("database: replies late", "database", *self._stack.checkers):
            await self._hurt(links, STALL_REPLIES, seconds=LATE_SECONDS)

    async def hurt_database_link(self) -> None:
        """Keep one process from the database."""
        behaviour = self._random.choice([REFUSE, STALL, STALL_REQUESTS, FORGET, SLOW, CUT])
        name = self._random.choice([*self._stack.checkers, *WEBS, "worker"])
        with self._stack.during(f"link to database: {behaviour.name}", "database", name):
            await self._hurt([self._stack.database_links[name]], behaviour)

    async def kill_checker(self) -> None:
        """Kill a validator, and start it again."""
        name = self._random.choice(self._stack.checkers)
        with self._stack.during("validator: kill -9", "stopped", name):
            self._stack.kill(name)
            self._stack.start(name)

    async def freeze_checker(self) -> None:
        """Stop one validator of each kind for a while."""
        names = [self._random.choice(self._stack.rules), self._stack.checkers[-1]]
        await self._freeze("validator: SIGSTOP", *names)

    async def kill_web(self) -> None:
        """Kill a web process; the campaign starts it again."""
        with self._stack.during("web: kill -9"):
            self._stack.kill("web")
            self._stack.start("web")

    async def freeze_web(self) -> None:
        """Stop a web process for a while."""
        await self._freeze("web: SIGSTOP", "web")

    async def kill_worker(self) -> None:
        """Kill the worker, and start it again."""
        with self._stack.during("worker: kill -9"):
            self._stack.kill("worker")
            self._stack.start("worker")

    async def freeze_worker(self) -> None:
        """Stop the worker for a while."""
        await self._freeze("worker: SIGSTOP", "worker")

    async def _freeze(self, fault: str, *names: str) -> None:
        with ExitStack() as thawing, self._stack.during(fault, "stopped", *names):
            for name in names:
                self._stack.signal(name, signal.SIGSTOP)
                thawing.callback(self._stack.signal, name, signal.SIGCONT)
            await self._last(self._seconds_max)

    async def _hurt(
        self, links: list[FaultProxy], behaviour: Behaviour, *, seconds: float | None = None
    ) -> None:
        for link in links:
            link.behave(behaviour)
        try:
            if seconds is None:
                await self._last()
            else:
                await asyncio.sleep(seconds)
        finally:
            for link in links:
                link.behave(PASS)
