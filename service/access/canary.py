"""Rows of the prober's own tokens, which nobody else sees."""

from datetime import datetime
from typing import Any
from uuid import UUID

from service.access.actor import EVERYTHING
from service.access.door import Door, Statement, as_uuid, open_door
from service.access.secrets import insert_secret
from service.clock import new_id
from service.secret_format import NewSecret


async def system_find_operator() -> UUID | None:
    """Return the platform's operator, or None where there is none yet."""
    async with open_door(EVERYTHING) as door:
        row = await door.one(Statement("SELECT id FROM account WHERE kind = 'OPERATOR'"))
    return None if row is None else as_uuid(row["id"])


async def system_insert_canary(
    door: Door,
    operator_id: UUID,
    token_id: UUID,
    secret: NewSecret,
    now: datetime,
    expires_at: datetime,
) -> None:
    """Add a token of the prober's: no scopes, in no list, and gone soon."""
    row: dict[str, Any] = {
        "id": token_id,
        "account_id": operator_id,
        "reseller_id": None,
        "kind": "CANARY",
        "name": "Canary",
        "scopes": [],
        "allowed_ip_ranges": [],
        "created_at": now,
        "expires_at": expires_at,
        "version": 1,
    }
    await door.query(Statement().insert("api_token", [row]))
    await insert_secret(door, row, secret, new_id(), now=now)


async def system_end_canary(door: Door, token_id: UUID, now: datetime) -> None:
    """Revoke a token of the prober's."""
    statement = Statement()
    statement.text = (
        f"UPDATE api_token SET revoked_at = {statement.bind(now)}, revocation_reason = 'POLICY'"
        f" WHERE id = {statement.bind(token_id)} AND kind = 'CANARY'"
    )
    await door.query(statement)


async def system_forget_canaries(created_before: datetime) -> None:
    """Delete the prober's old tokens."""
    async with open_door(EVERYTHING) as door:
        statement = Statement()
        statement.text = f"SELECT forget_canaries({statement.bind(created_before)})"
        await door.query(statement)
