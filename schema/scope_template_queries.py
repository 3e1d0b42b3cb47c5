"""Queries of templates of scopes."""

from typing import Annotated

import strawberry

from schema import node_ids
from schema.context import Info
from schema.scope_template_types import ScopeTemplate


@strawberry.type(description="What can be read of templates of scopes.")
class ScopeTemplateQueries:
    """Reading templates."""

    @strawberry.field(
        description="The templates that an account is offered, at most 150: the platform's, its "
        "reseller's, its own, each by name; none where the account is not within reach. Needs "
        "`tokens:read`."
    )
    async def scope_templates(
        self,
        info: Info,
        account_id: Annotated[
            strawberry.ID | None,
            strawberry.argument(description="The account; absent is the caller's own."),
        ] = None,
    ) -> list[ScopeTemplate]:
        """List templates."""
        found = await info.context.service.scope_templates.offered(
            info.context.actor, node_ids.decode_optional(node_ids.ACCOUNT, account_id)
        )
        return [ScopeTemplate.of(row) for row in found]
