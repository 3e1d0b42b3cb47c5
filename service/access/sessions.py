"""Rows of people's sessions, as each person may see and end their own."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from service.access.door import Door, Statement, as_uuid
from service.paging import Cursor, Page, PageRequest

_ORDER = "sessions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A session as its person may see it."""

    id: UUID
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None
    last_used_address: str | None
    revoked_at: datetime | None

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        """Build one from a row of the table."""
        fields = {name: row[name] for name in cls.__dataclass_fields__}
        return cls(**(fields | {"id": as_uuid(row["id"])}))

    def is_live(self, now: datetime) -> bool:
        """Return whether it still opens anything."""
        return self.revoked_at is None and now < self.expires_at


def _live(statement: Statement, door: Door, now: datetime) -> str:
    """Return the condition that a row is a session within reach that still opens something."""
    reach = statement.within(door.reach, account="account_id", reseller="reseller_id")
    return (
        f"kind = 'SESSION' AND revoked_at IS NULL AND expires_at > {statement.bind(now)}"
        f" AND {reach}"
    )


async def find_password_confirmation(
    door: Door, session_id: UUID, *, now: datetime
) -> datetime | None:
    """Return when a live session's person last entered their password, or None."""
    statement = Statement()
    statement.text = (
        f"SELECT password_confirmed_at FROM api_token WHERE id = {statement.bind(session_id)}"
        f" AND {_live(statement, door, now)}"
    )
    row = await door.one(statement)
    return None if row is None else row["password_confirmed_at"]


async def note_password_confirmation(door: Door, session_id: UUID, *, now: datetime) -> bool:
    """Note that a session's person has entered their password; return whether it is live."""
    statement = Statement()
    statement.text = (
        f"UPDATE api_token SET password_confirmed_at = {statement.bind(now)}"
        f" WHERE id = {statement.bind(session_id)} AND {_live(statement, door, now)} RETURNING id"
    )
    return await door.one(statement) is not None


async def list_sessions(
    door: Door, member_id: UUID, page: PageRequest, *, now: datetime
) -> Page[Session]:
    """Return one page of a member's live sessions, the newest first."""
    statement = Statement()
    conditions = [f"member_id = {statement.bind(member_id)}", _live(statement, door, now)]
    if page.after is not None:
        cursor = Cursor.decode(page.after, _ORDER)
        conditions.append(
            f"(created_at, id) < ({statement.bind(cursor.instant)}, {statement.bind(cursor.id)})"
        )
    statement.text = (
        f"SELECT * FROM api_token WHERE {' AND '.join(conditions)}"
        f" ORDER BY created_at DESC, id DESC LIMIT {statement.bind(page.first + 1)}"
    )
    rows = await door.query(statement)
    items = [Session.from_row(row) for row in rows[: page.first]]
    return Page(
        items=items,
        cursors=[Cursor(_ORDER, it.created_at.isoformat(), it.id).encode() for it in items],
        has_next=len(rows) > page.first,
    )


async def end_sessions(
    door: Door,
    member_id: UUID,
    *,
    now: datetime,
    reason: str,
    only: UUID | None = None,
    but: UUID | None = None,
) -> list[tuple[UUID, list[bytes]]]:
    """Revoke a member's sessions and return each that was live, with the digests to drop.

    Harmless to repeat. Whoever also changes the member changes that row first: a sign-in holds it
    until its session is there to be ended.

    Args:
        door: An open door.
        member_id: Whose.
        now: This instant.
        reason: A word for the trail.
        only: This one alone.
        but: All but this one.
    """
    statement = Statement()
    conditions = [f"member_id = {statement.bind(member_id)}", _live(statement, door, now)]
    if only is not None:
        conditions.append(f"id = {statement.bind(only)}")
    if but is not None:
        conditions.append(f"id <> {statement.bind(but)}")
    # In one order, so that two who end the same ones do not wait for each other in a circle.
    statement.text = (
        f"WITH live AS (SELECT id FROM api_token WHERE {' AND '.join(conditions)}"
        " ORDER BY id FOR NO KEY UPDATE), ended AS ("
        f" UPDATE api_token t SET revoked_at = {statement.bind(now)},"
        f" revocation_reason = {statement.bind(reason)}, version = version + 1"
        " FROM live WHERE t.id = live.id RETURNING t.id"
        ") SELECT e.id, array_agg(s.digest) AS digests FROM ended e"
        " JOIN secret s ON s.token_id = e.id AND s.retired_at IS NULL GROUP BY e.id ORDER BY e.id"
    )
    return [
        (as_uuid(row["id"]), [bytes(digest) for digest in row["digests"]])
        for row in await door.query(statement)
    ]


async def find_sessions(
    door: Door, member_id: UUID, session_ids: list[UUID]
) -> dict[UUID, Session]:
    """Return those of some sessions that are a member's, ended or not, by id, in one query."""
    statement = Statement()
    reach = statement.within(door.reach, account="account_id", reseller="reseller_id")
    statement.text = (
        f"SELECT * FROM api_token WHERE id = ANY({statement.bind(session_ids)})"
        f" AND kind = 'SESSION' AND member_id = {statement.bind(member_id)} AND {reach}"
    )
    found = [Session.from_row(row) for row in await door.query(statement)]
    return {session.id: session for session in found}
