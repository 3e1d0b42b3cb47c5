"""The trail as its table holds it, and what is wrong with it."""

from typing import Any

import asyncpg

from service import chain
from service.access.trail import Event
from service.chain import Break, Walk


def actions(events: list[Event]) -> list[str]:
    """Return what happened."""
    return [event.action for event in events]


async def forms(owner: asyncpg.Connection) -> list[dict[str, Any]]:
    """Return every event that is sealed, as JSON holds it with its hash, in order of position."""
    rows = await owner.fetch(
        "SELECT *, details::text AS text FROM audit_event WHERE position IS NOT NULL"
        " ORDER BY position"
    )
    return [
        chain.plain(dict(row) | {"details": row["text"]}) | {"hash": bytes(row["hash"])}
        for row in rows
    ]


async def found_break(owner: asyncpg.Connection) -> Break | None:
    """Return the first break of the trail, or None."""
    walk = Walk(is_dense=True)
    for event in await forms(owner):
        if broken := walk.step(event, None, event["hash"]):
            return broken
    return None


async def intact(owner: asyncpg.Connection) -> bool:
    """Return whether the trail is what was sealed."""
    return await found_break(owner) is None
