"""The mutation of a move: a customer changes hands."""

from typing import Annotated

import strawberry

from schema import node_ids
from schema.account_mutations import ChangedAccount
from schema.context import Info
from schema.enums import PropagationWait
from schema.propagation_types import WAIT_FOR
from schema.results import TellsRefusals


@strawberry.input(description="A customer and whose it shall be.")
class MoveAccountInput:
    """A move."""

    id: strawberry.ID = strawberry.field(description="The customer.")
    reseller_id: strawberry.ID | None = strawberry.field(
        description="The reseller it goes to; null is the operator itself."
    )
    wait_for: PropagationWait | None = WAIT_FOR


@strawberry.type(description="A customer that has changed hands, and the receipt.")
class MoveAccountPayload(ChangedAccount):
    """A moved account."""


@strawberry.type(description="Moves of accounts.")
class AccountMoveMutations:
    """What the operator does to a customer's place."""

    @strawberry.mutation(
        description="Make a customer another reseller's, or the operator's own. From then on the "
        "old reseller reaches nothing of it but the trail of its own time, and the new one's caps "
        "and suspension hold. Harmless to repeat. Only a person of the operator who has entered "
        "the password within ten minutes can do this. Needs `accounts:write`.",
        extensions=[TellsRefusals(MoveAccountPayload)],
    )
    async def move_account(
        self,
        info: Info,
        input: Annotated[MoveAccountInput, strawberry.argument(description="Which, where to.")],  # noqa: A002 - Relay's word
    ) -> MoveAccountPayload:
        """Move a customer."""
        return MoveAccountPayload.of(
            await info.context.service.account_moves.move(
                info.context.actor,
                node_ids.decode(node_ids.ACCOUNT, input.id),
                node_ids.decode_optional(node_ids.ACCOUNT, input.reseller_id),
                wait_for=input.wait_for,
            )
        )
