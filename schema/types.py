"""Output types, each built from the domain's own."""

from datetime import datetime
from typing import Generic, Self, TypeVar

import strawberry

from schema import node_ids
from schema.context import Context
from schema.enums import (
    AccountKind,
    AccountStatus,
    PropagationState,
    RevocationReason,
    TokenStatus,
)
from service.access.accounts import Account as AccountRow
from service.access.tokens import Token as TokenRow
from service.errors import NotFound
from service.paging import Page
from service.work import Propagation as PropagationRow

Info = strawberry.Info[Context, None]
Item = TypeVar("Item")


@strawberry.interface(description="Anything with a global id.")
class Node:
    """Relay's Node."""

    id: strawberry.ID = strawberry.field(description="Opaque, and unique over all types.")


@strawberry.type(description="Where a page of a list stands (Relay).")
class PageInfo:
    """Relay's PageInfo, forward only."""

    has_next_page: bool = strawberry.field(description="Whether more follow.")
    end_cursor: str | None = strawberry.field(
        description="Pass it as `after` for the next page; null where the page is empty."
    )

    @classmethod
    def of(cls, page: Page[Item]) -> Self:
        """Tell where a page stands."""
        return cls(
            has_next_page=page.has_next, end_cursor=page.cursors[-1] if page.cursors else None
        )


@strawberry.type(description="A tenant: the platform's operator, a reseller or a customer.")
class Account(Node):
    """An account."""

    kind: AccountKind = strawberry.field(description="Its level.")
    name: str = strawberry.field(description="What people call it; 1–100 characters.")
    status: AccountStatus = strawberry.field(description="What it is now.")
    grantable_scopes: list[str] = strawberry.field(
        description="What its tokens may be given, already capped by its reseller."
    )
    created_at: datetime = strawberry.field(description="When it was created.")

    @classmethod
    def of(cls, row: AccountRow) -> Self:
        """Build one."""
        return cls(
            id=strawberry.ID(node_ids.encode(node_ids.ACCOUNT, row.id)),
            kind=row.kind,
            name=row.name,
            status=row.status,
            grantable_scopes=list(row.grantable_scopes),
            created_at=row.created_at,
        )


@strawberry.type(description="A token's record. Its secret is told once, by `createToken`.")
class ApiToken(Node):
    """A token."""

    row: strawberry.Private[TokenRow]
    name: str = strawberry.field(
        description="1–50 characters, unique among the account's tokens that have not ended."
    )
    prefix: str = strawberry.field(description="How the secret begins, as in `tw_live_`.")
    last_four: str = strawberry.field(description="How the secret ends.")
    scopes: list[str] = strawberry.field(
        description="Its own rights. The account and its reseller cap them, live."
    )
    allowed_ip_ranges: list[str] = strawberry.field(
        description="CIDR ranges it may be used from; empty is anywhere."
    )
    created_at: datetime = strawberry.field(description="When it was created.")
    not_before: datetime | None = strawberry.field(description="From when it is valid.")
    expires_at: datetime | None = strawberry.field(
        description="From when it is no longer valid; null is never, against advice."
    )
    suspended_at: datetime | None = strawberry.field(description="Since when it is suspended.")
    revoked_at: datetime | None = strawberry.field(description="When it was revoked, for good.")
    revocation_reason: RevocationReason | None = strawberry.field(description="Why.")
    last_used_at: datetime | None = strawberry.field(
        description="When it was last accepted; up to about 15 seconds late."
    )
    last_used_address: str | None = strawberry.field(description="From where.")
    version: int = strawberry.field(description="Grows with each change; for `expectedVersion`.")

    @strawberry.field(description="What it is now.")
    def status(self, info: Info) -> TokenStatus:
        """Read it off the instants, now."""
        return self.row.status(info.context.service.clock.now())

    @strawberry.field(description="Whose it is.")
    async def account(self, info: Info) -> Account:
        """Load it with the others of this page."""
        row = await info.context.accounts.load(self.row.account_id)
        if row is None:
            raise NotFound("There is no such account.")
        return Account.of(row)

    @classmethod
    def of(cls, row: TokenRow) -> Self:
        """Build one."""
        return cls(
            id=strawberry.ID(node_ids.encode(node_ids.TOKEN, row.id)),
            row=row,
            name=row.name,
            prefix=row.prefix,
            last_four=row.last_four,
            scopes=list(row.scopes),
            allowed_ip_ranges=list(row.allowed_ip_ranges),
            created_at=row.created_at,
            not_before=row.not_before,
            expires_at=row.expires_at,
            suspended_at=row.suspended_at,
            revoked_at=row.revoked_at,
            revocation_reason=(
                RevocationReason(row.revocation_reason) if row.revocation_reason else None
            ),
            last_used_at=row.last_used_at,
            last_used_address=row.last_used_address,
            version=row.version,
        )


@strawberry.type(description="An item of a list and the place behind it (Relay).")
class Edge(Generic[Item]):
    """Relay's edge."""

    node: Item = strawberry.field(description="The item.")
    cursor: str = strawberry.field(description="The place behind it, for `after`.")


@strawberry.type(name="ApiTokenConnection", description="One page of tokens (Relay).")
class ApiTokenConnection:
    """A page of tokens."""

    edges: list[Edge[ApiToken]] = strawberry.field(description="The items with their cursors.")
    page_info: PageInfo = strawberry.field(description="Where the page stands.")

    @classmethod
    def of(cls, page: Page[TokenRow]) -> Self:
        """Build one."""
        items = zip(page.items, page.cursors, strict=True)
        return cls(
            edges=[Edge(node=ApiToken.of(row), cursor=cursor) for row, cursor in items],
            page_info=PageInfo.of(page),
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


@strawberry.type(description="The receipt of a change that narrows a token, such as a revoke.")
class Propagation:
    """How far a narrowing has come."""

    state: PropagationState = strawberry.field(
        description="`CONFIRMED`: the shared cache has dropped the token and told every listening "
        "validator. `PENDING`: it is being repeated; `effectiveEverywhereBy` holds all the same."
    )
    confirmed_at: datetime | None = strawberry.field(description="When it was confirmed.")
    effective_everywhere_by: datetime = strawberry.field(
        description="The instant after which no validator accepts what was taken away, whatever "
        "fails: the published staleness bound."
    )

    @classmethod
    def of(cls, row: PropagationRow | None) -> Self | None:
        """Build one."""
        if row is None:
            return None
        return cls(
            state=row.state,
            confirmed_at=row.confirmed_at,
            effective_everywhere_by=row.effective_everywhere_by,
        )


@strawberry.type(description="Who is calling.")
class Viewer:
    """The caller."""

    account: Account = strawberry.field(description="The account that acts.")
    email: str | None = strawberry.field(
        description="The person signed in; null where a token acts."
    )
    scopes: list[str] = strawberry.field(description="The effective rights of the credential.")
