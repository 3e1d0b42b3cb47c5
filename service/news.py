"""News of the trail: one listener per process wakes those whom an event concerns.

It hears of a seal through Redis, at once, and looks by itself every two seconds, because nobody may
depend on a message that can be lost. Followers read through their own door; one whom no event
concerns is not woken, so that two hundred quiet ones cost nothing, and those with the same reach
share each read.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from tortoise.exceptions import BaseORMException

from service.access.actor import Extent, Reach
from service.access.seals import Place, system_places_behind, system_position
from service.background import end
from service.cache import Failed
from service.errors import Unavailable
from service.sealer import channel_of

LOOK_SECONDS = 2.0
LOOK_AT_MAX = 500
READS_AT_ONCE_MAX = 2  # of the pool's ten connections: followers must not starve requests

Read = TypeVar("Read")

log = structlog.get_logger()


class Follower:
    """Somebody who waits for events within a reach."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._news = asyncio.Event()

    def concerns(self, accounts: set[object], resellers: set[object]) -> bool:
        """Return whether an event of one of these accounts, or fleets, is within the reach."""
        if self._reach.extent is Extent.ALL:
            return True
        return self._reach.id in (resellers if self._reach.extent is Extent.FLEET else accounts)

    def wake(self) -> None:
        """Tell of news."""
        self._news.set()

    def forget(self) -> None:
        """Forget the news that came before a look."""
        self._news.clear()

    async def wait(self) -> None:
        """Return when there is news since the last look."""
        await self._news.wait()


class News:
    """Wakes the followers of this process.

    Attributes:
        position: Every event up to here is sealed and committed; None while that is not known.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._followers: set[Follower] = set()
        self._listening: asyncio.Task[None] | None = None
        self._reads: dict[Hashable, asyncio.Task[Any]] = {}
        self._slots = asyncio.Semaphore(READS_AT_ONCE_MAX)
        self.position: int | None = None

    @asynccontextmanager
    async def follower(self, reach: Reach) -> AsyncIterator[Follower]:
        """Follow; the first to do so begins the listening, the last one ends it."""
        follower = Follower(reach)
        self._followers.add(follower)
        if self._listening is None:
            self._listening = asyncio.create_task(self._keep_listening())
        try:
            yield follower
        finally:
            self._followers.discard(follower)
            if not self._followers and self._listening is not None:
                listening, self._listening = self._listening, None
                await end(listening)

    async def shared(self, key: Hashable, read: Callable[[], Awaitable[Read]]) -> Read:
        """Return what a read brings; whoever asks for the same meanwhile waits for that one.

        Args:
            key: What is read, within whose reach, and what was known when it began.
            read: Opens a door of its own.
        """
        if key not in self._reads:
            reading = asyncio.create_task(self._read(read))
            self._reads[key] = reading
            reading.add_done_callback(lambda done: self._forget_read(key, done))
        return cast(Read, await asyncio.shield(self._reads[key]))

    async def _read(self, read: Callable[[], Awaitable[Read]]) -> Read:
        async with self._slots:
            return await read()

    def _forget_read(self, key: Hashable, done: "asyncio.Task[Any]") -> None:
        del self._reads[key]
        if not done.cancelled():
            done.exception()  # looked at, should everybody who asked have gone away

    async def _keep_listening(self) -> None:
        """Listen for ever, whatever fails meanwhile."""
        self.position = None
        while True:
            pubsub = self._redis.pubsub()
            try:
                await pubsub.subscribe(channel_of(self._redis))
                await self._listen(pubsub)
            except (*Failed, Unavailable, BaseORMException) as failure:
                log.warning("news.unheard", reason=type(failure).__name__)
            except Exception:  # followers must hear again, whatever nobody foresaw
                log.exception("news.unheard")
            finally:
                await pubsub.aclose()  # type: ignore[no-untyped-call] # redis-py leaves it unannotated
            await self._look_alone()

    async def _listen(self, pubsub: PubSub) -> None:
        while True:
            await self._look()
            # Any message will do: it says that there is news, not which.
            await pubsub.get_message(ignore_subscribe_messages=True, timeout=LOOK_SECONDS)

    async def _look_alone(self) -> None:
        """Look without Redis, in its own time."""
        try:
            await self._look()
        except (Unavailable, BaseORMException) as failure:
            log.warning("news.unseen", reason=type(failure).__name__)
        await asyncio.sleep(LOOK_SECONDS)

    async def _look(self) -> None:
        if self.position is None:
            self.position = await system_position()
            # What was sealed before this, and after a follower's first look, is news to that one.
            self._wake(self._followers)
            return
        while places := await system_places_behind(self.position, limit=LOOK_AT_MAX):
            self.position = places[-1].position
            self._wake_concerned(places)

    def _wake_concerned(self, places: list[Place]) -> None:
        accounts: set[object] = {place.account_id for place in places}
        resellers: set[object] = {place.reseller_id for place in places}
        self._wake({one for one in self._followers if one.concerns(accounts, resellers)})

    def _wake(self, followers: set[Follower]) -> None:
        for follower in followers:
            follower.wake()
