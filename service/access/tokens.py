"""Rows of tokens and their secrets."""

import json
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Self
from uuid import UUID

from service.access.actor import Reach
from service.access.door import Door, Statement, as_uuid
from service.errors import InvalidInput, NotFound, TokenEnded, VersionConflict
from service.names import check_search
from service.scopes import is_scope
from service.secret_format import NewSecret
from service.token_rules import clean_instant


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


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFilter:
    """Which tokens of those within reach; each field narrows further, None does not.

    Attributes:
        statuses: Those that are any of these.
        expires_before: Those that expire before an instant; what never expires does not.
        created_after: Those made at an instant or later.
        unused_since: Those not used at an instant or later, nor made then.
        scope: Those that hold it, by itself or in a wider one.
    """

    status: TokenStatus | None = None
    statuses: tuple[TokenStatus, ...] | None = None
    account_id: UUID | None = None
    name_contains: str | None = None
    expires_before: datetime | None = None
    created_before: datetime | None = None
    created_after: datetime | None = None
    unused_since: datetime | None = None
    never_used: bool | None = None
    has_address_limits: bool | None = None
    has_full_access: bool | None = None
    scope: str | None = None

    def __post_init__(self) -> None:
        """Refuse what could find nothing.

        Raises:
            InvalidInput: If an instant has no time zone, the scope is none, or the search is
                longer than a name.
        """
        for name, instant in (
            ("expiresBefore", self.expires_before),
            ("createdBefore", self.created_before),
            ("createdAfter", self.created_after),
            ("unusedSince", self.unused_since),
        ):
            if instant is not None:
                clean_instant(instant, field=name)
        if self.name_contains is not None:
            check_search(self.name_contains, field="nameContains")
        if self.scope is not None and not is_scope(self.scope):
            raise InvalidInput("A scope is `noun:verb`, `noun:*` or `*`.", field="scope")


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
    description: str | None
    metadata: dict[str, Any] = field(hash=False)
    created_by_account_id: UUID | None
    created_by_member_id: UUID | None

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        """Build one from a row of ``SELECT``."""
        fields = {name: row[name] for name in cls.__dataclass_fields__}
        for name in ("scopes", "allowed_ip_ranges", "audiences"):
            fields[name] = tuple(row[name])
        fields["metadata"] = json.loads(row["metadata"])
        return cls(**fields)

    @property
    def owner(self) -> tuple[UUID, UUID | None]:
        """Whose trail a change of it belongs to: its account and its reseller."""
        return self.account_id, self.reseller_id

    def creator_within(self, reach: Reach) -> UUID | None:
        """Return the account that made it; None where that is not known, or lies beyond a reach.

        A token is made by its account or by one above: its reseller, or the operator, who is in
        nobody's fleet.
        """
        creator = self.created_by_account_id
        reseller = self.reseller_id if creator in {self.account_id, self.reseller_id} else None
        return creator if creator is not None and reach.includes(creator, reseller) else None

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


SELECT = """
SELECT t.*, s.prefix, s.last_four FROM api_token t
JOIN secret s ON s.token_id = t.id AND s.retires_at IS NULL
"""

_NOT_ENDED = "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > {now})"


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
        f"{SELECT} WHERE t.id = {statement.bind(token_id)} AND t.kind = 'API_TOKEN' AND {reach}"
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


async def find_tokens(door: Door, token_ids: list[UUID]) -> dict[UUID, Token]:
    """Return those of some API tokens that are within reach, by id, in one query."""
    statement = Statement()
    reach = statement.within(door.reach, account="t.account_id", reseller="t.reseller_id")
    statement.text = (
        f"{SELECT} WHERE t.id = ANY({statement.bind(token_ids)}) AND t.kind = 'API_TOKEN'"
        f" AND {reach}"
    )
    found = [Token.from_row(row) for row in await door.query(statement)]
    return {token.id: token for token in found}


async def find_emails(door: Door, member_ids: list[UUID]) -> dict[UUID, str]:
    """Return the addresses of those of some people that are within reach, by id, in one query."""
    statement = Statement()
    reach = statement.within(door.reach, account="account_id", reseller="reseller_id")
    statement.text = (
        f"SELECT id, email FROM member WHERE id = ANY({statement.bind(member_ids)}) AND {reach}"
    )
    return {as_uuid(row["id"]): row["email"] for row in await door.query(statement)}


async def insert_token(
    door: Door, row: dict[str, Any], secret: NewSecret, secret_id: UUID, event: dict[str, Any]
) -> Token:
    """Add a credential, its secret's digest and what the trail tells of it, and return it.

    Args:
        door: An open door.
        row: Every column of ``api_token`` that has no default.
        secret: Only its digest, pepper id, prefix and last four are stored.
        secret_id: The id of the secret's row.
        event: The trail's row.

    Raises:
        NameTaken: If a token of the account that has not ended bears the name.
    """
    told = await door.one(_insertion(row, secret, secret_id, event, conflict=_NAMESAKE))
    if told is None:
        await sweep_namesake(door, row["account_id"], row["name"], now=row["created_at"])
        told = await door.one(_insertion(row, secret, secret_id, event))
    if told is None:
        raise TypeError("a row that was added is told")
    return Token.from_row(told)


# A namesake that has expired may only look as if it were in the way.
_NAMESAKE = (
    " ON CONFLICT (account_id, name) WHERE kind = 'API_TOKEN' AND revoked_at IS NULL"
    " AND swept_at IS NULL DO NOTHING"
)


def _insertion(
    row: dict[str, Any],
    secret: NewSecret,
    secret_id: UUID,
    event: dict[str, Any],
    *,
    conflict: str = "",
) -> Statement:
    statement = Statement().insert("api_token", [row])
    columns = {
        "id": statement.bind(secret_id),
        "account_id": "t.account_id",
        "reseller_id": "t.reseller_id",
        "token_id": "t.id",
        "digest": statement.bind(secret.digest),
        "pepper_id": statement.bind(secret.pepper_id),
        "prefix": statement.bind(secret.prefix),
        "last_four": statement.bind(secret.last_four),
        "created_at": "t.created_at",
    }
    told = {column: statement.bind(value) for column, value in event.items()}
    statement.text = (
        f"WITH t AS ({statement.text}{conflict} RETURNING *), s AS ("
        f"INSERT INTO secret ({', '.join(columns)}) SELECT {', '.join(columns.values())} FROM t"
        " RETURNING prefix, last_four), e AS ("
        # Of t, so that nothing is told where nothing was added.
        f"INSERT INTO audit_event ({', '.join(told)}) SELECT {', '.join(told.values())} FROM t)"
        " SELECT t.*, s.prefix, s.last_four FROM t, s"
    )
    return statement


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
        f" {SELECT.replace('api_token t', 'changed t')}"
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
