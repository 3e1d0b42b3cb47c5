"""What is asked of members."""

import strawberry

from schema.enums import MemberRole, PropagationWait
from schema.propagation_types import WAIT_FOR


@strawberry.input(description="Somebody who shall sign in for an account.")
class InviteMemberInput:
    """An invitation."""

    email: str = strawberry.field(
        description="One plain address, at most 254 characters, that signs in nowhere yet."
    )
    role: MemberRole = strawberry.field(
        description="What they may do; never more than the caller's credential."
    )
    account_id: strawberry.ID | None = strawberry.field(
        default=None, description="For which account; absent is the caller's own."
    )


@strawberry.input(description="A member who has not set a password yet.")
class ResendInvitationInput:
    """An invitation to send again."""

    id: strawberry.ID = strawberry.field(description="The member.")


@strawberry.input(description="A change of a member.")
class UpdateMemberInput:
    """A change of a member."""

    id: strawberry.ID = strawberry.field(description="The member.")
    role: MemberRole = strawberry.field(description="What they may do from now on.")
    expected_version: int | None = strawberry.field(
        default=None, description="Refuse unless the member is at this version."
    )
    wait_for: PropagationWait | None = WAIT_FOR


@strawberry.input(description="A member to remove for good.")
class RemoveMemberInput:
    """A member to remove."""

    id: strawberry.ID = strawberry.field(description="The member.")
    wait_for: PropagationWait | None = WAIT_FOR
