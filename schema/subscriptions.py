"""Subscription: what can be watched, over server-sent events and WebSockets."""

from collections.abc import AsyncIterator
from typing import Annotated

import strawberry

from schema import node_ids
from schema.context import Info
from schema.job_types import Job
from schema.live_types import AccountEvent, TokenEvent
from schema.propagation_types import Propagation
from service import receipts, token_changes, trail, trail_steps

_ENDS = (
    "It ends when the credential does, and with `UNAVAILABLE` when what that may do changes: then "
    "subscribe again."
)

Cursor = Annotated[
    str | None,
    strawberry.argument(
        description="The last `cursor` that was received, to go on behind it; absent or null "
        "begins now."
    ),
]


@strawberry.type(description="What can be watched.")
class Subscription:
    """The subscription root."""

    @strawberry.subscription(
        description="How far a change that takes something away has come: now, and at each news, "
        "until every known validator has applied it or the bound has passed; of a job, once all of "
        "its batches are done. " + _ENDS + " Needs "
        "`tokens:read`."
    )
    async def revocation_progress(
        self,
        info: Info,
        id: Annotated[strawberry.ID, strawberry.argument(description="The receipt's id.")],  # noqa: A002 - GraphQL's word
    ) -> AsyncIterator[Propagation]:
        """Watch one receipt."""
        context = info.context
        receipt_id = node_ids.decode(node_ids.PROPAGATION, id)
        source = context.service.receipts.watch(context.actor, receipt_id)
        return context.follow(receipts.READ, source, Propagation.of)

    @strawberry.subscription(
        description="How far a job has come: now, and at each news, at most twice a second, until "
        "it is over. " + _ENDS + " Needs `tokens:read`."
    )
    async def job_progress(
        self,
        info: Info,
        id: Annotated[strawberry.ID, strawberry.argument(description="The job's id.")],  # noqa: A002 - GraphQL's word
    ) -> AsyncIterator[Job]:
        """Watch one job."""
        context = info.context
        job_id = node_ids.decode(node_ids.JOB, id)
        source = context.service.jobs.watch(context.actor, job_id)
        return context.follow(token_changes.READ, source, Job.of)

    @strawberry.subscription(
        description="What happens to tokens within reach, oldest first, for ever. The first "
        "message tells where it begins: what is queried after it is not older. " + _ENDS + " Needs "
        "`tokens:read`."
    )
    async def token_events(
        self,
        info: Info,
        after: Cursor = None,
        account_id: Annotated[
            strawberry.ID | None,
            strawberry.argument(
                description="Of this account's tokens alone; absent or null is all within reach."
            ),
        ] = None,
    ) -> AsyncIterator[TokenEvent]:
        """Watch the trail of tokens."""
        context = info.context
        owner_id = node_ids.decode_optional(node_ids.ACCOUNT, account_id)
        source = trail_steps.watch(
            context.service.trail, context.actor, "token", after=after, account_id=owner_id
        )
        return context.follow(trail.SCOPES["token"], source, TokenEvent.of)

    @strawberry.subscription(
        description="What happens to accounts within reach, one's own among them, oldest first, "
        "for ever. The first message tells where it begins. " + _ENDS + " Needs `accounts:read`."
    )
    async def account_events(self, info: Info, after: Cursor = None) -> AsyncIterator[AccountEvent]:
        """Watch the trail of accounts."""
        context = info.context
        source = trail_steps.watch(context.service.trail, context.actor, "account", after=after)
        return context.follow(trail.SCOPES["account"], source, AccountEvent.of)
