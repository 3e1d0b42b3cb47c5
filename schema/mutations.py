"""Mutation: each with one Input, one Payload, one call into ``service``."""

from typing import Annotated

import strawberry

from schema import node_ids
from schema.enums import RevocationReason, TokenWarning
from schema.inputs import (
    CreateAccountInput,
    CreateTokenInput,
    RenameTokenInput,
    RevokeTokenInput,
    SessionTransport,
    SignInInput,
    TokenIdInput,
    UpdateTokenInput,
)
from schema.results import TellsRefusals, UserError, user_errors_field
from schema.types import Account, ApiToken, Info, Propagation
from service.tokens import Changed


@strawberry.type(description="The outcome of signing in.")
class SignInPayload:
    """The outcome of signing in."""

    session_secret: str | None = strawberry.field(
        default=None,
        description="With `transport: BEARER` the session's secret, told this once; else null.",
    )
    user_errors: list[UserError] = user_errors_field()


@strawberry.type(description="The outcome of signing out.")
class SignOutPayload:
    """The outcome of signing out."""

    user_errors: list[UserError] = user_errors_field()


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


@strawberry.type(description="A new account.")
class CreateAccountPayload:
    """A new account."""

    account: Account | None = strawberry.field(default=None, description="The new account.")
    user_errors: list[UserError] = user_errors_field()


def changed(result: Changed) -> ChangeTokenPayload:
    """Return the payload of a change."""
    return ChangeTokenPayload(
        token=ApiToken.of(result.token), propagation=Propagation.of(result.propagation)
    )


@strawberry.type(description="What can be changed.")
class Mutation:
    """The mutation root."""

    @strawberry.mutation(
        description="Begin a session of a person.", extensions=[TellsRefusals(SignInPayload)]
    )
    async def sign_in(
        self,
        info: Info,
        input: Annotated[SignInInput, strawberry.argument(description="Who.")],  # noqa: A002 - Relay's word
    ) -> SignInPayload:
        """Begin a session."""
        context = info.context
        signed_in = await context.service.sessions.sign_in(
            input.email, input.password, address=context.address, request_id=context.request_id
        )
        if input.transport is SessionTransport.BEARER:
            return SignInPayload(session_secret=signed_in.secret.text)
        context.set_session_cookie(signed_in)
        return SignInPayload()

    @strawberry.mutation(
        description="End the session that the caller used, everywhere. Harmless to repeat.",
        extensions=[TellsRefusals(SignOutPayload)],
    )
    async def sign_out(self, info: Info) -> SignOutPayload:
        """End a session."""
        if info.context.caller is not None:
            await info.context.service.sessions.sign_out(info.context.caller)
        info.context.clear_session_cookie()
        return SignOutPayload()

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
