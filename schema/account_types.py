"""An account as it is told."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Self

import strawberry

from schema import node_ids
from schema.context import Info
from schema.count_types import TokenCounts
from schema.enums import AccountKind, AccountStatus, MemberRole
from schema.member_types import Member
from schema.relay import After, Edge, First, Node, PageInfo
from schema.token_inputs import ApiTokenFilter, ApiTokenOrder, listing
from service.access.accounts import Account as AccountRow
from service.paging import Page, PageRequest

if TYPE_CHECKING:
    from schema.token_types import ApiTokenConnection


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

    @strawberry.field(
        description="How many tokens of its own it has. Needs `tokens:read`; null without."
    )
    async def counts(self, info: Info) -> TokenCounts | None:
        """Load them with those of the others of this page."""
        row = await info.context.counts.load(node_ids.decode(node_ids.ACCOUNT, self.id))
        return None if row is None else TokenCounts.of(row)

    @strawberry.field(
        description="Its own tokens, newest first unless `orderBy` says otherwise; at most 1,000 "
        "over all the accounts of a page. Needs `tokens:read`."
    )
    async def tokens(
        self,
        info: Info,
        first: First,
        after: After = None,
        filter: Annotated[  # noqa: A002 - the field's common word
            ApiTokenFilter | None, strawberry.argument(description="Which of them.")
        ] = None,
        order_by: Annotated[
            ApiTokenOrder | None, strawberry.argument(description="In which order.")
        ] = None,
    ) -> Annotated["ApiTokenConnection", strawberry.lazy("schema.token_types")]:
        """Load them with those of the other accounts of this page."""
        from schema.token_types import ApiTokenConnection  # noqa: PLC0415 - it tells of accounts

        account_id = node_ids.decode(node_ids.ACCOUNT, self.id)
        wanted = listing(PageRequest(first, after), filter, order_by)
        page = await info.context.tokens_of_accounts.load((account_id, wanted))
        return ApiTokenConnection.of(page)

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
    member: Member | None = strawberry.field(
        description="The person signed in, as a member; null where a token acts."
    )
    role: MemberRole | None = strawberry.field(
        description="What the person may do for the account; null where a token acts."
    )
    scopes: list[str] = strawberry.field(description="The effective rights of the credential.")
