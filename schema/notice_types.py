"""A notice as it is told."""

from datetime import datetime
from typing import Self

import strawberry

from schema import node_ids
from schema.account_types import Account
from schema.context import Info
from schema.enums import NoticeState
from schema.relay import Edge, PageInfo
from schema.token_types import ApiToken
from service.access.notice_ledger import Notice as NoticeRow
from service.access.notice_ledger import NoticeFilter
from service.paging import Page


@strawberry.input(description="Which notices; each field narrows further.")
class ExpiryNoticeFilter:
    """Which notices."""

    account_id: strawberry.ID | None = strawberry.field(
        default=None, description="Those of one account within reach."
    )
    token_id: strawberry.ID | None = strawberry.field(
        default=None, description="Those of one token within reach."
    )
    state: NoticeState | None = strawberry.field(default=None, description="Those that are this.")

    def to_filter(self) -> NoticeFilter:
        """Return the domain's filter."""
        return NoticeFilter(
            account_id=node_ids.decode_optional(node_ids.ACCOUNT, self.account_id),
            token_id=node_ids.decode_optional(node_ids.TOKEN, self.token_id),
            state=self.state,
        )


@strawberry.type(
    description="A line of the ledger: that somebody is told of an expiry, once for each token, "
    "expiry, threshold and recipient."
)
class ExpiryNotice:
    """A notice."""

    row: strawberry.Private[NoticeRow]
    recipient: str | None = strawberry.field(
        description="The e-mail address; null where it is nobody within reach, as when a customer "
        "has no people of its own and its reseller was told."
    )
    threshold_days: int = strawberry.field(description="How many days before the expiry.")
    expires_at: datetime = strawberry.field(
        description="The expiry that it is about; the token may have another one by now."
    )
    state: NoticeState = strawberry.field(description="How far it has come.")
    reason: str | None = strawberry.field(description="Why it was suppressed or has failed.")
    created_at: datetime = strawberry.field(description="When the threshold was crossed.")
    sent_at: datetime | None = strawberry.field(description="When the mail relay accepted it.")

    @strawberry.field(description="Which token.")
    async def token(self, info: Info) -> ApiToken | None:
        """Load it with the others of this page."""
        row = await info.context.tokens.load(self.row.token_id)
        return None if row is None else ApiToken.of(row)

    @strawberry.field(description="Whose token.")
    async def account(self, info: Info) -> Account | None:
        """Load it with the others of this page."""
        row = await info.context.accounts.load(self.row.account_id)
        return None if row is None else Account.of(row)

    @classmethod
    def of(cls, row: NoticeRow) -> Self:
        """Build one."""
        return cls(
            row=row,
            recipient=row.recipient,
            threshold_days=row.threshold_days,
            expires_at=row.expires_at,
            state=row.state,
            reason=row.reason,
            created_at=row.created_at,
            sent_at=row.sent_at,
        )


@strawberry.type(name="ExpiryNoticeConnection", description="One page of notices (Relay).")
class ExpiryNoticeConnection:
    """A page of notices."""

    edges: list[Edge[ExpiryNotice]] = strawberry.field(description="The items with their cursors.")
    page_info: PageInfo = strawberry.field(description="Where the page stands.")

    @classmethod
    def of(cls, page: Page[NoticeRow]) -> Self:
        """Build one."""
        items = zip(page.items, page.cursors, strict=True)
        return cls(
            edges=[Edge(node=ExpiryNotice.of(row), cursor=cursor) for row, cursor in items],
            page_info=PageInfo.of(page),
        )
