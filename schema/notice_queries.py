"""Queries of the ledger of notices."""

from typing import Annotated

import strawberry

from schema.context import Info
from schema.notice_types import ExpiryNoticeConnection, ExpiryNoticeFilter
from schema.relay import After, First
from service.access.notice_ledger import NoticeFilter
from service.paging import PageRequest


@strawberry.type(description="What can be read of notices.")
class NoticeQueries:
    """Reading the ledger."""

    @strawberry.field(
        description="Who was told of which expiry, newest first, or why not: of an account's own "
        "tokens, a reseller's with those of its sub-accounts, the operator's all. Needs "
        "`tokens:read`."
    )
    async def notices(
        self,
        info: Info,
        first: First,
        after: After = None,
        filter: Annotated[  # noqa: A002 - the field's common word
            ExpiryNoticeFilter | None, strawberry.argument(description="Which of them.")
        ] = None,
    ) -> ExpiryNoticeConnection:
        """Read one page of notices."""
        page = await info.context.service.notice_ledger.page(
            info.context.actor,
            filter.to_filter() if filter else NoticeFilter(),
            PageRequest(first, after),
        )
        return ExpiryNoticeConnection.of(page)
