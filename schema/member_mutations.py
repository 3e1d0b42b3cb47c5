"""Mutations of members."""

from typing import Annotated, Self

import strawberry

from schema import node_ids
from schema.context import Info
from schema.member_inputs import (
    InviteMemberInput,
    RemoveMemberInput,
    ResendInvitationInput,
    UpdateMemberInput,
)
from schema.member_types import Member
from schema.propagation_types import Propagation
from schema.results import TellsRefusals, UserError, user_errors_field
from service.members import Changed


@strawberry.type
class _Invited:
    """What invitations have in common; each payload is a type of its own."""

    member: Member | None = strawberry.field(
        default=None, description="The member; the e-mail follows within seconds."
    )
    user_errors: list[UserError] = user_errors_field()


@strawberry.type(description="Somebody who was invited.")
class InviteMemberPayload(_Invited):
    """Somebody who was invited."""


@strawberry.type(description="Somebody who was invited again.")
class ResendInvitationPayload(_Invited):
    """Somebody who was invited again."""


@strawberry.type
class _Changed:
    """What changes of a member have in common; each payload is a type of its own."""

    member: Member | None = strawberry.field(default=None, description="The member.")
    propagation: Propagation | None = strawberry.field(
        default=None,
        description="How far the end of their sessions has come; null where none was live.",
    )
    user_errors: list[UserError] = user_errors_field()

    @classmethod
    def of(cls, result: Changed) -> Self:
        """Build one."""
        return cls(
            member=Member.of(result.member), propagation=Propagation.of_optional(result.propagation)
        )


@strawberry.type(description="A member in another role, and the receipt of their sessions' end.")
class UpdateMemberPayload(_Changed):
    """A changed member."""


@strawberry.type(description="A member who was removed, and the receipt of their sessions' end.")
class RemoveMemberPayload(_Changed):
    """A removed member."""


@strawberry.type(description="Changes of members.")
class MemberMutations:
    """What is done to members."""

    @strawberry.mutation(
        description="Invite somebody to sign in for an account: they are sent a link to choose a "
        "password, which works once, within 7 days. An account has at most 100 members. Needs "
        "`members:write`, of a person a password that was entered within ten minutes, and for "
        "one's own account a person who is signed in.",
        extensions=[TellsRefusals(InviteMemberPayload)],
    )
    async def invite_member(
        self,
        info: Info,
        input: Annotated[InviteMemberInput, strawberry.argument(description="Whom.")],  # noqa: A002 - Relay's word
    ) -> InviteMemberPayload:
        """Invite somebody."""
        member = await info.context.service.members.invite(
            info.context.actor,
            input.email,
            input.role,
            account_id=node_ids.decode_optional(node_ids.ACCOUNT, input.account_id),
        )
        return InviteMemberPayload(member=Member.of(member))

    @strawberry.mutation(
        description="Send somebody who has not set a password yet a new link, in place of the one "
        "before; at most once a minute. Needs what `inviteMember` needs, but no password.",
        extensions=[TellsRefusals(ResendInvitationPayload)],
    )
    async def resend_invitation(
        self,
        info: Info,
        input: Annotated[ResendInvitationInput, strawberry.argument(description="Whom.")],  # noqa: A002 - Relay's word
    ) -> ResendInvitationPayload:
        """Invite somebody again."""
        member = await info.context.service.members.invite_again(
            info.context.actor, node_ids.decode(node_ids.MEMBER, input.id)
        )
        return ResendInvitationPayload(member=Member.of(member))

    @strawberry.mutation(
        description="Give a member another role. All of their sessions end: they sign in again, "
        "with the rights of the new one. Nobody changes their own, and an account keeps an owner "
        "who can sign in. Needs what `inviteMember` needs.",
        extensions=[TellsRefusals(UpdateMemberPayload)],
    )
    async def update_member(
        self,
        info: Info,
        input: Annotated[UpdateMemberInput, strawberry.argument(description="Whom, how.")],  # noqa: A002 - Relay's word
    ) -> UpdateMemberPayload:
        """Change a member."""
        return UpdateMemberPayload.of(
            await info.context.service.members.update(
                info.context.actor,
                node_ids.decode(node_ids.MEMBER, input.id),
                input.role,
                expected_version=input.expected_version,
                wait_for=input.wait_for,
            )
        )

    @strawberry.mutation(
        description="Remove a member for good, and end all of their sessions. The tokens that they "
        "made stay the account's; their address may be invited again. Harmless to repeat. Nobody "
        "removes themselves, and an account keeps an owner who can sign in. Needs what "
        "`inviteMember` needs, but no password.",
        extensions=[TellsRefusals(RemoveMemberPayload)],
    )
    async def remove_member(
        self,
        info: Info,
        input: Annotated[RemoveMemberInput, strawberry.argument(description="Whom.")],  # noqa: A002 - Relay's word
    ) -> RemoveMemberPayload:
        """Remove a member."""
        return RemoveMemberPayload.of(
            await info.context.service.members.remove(
                info.context.actor,
                node_ids.decode(node_ids.MEMBER, input.id),
                wait_for=input.wait_for,
            )
        )
