"""Rows of counts: of an account's tokens, and of a fleet's. Triggers keep them; here they are read.

No query here counts anything: a page is one range of an index, whatever it is sorted by, and the
sums of a fleet are at most 32 rows. What a filter refuses is stepped over within that range.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Self
from uuid import UUID

from service.access.accounts import Account, AccountStatus, find_accounts
from service.access.actor import Extent, Reach
from service.access.door import Door, Statement, as_uuid
from service.errors import InvalidInput
from service.paging import Cursor, Page, PageRequest


class Facet(StrEnum):
    """What tokens are counted under; each is a column of its own, in small letters."""

    LIVE = "LIVE"
    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"
    EXPIRED = "EXPIRED"
    EXPIRING_WITHIN_7_DAYS = "EXPIRING_WITHIN_7_DAYS"
    EXPIRING_WITHIN_30_DAYS = "EXPIRING_WITHIN_30_DAYS"
    NEVER_USED = "NEVER_USED"
    IDLE_90_DAYS = "IDLE_90_DAYS"
    WITHOUT_ADDRESS_LIMITS = "WITHOUT_ADDRESS_LIMITS"
    FULL_ACCESS = "FULL_ACCESS"

    @property
    def column(self) -> str:
        """The column that counts it."""
        return self.value.lower()


class FleetOrder(StrEnum):
    """What a fleet can be sorted by: what an account is, or how many tokens it has of a facet."""

    NAME = "NAME"
    CREATED_AT = "CREATED_AT"
    LIVE = "LIVE"
    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"
    EXPIRED = "EXPIRED"
    EXPIRING_WITHIN_7_DAYS = "EXPIRING_WITHIN_7_DAYS"
    EXPIRING_WITHIN_30_DAYS = "EXPIRING_WITHIN_30_DAYS"
    NEVER_USED = "NEVER_USED"
    IDLE_90_DAYS = "IDLE_90_DAYS"
    WITHOUT_ADDRESS_LIMITS = "WITHOUT_ADDRESS_LIMITS"
    FULL_ACCESS = "FULL_ACCESS"

    @property
    def column(self) -> str:
        """The column it sorts by; an index for each extent begins with it."""
        return self.value.lower()

    @property
    def key_type(self) -> str:
        """PostgreSQL's type of that column."""
        return {"NAME": "text", "CREATED_AT": "timestamptz"}.get(self.value, "integer")


@dataclass(frozen=True, slots=True)
class AtLeast:
    """A lower bound of one count."""

    facet: Facet
    count: int = 1


