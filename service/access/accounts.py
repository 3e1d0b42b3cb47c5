"""Rows of accounts and members."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Self
from uuid import UUID

from service import scopes
from service.access.door import Door, Statement, as_uuid
from service.errors import AccountClosed, NotFound
from service.paging import Cursor, Page, PageRequest
from service.verdict import AccountKind


class AccountStatus(StrEnum):
    """What an account is, read off its instants."""

    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"
    CLOSED = "CLOSED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A tenant.

    Attributes:
        grantable_scopes: What it may grant, already capped by its reseller.
        is_usable: Whether it and its reseller are neither suspended nor closed.
    """

    id: UUID
    kind: AccountKind
    reseller_id: UUID | None
    name: str
    grantable_scopes: tuple[str, ...]
    created_at: datetime
    suspended_at: datetime | None
    closed_at: datetime | None
    is_usable: bool

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        """Build one from a row of ``SELECT``."""
        grantable = frozenset(row["grantable_scopes"])
        if row["reseller_scopes"] is not None:
            grantable = scopes.intersect(grantable, row["reseller_scopes"])
        return cls(
            id=as_uuid(row["id"]),
            kind=AccountKind(row["kind"]),
            reseller_id=row["reseller_id"] and as_uuid(row["reseller_id"]),
            name=row["name"],
            grantable_scopes=tuple(sorted(grantable)),
            created_at=row["created_at"],
            suspended_at=row["suspended_at"],
            closed_at=row["closed_at"],
            is_usable=row["is_usable"],
        )

    @property
    def owner(self) -> tuple[UUID, UUID | None]:
        """Whose trail a change of it belongs to: itself and its reseller."""
        return self.id, self.reseller_id

    @property
    def status(self) -> AccountStatus:
        """What the account is."""
        if self.closed_at is not None:
            return AccountStatus.CLOSED
        return AccountStatus.ACTIVE if self.suspended_at is None else AccountStatus.SUSPENDED


# The reseller's own row is not within a customer's reach, so its caps come through a function of
# the database that tells only these.
SELECT = """
SELECT a.*, r.grantable_scopes AS reseller_scopes,
    a.suspended_at IS NULL AND a.closed_at IS NULL AND coalesce(r.usable, TRUE) AS is_usable
FROM account a LEFT JOIN LATERAL reseller_caps(a.id) r ON TRUE
"""


async def find_account(door: Door, account_id: UUID, *, locking: str = "") -> Account:
    """Return an account within reach.

    Args:
        door: An open door.
        account_id: Its id.
        locking: PostgreSQL's locking clause; see :func:`lock_account`.

    Raises:
        NotFound: If there is none, or it is another tenant's.
    """
    statement = Statement()
    reach = statement.within(door.reach, account="a.id", reseller="a.reseller_id")
    statement.text = f"{SELECT} WHERE a.id = {statement.bind(account_id)} AND {reach} {locking}"
    row = await door.one(statement)
    if row is None:
        raise NotFound("There is no such account.")
    return Account.from_row(row)


async def lock_account(door: Door, account_id: UUID) -> Account:
    """Return an account and hold its row until the transaction ends, so that a decision stays true.

    Raises:
        NotFound: If it is not within reach.
    """
    # Not FOR UPDATE: each new token's foreign key takes a share of this row, and would wait.
    return await find_account(door, account_id, locking="FOR NO KEY UPDATE OF a")


async def change_account(door: Door, account_id: UUID, changes: dict[str, Any]) -> Account:
    """Change some columns of an account that is not closed, and nothing else, in one UPDATE.

    Args:
        door: An open door.
        account_id: Its id.
        changes: Values by column, from the code's own names.

    Raises:
        NotFound: If it is not within reach.
        AccountClosed: If it is closed.
    """
    statement = Statement()
    settings = ", ".join(f"{column} = {statement.bind(value)}" for column, value in changes.items())
    reach = statement.within(door.reach, account="id", reseller="reseller_id")
    statement.text = (
        f"WITH changed AS (UPDATE account SET {settings} WHERE id = {statement.bind(account_id)}"
        f" AND {reach} AND closed_at IS NULL RETURNING *)"
        f" {SELECT.replace('account a', 'changed a')}"
    )
    if (row := await door.one(statement)) is not None:
        return Account.from_row(row)
    await find_account(door, account_id)
    raise AccountClosed


async def find_accounts(door: Door, account_ids: list[UUID]) -> dict[UUID, Account]:
    """Return those of some accounts that are within reach, by id, in one query."""
    statement = Statement()
    reach = statement.within(door.reach, account="a.id", reseller="a.reseller_id")
    statement.text = f"{SELECT} WHERE a.id = ANY({statement.bind(account_ids)}) AND {reach}"
    found = [Account.from_row(row) for row in await door.query(statement)]
    return {account.id: account for account in found}


async def list_sub_accounts(door: Door, above: UUID, page: PageRequest) -> Page[Account]:
    """Return one page of the accounts within reach but the one above them, by name."""
    statement = Statement()
    conditions = [
        statement.within(door.reach, account="a.id", reseller="a.reseller_id", as_range=True),
        f"a.id <> {statement.bind(above)}",
    ]
    if page.after is not None:
        cursor = Cursor.decode(page.after, "accounts")
        conditions.append(
            f"(a.name, a.id) > ({statement.bind(cursor.key)}::text, {statement.bind(cursor.id)})"
        )
    statement.text = (
        f"{SELECT} WHERE {' AND '.join(conditions)} ORDER BY a.name, a.id"
        f" LIMIT {statement.bind(page.first + 1)}"
    )
    rows = await door.query(statement)
    accounts = [Account.from_row(row) for row in rows[: page.first]]
    return Page(
        items=accounts,
        cursors=[Cursor("accounts", account.name, account.id).encode() for account in accounts],
        has_next=len(rows) > page.first,
    )


async def insert_account(door: Door, row: dict[str, Any]) -> None:
    """Add an account."""
    await door.query(Statement().insert("account", [row]))
