"""Lists of tokens: one range of one index each, thinned out by the filter.

Without a filter, or with one that is a range of the list's own order, a page costs what it shows.
Else a short walk along the order comes first, and where it does not fill the page, what matches is
looked for as a set: by an index where it is a rare state, else in one pass over what is in reach.
"""

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from service.access.door import Door, Statement, as_uuid
from service.access.token_filters import ENDS_AT, USED_AT, conditions_of
from service.access.tokens import Token, TokenFilter, TokenOrder
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


# A walk of as many rows takes milliseconds, and fills a page of 20 where one in 250 matches. Of
# several accounts, each is walked for fewer.
WALKED_MAX = 5_000
WALKED_EACH_MAX = 250

# Python reads more forms of an instant than PostgreSQL does; a cursor holds what PostgreSQL wrote.
_PRINTED_INSTANT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,6})?\+00", re.ASCII)

# PostgreSQL's expression, matched by an index for each extent, and the type of its key.
_SORT = {
    TokenOrder.CREATED_AT: ("t.created_at", "timestamptz"),
    TokenOrder.EXPIRES_AT: (ENDS_AT, "timestamptz"),
    TokenOrder.NAME: ("t.name", "text"),
    TokenOrder.LAST_USED_AT: (USED_AT, "timestamptz"),
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
    reach = statement.within(door.reach, account="a.id", reseller="a.reseller_id")
    each = _page_text(statement, door, listing, now, account="a.id")
    statement.text = (
        f"SELECT t.* FROM account a CROSS JOIN LATERAL ({each}) t"
        f" WHERE a.id = ANY({wanted}) AND {reach} ORDER BY t.account_id, {listing.sorting}"
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
    expression, _ = _SORT[listing.order]
    filtered = conditions_of(statement, listing.only, now)
    within = [
        "t.kind = 'API_TOKEN'",
        statement.within(
            door.reach,
            account="t.account_id",
            reseller="t.reseller_id",
            as_range=account is None and listing.only.account_id is None,
        ),
        *filtered.along(listing.order),
        *_behind(statement, listing),
    ]
    if account is not None:
        within.append(f"t.account_id = {account}")
    if listing.only.account_id is not None:
        # Asked once: else the tokens of a foreign account are walked, and it is told by its time.
        own = statement.within(door.reach, account="own.id", reseller="own.reseller_id")
        asked = statement.bind(listing.only.account_id)
        within.append(f"EXISTS (SELECT FROM account own WHERE own.id = {asked} AND {own})")
    rest = [one for one in filtered.every() if one not in within]
    rows = listing.page.first + 1
    if rest:
        walked = WALKED_MAX if account is None else WALKED_EACH_MAX
        # As a subquery, so that no plan hopes to have sorted all of an average account sooner.
        walk = _walk(within, listing, f"(SELECT {walked})")
        page = _thinned(walk, [*within, *rest], listing, rows)
    else:
        page = _walk(within, listing, rows)  # written out, it is planned once and not each time
    return (
        f"SELECT t.*, ({expression})::text AS sort_key, s.prefix, s.last_four FROM ({page}) t"
        " JOIN secret s ON s.token_id = t.id AND s.retires_at IS NULL"
        f" ORDER BY {listing.sorting}"
    )


def _walk(within: list[str], listing: TokenListing, rows: int | str) -> str:
    """Return the SELECT of the first rows of one range of one index."""
    return (
        f"SELECT t.* FROM api_token t WHERE {' AND '.join(within)}"
        f" ORDER BY {listing.sorting} LIMIT {rows}"
    )


def _thinned(walk: str, matching: list[str], listing: TokenListing, rows: int) -> str:
    """Return the SELECT of the first rows of a range that a filter lets pass.

    Left to itself, PostgreSQL takes what matches to be spread evenly and walks along the order's
    index until there is enough: to its end, row by row, where what matches is rare or lies there.
    So the walk is short; where it does not fill the page, what matches is found in whichever way
    is cheapest for all of it (``OFFSET 0`` keeps the order and the LIMIT out of that choice).
    """
    matches = " AND ".join(matching)
    return (
        f"WITH near AS MATERIALIZED (SELECT * FROM ({walk}) t"
        f" WHERE {matches} ORDER BY {listing.sorting} LIMIT {rows}),"
        f" filled AS MATERIALIZED (SELECT count(*) = {rows} AS is_full FROM near)"
        " SELECT * FROM (SELECT * FROM near WHERE (SELECT is_full FROM filled) UNION ALL"
        f" SELECT * FROM (SELECT t.* FROM api_token t WHERE {matches}"
        " AND NOT (SELECT is_full FROM filled) OFFSET 0) every) t"
        f" ORDER BY {listing.sorting} LIMIT {rows}"
    )


def _behind(statement: Statement, listing: TokenListing) -> list[str]:
    """Return the condition that a row lies behind the cursor, if there is one."""
    if listing.page.after is None:
        return []
    expression, key_type = _SORT[listing.order]
    cursor = Cursor.decode(listing.page.after, listing.name)
    _check_key(cursor, key_type)
    compared = "<" if listing.descending else ">"
    key = f"{statement.bind(cursor.key)}::text::{key_type}"
    return [f"({expression}, t.id) {compared} ({key}, {statement.bind(cursor.id)})"]


def _page(rows: list[dict[str, Any]], listing: TokenListing) -> Page[Token]:
    shown = rows[: listing.page.first]
    return Page(
        items=[Token.from_row(row) for row in shown],
        cursors=[
            Cursor(listing.name, row["sort_key"], as_uuid(row["id"])).encode() for row in shown
        ],
        has_next=len(rows) > listing.page.first,
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
