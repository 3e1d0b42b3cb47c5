"""The ledger of expiry notices, as those within whose reach it is may read it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Self
from uuid import UUID

from service.access.door import Door, Statement, as_uuid
from service.paging import Cursor, Page, PageRequest

_NEWEST_FIRST = "notices:newest"


class NoticeState(StrEnum):
    """How far a notice has come."""

    PENDING = "PENDING"
    SENT = "SENT"
    SUPPRESSED = "SUPPRESSED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class NoticeFilter:
    """Which notices of those within reach; each field narrows further."""

    account_id: UUID | None = None
    token_id: UUID | None = None
    state: NoticeState | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One line of the ledger.

    Attributes:
        recipient: None where it is nobody within the reader's reach: a customer without people of
            its own is not told which of its reseller's were written to.
        threshold_days: How long before the expiry.
        expires_at: The expiry that it is about; the token may have another one by now.
        reason: Why it was suppressed or has failed.
    """

    id: UUID
    account_id: UUID
    token_id: UUID
    recipient: str | None
    threshold_days: int
    expires_at: datetime
    state: NoticeState
    reason: str | None
    created_at: datetime
    sent_at: datetime | None

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        """Build one from a row."""
        fields = {name: row[name] for name in cls.__dataclass_fields__}
        fields |= {name: as_uuid(row[name]) for name in ("id", "account_id", "token_id")}
        return cls(**(fields | {"state": NoticeState(row["state"])}))


async def list_notices(door: Door, only: NoticeFilter, page: PageRequest) -> Page[Notice]:
    """Return one page of the notices within reach, newest first, along one index."""
    statement = Statement()
    reach = statement.within(
        door.reach,
        account="n.account_id",
        reseller="n.reseller_id",
        as_range=only.account_id is None and only.token_id is None,
    )
    people = statement.within(door.reach, account="m.account_id", reseller="m.reseller_id")
    conditions = [reach, *_conditions(statement, only)]
    if page.after is not None:
        cursor = Cursor.decode(page.after, _NEWEST_FIRST)
        conditions.append(
            "(n.created_at, n.id) <"
            f" ({statement.bind(cursor.instant)}, {statement.bind(cursor.id)})"
        )
    statement.text = (
        "SELECT n.id, n.account_id, n.token_id, m.email AS recipient, n.threshold_days,"
        " n.expires_at, n.state, n.reason, n.created_at, n.sent_at"
        f" FROM notice n LEFT JOIN member m ON m.email = n.recipient AND {people}"
        f" WHERE {' AND '.join(conditions)} ORDER BY n.created_at DESC, n.id DESC"
        f" LIMIT {statement.bind(page.first + 1)}"
    )
    rows = await door.query(statement)
    notices = [Notice.from_row(row) for row in rows[: page.first]]
    return Page(
        items=notices,
        cursors=[
            Cursor(_NEWEST_FIRST, notice.created_at.isoformat(), notice.id).encode()
            for notice in notices
        ],
        has_next=len(rows) > page.first,
    )


def _conditions(statement: Statement, only: NoticeFilter) -> list[str]:
    conditions = []
    if only.account_id is not None:
        conditions.append(f"n.account_id = {statement.bind(only.account_id)}")
    if only.token_id is not None:
        conditions.append(f"n.token_id = {statement.bind(only.token_id)}")
    if only.state is not None:
        conditions.append(f"n.state = {statement.bind(only.state.value)}")
    return conditions
