"""Last uses, gathered in memory, then in Redis, then in the database; never a write per request.

A use may be told late, and is lost only with the process that saw it; it never goes back.
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
FLUSHING = "usage:flushing:"
BUFFER_SECONDS = 2.0
BATCH = 1_000


class UsageBuffer:
    """The last use of each secret that one validator process saw since it handed them on."""

    def __init__(self) -> None:
        self._uses: dict[UUID, tuple[datetime, Address | None]] = {}

    def note(self, record: Record, now: datetime, address: Address | None) -> None:
        """Remember a use."""
        self._uses[record.secret_id] = (now, address)

    async def hand_on(self, redis: Redis) -> None:
        """Add what was seen to Redis; kept for the next time where Redis does not answer."""
        uses, self._uses = self._uses, {}
        if not uses:
            return
        try:
            await redis.hset(KEY, mapping=dict(_told(*use) for use in uses.items()))
        except Failed:
            self._uses = uses | self._uses


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
        rows = [row for use in uses.items() if (row := _parse(*use)) is not None]
        await system.system_record_uses(rows)
        await redis.hdel(key, *uses)
        count += len(rows)


def _told(secret: UUID, use: tuple[datetime, Address | None]) -> tuple[str, str]:
    """Return a use as Redis holds it; :func:`_parse` reads it."""
    now, address = use
    return str(secret), f"{int(now.timestamp() * 1000)} {address or ''}"


def _parse(secret: str | bytes, use: str | bytes) -> tuple[UUID, datetime, str | None] | None:
    """Return a use, or None for what no validator wrote: it must not hold up the others."""
    milliseconds, _, address = _text(use).partition(" ")
    try:
        instant = datetime.fromtimestamp(int(milliseconds) / 1000, UTC)
        parsed = parse_address(address)
        return UUID(_text(secret)), instant, None if parsed is None else str(parsed)
    except (ValueError, OverflowError, OSError):
        return None


def _text(value: str | bytes) -> str:
    """Return what redis-py gave as text; its types allow for both."""
    return value if isinstance(value, str) else value.decode(errors="replace")
