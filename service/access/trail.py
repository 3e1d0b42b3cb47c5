"""Rows of the audit trail, as those within whose reach they are may see them."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from service.access.actor import Reach
from service.access.door import Door, Statement, as_uuid
from service.chain import COLUMNS, REDACTED, plain
from service.errors import InvalidInput
from service.paging import Cursor, Page, PageRequest
from service.verdict import AccountKind

POSITION_MAX = 2**63 - 1

_NEWEST_FIRST = "trail:newest"
_BY_POSITION = "trail:position"


@dataclass(frozen=True, slots=True, kw_only=True)
class EventActor:
    """Who did something, as far as the reader may know.

    A customer learns that its reseller or the operator did it, by the account's name alone. The
    person, the credential and the address are told within the acting account and above it.

    Attributes:
        is_within_reach: Whether the acting account is within the reader's reach.
        is_person: Whether somebody was signed in, so that the credential is a session.
        token_id: The credential; a session or an API token.
    """

    account_id: UUID
    account_name: str
    account_kind: AccountKind
    is_within_reach: bool
    is_person: bool
    email: str | None = None
    token_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One entry of the trail, as its reader may see it.

    Attributes:
        actor: None where the service did it by itself, or where who did it is not told.
        position: Its place among all events; None until it is sealed, as the next two.
        sequence: Its place in the account's own chain: 1, 2, 3 …
        hash: 32 bytes over the event and the hash before it; see :mod:`service.chain`.
    """

    id: UUID
    account_id: UUID
    reseller_id: UUID | None
    occurred_at: datetime
    action: str
    subject_id: UUID
    actor: EventActor | None
    address: str | None
    request_id: str | None
    details: dict[str, Any]
    position: int | None
    sequence: int | None
    hash: bytes | None

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        """Build one from a row of ``_select``."""
        actor = _actor(row)
        return cls(
            id=as_uuid(row["id"]),
            account_id=as_uuid(row["account_id"]),
            reseller_id=row["reseller_id"] and as_uuid(row["reseller_id"]),
            occurred_at=row["occurred_at"],
            action=row["action"],
            subject_id=as_uuid(row["subject_id"]),
            actor=actor,
            address=row["address"] if actor is None or actor.is_within_reach else None,
            request_id=row["request_id"],
            details=json.loads(row["details"]),
            position=row["position"],
            sequence=row["sequence"],
            hash=row["hash"] and bytes(row["hash"]),
        )

    @property
    def cursor(self) -> str:
        """The place behind it, for whoever follows; only a sealed event has one."""
        return cursor_of(self.position or 0, self.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Which events of those within reach; each field narrows further.

    Attributes:
        actions: Any of them; None is every one.
        actor_account_id: Of one within reach; what one beyond it did is not found by this.
        occurred_after: At this instant or later.
        occurred_before: Earlier than this instant.
    """

    account_id: UUID | None = None
    subject_id: UUID | None = None
    actions: tuple[str, ...] | None = None
    actor_account_id: UUID | None = None
    occurred_after: datetime | None = None
    occurred_before: datetime | None = None


def cursor_of(position: int, event_id: UUID = UUID(int=0)) -> str:  # noqa: B008 - it never changes
    """Return the cursor behind which a follower goes on from a position."""
    return Cursor(_BY_POSITION, str(position), event_id).encode()


def read_place(cursor: str) -> int:
    """Return the position behind which a follower goes on.

    Raises:
        InvalidInput: If the cursor is not from an event that was followed.
    """
    key = Cursor.decode(cursor, _BY_POSITION).key
    if not (key.isascii() and key.isdigit() and len(key) <= len(str(POSITION_MAX))):
        raise InvalidInput("This cursor is not from an event.", field="after")
    return min(int(key), POSITION_MAX)


async def list_events(door: Door, only: EventFilter, page: PageRequest) -> Page[Event]:
    """Return one page of the events within reach, newest first, along one index."""
    statement = Statement()
    select = _select(statement, door.reach)
    conditions = [
        _within(statement, door.reach, only),
        *_conditions(statement, only),
    ]
    if only.actor_account_id is not None:
        # The account as it is told: whether one beyond reach did it cannot be asked either.
        conditions.append(f"v.id = {statement.bind(only.actor_account_id)}")
    if page.after is not None:
        cursor = Cursor.decode(page.after, _NEWEST_FIRST)
        conditions.append(
            "(e.occurred_at, e.id) <"
            f" ({statement.bind(cursor.instant)}, {statement.bind(cursor.id)})"
        )
    statement.text = (
        f"{select} WHERE {' AND '.join(conditions)} ORDER BY e.occurred_at DESC, e.id DESC"
        f" LIMIT {statement.bind(page.first + 1)}"
    )
    rows = await door.query(statement)
    events = [Event.from_row(row) for row in rows[: page.first]]
    return Page(
        items=events,
        cursors=[
            Cursor(_NEWEST_FIRST, event.occurred_at.isoformat(), event.id).encode()
            for event in events
        ],
        has_next=len(rows) > page.first,
    )


async def find_events(door: Door, ids: list[UUID]) -> list[Event]:
    """Return those of some events that are within reach, in any order."""
    statement = Statement()
    select = _select(statement, door.reach)
    reach = statement.within(door.reach, account="e.account_id", reseller="e.reseller_id")
    statement.text = f"{select} WHERE e.id = ANY({statement.bind(ids)}) AND {reach}"
    return [Event.from_row(row) for row in await door.query(statement)]


async def list_events_behind(
    door: Door, position: int, *, actions_of: str | None, limit: int
) -> list[Event]:
    """Return the sealed events within reach behind a position, oldest first.

    Args:
        door: An open door.
        position: Every event that is returned lies behind it.
        actions_of: The noun of their actions, such as ``token``; None is any.
        limit: How many at the most.
    """
    statement = Statement()
    select = _select(statement, door.reach)
    conditions = [
        _within(statement, door.reach, EventFilter()),
        f"e.position > {statement.bind(position)}",
    ]
    if actions_of is not None:
        conditions.append(f"starts_with(e.action, {statement.bind(f'{actions_of}.')})")
    statement.text = (
        f"{select} WHERE {' AND '.join(conditions)} ORDER BY e.position"
        f" LIMIT {statement.bind(limit)}"
    )
    return [Event.from_row(row) for row in await door.query(statement)]


async def list_sealed(
    door: Door, position: int, *, account_id: UUID | None, last: int, limit: int
) -> list[dict[str, Any]]:
    """Return the sealed events within reach behind a position, as they are exported, oldest first.

    Each has its columns as JSON holds them, ``previous_hash`` and ``hash`` in hexadecimal, and
    ``redacted``: whether who did it, and from where, is withheld, because the acting account is
    beyond the reach.

    Args:
        door: An open door.
        position: Every event that is returned lies behind it.
        account_id: Of one account; None is every one.
        last: The last position that counts.
        limit: How many at the most.
    """
    statement = Statement()
    actor = statement.within(door.reach, account="v.id", reseller="v.reseller_id")
    conditions = [
        _within(statement, door.reach, EventFilter(account_id=account_id)),
        f"e.position > {statement.bind(position)}",
        f"e.position <= {statement.bind(last)}",
    ]
    if account_id is not None:
        conditions.append(f"e.account_id = {statement.bind(account_id)}")
    statement.text = (
        f"SELECT {', '.join(f'e.{name}' for name in COLUMNS if name != 'details')},"
        " e.details::text AS details, e.hash, p.hash AS previous_hash,"
        " e.actor_account_id IS NOT NULL AND v.id IS NULL AS redacted FROM audit_event e"
        f" LEFT JOIN account v ON v.id = e.actor_account_id AND {actor}"
        " LEFT JOIN LATERAL (SELECT hash FROM audit_event WHERE account_id = e.account_id"
        " AND position < e.position ORDER BY position DESC LIMIT 1) p ON TRUE"
        f" WHERE {' AND '.join(conditions)} ORDER BY e.position LIMIT {statement.bind(limit)}"
    )
    return [_exported(row) for row in await door.query(statement)]


async def span_of(
    door: Door, *, account_id: UUID | None, since: datetime | None, until: datetime | None
) -> tuple[int, int]:
    """Return the first and the last position of the sealed events of a span; 1 and 0 for none.

    Events commit in another order than they occur in; what was sealed between two of the span is
    between them, too. So the events from the first to the last are a whole piece of each chain.
    """
    statement = Statement()
    only = EventFilter(account_id=account_id, occurred_after=since, occurred_before=until)
    conditions = [
        _within(statement, door.reach, only),
        "e.position IS NOT NULL",
        *_conditions(statement, only),
    ]
    # Materialised, or the planner walks the positions from the first one on.
    statement.text = (
        "WITH span AS MATERIALIZED (SELECT e.position FROM audit_event e"
        f" WHERE {' AND '.join(conditions)})"
        " SELECT coalesce(min(position), 1) AS first, coalesce(max(position), 0) AS last FROM span"
    )
    row = await door.one(statement)
    return (1, 0) if row is None else (int(row["first"]), int(row["last"]))


async def newest_position(door: Door) -> int:
    """Return the position of the event within reach that was sealed last; 0 before the first."""
    statement = Statement()
    reach = _within(statement, door.reach, EventFilter())
    statement.text = f"SELECT max(position) AS newest FROM audit_event e WHERE {reach}"
    row = await door.one(statement)
    return int((row and row["newest"]) or 0)


def _select(statement: Statement, reach: Reach) -> str:
    """Return the query of events with who did them, as far as the reader may know.

    A person or an account beyond the reach is not joined. Its name is what ``event_actor`` gives
    away, to whoever reaches the event.
    """
    account = statement.within(reach, account="v.id", reseller="v.reseller_id")
    person = statement.within(reach, account="m.account_id", reseller="m.reseller_id")
    return (
        "SELECT e.id, e.account_id, e.reseller_id, e.occurred_at, e.action, e.subject_id,"
        " e.actor_account_id, e.actor_member_id, e.actor_token_id, e.address, e.request_id,"
        " e.details::text AS details, e.position, e.sequence, e.hash,"
        " v.id IS NOT NULL AS is_within_reach, m.email AS actor_email,"
        " coalesce(v.name, beyond.name) AS actor_name, coalesce(v.kind, beyond.kind) AS actor_kind"
        " FROM audit_event e"
        f" LEFT JOIN account v ON v.id = e.actor_account_id AND {account}"
        f" LEFT JOIN member m ON m.id = e.actor_member_id AND {person}"
        " LEFT JOIN LATERAL (SELECT * FROM event_actor(e.id)"
        " WHERE e.actor_account_id IS NOT NULL AND v.id IS NULL) beyond ON TRUE"
    )


def _within(statement: Statement, reach: Reach, only: EventFilter) -> str:
    """Return the condition that an event is within reach: a range, unless the filter names one."""
    return statement.within(
        reach,
        account="e.account_id",
        reseller="e.reseller_id",
        as_range=only.account_id is None and only.subject_id is None,
    )


def _conditions(statement: Statement, only: EventFilter) -> list[str]:
    wanted = (
        ("e.account_id = {}", only.account_id),
        ("e.subject_id = {}", only.subject_id),
        ("e.action = ANY({})", None if only.actions is None else list(only.actions)),
        ("e.occurred_at >= {}", only.occurred_after),
        ("e.occurred_at < {}", only.occurred_before),
    )
    return [text.format(statement.bind(value)) for text, value in wanted if value is not None]


def _actor(row: dict[str, Any]) -> EventActor | None:
    if row["actor_account_id"] is None or row["actor_name"] is None:
        return None
    within = bool(row["is_within_reach"])
    token_id = row["actor_token_id"]
    return EventActor(
        account_id=as_uuid(row["actor_account_id"]),
        account_name=str(row["actor_name"]),
        account_kind=AccountKind(row["actor_kind"]),
        is_within_reach=within,
        is_person=row["actor_member_id"] is not None,
        email=row["actor_email"],
        token_id=as_uuid(token_id) if within and token_id is not None else None,
    )


def _exported(row: dict[str, Any]) -> dict[str, Any]:
    event = plain(row)
    if row["redacted"]:
        event |= dict.fromkeys(REDACTED)
    return event | {
        "previous_hash": None
        if row["previous_hash"] is None
        else bytes(row["previous_hash"]).hex(),
        "hash": bytes(row["hash"]).hex(),
        "redacted": bool(row["redacted"]),
    }
