"""The faults, in lanes: what hurts the same thing takes turns, everything else overlaps."""

import asyncio
import os
import random
import re
import signal
from collections.abc import Awaitable, Callable, Iterable
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
from stack import LEASE_SECONDS, RETRY_SECONDS, WORKERS, Stack, postgres_pids, signal_postgres
from stores import eventually

Fault = Callable[[str], Awaitable[None]]
"""Does it, under its own name."""

PAUSE_SECONDS = {
    "redis": (0.1, 0.4),
    "redis links": (0.1, 0.6),
    "service link": (1.0, 3.0),
    "database": (1.0, 2.0),
    "processes": (0.5, 1.5),
}
"""The lanes, and how long one rests; while the database hurts, no refusal counts as false."""

LATE_SECONDS = 8.0
"""Longer than the bound: who believes what was true so long ago must break it."""

HALF_OPEN_SECONDS = 2.0
NO_DROP_SECONDS = 5.0
QUIET_SECONDS = 2 * LEASE_SECONDS
"""After a step of the clock and after a failover: the bound allows for one at a time."""

ALONE = "drops: none arrives"
"""A campaign begins with it, and with no other: most have validators forget what they know."""

LINK_FAULTS = (REFUSE, STALL, STALL_REQUESTS, STALL_REPLIES, FORGET, SLOW, CUT)
CLOCK_STEPS_SECONDS = (-3600.0, -0.9, -0.5, 0.5, 3600.0)
PROCESSES = ("validator", "web", "edge", *WORKERS)
SETTLED_SECONDS_MAX = 60.0


