"""Mutations of sessions: signing in and out."""

from typing import Annotated

import strawberry

from schema.context import Info
from schema.results import TellsRefusals, UserError, user_errors_field
from schema.session_inputs import SessionTransport, SignInInput


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


@strawberry.type(description="Signing in and out.")
class SessionMutations:
    """What people do to their sessions."""

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
