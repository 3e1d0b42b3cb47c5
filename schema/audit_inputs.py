"""What is asked of the audit trail."""

from datetime import datetime

import strawberry

from schema import node_ids
from service.access.trail import EventFilter
from service.errors import NotFound


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
        default=None, description="What one account did, in whosever trail within reach."
    )
    occurred_after: datetime | None = strawberry.field(
        default=None, description="At this instant or later; with its time zone."
    )
    occurred_before: datetime | None = strawberry.field(
        default=None, description="Earlier than this instant; with its time zone."
    )

    def to_filter(self) -> EventFilter:
        """Return the domain's filter."""
        subject = None if self.subject_id is None else node_ids.split(self.subject_id)
        if self.subject_id is not None and subject is None:
            raise NotFound
        return EventFilter(
            account_id=node_ids.decode_optional(node_ids.ACCOUNT, self.account_id),
            subject_id=subject and subject[1],
            actions=None if self.actions is None else tuple(self.actions),
            actor_account_id=node_ids.decode_optional(node_ids.ACCOUNT, self.actor_account_id),
            occurred_after=self.occurred_after,
            occurred_before=self.occurred_before,
        )
