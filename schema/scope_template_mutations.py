"""Mutations of templates of scopes."""

from typing import Annotated

import strawberry

from schema import node_ids
from schema.context import Info
from schema.results import TellsRefusals, UserError, user_errors_field
from schema.scope_template_inputs import (
    CreateScopeTemplateInput,
    DeleteScopeTemplateInput,
    UpdateScopeTemplateInput,
)
from schema.scope_template_types import ScopeTemplate


@strawberry.type
class _Written:
    """What both writings of a template have in common; each payload is a type of its own."""

    scope_template: ScopeTemplate | None = strawberry.field(
        default=None, description="The template."
    )
    user_errors: list[UserError] = user_errors_field()


@strawberry.type(description="A new template.")
class CreateScopeTemplatePayload(_Written):
    """A new template."""


@strawberry.type(description="A template after a change.")
class UpdateScopeTemplatePayload(_Written):
    """A changed template."""


@strawberry.type(description="A template that was deleted.")
class DeleteScopeTemplatePayload:
    """A deleted template."""

    deleted_id: strawberry.ID | None = strawberry.field(
        default=None, description="The template's id."
    )
    user_errors: list[UserError] = user_errors_field()


@strawberry.type(description="Changes of templates of scopes.")
class ScopeTemplateMutations:
    """What is done to templates."""

    @strawberry.mutation(
        description="Create a template of the caller's account, which it and all below it are "
        "offered. An account has at most 50. Needs `accounts:write`.",
        extensions=[TellsRefusals(CreateScopeTemplatePayload)],
    )
    async def create_scope_template(
        self,
        info: Info,
        input: Annotated[CreateScopeTemplateInput, strawberry.argument(description="What.")],  # noqa: A002 - Relay's word
    ) -> CreateScopeTemplatePayload:
        """Create a template."""
        template = await info.context.service.scope_templates.create(
            info.context.actor, input.to_changes()
        )
        return CreateScopeTemplatePayload(scope_template=ScopeTemplate.of(template))

    @strawberry.mutation(
        description="Change a template of an account within reach, and no token that was made from "
        "it. Needs `accounts:write`.",
        extensions=[TellsRefusals(UpdateScopeTemplatePayload)],
    )
    async def update_scope_template(
        self,
        info: Info,
        input: Annotated[UpdateScopeTemplateInput, strawberry.argument(description="Which, what.")],  # noqa: A002 - Relay's word
    ) -> UpdateScopeTemplatePayload:
        """Change a template."""
        template = await info.context.service.scope_templates.update(
            info.context.actor,
            node_ids.decode(node_ids.SCOPE_TEMPLATE, input.id),
            input.to_changes(),
            expected_version=input.expected_version,
        )
        return UpdateScopeTemplatePayload(scope_template=ScopeTemplate.of(template))

    @strawberry.mutation(
        description="Delete a template of an account within reach, and no token that was made from "
        "it. Needs `accounts:write`.",
        extensions=[TellsRefusals(DeleteScopeTemplatePayload)],
    )
    async def delete_scope_template(
        self,
        info: Info,
        input: Annotated[DeleteScopeTemplateInput, strawberry.argument(description="Which.")],  # noqa: A002 - Relay's word
    ) -> DeleteScopeTemplatePayload:
        """Delete a template."""
        template_id = node_ids.decode(node_ids.SCOPE_TEMPLATE, input.id)
        await info.context.service.scope_templates.delete(info.context.actor, template_id)
        return DeleteScopeTemplatePayload(deleted_id=input.id)