class Faults:
    """Every fault of one lane, with its random choices.

    Args:
        stack: What is hurt.
        random_source: Seeded.
        seconds_max: How long a stop may last; the first of Redis, of the database and of a
            validator lasts so long.
    """

    def __init__(self, stack: Stack, random_source: random.Random, seconds_max: float) -> None:
        self._stack = stack
        self._random = random_source
        self._seconds_max = seconds_max
        self._has_stood = False
        self._starting: list[asyncio.Task[None]] = []

    def of_lane(self, lane: str) -> dict[str, Fault]:
        """Return the faults that take turns, because they hurt the same, by name."""
        return {
            "redis": self._of_redis,
            "redis links": self._of_redis_links,
            "service link": self._of_service_link,
            "database": self._of_database,
            "processes": self._of_processes,
        }[lane]()

    def required(self, lane: str, *, all_of_them: bool) -> list[str]:
        """Return which faults a run must have dealt, in a random order; the last is the first.

        A short run takes one of those that are much alike: one step of the clock either way, one
        link of the database, and one kill of what takes seconds to start.
        """
        names = [name for name in self.of_lane(lane) if name != ALONE]
        if not all_of_them:
            for alike in _ALIKE:
                others = [name for name in names if re.match(alike, name)]
                for name in self._random.sample(others, max(0, len(others) - 1)):
                    names.remove(name)
        self._random.shuffle(names)
        # Together at once, while all is warm: whoever caches naively must read, and reads late,
        # while the owner's calls are answered.
        return sorted(names, key=lambda name: name in _OPENERS)

    def _of_redis(self) -> dict[str, Fault]:
        return {
            "redis: FLUSHALL": self.flush_redis,
            "redis: kill -9": self.kill_redis,
            "redis: SIGSTOP": self.freeze_redis,
            "redis: restart from an old dump": self.restore_old_dump,
            "redis: failover to a lagging replica": self.fail_over,
            "redis: eviction": self.evict,
            "redis: subscriptions cut": self.cut_subscriptions,
            "redis: SCRIPT FLUSH": self.flush_scripts,
            "broker: emptied": self.empty_broker,
            ALONE: self.lose_drops,
            **{
                f"{_STEP}{seconds:+g} s": partial(self.step_clock, seconds=seconds)
                for seconds in CLOCK_STEPS_SECONDS
            },
        }

    def _of_redis_links(self) -> dict[str, Fault]:
        return {
            f"link to redis: {behaviour.name}": partial(self.hurt_redis_link, behaviour=behaviour)
            for behaviour in LINK_FAULTS
        }

    def _of_service_link(self) -> dict[str, Fault]:
        return {
            f"link to the service: {behaviour.name}": partial(
                self.hurt_service_link, behaviour=behaviour
            )
            for behaviour in (REFUSE, STALL_REPLIES, SLOW, CUT)
        }

    def _of_database(self) -> dict[str, Fault]:
        return {
            "database: replies late": self.stall_database_replies,
            "database: SIGSTOP": self.freeze_database,
            "database: kill -9 of a session": self.crash_session,
            "database: kill -9, down and recovery": self.crash_database,
            "database: slow": self.slow_database,
            **{
                f"{_DATABASE_LINK}{behaviour.name}": partial(
                    self.hurt_database_link, behaviour=behaviour
                )
                for behaviour in LINK_FAULTS
            },
        }

    def _of_processes(self) -> dict[str, Fault]:
        faults: dict[str, Fault] = {}
        for process in PROCESSES:
            faults[f"{process}: kill -9"] = partial(self.kill_process, process=process)
            faults[f"{process}: SIGSTOP"] = partial(self.freeze_process, process=process)
        return faults

    async def _last(self, seconds_max: float = 3.0) -> None:
        limit = min(seconds_max, self._seconds_max)
        await asyncio.sleep(self._random.uniform(0.3, limit))

    async def _stand(self, *, is_long: bool = True) -> None:
        """Wait while something is stopped: as long as it may be, where it is the first time."""
        if is_long and not self._has_stood:
            self._has_stood = True
            await asyncio.sleep(self._seconds_max)
        else:
            await self._last(self._seconds_max)

    async def kill_redis(self, fault: str) -> None:
        """Kill Redis, and start it empty."""
        with self._stack.during(fault):
            self._stack.redis.primary.kill()
            await self._last(1.0)
            await self._stack.redis.primary.start()

    async def freeze_redis(self, fault: str) -> None:
        """Stop Redis for a while."""
        node = self._stack.redis.primary
        with self._stack.during(fault):
            node.freeze()
            try:
                await self._stand()
            finally:
                node.thaw()

    async def flush_redis(self, fault: str) -> None:
        """Empty Redis, the broker with it."""
        with self._stack.during(fault):
            await self._stack.redis.primary.command("FLUSHALL")

    async def restore_old_dump(self, fault: str) -> None:
        """Bring back what Redis knew a moment ago."""
        with self._stack.during(fault):
            await self._stack.redis.primary.save()
            await self._last()
            self._stack.redis.primary.kill()
            await self._stack.redis.primary.start(with_dump=True)

    async def fail_over(self, fault: str) -> None:
        """Have Sentinel promote a replica that lags."""
        with self._stack.during(fault):
            await self._stack.redis.fail_over(self._random.uniform(0.3, 2.0))
            self._stack.point_at_primary()
        await asyncio.sleep(QUIET_SECONDS)

    async def evict(self, fault: str) -> None:
        """Have Redis evict at random, tombstones and epoch included."""
        node = self._stack.redis.primary
        with self._stack.during(fault):
            await node.command("CONFIG", "SET", "maxmemory-policy", "allkeys-random")
            await node.command("CONFIG", "SET", "maxmemory", "1mb")
            try:
                await self._last(1.5)
            finally:
                await node.command("CONFIG", "SET", "maxmemory", "0")
                await node.command("CONFIG", "SET", "maxmemory-policy", "noeviction")

    async def step_clock(self, fault: str, *, seconds: float) -> None:
        """Step Redis' clock, once."""
        with self._stack.during(fault, "clock", *self._stack.checkers):
            self._stack.clock.step(seconds)
        await asyncio.sleep(QUIET_SECONDS)

    async def cut_subscriptions(self, fault: str) -> None:
        """Cut every connection that listens for drops."""
        with self._stack.during(fault):
            await self._stack.redis.primary.command("CLIENT", "KILL", "TYPE", "PUBSUB")

    async def empty_broker(self, fault: str) -> None:
        """Lose every job."""
        with self._stack.during(fault):
            lua = "redis.call('SELECT', 1) return redis.call('FLUSHDB')"
            await self._stack.redis.primary.command("EVAL", lua, 0)

    async def flush_scripts(self, fault: str) -> None:
        """Have Redis forget the scripts."""
        with self._stack.during(fault):
            await self._stack.redis.primary.command("SCRIPT", "FLUSH")

    async def hurt_redis_link(self, fault: str, *, behaviour: Behaviour) -> None:
        """Keep one process from Redis."""
        link = self._random.choice(list(self._stack.redis_links.values()))
        with self._stack.during(fault):
            await self._hurt([link], behaviour)

    async def lose_drops(self, fault: str) -> None:
        """Keep whoever tells drops from Redis: only leases are left.

        Validators notice nothing, and go on to share what they know through Redis.
        """
        names = [name for name in self._stack.redis_links if name not in self._stack.checkers]
        links = [self._stack.redis_links[name] for name in names]
        with self._stack.during(fault):
            await self._hurt(links, REFUSE, seconds=NO_DROP_SECONDS)

    async def hurt_service_link(self, fault: str, *, behaviour: Behaviour) -> None:
        """Keep the validators without the database from the service."""
        names = self._stack.of_kind("upstream")
        with self._stack.during(fault, "database", *names):
            await self._hurt([self._stack.service_link], behaviour)

    async def freeze_database(self, fault: str) -> None:
        """Stop PostgreSQL for a while."""
        with self._stack.during(fault, "database", *self._stack.checkers):
            signal_postgres(self._stack.postgres, signal.SIGSTOP)
            try:
                await self._stand()
            finally:
                signal_postgres(self._stack.postgres, signal.SIGCONT)
            await self._stack.owner_says("SELECT 1")

    async def crash_session(self, fault: str) -> None:
        """Kill a session's process, after which PostgreSQL ends every session and recovers."""
        with self._stack.during(fault, "database", *self._stack.checkers):
            query = "SELECT pid FROM pg_stat_activity WHERE application_name = 'tokenward' LIMIT 1"
            pid = await self._stack.owner_says(query)
            if isinstance(pid, int) and pid in postgres_pids(self._stack.postgres):
                os.kill(pid, signal.SIGKILL)
            await self._stack.owner_says("SELECT 1")

    async def crash_database(self, fault: str) -> None:
        """Kill all of PostgreSQL, leave it down for a while, and start it again."""
        postgres = self._stack.postgres
        with self._stack.during(fault, "database", *self._stack.checkers):
            signal_postgres(postgres, signal.SIGKILL)
            await self._last()
            # Its start polls the new server in an event loop of its own.
            await asyncio.to_thread(postgres.stop)
            await asyncio.to_thread(postgres.start)
            self._stack.point_at_database()
            await self._stack.owner_says("SELECT 1")

    async def slow_database(self, fault: str) -> None:
        """Have every statement of everybody take longer."""
        links = list(self._stack.database_links.values())
        with self._stack.during(fault, "database", *self._stack.checkers):
            await self._hurt(links, SLOW)

    async def stall_database_replies(self, fault: str) -> None:
        """Have every validator's read arrive late: it was true when it was made."""
        names = (*self._stack.checkers, "edge")
        links = [link for name, link in self._stack.database_links.items() if name in names]
        with self._stack.during(fault, "database", *self._stack.checkers):
            await self._hurt(links, STALL_REPLIES, seconds=LATE_SECONDS)

    async def hurt_database_link(self, fault: str, *, behaviour: Behaviour) -> None:
        """Keep one process from the database."""
        name = self._random.choice(list(self._stack.database_links))
        with self._stack.during(fault, "database", *self._stack.concerned(name)):
            await self._hurt([self._stack.database_links[name]], behaviour)
            if behaviour is FORGET:
                # What lost bytes stays silent for good, and is given up one by one.
                await asyncio.sleep(HALF_OPEN_SECONDS)

    async def kill_process(self, fault: str, *, process: str) -> None:
        """Kill a process, and start it again; a web process takes a while, which is not waited."""
        name = self._chosen(process)
        concerned = self._stack.concerned(name)

        async def until_it_serves() -> None:
            with self._stack.during(fault, "stopped", *concerned):
                self._stack.kill(name)
                self._stack.start(name)
                if concerned != (name,):
                    await eventually(partial(self._serves_again, name), seconds=SETTLED_SECONDS_MAX)

        self._starting.append(asyncio.create_task(until_it_serves()))
        await asyncio.sleep(0)

    async def settle(self) -> None:
        """Wait until what was started again serves."""
        await asyncio.gather(*self._starting)

    async def freeze_process(self, fault: str, *, process: str) -> None:
        """Stop a process for a while; with a validator of the product's, those it is held to."""
        names = [self._chosen(process)]
        if process == "validator":
            names += self._stack.naive
        with (
            ExitStack() as thawing,
            self._stack.during(fault, "stopped", *self._stack.concerned(*names)),
        ):
            for name in names:
                self._stack.signal(name, signal.SIGSTOP)
                thawing.callback(self._stack.signal, name, signal.SIGCONT)
            await self._stand(is_long=process == "validator")

    def _chosen(self, process: str) -> str:
        return self._random.choice(self._stack.ours) if process == "validator" else process

    async def _serves_again(self, web: str) -> bool:
        """Start a web process that has ended, which it also does where its servers are down."""
        self._stack.start(web)
        await asyncio.sleep(RETRY_SECONDS)
        return await self._stack.is_listening(web)

    async def _hurt(
        self, links: Iterable[FaultProxy], behaviour: Behaviour, *, seconds: float | None = None
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


_STEP = "redis: clock step of "
_OPENERS = {"redis: FLUSHALL", "database: replies late", "beat: SIGSTOP"}
_ALIKE = (f"{_STEP}-", rf"{_STEP}\+", "link to database", "(web|edge|worker|beat): kill")
_DATABASE_LINK = "link to database: "
