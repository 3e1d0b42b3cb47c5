"""Mutations of accounts."""

from typing import Annotated, Self

import strawberry

from schema import node_ids
from schema.account_inputs import (
    CloseAccountInput,
    CreateAccountInput,
    ResumeAccountInput,
    SuspendAccountInput,
    UpdateAccountInput,
)
from schema.account_types import Account
from schema.context import Info
from schema.propagation_types import Propagation
from schema.results import TellsRefusals, UserError, user_errors_field
from service.accounts import Changed


@strawberry.type(description="A new account.")
class CreateAccountPayload:
    """A new account."""

    account: Account | None = strawberry.field(default=None, description="The new account.")
    user_errors: list[UserError] = user_errors_field()


@strawberry.type
class ChangedAccount:
    """What changes of an account have in common; each payload is a type of its own."""

    account: Account | None = strawberry.field(default=None, description="The account.")
    propagation: Propagation | None = strawberry.field(
        default=None, description="How far the change has come."
    )
    user_errors: list[UserError] = user_errors_field()

    @classmethod
    def of(cls, result: Changed) -> Self:
        """Build one."""
        return cls(
            account=Account.of(result.account),
            propagation=Propagation.of_optional(result.propagation),
        )


@strawberry.type(description="An account after a change, and the receipt where it was narrowed.")
class UpdateAccountPayload(ChangedAccount):
    """A changed account."""


@strawberry.type(description="A suspended account, and the receipt.")
class SuspendAccountPayload(ChangedAccount):
    """A suspended account."""


@strawberry.type(description="An account that can be used again, and the receipt.")
class ResumeAccountPayload(ChangedAccount):
    """A resumed account."""


@strawberry.type(description="An account that was ended for good, and the receipt.")
class CloseAccountPayload(ChangedAccount):
    """A closed account."""


@strawberry.type(description="Changes of accounts.")
class AccountMutations:
    """What is done to accounts."""

    @strawberry.mutation(
        description="Create an account below the caller's and the first person who signs in for "
        "it. Needs `accounts:write`.",
        extensions=[TellsRefusals(CreateAccountPayload)],
    )
    async def create_account(
        self,
        info: Info,
        input: Annotated[CreateAccountInput, strawberry.argument(description="What.")],  # noqa: A002 - Relay's word
    ) -> CreateAccountPayload:
        """Create an account."""
        account = await info.context.service.accounts.create(
            info.context.actor, input.to_new_account()
        )
        return CreateAccountPayload(account=Account.of(account))

    @strawberry.mutation(
        description="Change an account's name, or what an account below the caller's may grant. "
        "Needs `accounts:write`.",
        extensions=[TellsRefusals(UpdateAccountPayload)],
    )
    async def update_account(
        self,
        info: Info,
        input: Annotated[UpdateAccountInput, strawberry.argument(description="Which, how.")],  # noqa: A002 - Relay's word
    ) -> UpdateAccountPayload:
        """Change an account."""
        return UpdateAccountPayload.of(
            await info.context.service.accounts.update(
                info.context.actor,
                node_ids.decode(node_ids.ACCOUNT, input.id),
                input.to_changes(),
                wait_for=input.wait_for,
            )
        )

    @strawberry.mutation(
        description="Refuse every token and session of an account below the caller's until it is "
        "resumed; of a reseller, its customers' as well. Harmless to repeat. Needs "
        "`accounts:write`.",
        extensions=[TellsRefusals(SuspendAccountPayload)],
    )
    async def suspend_account(
        self,
        info: Info,
        input: Annotated[SuspendAccountInput, strawberry.argument(description="Which.")],  # noqa: A002 - Relay's word
    ) -> SuspendAccountPayload:
        """Suspend an account."""
        account_id = node_ids.decode(node_ids.ACCOUNT, input.id)
        return SuspendAccountPayload.of(
            await info.context.service.accounts.suspend(
                info.context.actor, account_id, wait_for=input.wait_for
            )
        )

    @strawberry.mutation(
        description="Let a suspended account be used again, whoever suspended it. What is "
        "suspended by itself stays so: a token, or a customer of this reseller. Harmless to "
        "repeat. Needs `accounts:write`.",
        extensions=[TellsRefusals(ResumeAccountPayload)],
    )
    async def resume_account(
        self,
        info: Info,
        input: Annotated[ResumeAccountInput, strawberry.argument(description="Which.")],  # noqa: A002 - Relay's word
    ) -> ResumeAccountPayload:
        """Resume an account."""
        account_id = node_ids.decode(node_ids.ACCOUNT, input.id)
        return ResumeAccountPayload.of(
            await info.context.service.accounts.resume(
                info.context.actor, account_id, wait_for=input.wait_for
            )
        )

    @strawberry.mutation(
        description="End an account below the caller's for good; a reseller's customers can be "
        "used no more either. Harmless to repeat. Needs `accounts:write`.",
        extensions=[TellsRefusals(CloseAccountPayload)],
    )
    async def close_account(
        self,
        info: Info,
        input: Annotated[CloseAccountInput, strawberry.argument(description="Which.")],  # noqa: A002 - Relay's word
    ) -> CloseAccountPayload:
        """Close an account."""
        return CloseAccountPayload.of(
            await info.context.service.accounts.close(
                info.context.actor,
                node_ids.decode(node_ids.ACCOUNT, input.id),
                expected_name=input.expected_name,
                wait_for=input.wait_for,
            )
        )
