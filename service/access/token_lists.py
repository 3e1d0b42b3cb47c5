"""Lists of tokens: one range of one index each, thinned out by the filter.

A filter never turns a page into more than one walk along its index: what it leaves out is passed
once, and the next page goes on behind it. Reading a list to its end is linear, however rare what
is looked for; a walk that takes longer than the statement timeout is refused as ``UNAVAILABLE``.
"""

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from service import scopes
from service.access.door import Door, Statement, as_uuid
from service.access.tokens import SELECT, Token, TokenFilter, TokenOrder, TokenStatus
from service.errors import InvalidInput
from service.paging import Cursor, Page, PageRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenListing:
    """Which page of which list."""

    page: PageRequest
    only: TokenFilter = field(default_factory=TokenFilter)
    order: TokenOrder = TokenOrder.CREATED_AT
    descending: bool = True

    @property
    def name(self) -> str:
        """What a cursor of this list tells of it."""
        return f"tokens:{self.order}:{'DESC' if self.descending else 'ASC'}"

    @property
    def sorting(self) -> str:
        """The ORDER BY of this list."""
        expression, _ = _SORT[self.order]
        direction = "DESC" if self.descending else "ASC"
        return f"{expression} {direction}, t.id {direction}"


# Python reads more forms of an instant than PostgreSQL does; a cursor holds what PostgreSQL wrote.
_PRINTED_INSTANT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,6})?\+00", re.ASCII)

# PostgreSQL's expression, matched by an index for each extent, and the type of its key.
_SORT = {
    TokenOrder.CREATED_AT: ("t.created_at", "timestamptz"),
    TokenOrder.EXPIRES_AT: ("coalesce(t.expires_at, 'infinity'::timestamptz)", "timestamptz"),
    TokenOrder.NAME: ("t.name", "text"),
    TokenOrder.LAST_USED_AT: ("coalesce(t.last_used_at, '-infinity'::timestamptz)", "timestamptz"),
}


async def list_tokens(door: Door, listing: TokenListing, *, now: datetime) -> Page[Token]:
    """Return one page of the API tokens within reach, along one index."""
    statement = Statement()
    statement.text = _page_text(statement, door, listing, now)
    return _page(await door.query(statement), listing)


async def list_tokens_of_accounts(
    door: Door, account_ids: list[UUID], listing: TokenListing, *, now: datetime
) -> dict[UUID, Page[Token]]:
    """Return one page of the API tokens of each of some accounts, in one query.

    An account beyond reach has none.
    """
    statement = Statement()
    wanted = statement.bind(account_ids)
    each = _page_text(statement, door, listing, now, account="a.id")
    statement.text = (
        f"SELECT t.* FROM unnest({wanted}::uuid[]) AS a(id) CROSS JOIN LATERAL ({each}) t"
        f" ORDER BY t.account_id, {listing.sorting}"
    )
    rows: dict[UUID, list[dict[str, Any]]] = {account_id: [] for account_id in account_ids}
    for row in await door.query(statement):
        rows[as_uuid(row["account_id"])].append(row)
    return {account_id: _page(found, listing) for account_id, found in rows.items()}


def _page_text(
    statement: Statement,
    door: Door,
    listing: TokenListing,
    now: datetime,
    *,
    account: str | None = None,
) -> str:
    """Return the SELECT of a page and of one more; of one account where its column is given."""
    expression, key_type = _SORT[listing.order]
    conditions = [
        "t.kind = 'API_TOKEN'",
        statement.within(door.reach, account="t.account_id", reseller="t.reseller_id"),
        *filter_conditions(statement, listing.only, now),
    ]
    if account is not None:
        conditions.append(f"t.account_id = {account}")
    if listing.page.after is not None:
        cursor = Cursor.decode(listing.page.after, listing.name)
        _check_key(cursor, key_type)
        conditions.append(
            f"({expression}, t.id) {'<' if listing.descending else '>'} "
            f"({statement.bind(cursor.key)}::text::{key_type}, {statement.bind(cursor.id)})"
        )
    return (
        f"{SELECT.replace('t.*', f't.*, ({expression})::text AS sort_key')}"
        f" WHERE {' AND '.join(conditions)} ORDER BY {listing.sorting}"
        f" LIMIT {statement.bind(listing.page.first + 1)}"
    )


def _page(rows: list[dict[str, Any]], listing: TokenListing) -> Page[Token]:
    shown = rows[: listing.page.first]
    return Page(
        items=[Token.from_row(row) for row in shown],
        cursors=[
            Cursor(listing.name, row["sort_key"], as_uuid(row["id"])).encode() for row in shown
        ],
        has_next=len(rows) > listing.page.first,
    )


def filter_conditions(statement: Statement, only: TokenFilter, now: datetime) -> list[str]:
    """Return the conditions of a filter on ``api_token t``, to be joined by AND.

    Args:
        statement: Takes the values; nothing of a filter is ever part of the text.
        only: The filter.
        now: Decides what has ended.
    """
    conditions = [*_comparisons(statement, only), *_facets(only)]
    if only.name_contains:
        escaped = only.name_contains.translate({ord(c): f"\\{c}" for c in "\\%_"})
        conditions.append(f"t.name ILIKE {statement.bind(f'%{escaped}%')}")
    for statuses in ((only.status,) if only.status else None, only.statuses):
        if statuses is not None:
            either = [_status_condition(status, statement.bind(now)) for status in statuses]
            conditions.append(f"({' OR '.join(either or ['FALSE'])})")
    return conditions


def _comparisons(statement: Statement, only: TokenFilter) -> list[str]:
    return [
        condition.format(statement.bind(value))
        for value, condition in (
            (only.account_id, "t.account_id = {}"),
            (only.created_before, "t.created_at < {}"),
            (only.created_after, "t.created_at >= {}"),
            # The expression of the index; what never expires is no earlier than anything.
            (only.expires_before, "coalesce(t.expires_at, 'infinity'::timestamptz) < {}"),
            (only.unused_since, "coalesce(t.last_used_at, t.created_at) < {}"),
            (only.scope and _holding(only.scope), "t.scopes && {}::text[]"),
        )
        if value is not None
    ]


def _facets(only: TokenFilter) -> list[str]:
    return [
        condition if wanted else f"NOT {condition}"
        for wanted, condition in (
            (only.never_used, "(t.last_used_at IS NULL)"),
            (only.has_address_limits, "(t.allowed_ip_ranges <> '{}')"),
            (only.has_full_access, "(t.scopes @> '{*}')"),
        )
        if wanted is not None
    ]


def _holding(scope: str) -> list[str]:
    """Return the scopes that include one: itself, its noun's, everything."""
    noun = scope.partition(":")[0]
    return sorted({scope, f"{noun}:*", scopes.EVERYTHING})


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
