"""Rows of drops, as those who asked for them may see them."""

from typing import Any
from uuid import UUID

from service.access.door import Door, Statement
from service.errors import NotFound


async def find_drops(door: Door, receipt_id: UUID) -> list[dict[str, Any]]:
    """Return the drops behind a receipt within reach.

    Raises:
        NotFound: If there are none, or they are another tenant's, or older than a day.
    """
    statement = Statement()
    reach = statement.within(door.reach, account="account_id", reseller="reseller_id")
    statement.text = (
        "SELECT committed_at, confirmed_at, epoch, revision FROM outbox_event"
        f" WHERE receipt_id = {statement.bind(receipt_id)} AND {reach}"
    )
    rows = await door.query(statement)
    if not rows:
        raise NotFound("There is no such receipt.")
    return rows
