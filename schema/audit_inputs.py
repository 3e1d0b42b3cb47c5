"""What is asked of the audit trail."""

from datetime import datetime

import strawberry

from schema import node_ids
from service.access.trail import EventFilter


@strawberry.input(description="Which events; each field narrows further.")
class AuditEventFilter:
    """Which events."""

    account_id: strawberry.ID | None = strawberry.field(
        default=None, description="Those in the trail of one account within reach."
    )
    subject_id: strawberry.ID | None = strawberry.field(
        default=None, description="What was done to one thing; any global id."
    )
    actions: list[str] | None = strawberry.field(
        default=None, description="Any of 1–20 actions, such as `token.revoked`."
    )
    actor_account_id: strawberry.ID | None = strawberry.field(
        default=None,
        description="What one account within reach did, in whosever trail. What one beyond it did "
        "is found without this filter alone.",
    )
    occurred_after: datetime | None = strawberry.field(
        default=None, description="At this instant or later; with its time zone."
    )
    occurred_before: datetime | None = strawberry.field(
        default=None, description="Earlier than this instant; with its time zone."
    )

    def to_filter(self) -> EventFilter:
        """Return the domain's filter."""
        subject_id = None
        if self.subject_id is not None:  # of any type
            found = node_ids.split(self.subject_id)
            subject_id = node_ids.NOWHERE if found is None else found[1]
        return EventFilter(
            account_id=node_ids.decode_optional(node_ids.ACCOUNT, self.account_id),
            subject_id=subject_id,
            actions=None if self.actions is None else tuple(self.actions),
            actor_account_id=node_ids.decode_optional(node_ids.ACCOUNT, self.actor_account_id),
            occurred_after=self.occurred_after,
            occurred_before=self.occurred_before,
        )
