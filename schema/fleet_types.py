"""A fleet as it is told."""

from typing import Self

import strawberry

from schema.account_types import Account
from schema.count_types import TokenCounts
from schema.relay import Edge, PageInfo
from service.access.fleet import FleetAccount as FleetAccountRow
from service.access.fleet import Totals
from service.paging import Page


@strawberry.type(description="An account of a fleet, with live counts of its tokens.")
class FleetAccount:
    """An account with its counts."""

    account: Account = strawberry.field(description="The account.")
    counts: TokenCounts = strawberry.field(description="Of its own tokens.")

    @classmethod
    def of(cls, row: FleetAccountRow) -> Self:
        """Build one."""
        return cls(account=Account.of(row.account), counts=TokenCounts.of(row.counts))


@strawberry.type(name="FleetConnection", description="One page of a fleet (Relay).")
class FleetConnection:
    """A page of a fleet."""

    edges: list[Edge[FleetAccount]] = strawberry.field(description="The items with their cursors.")
    page_info: PageInfo = strawberry.field(description="Where the page stands.")

    @classmethod
    def of(cls, page: Page[FleetAccountRow]) -> Self:
        """Build one."""
        items = zip(page.items, page.cursors, strict=True)
        return cls(
            edges=[Edge(node=FleetAccount.of(row), cursor=cursor) for row, cursor in items],
            page_info=PageInfo.of(page),
        )


@strawberry.type(description="The sums of a whole fleet, without the caller's own account.")
class FleetTotals:
    """A fleet's sums."""

    accounts: int = strawberry.field(description="How many accounts, closed ones included.")
    counts: TokenCounts = strawberry.field(description="Of the tokens of all of them.")

    @classmethod
    def of(cls, row: Totals) -> Self:
        """Build one."""
        return cls(accounts=row.accounts, counts=TokenCounts.of(row.counts))
