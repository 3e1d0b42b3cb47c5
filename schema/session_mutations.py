"""Mutations of sessions: signing in and out."""

from typing import Annotated, Self

import strawberry

from schema import node_ids
from schema.context import Info
from schema.propagation_types import Propagation
from schema.results import TellsRefusals, UserError, user_errors_field
from schema.session_inputs import (
    EndOtherSessionsInput,
    EndSessionInput,
    SessionTransport,
    SignInInput,
)
from service.sessions import Ended


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


@strawberry.type
class _Ended:
    """What ends of sessions have in common; each payload is a type of its own."""

    ended_count: int = strawberry.field(default=0, description="How many were live until now.")
    propagation: Propagation | None = strawberry.field(
        default=None, description="How far their end has come; null where none was live."
    )
    user_errors: list[UserError] = user_errors_field()

    @classmethod
    def of(cls, result: Ended) -> Self:
        """Build one."""
        return cls(
            ended_count=result.count, propagation=Propagation.of_optional(result.propagation)
        )


@strawberry.type(description="The outcome of ending a session.")
class EndSessionPayload(_Ended):
    """The outcome of ending a session."""


@strawberry.type(description="The outcome of ending all sessions but the one in use.")
class EndOtherSessionsPayload(_Ended):
    """The outcome of ending the other sessions."""


@strawberry.type(description="Signing in and out.")
class SessionMutations:
    """What people do to their sessions."""

    @strawberry.mutation(
        description="Begin a session of a person.",
        extensions=[TellsRefusals(SignInPayload, for_anybody=True)],
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
        extensions=[TellsRefusals(SignOutPayload, for_anybody=True)],
    )
    async def sign_out(self, info: Info) -> SignOutPayload:
        """End a session."""
        if info.context.caller is not None:
            await info.context.service.sessions.sign_out(info.context.caller)
        info.context.clear_session_cookie()
        return SignOutPayload()

    @strawberry.mutation(
        description="End one of one's own sessions, everywhere; the one in use as well. Harmless "
        "to repeat. Only a person who is signed in can do this.",
        extensions=[TellsRefusals(EndSessionPayload)],
    )
    async def end_session(
        self,
        info: Info,
        input: Annotated[EndSessionInput, strawberry.argument(description="Which.")],  # noqa: A002 - Relay's word
    ) -> EndSessionPayload:
        """End a session of one's own."""
        ended = await info.context.service.sessions.end(
            info.context.actor,
            node_ids.decode(node_ids.SESSION, input.id),
            wait_for=input.wait_for,
        )
        return EndSessionPayload.of(ended)

    @strawberry.mutation(
        description="End all of one's own sessions but the one in use, everywhere. Harmless to "
        "repeat. Only a person who is signed in can do this.",
        extensions=[TellsRefusals(EndOtherSessionsPayload)],
    )
    async def end_other_sessions(
        self,
        info: Info,
        input: Annotated[EndOtherSessionsInput, strawberry.argument(description="How.")],  # noqa: A002 - Relay's word
    ) -> EndOtherSessionsPayload:
        """End the other sessions of one's own."""
        ended = await info.context.service.sessions.end_others(
            info.context.actor, wait_for=input.wait_for
        )
        return EndOtherSessionsPayload.of(ended)
