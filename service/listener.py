"""A validator's ear: it follows drops, and tells what has been applied.

Safety never depends on anything heard here (DECISIONS, D-001); it only makes a drop faster, and
its receipt true.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Protocol

import structlog
from redis.asyncio.client import PubSub

from service.cache import (
    NOTHING_DROPPED,
    Cache,
    Drop,
    Failed,
    Revision,
    channel_of,
    hot_client,
    read_drop,
)
from service.clock import boottime
from service.settings import Settings

PING_SECONDS = 0.25
SILENCE_SECONDS_MAX = 1.0

log = structlog.get_logger()


class Forgetful(Protocol):
    """Whatever remembers records, and can be told to forget."""

    def drop(self, drop: Drop) -> None:
        """Forget what a drop names, and whatever was asked for before it."""

    def forget(self) -> None:
        """Forget everything, and whatever was asked for before now."""


class Listener:
    """Follows drops for one validator.

    Attributes:
        name: Random, new with each process: it tells validators apart and says nothing of them.
        applied: The last drop that the validator has applied; None while it may have missed one.
    """

    def __init__(self, validator: Forgetful, cache: Cache, settings: Settings) -> None:
        self._validator = validator
        self._cache = cache
        self._settings = settings
        self._news = asyncio.Event()
        self._has_reported = self._is_odd = False
        self.name = secrets.token_hex(6)
        self.applied: Revision | None = None

    async def keep_following(self) -> None:
        """Follow drops for ever; whenever in doubt, have everything forgotten."""
        while True:
            try:
                async with _subscription(self._settings) as pubsub:
                    await self._follow(pubsub)
            except Failed as failure:
                log.warning("drops.unheard", reason=type(failure).__name__)
            except Exception:  # drops must be heard again, whatever nobody foresaw
                log.exception("drops.unheard")
            finally:
                self.applied = None
                self._validator.forget()
            await asyncio.sleep(PING_SECONDS)

    async def keep_reporting(self) -> None:
        """Tell what has been applied, at once when it changes and else in the rhythm of the PINGs.

        A validator that may have missed a drop says that it has applied none: it is there, and may
        still accept what it has read itself.
        """
        try:
            while True:
                await self._report()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), PING_SECONDS)
                self._news.clear()
        finally:
            with suppress(*Failed, asyncio.CancelledError):
                await self._cache.forget_report(self.name)

    async def _report(self) -> None:
        try:
            terms = await self._cache.report(self.name, self.applied or NOTHING_DROPPED)
            self._compare(terms)
        except Failed:
            pass  # told again in a moment; whoever is silent for long counts as gone
        except Exception:  # a validator that says nothing is told as vanished for ever
            log.exception("report.failed")

    def _compare(self, terms: str) -> None:
        """Tell once in the log that another validator goes by another lease or pepper.

        With another pepper every token of theirs is unknown here, or ours there; with a longer
        lease a token is accepted beyond the bound that the others promise.
        """
        ours = self._cache.terms
        # What the first report finds may be of somebody who has gone.
        if self._has_reported and terms != ours and not self._is_odd:
            self._is_odd = True
            lease_ms, _, pepper = ours.partition(" ")
            lease_ms_there, _, pepper_there = terms.partition(" ")
            if lease_ms_there != lease_ms:
                log.error("validator.other_lease", here=lease_ms, there=lease_ms_there[:10])
            if pepper_there != pepper:
                log.error("validator.other_pepper", name=self.name)
        self._has_reported = True

    async def _follow(self, pubsub: PubSub) -> None:
        heard_at = boottime()
        subscribed = False
        while boottime() - heard_at < SILENCE_SECONDS_MAX:
            await pubsub.ping()
            until = boottime() + PING_SECONDS
            while (left := until - boottime()) > 0:
                message = await pubsub.get_message(timeout=left)
                if message is None:
                    continue
                heard_at = boottime()
                if message["type"] == "subscribe":
                    if subscribed:
                        return  # redis-py reconnected by itself; what came between is lost
                    subscribed = True
                    # In this order: what was dropped up to then is forgotten after it.
                    revision = await self._cache.last_revision()
                    self._validator.forget()
                    self._apply(revision)
                elif message["type"] == "message" and (told := read_drop(message)):
                    self._validator.drop(told[0])
                    self._apply(told[1])
        raise TimeoutError("no PONG")

    def _apply(self, revision: Revision) -> None:
        self.applied = revision
        self._news.set()


@asynccontextmanager
async def _subscription(settings: Settings) -> AsyncIterator[PubSub]:
    """Listen to drops on a connection of its own, which fails rather than hangs."""
    redis = hot_client(settings.redis_url.get_secret_value(), timeout_seconds=1.0)
    pubsub = redis.pubsub()
    try:
        await pubsub.subscribe(channel_of(redis))
        yield pubsub
    finally:
        await pubsub.aclose()  # type: ignore[no-untyped-call] # redis-py leaves it unannotated
        await redis.aclose()
