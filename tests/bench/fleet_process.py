"""Some validators of a fleet, in one process. Run as a program by ``revocation.py``.

    fleet_process.py <validators>

It says ``ready``. For each secret that it reads it says ``ready`` once all validators hold it as
valid, and then when the last of them has dropped and refused it; for the word ``bare`` the same
of as many subscribers that do nothing but listen. Instants are seconds since boot, which all
processes share.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import click
from redis.asyncio.client import PubSub

from service.access.system import CredentialSource
from service.background import end
from service.cache import Drop, hot_client, open_cache
from service.clock import SystemClock, boottime
from service.listener import Listener
from service.secret_format import digest_of
from service.settings import Settings, read_settings
from service.validator import Validator

BARE = "bare"
LISTEN_SECONDS = 10.0
POLL_SECONDS = 0.01


class TellingValidator(Validator):
    """A validator that tells when it has dropped a record."""

    _held = ""
    _dropped: "asyncio.Future[float]"

    def drop(self, drop: Drop) -> None:
        """Drop, and tell the instant from which it is not accepted out of memory."""
        super().drop(drop)
        if drop.subject == self._held and not self._dropped.done():
            self._dropped.set_result(boottime())

    async def hold(self, secret: str, digest: bytes) -> None:
        """Remember a secret as valid."""
        self._held = digest.hex()
        self._dropped = asyncio.get_running_loop().create_future()
        verdict = await self.check(secret)
        assert verdict.is_valid, verdict.status

    async def refuse(self, secret: str) -> tuple[float, float]:
        """Return when it was dropped, and when whoever asked right then was answered."""
        dropped_at = await self._dropped
        verdict = await self.check(secret)
        assert not verdict.is_valid
        return dropped_at, boottime()


@asynccontextmanager
async def _fleet(settings: Settings, count: int) -> AsyncIterator[list[TellingValidator]]:
    """Open validators; each has its own connections to Redis, all share eight to the database."""
    async with AsyncExitStack() as stack:
        source = await stack.enter_async_context(CredentialSource.open(settings))
        validators = []
        for _ in range(count):
            cache = await stack.enter_async_context(open_cache(settings))
            validator = TellingValidator(
                cache,
                source.find,
                settings.pepper_keys,
                clock=SystemClock(),
                lease_seconds=settings.lease_seconds,
            )
            listener = Listener(validator, cache, settings)
            for keeping in (listener.keep_following(), listener.keep_reporting()):
                stack.push_async_callback(end, asyncio.create_task(keeping))
            while listener.applied is None:  # noqa: ASYNC110 - the product needs no event of it
                await asyncio.sleep(POLL_SECONDS)
            validators.append(validator)
        yield validators


@asynccontextmanager
async def _subscribers(settings: Settings, count: int) -> AsyncIterator[list[PubSub]]:
    """Open subscribers that do nothing but listen."""
    async with AsyncExitStack() as stack:
        subscribers = []
        for _ in range(count):
            redis = hot_client(
                settings.redis_url.get_secret_value(), timeout_seconds=LISTEN_SECONDS
            )
            stack.push_async_callback(redis.aclose)
            subscriber = redis.pubsub()
            stack.push_async_callback(subscriber.aclose)
            await subscriber.subscribe(BARE)
            await subscriber.get_message(timeout=LISTEN_SECONDS)
            subscribers.append(subscriber)
        yield subscribers


async def _hear(subscriber: PubSub) -> float:
    message = await subscriber.get_message(timeout=LISTEN_SECONDS)
    assert message is not None
    return boottime()


async def main(count: int) -> None:
    """Serve until the input ends."""
    settings = read_settings()
    words = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(words), sys.stdin
    )
    pepper = next(iter(settings.pepper_keys.values()))
    async with _fleet(settings, count) as validators, _subscribers(settings, count) as subscribers:
        click.echo("ready")
        while word := (await words.readline()).decode().strip():
            if word == BARE:
                click.echo("ready")
                click.echo(max(await asyncio.gather(*map(_hear, subscribers))))
                continue
            digest = digest_of(word, pepper)
            await asyncio.gather(*(one.hold(word, digest) for one in validators))
            click.echo("ready")
            told = await asyncio.gather(*(one.refuse(word) for one in validators))
            click.echo(" ".join(str(max(instants)) for instants in zip(*told, strict=True)))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
