"""Mutations of tokens."""

from typing import Annotated, Self

import strawberry

from schema import node_ids
from schema.context import Info
from schema.enums import RevocationReason, TokenWarning
from schema.propagation_types import Propagation
from schema.results import TellsRefusals, UserError, user_errors_field
from schema.token_change_inputs import UpdateTokenInput, WidenTokenInput
from schema.token_inputs import (
    CancelTokenRotationInput,
    CompleteTokenRotationInput,
    CreateTokenInput,
    RenameTokenInput,
    ResumeTokenInput,
    RevokeTokenInput,
    RevokeViewerTokenInput,
    RotateTokenInput,
    SuspendTokenInput,
)
from schema.token_types import ApiToken
from service.tokens import Changed


@strawberry.type(description="A new token and, this once, its secret.")
class CreateTokenPayload:
    """A new token."""

    token: ApiToken | None = strawberry.field(default=None, description="The new token.")
    secret: str | None = strawberry.field(
        default=None,
        description="The secret, told this once; again only under its idempotency key.",
    )
    is_replay: bool = strawberry.field(
        default=False,
        description="Whether it was made before, under the same idempotency key.",
    )
    warnings: list[TokenWarning] = strawberry.field(
        default_factory=list, description="What was done although it is advised against."
    )
    user_errors: list[UserError] = user_errors_field()


@strawberry.type(description="A token with its new secret, told this once, and the receipt.")
class RotateTokenPayload:
    """A rotated token."""

    token: ApiToken | None = strawberry.field(default=None, description="The token.")
    secret: str | None = strawberry.field(
        default=None,
        description="The new secret, told this once; again only under its idempotency key.",
    )
    is_replay: bool = strawberry.field(
        default=False,
        description="Whether it was made before, under the same idempotency key.",
    )
    propagation: Propagation | None = strawberry.field(
        default=None, description="How far the end of the old secret has come."
    )
    user_errors: list[UserError] = user_errors_field()


@strawberry.type(description="A token after its renaming.")
class RenameTokenPayload:
    """A renamed token."""

    token: ApiToken | None = strawberry.field(default=None, description="The token.")
    user_errors: list[UserError] = user_errors_field()


@strawberry.type
class _Changed:
    """What changes of a token have in common; each payload is a type of its own, to grow alone."""

    token: ApiToken | None = strawberry.field(default=None, description="The token.")
    propagation: Propagation | None = strawberry.field(
        default=None, description="How far the change has come."
    )
    user_errors: list[UserError] = user_errors_field()

    @classmethod
    def of(cls, result: Changed) -> Self:
        """Build one."""
        return cls(
            token=ApiToken.of(result.token), propagation=Propagation.of_optional(result.propagation)
        )


@strawberry.type(description="A token after a narrowing, and the receipt where it was narrowed.")
class UpdateTokenPayload(_Changed):
    """A narrowed token."""


@strawberry.type(description="A token after it was given more, and the receipt.")
class WidenTokenPayload(_Changed):
    """A widened token."""


@strawberry.type(description="A suspended token, and the receipt.")
class SuspendTokenPayload(_Changed):
    """A suspended token."""


@strawberry.type(description="A token that can be used again, and the receipt.")
class ResumeTokenPayload(_Changed):
    """A resumed token."""


@strawberry.type(description="A token that was ended for good, and the receipt.")
class RevokeTokenPayload(_Changed):
    """A revoked token."""


@strawberry.type(description="The token that called, ended for good, and the receipt.")
class RevokeViewerTokenPayload(_Changed):
    """A token that ended itself."""


@strawberry.type(description="A token with its new secret alone, and the receipt.")
class CompleteTokenRotationPayload(_Changed):
    """A token whose rotation is over."""


