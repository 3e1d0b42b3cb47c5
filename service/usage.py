"""Last uses, gathered in memory, then in Redis, then in the database; never a write per request.

A use may be told late, and is lost only with the process that saw it; it never goes back. The use
of a secret that a rotation has retired goes the same way, apart: it opens nothing and is told.
"""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from typing import cast
from uuid import UUID, uuid4

from redis.asyncio import Redis

from service.access import system
from service.addresses import Address, parse_address
from service.cache import Failed
from service.verdict import Record

KEY = "usage"
REUSED = "!"
FLUSHING = "usage:flushing:"
BUFFER_SECONDS = 2.0
BATCH = 1_000


class UsageBuffer:
    """The last use of each secret that one validator process saw since it handed them on."""

    def __init__(self) -> None:
        self._uses: dict[UUID, tuple[datetime, Address | None]] = {}
        self._reuses: dict[UUID, tuple[datetime, Address | None]] = {}

    def note(self, record: Record, now: datetime, address: Address | None) -> None:
        """Remember a use."""
        self._uses[record.secret_id] = (now, address)

    def note_reuse(self, record: Record, now: datetime, address: Address | None) -> None:
        """Remember that somebody still holds a retired secret."""
        self._reuses[record.secret_id] = (now, address)

    async def hand_on(self, redis: Redis) -> None:
        """Add what was seen to Redis; kept for the next time where Redis does not answer."""
        # Another thread may still be noting into what is taken here: it is listed at one go.
        uses, self._uses = self._uses, {}
        reuses, self._reuses = self._reuses, {}
        told: dict[str | bytes, str | bytes] = {
            str(secret): _told(use) for secret, use in list(uses.items())
        }
        told |= {f"{secret}{REUSED}": _told(use) for secret, use in list(reuses.items())}
        if not told:
            return
        try:
            await redis.hset(KEY, mapping=dict(told.items()))
        except Failed:
            self._uses = uses | self._uses
            self._reuses = reuses | self._reuses


async def keep_flushing(buffer: UsageBuffer, redis: Redis) -> None:
    """Hand uses on for ever, and once more when cancelled."""
    try:
        while True:
            await asyncio.sleep(BUFFER_SECONDS)
            await buffer.hand_on(redis)
    finally:
        with suppress(asyncio.CancelledError):
            await buffer.hand_on(redis)


async def flush_usage(redis: Redis) -> int:
    """Move gathered uses from Redis to the database; return how many.

    A second run, or two at once, is harmless: a batch is first renamed away, an instant is only
    ever moved forward, and what a dead process left renamed is taken up by the next.
    """
    left = [bytes(key) async for key in redis.scan_iter(match=f"{FLUSHING}*", count=1000)]
    mine = f"{FLUSHING}{uuid4()}".encode()
    if await redis.exists(KEY):
        with suppress(Exception):  # somebody else renamed it first
            await redis.rename(KEY, mine)
            left.append(mine)
    for key in left:
        if await redis.type(key) != b"hash":
            await redis.delete(key)  # none of us wrote it, and it would stop every flush
    return sum([await _flush_batches(redis, key) for key in left])


async def _flush_batches(redis: Redis, key: bytes) -> int:
    """Move one renamed hash in batches, each taken out of Redis once the database has it."""
    count = 0
    while True:
        # From the beginning each time: what was moved is gone, and a scan may give nothing.
        uses: dict[str | bytes, str | bytes] = {}
        cursor = 0
        while not uses:
            cursor, found = await redis.hscan(key, cursor, count=BATCH)
            uses = cast(dict[str | bytes, str | bytes], found)
            if cursor == 0:
                break
        if not uses:
            return count
        told = {_text(secret): _text(use) for secret, use in list(uses.items())}
        rows = _parse({name: use for name, use in told.items() if not name.endswith(REUSED)})
        reused = _parse({name[:-1]: use for name, use in told.items() if name.endswith(REUSED)})
        await system.system_record_uses(rows)
        await system.system_record_reuses(reused)
        await redis.hdel(key, *uses)
        count += len(rows) + len(reused)


def _told(use: tuple[datetime, Address | None]) -> str:
    """Return a use as Redis holds it; :func:`_parse` reads it."""
    now, address = use
    return f"{int(now.timestamp() * 1000)} {address or ''}"


def _parse(told: dict[str, str]) -> list[system.Use]:
    """Return uses without what no validator wrote: it must not hold up the others."""
    uses = []
    for secret, use in told.items():
        milliseconds, _, address = use.partition(" ")
        with suppress(ValueError, OverflowError, OSError):
            instant = datetime.fromtimestamp(int(milliseconds) / 1000, UTC)
            parsed = parse_address(address)
            uses.append((UUID(secret), instant, None if parsed is None else str(parsed)))
    return uses


def _text(value: str | bytes) -> str:
    """Return what redis-py gave as text; its types allow for both."""
    return value if isinstance(value, str) else value.decode(errors="replace")
