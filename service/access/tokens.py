"""Rows of tokens and their secrets."""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Self
from uuid import UUID

from service.access.door import Door, Statement, as_uuid
from service.access.secrets import insert_secret
from service.errors import InvalidInput, NotFound, TokenEnded, VersionConflict
from service.paging import Cursor, Page, PageRequest
from service.secret_format import NewSecret


class TokenStatus(StrEnum):
    """What a token is at an instant, read off its other instants."""

    PENDING = "PENDING"
    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"
    EXPIRED = "EXPIRED"
    REVOKED = "REVOKED"


class TokenOrder(StrEnum):
    """What a list of tokens can be sorted by."""

    CREATED_AT = "CREATED_AT"
    EXPIRES_AT = "EXPIRES_AT"
    NAME = "NAME"
    LAST_USED_AT = "LAST_USED_AT"


@dataclass(frozen=True, slots=True)
class TokenFilter:
    """Which tokens of those within reach."""

    status: TokenStatus | None = None
    account_id: UUID | None = None
    name_contains: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token as people may see it."""

    id: UUID
    account_id: UUID
    reseller_id: UUID | None
    name: str
    prefix: str
    last_four: str
    scopes: tuple[str, ...]
    allowed_ip_ranges: tuple[str, ...]
    audiences: tuple[str, ...]
    created_at: datetime
    not_before: datetime | None
    expires_at: datetime | None
    suspended_at: datetime | None
    revoked_at: datetime | None
    revocation_reason: str | None
    last_used_at: datetime | None
    last_used_address: str | None
    version: int

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        """Build one from a row of ``_SELECT``."""
        fields = {name: row[name] for name in cls.__dataclass_fields__}
        fields["id"] = as_uuid(row["id"])
        fields["account_id"] = as_uuid(row["account_id"])
        fields["reseller_id"] = row["reseller_id"] and as_uuid(row["reseller_id"])
        fields["scopes"] = tuple(row["scopes"])
        fields["allowed_ip_ranges"] = tuple(row["allowed_ip_ranges"])
        fields["audiences"] = tuple(row["audiences"])
        return cls(**fields)

    @property
    def owner(self) -> tuple[UUID, UUID | None]:
        """Whose trail a change of it belongs to: its account and its reseller."""
        return self.account_id, self.reseller_id

    def status(self, now: datetime) -> TokenStatus:
        """Return what the token is at an instant; what has ended comes first."""
        if self.revoked_at is not None:
            return TokenStatus.REVOKED
        if self.expires_at is not None and now >= self.expires_at:
            return TokenStatus.EXPIRED
        if self.suspended_at is not None:
            return TokenStatus.SUSPENDED
        if self.not_before is not None and now < self.not_before:
            return TokenStatus.PENDING
        return TokenStatus.ACTIVE


_SELECT = """
SELECT t.*, s.prefix, s.last_four FROM api_token t
JOIN secret s ON s.token_id = t.id AND s.retires_at IS NULL
"""

_NOT_ENDED = "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > {now})"

# Python reads more forms of an instant than PostgreSQL does; a cursor holds what PostgreSQL wrote.
_PRINTED_INSTANT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,6})?\+00", re.ASCII)

# PostgreSQL's expression, matched by an index for each extent, and the type of its key.
_SORT = {
    TokenOrder.CREATED_AT: ("t.created_at", "timestamptz"),
    TokenOrder.EXPIRES_AT: ("coalesce(t.expires_at, 'infinity'::timestamptz)", "timestamptz"),
    TokenOrder.NAME: ("t.name", "text"),
    TokenOrder.LAST_USED_AT: ("coalesce(t.last_used_at, '-infinity'::timestamptz)", "timestamptz"),
}


async def find_token(door: Door, token_id: UUID, *, locking: str = "") -> Token:
    """Return an API token within reach.

    Args:
        door: An open door.
        token_id: Its id.
        locking: PostgreSQL's locking clause; see :func:`lock_token`.

    Raises:
        NotFound: If there is none, or it is another tenant's.
    """
    statement = Statement()
    reach = statement.within(door.reach, account="t.account_id", reseller="t.reseller_id")
    statement.text = (
        f"{_SELECT} WHERE t.id = {statement.bind(token_id)} AND t.kind = 'API_TOKEN' AND {reach}"
        f" {locking}"
    )
    row = await door.one(statement)
    if row is None:
        raise NotFound("There is no such token.")
    return Token.from_row(row)


async def lock_token(door: Door, token_id: UUID) -> Token:
    """Return a token and hold its row until the transaction ends, so that a decision stays true.

    Raises:
        NotFound: If it is not within reach.
    """
    return await find_token(door, token_id, locking="FOR NO KEY UPDATE OF t")


async def list_tokens(
    door: Door,
    only: TokenFilter,
    order: TokenOrder,
    page: PageRequest,
    *,
    descending: bool,
    now: datetime,
) -> Page[Token]:
    """Return one page of the API tokens within reach, along one index."""
    expression, key_type = _SORT[order]
    statement = Statement()
    conditions = [
        "t.kind = 'API_TOKEN'",
        statement.within(door.reach, account="t.account_id", reseller="t.reseller_id"),
        *_conditions(statement, only, now),
    ]
    direction = "DESC" if descending else "ASC"
    name = f"tokens:{order}:{direction}"
    if page.after is not None:
        cursor = Cursor.decode(page.after, name)
        _check_key(cursor, key_type)
        conditions.append(
            f"({expression}, t.id) {'<' if descending else '>'} "
            f"({statement.bind(cursor.key)}::text::{key_type}, {statement.bind(cursor.id)})"
        )
    statement.text = (
        f"{_SELECT.replace('t.*', f't.*, ({expression})::text AS sort_key')}"
        f" WHERE {' AND '.join(conditions)}"
        f" ORDER BY {expression} {direction}, t.id {direction}"
        f" LIMIT {statement.bind(page.first + 1)}"
    )
    rows = await door.query(statement)
    shown = rows[: page.first]
    return Page(
        items=[Token.from_row(row) for row in shown],
        cursors=[Cursor(name, row["sort_key"], as_uuid(row["id"])).encode() for row in shown],
        has_next=len(rows) > page.first,
    )


def _conditions(statement: Statement, only: TokenFilter, now: datetime) -> list[str]:
    conditions = []
    if only.account_id is not None:
        conditions.append(f"t.account_id = {statement.bind(only.account_id)}")
    if only.name_contains:
        escaped = only.name_contains.translate({ord(c): f"\\{c}" for c in "\\%_"})
        conditions.append(f"t.name ILIKE {statement.bind(f'%{escaped}%')}")
    if only.status is not None:
        conditions.append(_status_condition(only.status, statement.bind(now)))
    return conditions


def _status_condition(status: TokenStatus, now: str) -> str:
    now = f"{now}::timestamptz"
    if status is TokenStatus.REVOKED:
        return f"(t.revoked_at IS NOT NULL AND {now} IS NOT NULL)"
    if status is TokenStatus.EXPIRED:
        return f"(t.revoked_at IS NULL AND t.expires_at <= {now})"
    live = f"t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > {now})"
    if status is TokenStatus.SUSPENDED:
        return f"({live} AND t.suspended_at IS NOT NULL)"
    if status is TokenStatus.PENDING:
        return f"({live} AND t.suspended_at IS NULL AND t.not_before > {now})"
    return (
        f"({live} AND t.suspended_at IS NULL AND (t.not_before IS NULL OR t.not_before <= {now}))"
    )


def _check_key(cursor: Cursor, key_type: str) -> None:
    if key_type != "timestamptz" or cursor.key in {"infinity", "-infinity"}:
        return
    try:
        if not _PRINTED_INSTANT.fullmatch(cursor.key):
            raise ValueError("not as PostgreSQL prints it")
        datetime.fromisoformat(cursor.key)
    except ValueError:
        raise InvalidInput("This cursor is not from this list.", field="after") from None


async def insert_token(door: Door, row: dict[str, Any], secret: NewSecret, secret_id: UUID) -> None:
    """Add a credential and its secret's digest.

    Args:
        door: An open door.
        row: Every column of ``api_token`` that has no default.
        secret: Only its digest, pepper id, prefix and last four are stored.
        secret_id: The id of the secret's row.

    Raises:
        NameTaken: If a token of the account that has not ended bears the name.
    """
    if row["kind"] == "API_TOKEN":
        await sweep_namesake(door, row["account_id"], row["name"], now=row["created_at"])
    await door.query(Statement().insert("api_token", [row]))
    await insert_secret(door, row, secret, secret_id, now=row["created_at"])


async def sweep_namesake(door: Door, account_id: UUID, name: str, *, now: datetime) -> None:
    """Free the name of a token that has expired, should the sweep not have come by yet.

    The expiry is told as the sweep tells it: nobody did it.
    """
    statement = Statement()
    at = statement.bind(now)
    reach = statement.within(door.reach, account="account_id", reseller="reseller_id")
    statement.text = (
        f"WITH swept AS (UPDATE api_token SET swept_at = {at} WHERE kind = 'API_TOKEN'"
        f" AND swept_at IS NULL AND revoked_at IS NULL AND expires_at <= {at}"
        f" AND account_id = {statement.bind(account_id)} AND name = {statement.bind(name)}"
        f" AND {reach} RETURNING id, account_id, reseller_id"
        ") INSERT INTO audit_event (id, account_id, reseller_id, occurred_at, action, subject_id,"
        f" details) SELECT gen_random_uuid(), account_id, reseller_id, {at}, 'token.expired', id,"
        " '{}' FROM swept"
    )
    await door.query(statement)


async def change_token(
    door: Door,
    token_id: UUID,
    changes: dict[str, Any],
    *,
    now: datetime,
    expected_version: int | None = None,
) -> Token:
    """Change some columns of a token that has not ended, and nothing else, in one UPDATE.

    Args:
        door: An open door.
        token_id: An API token.
        changes: Values by column, from the code's own names; none only counts the version on.
        now: Decides whether it has ended.
        expected_version: Refuse if somebody else was faster; None does not ask.

    Raises:
        NotFound: If it is not within reach.
        TokenEnded: If it is revoked or expired.
        VersionConflict: If its version is another.
    """
    statement = Statement()
    settings = "".join(f"{column} = {statement.bind(value)}, " for column, value in changes.items())
    reach = statement.within(door.reach, account="account_id", reseller="reseller_id")
    version = (
        "TRUE" if expected_version is None else f"version = {statement.bind(expected_version)}"
    )
    statement.text = (
        f"WITH changed AS (UPDATE api_token SET {settings}version = version + 1"
        f" WHERE id = {statement.bind(token_id)} AND kind = 'API_TOKEN' AND {reach} AND {version}"
        f" AND {_NOT_ENDED.format(now=statement.bind(now))} RETURNING *)"
        f" {_SELECT.replace('api_token t', 'changed t')}"
    )
    if (row := await door.one(statement)) is not None:
        return Token.from_row(row)
    token = await find_token(door, token_id)
    if token.status(now) in {TokenStatus.REVOKED, TokenStatus.EXPIRED}:
        raise TokenEnded
    raise VersionConflict


async def end_session(door: Door, session_id: UUID, *, now: datetime) -> bool:
    """Revoke a session; return whether it was still live. Harmless to repeat."""
    statement = Statement()
    reach = statement.within(door.reach, account="account_id", reseller="reseller_id")
    statement.text = (
        f"UPDATE api_token SET revoked_at = {statement.bind(now)},"
        " revocation_reason = 'SIGNED_OUT', version = version + 1"
        f" WHERE id = {statement.bind(session_id)} AND kind = 'SESSION' AND revoked_at IS NULL"
        f" AND {reach} RETURNING id"
    )
    return await door.one(statement) is not None
