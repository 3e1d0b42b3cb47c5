"""Rows of drops, as those who asked for them may see them."""

from typing import Any
from uuid import UUID

from service.access.door import Door, Statement, as_uuid
from service.errors import NotFound


async def find_drops(door: Door, receipt_id: UUID) -> list[dict[str, Any]]:
    """Return the drops behind a receipt within reach.

    Raises:
        NotFound: If there are none, or they are another tenant's, or older than a day.
    """
    found = await find_drops_of_many(door, [receipt_id])
    if not found:
        raise NotFound("There is no such receipt.")
    return found[receipt_id]


async def find_drops_of_many(
    door: Door, receipt_ids: list[UUID]
) -> dict[UUID, list[dict[str, Any]]]:
    """Return the drops behind those of some receipts that are within reach, in one query."""
    statement = Statement()
    reach = statement.within(door.reach, account="account_id", reseller="reseller_id")
    statement.text = (
        "SELECT receipt_id, committed_at, confirmed_at, epoch, revision FROM outbox_event"
        f" WHERE receipt_id = ANY({statement.bind(receipt_ids)}) AND {reach}"
    )
    found: dict[UUID, list[dict[str, Any]]] = {}
    for row in await door.query(statement):
        found.setdefault(as_uuid(row["receipt_id"]), []).append(row)
    return found
