"""Mutations of tokens."""

from typing import Annotated

import strawberry

from schema import node_ids
from schema.enums import RevocationReason, TokenWarning
from schema.inputs import (
    CreateTokenInput,
    RenameTokenInput,
    RevokeTokenInput,
    TokenIdInput,
    UpdateTokenInput,
)
from schema.results import TellsRefusals, UserError, user_errors_field
from schema.types import ApiToken, Info, Propagation
from service.tokens import Changed


@strawberry.type(description="A new token and, this once, its secret.")
class CreateTokenPayload:
    """A new token."""

    token: ApiToken | None = strawberry.field(default=None, description="The new token.")
    secret: str | None = strawberry.field(
        default=None, description="The secret. It is stored nowhere and never told again."
    )
    warnings: list[TokenWarning] = strawberry.field(
        default_factory=list, description="What was done although it is advised against."
    )
    user_errors: list[UserError] = user_errors_field()


@strawberry.type(description="A token after its renaming.")
class RenameTokenPayload:
    """A renamed token."""

    token: ApiToken | None = strawberry.field(default=None, description="The token.")
    user_errors: list[UserError] = user_errors_field()


@strawberry.type(description="A token after a change of what it may do, and the receipt.")
class ChangeTokenPayload:
    """A changed token."""

    token: ApiToken | None = strawberry.field(default=None, description="The token.")
    propagation: Propagation | None = strawberry.field(
        default=None, description="How far the change has come."
    )
    user_errors: list[UserError] = user_errors_field()


def changed(result: Changed) -> ChangeTokenPayload:
    """Return the payload of a change."""
    return ChangeTokenPayload(
        token=ApiToken.of(result.token), propagation=Propagation.of(result.propagation)
    )


@strawberry.type(description="Changes of tokens.")
class TokenMutations:
    """What is done to tokens."""

    @strawberry.mutation(
        description="Create a token and tell its secret, this once. Needs `tokens:write`.",
        extensions=[TellsRefusals(CreateTokenPayload)],
    )
    async def create_token(
        self,
        info: Info,
        input: Annotated[CreateTokenInput, strawberry.argument(description="What.")],  # noqa: A002 - Relay's word
    ) -> CreateTokenPayload:
        """Create a token."""
        created = await info.context.service.tokens.create(info.context.actor, input.to_new_token())
        return CreateTokenPayload(
            token=ApiToken.of(created.token),
            secret=created.secret,
            warnings=list(created.warnings),
        )

    @strawberry.mutation(
        description="Change a token's name and nothing else of it. Needs `tokens:write`.",
        extensions=[TellsRefusals(RenameTokenPayload)],
    )
    async def rename_token(
        self,
        info: Info,
        input: Annotated[RenameTokenInput, strawberry.argument(description="What.")],  # noqa: A002 - Relay's word
    ) -> RenameTokenPayload:
        """Rename a token."""
        renamed = await info.context.service.tokens.rename(
            info.context.actor,
            node_ids.decode(node_ids.TOKEN, input.id),
            input.name,
            expected_version=input.expected_version,
        )
        return RenameTokenPayload(token=ApiToken.of(renamed.token))

    @strawberry.mutation(
        description="Narrow a token: fewer scopes, fewer addresses, an earlier expiry. It can "
        "never widen one. Needs `tokens:write`.",
        extensions=[TellsRefusals(ChangeTokenPayload)],
    )
    async def update_token(
        self,
        info: Info,
        input: Annotated[UpdateTokenInput, strawberry.argument(description="What.")],  # noqa: A002 - Relay's word
    ) -> ChangeTokenPayload:
        """Narrow a token."""
        return changed(
            await info.context.service.tokens.update(
                info.context.actor,
                node_ids.decode(node_ids.TOKEN, input.id),
                input.to_changes(),
                expected_version=input.expected_version,
            )
        )

    @strawberry.mutation(
        description="Refuse a token until it is resumed. Needs `tokens:write`.",
        extensions=[TellsRefusals(ChangeTokenPayload)],
    )
    async def suspend_token(
        self,
        info: Info,
        input: Annotated[TokenIdInput, strawberry.argument(description="Which.")],  # noqa: A002 - Relay's word
    ) -> ChangeTokenPayload:
        """Suspend a token."""
        token_id = node_ids.decode(node_ids.TOKEN, input.id)
        return changed(await info.context.service.tokens.suspend(info.context.actor, token_id))

    @strawberry.mutation(
        description="Let a suspended token be used again. Needs `tokens:write`.",
        extensions=[TellsRefusals(ChangeTokenPayload)],
    )
    async def resume_token(
        self,
        info: Info,
        input: Annotated[TokenIdInput, strawberry.argument(description="Which.")],  # noqa: A002 - Relay's word
    ) -> ChangeTokenPayload:
        """Resume a token."""
        token_id = node_ids.decode(node_ids.TOKEN, input.id)
        return changed(await info.context.service.tokens.resume(info.context.actor, token_id))

    @strawberry.mutation(
        description="End a token for good. Once this returns, no validator accepts it later than "
        "`propagation.effectiveEverywhereBy`. Harmless to repeat. Needs `tokens:write`.",
        extensions=[TellsRefusals(ChangeTokenPayload)],
    )
    async def revoke_token(
        self,
        info: Info,
        input: Annotated[RevokeTokenInput, strawberry.argument(description="Which.")],  # noqa: A002 - Relay's word
    ) -> ChangeTokenPayload:
        """Revoke a token."""
        return changed(
            await info.context.service.tokens.revoke(
                info.context.actor,
                node_ids.decode(node_ids.TOKEN, input.id),
                reason=RevocationReason[input.reason.name],
            )
        )
