"""Looks behind the door, and waits for what is under way."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

from service.cache import CHANNEL
from service.clock import boottime
from service.migration import TABLES

REFUSALS = {"request.refused", "session.refused"}
"""What the trail tells of something that changed nothing."""


async def eventually(condition: Callable[[], Awaitable[bool]], *, seconds: float) -> None:
    """Return as soon as a condition holds; fail if it does not within the span."""
    until = boottime() + seconds
    while not await condition():
        assert boottime() < until, f"it did not come true within {seconds} s"
        await asyncio.sleep(0.002)


async def one_row(owner: asyncpg.Connection, query: str, *values: object) -> dict[str, Any]:
    """Return the only row that a query finds."""
    [row] = await owner.fetch(query, *values)
    return dict(row)


async def keep_signed_in(owner: asyncpg.Connection) -> None:
    """Have no session end by time, for a test in which more of it passes than one lasts."""
    await owner.execute("UPDATE api_token SET expires_at = '2100-01-01' WHERE kind = 'SESSION'")


async def everything(owner: asyncpg.Connection) -> dict[str, list[dict[str, Any]]]:
    """Return every row of every table, to prove that a refusal changed nothing.

    That it was refused may be told in the trail, and is left out.
    """
    return {
        table: [
            dict(row)
            for row in await owner.fetch(f"SELECT * FROM {table} ORDER BY id")  # noqa: S608 - our own names
            if row.get("action") not in REFUSALS
        ]
        for table in TABLES
    }


async def keys_and_values(redis: Any) -> dict[bytes, object]:
    """Return everything in a Redis database, to prove that nothing was dropped."""
    found = {}
    for key in sorted(await redis.keys("*")):
        if key.startswith(b"refused:"):
            continue  # that a refusal was told
        # Validators report into it all the time; what a drop of everything changes is the epoch.
        of_reports = key == CHANNEL.encode()
        found[key] = await redis.hget(key, "epoch") if of_reports else await redis.dump(key)
    return found


async def begin_long_ago(redis: Any) -> None:
    """Have Redis remember an epoch in which everybody has had the time to report."""
    seconds, _ = await redis.time()
    epoch = {"epoch": "0" * 32, "began": "1", "seen": str(seconds * 1000)}
    await redis.hset(CHANNEL, mapping=epoch)
