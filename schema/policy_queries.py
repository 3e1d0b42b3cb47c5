"""Queries of policies."""

from typing import Annotated

import strawberry

from schema import node_ids
from schema.context import Info
from schema.policy_inputs import PolicyRulesInput
from schema.policy_types import AccountPolicy, PolicyPreview
from schema.relay import After, First
from schema.results import MissingIsNull
from service.paging import PageRequest

AccountId = Annotated[
    strawberry.ID | None,
    strawberry.argument(description="The account; absent is the caller's own."),
]


@strawberry.type(description="What can be read of policies.")
class PolicyQueries:
    """Reading policies."""

    @strawberry.field(
        description="What is asked of an account's tokens; null where there is no such account "
        "within reach. Another than one's own needs `accounts:read`.",
        extensions=[MissingIsNull()],
    )
    async def policy(self, info: Info, account_id: AccountId = None) -> AccountPolicy | None:
        """Read what binds an account."""
        found = await info.context.service.policies.get(
            info.context.actor, node_ids.decode_optional(node_ids.ACCOUNT, account_id)
        )
        return AccountPolicy.of(found)

    @strawberry.field(
        description="Which live tokens of an account, and of all below it, would break the rules "
        "of the caller's level, were these set; null where there is no such account within reach. "
        "Changes nothing. Needs `tokens:read`.",
        extensions=[MissingIsNull()],
    )
    async def preview_policy(
        self,
        info: Info,
        rules: Annotated[
            PolicyRulesInput,
            strawberry.argument(description="At least one rule; the others stay as they are."),
        ],
        first: First,
        after: After = None,
        account_id: AccountId = None,
    ) -> PolicyPreview | None:
        """Look at what a policy would break."""
        preview = await info.context.service.policies.preview(
            info.context.actor,
            node_ids.decode_optional(node_ids.ACCOUNT, account_id),
            rules.to_changes(),
            PageRequest(first, after),
        )
        return PolicyPreview.of(preview)
