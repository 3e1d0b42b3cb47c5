"""Mutations of policies."""

from typing import Annotated

import strawberry

from schema import node_ids
from schema.context import Info
from schema.policy_inputs import SetPolicyInput
from schema.policy_types import AccountPolicy
from schema.results import TellsRefusals, UserError, user_errors_field


@strawberry.type(description="What is asked of an account's tokens from now on.")
class SetPolicyPayload:
    """A changed policy."""

    policy: AccountPolicy | None = strawberry.field(default=None, description="All that binds it.")
    user_errors: list[UserError] = user_errors_field()


@strawberry.type(description="Changes of policies.")
class PolicyMutations:
    """What is done to policies."""

    @strawberry.mutation(
        description="Change what the caller's level asks of an account's tokens, and of all below "
        "it. Each level only adds to what those above ask. Tokens that are there go on as they "
        "are; see `previewPolicy`. Only a person who is signed in can do this, and to loosen "
        "anything, one who has entered their password within 10 minutes. Needs `accounts:write`.",
        extensions=[TellsRefusals(SetPolicyPayload)],
    )
    async def set_policy(
        self,
        info: Info,
        input: Annotated[SetPolicyInput, strawberry.argument(description="Whose, what.")],  # noqa: A002 - Relay's word
    ) -> SetPolicyPayload:
        """Change a policy."""
        found = await info.context.service.policies.set(
            info.context.actor,
            node_ids.decode_optional(node_ids.ACCOUNT, input.account_id),
            input.rules.to_changes(),
            expected_version=input.expected_version,
        )
        return SetPolicyPayload(policy=AccountPolicy.of(found))
