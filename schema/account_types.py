"""An account as it is told."""

from datetime import datetime
from typing import Self

import strawberry

from schema import node_ids
from schema.enums import AccountKind, AccountStatus
from schema.relay import Edge, Node, PageInfo
from service.access.accounts import Account as AccountRow
from service.paging import Page


@strawberry.type(description="A tenant: the platform's operator, a reseller or a customer.")
class Account(Node):
    """An account."""

    kind: AccountKind = strawberry.field(description="Its level.")
    name: str = strawberry.field(description="What people call it; 1–100 characters.")
    status: AccountStatus = strawberry.field(
        description="What it is now, by itself; see `isUsable`."
    )
    is_usable: bool = strawberry.field(
        description="Whether neither it nor its reseller is suspended or closed."
    )
    grantable_scopes: list[str] = strawberry.field(
        description="What its tokens may be given, already capped by its reseller."
    )
    created_at: datetime = strawberry.field(description="When it was created.")
    suspended_at: datetime | None = strawberry.field(
        description="Since when it is suspended itself; its reseller's suspension is not told here."
    )
    closed_at: datetime | None = strawberry.field(description="When it was closed, for good.")

    @classmethod
    def of(cls, row: AccountRow) -> Self:
        """Build one."""
        return cls(
            id=strawberry.ID(node_ids.encode(node_ids.ACCOUNT, row.id)),
            kind=row.kind,
            name=row.name,
            status=row.status,
            is_usable=row.is_usable,
            grantable_scopes=list(row.grantable_scopes),
            created_at=row.created_at,
            suspended_at=row.suspended_at,
            closed_at=row.closed_at,
        )


@strawberry.type(name="AccountConnection", description="One page of accounts (Relay).")
class AccountConnection:
    """A page of accounts."""

    edges: list[Edge[Account]] = strawberry.field(description="The items with their cursors.")
    page_info: PageInfo = strawberry.field(description="Where the page stands.")

    @classmethod
    def of(cls, page: Page[AccountRow]) -> Self:
        """Build one."""
        items = zip(page.items, page.cursors, strict=True)
        return cls(
            edges=[Edge(node=Account.of(row), cursor=cursor) for row, cursor in items],
            page_info=PageInfo.of(page),
        )


@strawberry.type(description="Who is calling.")
class Viewer:
    """The caller."""

    account: Account = strawberry.field(description="The account that acts.")
    email: str | None = strawberry.field(
        description="The person signed in; null where a token acts."
    )
    scopes: list[str] = strawberry.field(description="The effective rights of the credential.")
