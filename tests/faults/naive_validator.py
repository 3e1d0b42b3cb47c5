"""The validator that most people would write: cache-aside. It must break the bound.

A harness in which it holds would prove nothing of the rule. Nothing in it is a straw man: it
reads through a near-cache and Redis, each with a lifetime of one lease, and a revoke deletes the
entry in Redis and tells every process to forget it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import asyncpg
from redis.asyncio import Redis

from service import secret_format
from service.background import end
from service.cache import Failed
from service.clock import Clock, SystemClock, boottime
from service.settings import Settings
from service.verdict import Record, judge

CHANNEL = "naive"
RETRY_SECONDS = 0.1
QUERY = "SELECT * FROM credential_by_digest($1)"


class NaiveValidator:
    """Answers with the name of a status."""

    def __init__(self, redis: Redis, pool: asyncpg.Pool, settings: Settings, clock: Clock) -> None:
        self._redis = redis
        self._pool = pool
        self._pepper = next(iter(settings.pepper_keys.values()))
        self._clock = clock
        self._lifetime_seconds = settings.lease_seconds
        self._near: dict[str, tuple[str, float]] = {}

    async def check(self, secret: str) -> str:
        """Return whether a secret may be used now."""
        key = cache_key(secret, self._pepper)
        status, until = self._near.get(key, ("", 0.0))
        if boottime() < until:
            return status
        with suppress(*Failed):
            if cached := await self._redis.get(key):
                return self._remember(key, str(cached))
        try:
            row = await self._pool.fetchrow(QUERY, secret_format.digest_of(secret, self._pepper))
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return "UNAVAILABLE"
        record = Record.from_row(dict(row)) if row else None
        status = judge(record, self._clock.now()).status.name if record else "UNKNOWN"
        with suppress(*Failed):
            await self._redis.set(key, status, px=int(self._lifetime_seconds * 1000))
        return self._remember(key, status)

    async def listen(self) -> None:
        """Forget what a revoke names, for ever."""
        while True:
            with suppress(*Failed):
                async with self._redis.pubsub() as pubsub:
                    await pubsub.subscribe(CHANNEL)
                    async for message in pubsub.listen():
                        if message["type"] == "message":
                            self._near.pop(message["data"], None)
            await asyncio.sleep(RETRY_SECONDS)

    def _remember(self, key: str, status: str) -> str:
        self._near[key] = (status, boottime() + self._lifetime_seconds)
        return status


def cache_key(secret: str, pepper: bytes) -> str:
    """Return where Redis keeps what is known of a secret."""
    return f"naive:{secret_format.digest_of(secret, pepper).hex()}"


async def forget_naively(redis: Redis, key: str) -> None:
    """Do what a usual revoke does after its commit: delete, tell, and not insist."""
    with suppress(*Failed):
        await redis.delete(key)
        await redis.publish(CHANNEL, key)


async def _prepare(connection: asyncpg.Connection) -> None:
    """Have a connection know the query, as in a process that has been busy for a while."""
    await connection.fetchrow(QUERY, b"")


@asynccontextmanager
async def open_naive_validator(settings: Settings) -> AsyncIterator[NaiveValidator]:
    """Open a validator for this process."""
    redis = Redis.from_url(settings.redis_url.get_secret_value(), decode_responses=True)
    url = settings.database_url.get_secret_value()
    async with asyncpg.create_pool(url, min_size=8, max_size=8, init=_prepare) as pool:
        validator = NaiveValidator(redis, pool, settings, SystemClock())
        listening = asyncio.create_task(validator.listen())
        try:
            yield validator
        finally:
            await end(listening)
            await redis.aclose()
