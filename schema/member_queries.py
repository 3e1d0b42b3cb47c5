"""Queries of members."""

from typing import Annotated

import strawberry

from schema import node_ids
from schema.context import Info
from schema.member_types import MemberConnection
from schema.relay import After, First
from service.paging import PageRequest


@strawberry.type(description="What can be read of members.")
class MemberQueries:
    """Reading members."""

    @strawberry.field(
        description="The people who sign in for an account, by e-mail address; none where the "
        "account is not within reach. Needs `members:read`."
    )
    async def members(
        self,
        info: Info,
        first: First,
        after: After = None,
        account_id: Annotated[
            strawberry.ID | None,
            strawberry.argument(description="Whose; absent is the caller's own account."),
        ] = None,
    ) -> MemberConnection:
        """Read one page of members."""
        page = await info.context.service.members.page(
            info.context.actor,
            PageRequest(first, after),
            account_id=node_ids.decode_optional(node_ids.ACCOUNT, account_id),
        )
        return MemberConnection.of(page)
