"""Sealing the trail: each committed event gets its place and its hash, by one writer at a time."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from service.access.actor import EVERYTHING
from service.access.door import Door, Statement, as_uuid, open_door
from service.chain import Head

SEALING_LOCK = 0x747261696C  # "trail"

Seal = tuple[UUID, int, int, bytes]
"""Event, position, sequence, hash."""


@dataclass(frozen=True, slots=True)
class Place:
    """The place of one event, and within whose reach it is."""

    position: int
    account_id: UUID
    reseller_id: UUID | None


@dataclass(frozen=True, slots=True)
class Unsealed:
    """How many events wait for their seal, and since when the oldest does, in seconds."""

    count: int
    oldest_seconds: float


async def system_wait_to_seal(door: Door) -> bool:
    """Wait until no other sealer is at work, and keep it so until the transaction ends.

    A statement of its own, so that the next one sees whatever the last sealer has committed.

    Returns:
        Whether there was anything to seal; nothing is waited for where there was not.
    """
    statement = Statement()
    statement.text = (
        f"SELECT pg_advisory_xact_lock({statement.bind(SEALING_LOCK)})"
        " WHERE EXISTS (SELECT FROM audit_event WHERE position IS NULL)"
    )
    return await door.one(statement) is not None


async def system_unsealed_events(door: Door, *, limit: int) -> list[dict[str, Any]]:
    """Return events without a seal, oldest first, every column of them; ``details`` as text."""
    statement = Statement()
    statement.text = (
        "SELECT id, account_id, reseller_id, occurred_at, action, subject_id, actor_account_id,"
        " actor_member_id, actor_token_id, address, request_id, details::text AS details"
        " FROM audit_event WHERE position IS NULL ORDER BY occurred_at, id"
        f" LIMIT {statement.bind(limit)}"
    )
    return await door.query(statement)


async def system_chain_heads(door: Door, account_ids: set[UUID]) -> dict[UUID, Head]:
    """Return the newest sealed event of each account that has one."""
    statement = Statement()
    statement.text = (
        "SELECT a.id, e.sequence, e.hash"
        f" FROM unnest({statement.bind(sorted(account_ids))}::uuid[]) AS a (id)"
        " CROSS JOIN LATERAL (SELECT sequence, hash FROM audit_event"
        " WHERE account_id = a.id AND position IS NOT NULL ORDER BY position DESC LIMIT 1) e"
    )
    return {
        as_uuid(row["id"]): Head(row["sequence"], bytes(row["hash"]))
        for row in await door.query(statement)
    }


async def system_newest_position(door: Door) -> int:
    """Return the position of the event that was sealed last; 0 before the first."""
    row = await door.one(Statement("SELECT max(position) AS newest FROM audit_event"))
    return int((row and row["newest"]) or 0)


async def system_position() -> int:
    """Return the same to somebody who has no door open."""
    async with open_door(EVERYTHING) as door:
        return await system_newest_position(door)


async def system_write_seals(door: Door, seals: list[Seal]) -> None:
    """Seal events; a trigger refuses one that is sealed already."""
    statement = Statement()
    columns = [
        f"{statement.bind(list(values))}::{kind}[]"
        for values, kind in zip(
            zip(*seals, strict=True), ("uuid", "bigint", "bigint", "bytea"), strict=True
        )
    ]
    statement.text = (
        "UPDATE audit_event e SET position = s.position, sequence = s.sequence, hash = s.hash"
        f" FROM unnest({', '.join(columns)}) AS s (id, position, sequence, hash) WHERE e.id = s.id"
    )
    await door.query(statement)


async def system_places_behind(position: int, *, limit: int) -> list[Place]:
    """Return the places of the events that were sealed since a position, oldest first."""
    statement = Statement()
    statement.text = (
        "SELECT position, account_id, reseller_id FROM audit_event"
        f" WHERE position > {statement.bind(position)} ORDER BY position"
        f" LIMIT {statement.bind(limit)}"
    )
    async with open_door(EVERYTHING) as door:
        rows = await door.query(statement)
    return [
        Place(
            row["position"],
            as_uuid(row["account_id"]),
            row["reseller_id"] and as_uuid(row["reseller_id"]),
        )
        for row in rows
    ]


async def system_unsealed(now: datetime) -> Unsealed:
    """Return how many events wait for their seal, and for how long the oldest has."""
    async with open_door(EVERYTHING) as door:
        row = await door.one(
            Statement(
                "SELECT count(*) AS count, min(occurred_at) AS oldest FROM audit_event"
                " WHERE position IS NULL"
            )
        )
    if row is None or row["oldest"] is None:
        return Unsealed(0, 0.0)
    return Unsealed(row["count"], max(0.0, (now - row["oldest"]).total_seconds()))