@dataclass(frozen=True, slots=True)
class FleetFilter:
    """Which accounts of a fleet; each condition narrows further."""

    status: AccountStatus | None = None
    name_contains: str | None = None
    at_least: tuple[AtLeast, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many API tokens there are of each facet; see :class:`Facet`."""

    live: int
    active: int
    suspended: int
    expired: int
    expiring_within_7_days: int
    expiring_within_30_days: int
    never_used: int
    idle_90_days: int
    without_address_limits: int
    full_access: int

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        """Build one from a row with a column for each facet."""
        return cls(**{facet.column: int(row[facet.column]) for facet in Facet})

    @classmethod
    def none(cls) -> Self:
        """Return zeros."""
        return cls(**dict.fromkeys((facet.column for facet in Facet), 0))


@dataclass(frozen=True, slots=True)
class FleetAccount:
    """An account of a fleet with its counts."""

    account: Account
    counts: Counts


@dataclass(frozen=True, slots=True)
class Totals:
    """The sums of a fleet, and of how many accounts."""

    accounts: int
    counts: Counts


_COUNTS = ", ".join(facet.column for facet in Facet)
_SUMS = ", ".join(f"coalesce(sum({facet.column}), 0) AS {facet.column}" for facet in Facet)

# A cursor holds what PostgreSQL printed; Python would read more forms of it.
_PRINTED = {
    "text": re.compile(r".*", re.DOTALL),
    "integer": re.compile(r"\d{1,9}", re.ASCII),
    "timestamptz": re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,6})?\+00", re.ASCII),
}


async def list_fleet(
    door: Door,
    above: UUID,
    only: FleetFilter,
    order: FleetOrder,
    page: PageRequest,
    *,
    descending: bool,
) -> Page[FleetAccount]:
    """Return one page of the accounts within reach but the one above them, with their counts."""
    statement = fleet_statement(door.reach, above, only, order, page, descending=descending)
    rows = await door.query(statement)
    found = await find_accounts(door, [as_uuid(row["account_id"]) for row in rows[: page.first]])
    # An account that has left the fleet since the first query is not told.
    shown = [row for row in rows[: page.first] if as_uuid(row["account_id"]) in found]
    ids = [as_uuid(row["account_id"]) for row in shown]
    name = _list_name(order, descending=descending)
    return Page(
        items=[
            FleetAccount(found[account_id], Counts.from_row(row))
            for account_id, row in zip(ids, shown, strict=True)
        ],
        cursors=[
            Cursor(name, row["sort_key"], account_id).encode()
            for account_id, row in zip(ids, shown, strict=True)
        ],
        has_next=len(rows) > page.first,
    )


def fleet_statement(
    reach: Reach,
    above: UUID,
    only: FleetFilter,
    order: FleetOrder,
    page: PageRequest,
    *,
    descending: bool,
) -> Statement:
    """Return the query that cuts a page; apart, so that its plan can be looked at."""
    statement = Statement()
    # The operator's own row is in no index of the platform; see 0006_fleet.sql.
    whole = reach.extent is Extent.ALL
    conditions = [
        statement.within(reach, account="account_id", reseller="reseller_id", as_range=True),
        "kind <> 'OPERATOR'" if whole else f"account_id <> {statement.bind(above)}",
        *_conditions(statement, only),
    ]
    column, direction = order.column, "DESC" if descending else "ASC"
    if page.after is not None:
        cursor = Cursor.decode(page.after, _list_name(order, descending=descending))
        _check_key(cursor, order.key_type)
        conditions.append(
            f"({column}, account_id) {'<' if descending else '>'}"
            f" ({statement.bind(cursor.key)}::text::{order.key_type}, {statement.bind(cursor.id)})"
        )
    statement.text = (
        f"SELECT account_id, {column}::text AS sort_key, {_COUNTS} FROM token_count"
        f" WHERE {' AND '.join(conditions)}"
        f" ORDER BY {column} {direction}, account_id {direction}"
        f" LIMIT {statement.bind(page.first + 1)}"
    )
    return statement


async def find_counts(door: Door, account_ids: list[UUID]) -> dict[UUID, Counts]:
    """Return the counts of those of some accounts that are within reach, in one query."""
    statement = Statement()
    reach = statement.within(door.reach, account="account_id", reseller="reseller_id")
    statement.text = (
        f"SELECT account_id, {_COUNTS} FROM token_count"
        f" WHERE account_id = ANY({statement.bind(account_ids)}) AND {reach}"
    )
    rows = await door.query(statement)
    return {as_uuid(row["account_id"]): Counts.from_row(row) for row in rows}


async def find_totals(door: Door, above: UUID) -> Totals | None:
    """Return the sums of the fleet below an account, or None where it has none.

    Args:
        door: An open door; where it reaches everything, the fleet is the platform.
        above: The reseller whose fleet it is; of no meaning for the platform.
    """
    statement = Statement()
    reach = statement.within(door.reach, account="account_id", reseller="reseller_id")
    whole = door.reach.extent is Extent.ALL
    fleet = "account_id IS NULL" if whole else f"account_id = {statement.bind(above)}"
    statement.text = (
        f"SELECT coalesce(sum(accounts), 0) AS accounts, {_SUMS} FROM token_total"
        f" WHERE {fleet} AND {reach} HAVING count(*) > 0"
    )
    row = await door.one(statement)
    return None if row is None else Totals(int(row["accounts"]), Counts.from_row(row))


def _conditions(statement: Statement, only: FleetFilter) -> list[str]:
    conditions = [f"{one.facet.column} >= {statement.bind(one.count)}" for one in only.at_least]
    if only.status is not None:
        conditions.append(f"status = {statement.bind(only.status.value)}")
    if only.name_contains:
        escaped = only.name_contains.translate({ord(c): f"\\{c}" for c in "\\%_"})
        conditions.append(f"name ILIKE {statement.bind(f'%{escaped}%')}")
    return conditions


def _list_name(order: FleetOrder, *, descending: bool) -> str:
    return f"fleet:{order}:{'DESC' if descending else 'ASC'}"


def _check_key(cursor: Cursor, key_type: str) -> None:
    try:
        if not _PRINTED[key_type].fullmatch(cursor.key):
            raise ValueError("not as PostgreSQL prints it")
        if key_type == "timestamptz":
            datetime.fromisoformat(cursor.key)
    except ValueError:
        raise InvalidInput("This cursor is not from this list.", field="after") from None
