"""Subscription: what can be watched, over server-sent events."""

from collections.abc import AsyncIterator
from typing import Annotated

import strawberry

from schema import node_ids
from schema.context import Info
from schema.propagation_types import Propagation


@strawberry.type(description="What can be watched.")
class Subscription:
    """The subscription root."""

    @strawberry.subscription(
        description="How far a change that takes something away has come: now, and at each news, "
        "until every known validator has applied it or the bound has passed. Needs `tokens:read`."
    )
    async def revocation_progress(
        self,
        info: Info,
        id: Annotated[strawberry.ID, strawberry.argument(description="The receipt's id.")],  # noqa: A002 - GraphQL's word
    ) -> AsyncIterator[Propagation]:
        """Watch one receipt."""
        receipt_id = node_ids.decode(node_ids.PROPAGATION, id)
        async for row in info.context.service.receipts.watch(info.context.actor, receipt_id):
            yield Propagation.of(row)
