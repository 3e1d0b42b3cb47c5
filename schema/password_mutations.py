"""Mutations of passwords; none of them ever tells one."""

from datetime import datetime
from typing import Annotated

import strawberry

from schema.context import Info
from schema.password_inputs import (
    ChangePasswordInput,
    ConfirmPasswordInput,
    RequestPasswordResetInput,
    ResetPasswordInput,
)
from schema.propagation_types import Propagation
from schema.results import TellsRefusals, UserError, user_errors_field


@strawberry.type
class _PasswordSet:
    """What settings of a password have in common; each payload is a type of its own."""

    propagation: Propagation | None = strawberry.field(
        default=None,
        description="How far the end of the sessions has come; null where none was live. Reading "
        "it again needs a session.",
    )
    user_errors: list[UserError] = user_errors_field()


@strawberry.type(description="The outcome of choosing another password.")
class ChangePasswordPayload(_PasswordSet):
    """The outcome of choosing another password."""


@strawberry.type(description="The outcome of setting a password by a link.")
class ResetPasswordPayload(_PasswordSet):
    """The outcome of setting a password by a link."""


@strawberry.type(description="That a link was asked for; the same for every address.")
class RequestPasswordResetPayload:
    """The outcome of asking for a link."""

    user_errors: list[UserError] = user_errors_field()


@strawberry.type(description="The outcome of entering one's password again.")
class ConfirmPasswordPayload:
    """The outcome of entering one's password again."""

    recent_until: datetime | None = strawberry.field(
        default=None, description="Until when this session may do what needs a recent password."
    )
    user_errors: list[UserError] = user_errors_field()


@strawberry.type(description="Changes of passwords.")
class PasswordMutations:
    """What people do about their passwords."""

    @strawberry.mutation(
        description="Choose another password; all other sessions of the person end. Only a person "
        "who is signed in can do this; a wrong `currentPassword` counts as a failed sign-in.",
        extensions=[TellsRefusals(ChangePasswordPayload)],
    )
    async def change_password(
        self,
        info: Info,
        input: Annotated[ChangePasswordInput, strawberry.argument(description="Both.")],  # noqa: A002 - Relay's word
    ) -> ChangePasswordPayload:
        """Change a password."""
        propagation = await info.context.service.password_changes.change(
            info.context.actor,
            input.current_password,
            input.new_password,
            wait_for=input.wait_for,
        )
        return ChangePasswordPayload(propagation=Propagation.of_optional(propagation))

    @strawberry.mutation(
        description="Have a link to set a password sent to whoever signs in with an address. It "
        "works once, within an hour; only the newest does. The answer is the same, in the same "
        "time, whether or not anybody has the address.",
        extensions=[TellsRefusals(RequestPasswordResetPayload, for_anybody=True)],
    )
    async def request_password_reset(
        self,
        info: Info,
        input: Annotated[RequestPasswordResetInput, strawberry.argument(description="Whose.")],  # noqa: A002 - Relay's word
    ) -> RequestPasswordResetPayload:
        """Ask for a link."""
        await info.context.service.password_changes.want_reset(
            input.email, address=info.context.address
        )
        return RequestPasswordResetPayload()

    @strawberry.mutation(
        description="Set a password by the link of an e-mail, once; all sessions of the person "
        "end. Nobody is signed in by it.",
        extensions=[TellsRefusals(ResetPasswordPayload, for_anybody=True)],
    )
    async def reset_password(
        self,
        info: Info,
        input: Annotated[ResetPasswordInput, strawberry.argument(description="Both.")],  # noqa: A002 - Relay's word
    ) -> ResetPasswordPayload:
        """Set a password by a link."""
        propagation = await info.context.service.password_changes.reset(
            input.secret,
            input.new_password,
            address=info.context.address,
            wait_for=input.wait_for,
        )
        return ResetPasswordPayload(propagation=Propagation.of_optional(propagation))

    @strawberry.mutation(
        description="Enter one's password again, for what needs one that was entered within ten "
        "minutes (`PASSWORD_REQUIRED`); signing in counts as well. Only a person who is signed in "
        "can do this; a wrong one counts as a failed sign-in.",
        extensions=[TellsRefusals(ConfirmPasswordPayload)],
    )
    async def confirm_password(
        self,
        info: Info,
        input: Annotated[ConfirmPasswordInput, strawberry.argument(description="It.")],  # noqa: A002 - Relay's word
    ) -> ConfirmPasswordPayload:
        """Enter a password again."""
        recent_until = await info.context.service.sessions.confirm_password(
            info.context.actor, input.password
        )
        return ConfirmPasswordPayload(recent_until=recent_until)
