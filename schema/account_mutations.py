"""Mutations of accounts."""

from typing import Annotated

import strawberry

from schema.inputs import CreateAccountInput
from schema.results import TellsRefusals, UserError, user_errors_field
from schema.types import Account, Info


@strawberry.type(description="A new account.")
class CreateAccountPayload:
    """A new account."""

    account: Account | None = strawberry.field(default=None, description="The new account.")
    user_errors: list[UserError] = user_errors_field()


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
