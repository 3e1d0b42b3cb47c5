"""The receipt of a change that takes something away, and waiting for it."""

from datetime import datetime
from typing import Self

import strawberry

from schema import node_ids
from schema.enums import PropagationState, PropagationWait
from schema.relay import Node
from service.receipts import Propagation as PropagationRow
from service.receipts import Vanished as VanishedRow

WAIT_FOR: PropagationWait | None = strawberry.field(
    default=None, description="Wait for this before answering; absent does not wait."
)


@strawberry.type(
    description="A validator that has not said that it applied a change, and has gone silent."
)
class VanishedValidator:
    """A silent validator."""

    name: str = strawberry.field(
        description="Random, new with each process; its log tells it when it opens."
    )
    last_heard_at: datetime = strawberry.field(description="When it was last heard.")
    leases_dead_at: datetime = strawberry.field(
        description="From when it accepts nothing that was taken away, whatever became of it."
    )

    @classmethod
    def of(cls, row: VanishedRow) -> Self:
        """Build one."""
        return cls(
            name=row.name, last_heard_at=row.last_heard_at, leases_dead_at=row.leases_dead_at
        )


@strawberry.type(
    description="The receipt of a change that takes something away, such as a revoke, and how far "
    "it has come. It is kept for a day, a job's as long as the job: ask `propagation`, or watch "
    "`revocationProgress`."
)
class Propagation(Node):
    """How far a narrowing has come."""

    state: PropagationState = strawberry.field(description="How far it has come.")
    confirmed_at: datetime | None = strawberry.field(description="When it was confirmed.")
    effective_everywhere_by: datetime = strawberry.field(
        description="The instant after which no validator accepts what was taken away, whatever "
        "fails: the published staleness bound."
    )
    validators_known: int = strawberry.field(
        description="How many validators were heard within the bound; 0 while that is not known."
    )
    validators_applied: int = strawberry.field(
        description="How many of them have said that they applied it."
    )
    vanished_validators: list[VanishedValidator] = strawberry.field(
        description="Those that have not, and have been silent for two seconds or more."
    )

    @classmethod
    def of_optional(cls, row: PropagationRow | None) -> Self | None:
        """Build one where something was taken away."""
        return None if row is None else cls.of(row)

    @classmethod
    def of(cls, row: PropagationRow) -> Self:
        """Build one."""
        return cls(
            id=strawberry.ID(node_ids.encode(node_ids.PROPAGATION, row.receipt.id)),
            state=row.state,
            confirmed_at=row.receipt.confirmed_at,
            effective_everywhere_by=row.effective_everywhere_by,
            validators_known=row.known,
            validators_applied=row.applied,
            vanished_validators=[VanishedValidator.of(one) for one in row.vanished],
        )
