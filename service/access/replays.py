"""Rows of replays: secrets that were just made, sealed."""

from datetime import datetime
from typing import Any
from uuid import UUID

from service.access.door import Door, Statement


async def claim_replay(door: Door, row: dict[str, Any], *, now: datetime) -> bool:
    """Add a replay unless its key is taken; wait for whoever is just taking it.

    Args:
        door: An open door.
        row: Every column of ``replay``.
        now: A key whose replay ended before is free again.

    Returns:
        Whether the key was free.
    """
    statement = Statement().insert("replay", [row])
    renewed = ", ".join(
        f"{column} = excluded.{column}"
        for column in row
        if column not in {"principal_id", "key_digest"}
    )
    statement.text += (
        f" ON CONFLICT (principal_id, key_digest) DO UPDATE SET {renewed}"
        f" WHERE replay.expires_at <= {statement.bind(now)} RETURNING id"
    )
    return await door.one(statement) is not None


async def find_replay(door: Door, principal_id: UUID, key_digest: bytes) -> dict[str, Any] | None:
    """Return what was made under a key, or None."""
    statement = Statement()
    reach = statement.within(door.reach, account="account_id", reseller="reseller_id")
    statement.text = (
        "SELECT request_digest, token_id, receipt_id, sealed_secret FROM replay"
        f" WHERE principal_id = {statement.bind(principal_id)}"
        f" AND key_digest = {statement.bind(key_digest)} AND {reach}"
    )
    return await door.one(statement)