@strawberry.type(description="A token with its old secret alone, and the receipt.")
class CancelTokenRotationPayload(_Changed):
    """A token whose rotation was called off."""


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
        created = await info.context.service.tokens.create(
            info.context.actor, input.to_new_token(), idempotency_key=input.idempotency_key
        )
        return CreateTokenPayload(
            token=ApiToken.of(created.token),
            secret=created.secret,
            is_replay=created.is_replay,
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
        description="Narrow a token: fewer scopes, addresses or audiences, an earlier expiry, a "
        "later beginning; or write something else about it. It can never widen one, and leaves no "
        "receipt where it narrows nothing. Needs `tokens:write`.",
        extensions=[TellsRefusals(UpdateTokenPayload)],
    )
    async def update_token(
        self,
        info: Info,
        input: Annotated[UpdateTokenInput, strawberry.argument(description="What.")],  # noqa: A002 - Relay's word
    ) -> UpdateTokenPayload:
        """Narrow a token."""
        return UpdateTokenPayload.of(
            await info.context.service.tokens.update(
                info.context.actor,
                node_ids.decode(node_ids.TOKEN, input.id),
                input.to_changes(),
                expected_version=input.expected_version,
                wait_for=input.wait_for,
            )
        )

    @strawberry.mutation(
        description="Give a token more than it has: scopes, addresses, audiences, a later expiry, "
        "an earlier beginning; as far as a new token of its account may have them. Only a person "
        "who is signed in, has entered their password within ten minutes and may do all that the "
        "token may can do this. Needs `tokens:write`.",
        extensions=[TellsRefusals(WidenTokenPayload)],
    )
    async def widen_token(
        self,
        info: Info,
        input: Annotated[WidenTokenInput, strawberry.argument(description="Which, how.")],  # noqa: A002 - Relay's word
    ) -> WidenTokenPayload:
        """Widen a token."""
        return WidenTokenPayload.of(
            await info.context.service.tokens.widen(
                info.context.actor,
                node_ids.decode(node_ids.TOKEN, input.id),
                input.to_widening(),
                expected_version=input.expected_version,
                wait_for=input.wait_for,
            )
        )

    @strawberry.mutation(
        description="Refuse a token until it is resumed. Needs `tokens:write`.",
        extensions=[TellsRefusals(SuspendTokenPayload)],
    )
    async def suspend_token(
        self,
        info: Info,
        input: Annotated[SuspendTokenInput, strawberry.argument(description="Which.")],  # noqa: A002 - Relay's word
    ) -> SuspendTokenPayload:
        """Suspend a token."""
        token_id = node_ids.decode(node_ids.TOKEN, input.id)
        return SuspendTokenPayload.of(
            await info.context.service.tokens.suspend(
                info.context.actor, token_id, wait_for=input.wait_for
            )
        )

    @strawberry.mutation(
        description="Let a suspended token be used again. Needs `tokens:write`.",
        extensions=[TellsRefusals(ResumeTokenPayload)],
    )
    async def resume_token(
        self,
        info: Info,
        input: Annotated[ResumeTokenInput, strawberry.argument(description="Which.")],  # noqa: A002 - Relay's word
    ) -> ResumeTokenPayload:
        """Resume a token."""
        token_id = node_ids.decode(node_ids.TOKEN, input.id)
        return ResumeTokenPayload.of(
            await info.context.service.tokens.resume(
                info.context.actor, token_id, wait_for=input.wait_for
            )
        )

    @strawberry.mutation(
        description="End a token for good. Once this returns, no validator accepts it later than "
        "`propagation.effectiveEverywhereBy`. Harmless to repeat. Needs `tokens:write`.",
        extensions=[TellsRefusals(RevokeTokenPayload)],
    )
    async def revoke_token(
        self,
        info: Info,
        input: Annotated[RevokeTokenInput, strawberry.argument(description="Which.")],  # noqa: A002 - Relay's word
    ) -> RevokeTokenPayload:
        """Revoke a token."""
        return RevokeTokenPayload.of(
            await info.context.service.tokens.revoke(
                info.context.actor,
                node_ids.decode(node_ids.TOKEN, input.id),
                reason=RevocationReason[input.reason.name],
                wait_for=input.wait_for,
            )
        )

    @strawberry.mutation(
        description="End the token that calls, for good: who holds a token may always give it up, "
        "whatever its scopes. A person signs out instead.",
        extensions=[TellsRefusals(RevokeViewerTokenPayload)],
    )
    async def revoke_viewer_token(
        self,
        info: Info,
        input: Annotated[RevokeViewerTokenInput, strawberry.argument(description="Why.")],  # noqa: A002 - Relay's word
    ) -> RevokeViewerTokenPayload:
        """Revoke the token that calls."""
        return RevokeViewerTokenPayload.of(
            await info.context.service.tokens.revoke_own(
                info.context.actor,
                reason=RevocationReason[input.reason.name],
                wait_for=input.wait_for,
            )
        )

    @strawberry.mutation(
        description="Give a token a new secret and tell it, this once; the old one stays valid for "
        "a while. The token's expiry stays as it is. Needs `tokens:write`, and no fewer rights "
        "than the token has.",
        extensions=[TellsRefusals(RotateTokenPayload)],
    )
    async def rotate_token(
        self,
        info: Info,
        input: Annotated[RotateTokenInput, strawberry.argument(description="Which, how.")],  # noqa: A002 - Relay's word
    ) -> RotateTokenPayload:
        """Rotate a token."""
        rotated = await info.context.service.rotations.begin(
            info.context.actor,
            input.to_rotation(),
            idempotency_key=input.idempotency_key,
            wait_for=input.wait_for,
        )
        return RotateTokenPayload(
            token=ApiToken.of(rotated.token),
            secret=rotated.secret,
            is_replay=rotated.is_replay,
            propagation=Propagation.of_optional(rotated.propagation),
        )

    @strawberry.mutation(
        description="End the old secret of a rotation now; the new one stays. By itself that "
        "happens when the grace is over, or when the new one is used and the old one has been "
        "silent for a while. Needs `tokens:write`.",
        extensions=[TellsRefusals(CompleteTokenRotationPayload)],
    )
    async def complete_token_rotation(
        self,
        info: Info,
        input: Annotated[CompleteTokenRotationInput, strawberry.argument(description="Which.")],  # noqa: A002 - Relay's word
    ) -> CompleteTokenRotationPayload:
        """Complete a rotation."""
        token_id = node_ids.decode(node_ids.TOKEN, input.id)
        return CompleteTokenRotationPayload.of(
            await info.context.service.rotations.complete(
                info.context.actor, token_id, wait_for=input.wait_for
            )
        )

    @strawberry.mutation(
        description="Call a rotation off: the new secret ends now, the old one stays as it was. "
        "Only a person who is signed in can do this. Needs `tokens:write`.",
        extensions=[TellsRefusals(CancelTokenRotationPayload)],
    )
    async def cancel_token_rotation(
        self,
        info: Info,
        input: Annotated[CancelTokenRotationInput, strawberry.argument(description="Which.")],  # noqa: A002 - Relay's word
    ) -> CancelTokenRotationPayload:
        """Cancel a rotation."""
        token_id = node_ids.decode(node_ids.TOKEN, input.id)
        return CancelTokenRotationPayload.of(
            await info.context.service.rotations.cancel(
                info.context.actor, token_id, wait_for=input.wait_for
            )
        )
