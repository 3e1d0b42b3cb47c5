"""The validator that most people would write: cache-aside. It must break what the rule promises.

It reads through a near-cache and Redis, each with a lifetime of one lease, and a revoke deletes the
entry in Redis and tells every process to forget it. It comes in two kinds. Without a deadline for
its read of the database, as drivers come by default, it must break the bound: an answer that is
late by more than that is all it takes. With one of a second, as a careful author would set it, that
may not happen; but its tiers stack, so that it must break the one lease to which the rule is held
as well. A harness in which either holds would prove nothing of the rule.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_address

import asyncpg
from question import ADDRESS, SCOPE
from redis.asyncio import Redis

from service import secret_format
from service.background import end
from service.cache import Failed
from service.clock import Clock, SystemClock, boottime
from service.settings import Settings
from service.verdict import Record, judge

CHANNEL = "naive"
RETRY_SECONDS = 0.1
CONNECTIONS = 20  # so that as many reads may be late at once
UNREADABLE = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
QUERY = "SELECT * FROM credential_by_digest($1)"


class NaiveValidator:
    """Answers with the name of a status.

    Args:
        redis: The shared cache.
        pool: Connections to the database.
        settings: For the lease and the pepper.
        clock: Decides expiry.
        read_seconds_max: The deadline of a read; None sets none.
    """

    def __init__(
        self,
        redis: Redis,
        pool: asyncpg.Pool,
        settings: Settings,
        clock: Clock,
        read_seconds_max: float | None,
    ) -> None:
        self._redis = redis
        self._pool = pool
        self._pepper = next(iter(settings.pepper_keys.values()))
        self._clock = clock
        self._lifetime_seconds = settings.lease_seconds
        self._read_seconds_max = read_seconds_max
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
            async with asyncio.timeout(self._read_seconds_max):
                digest = secret_format.digest_of(secret, self._pepper)
                row = await self._pool.fetchrow(QUERY, digest)
        except UNREADABLE:
            return "UNAVAILABLE"
        record = Record.from_row(dict(row)) if row else None
        status = self._judged(record) if record else "UNKNOWN"
        with suppress(*Failed):
            await self._redis.set(key, status, px=int(self._lifetime_seconds * 1000))
        return self._remember(key, status)

    def _judged(self, record: Record) -> str:
        address = ip_address(ADDRESS)
        return judge(record, self._clock.now(), address=address, scope=SCOPE).status.name

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
async def open_naive_validator(
    settings: Settings, *, read_seconds_max: float | None = None
) -> AsyncIterator[Callable[[str], Awaitable[str]]]:
    """Open a validator for this process, and return what checks a secret."""
    redis = Redis.from_url(settings.redis_url.get_secret_value(), decode_responses=True)
    url = settings.database_url.get_secret_value()
    async with asyncpg.create_pool(
        url, min_size=CONNECTIONS, max_size=CONNECTIONS, init=_prepare
    ) as pool:
        validator = NaiveValidator(redis, pool, settings, SystemClock(), read_seconds_max)
        listening = asyncio.create_task(validator.listen())
        try:
            yield validator.check
        finally:
            await end(listening)
            await redis.aclose()
