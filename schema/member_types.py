"""A member as they are told."""

from datetime import datetime
from typing import Self

import strawberry

from schema import node_ids
from schema.enums import MemberRole
from schema.relay import Edge, Node, PageInfo
from service.access.members import Member as MemberRow
from service.paging import Page


@strawberry.type(
    description="The state of an invitation that was not accepted yet. Whoever has set no password "
    "30 days after the last one is removed, and their address may be invited again; an owner stays "
    "where the account has no other who can sign in."
)
class Invitation:
    """An invitation."""

    sent_at: datetime | None = strawberry.field(
        description="When the mail relay took it; null while it waits to be sent."
    )
    expires_at: datetime | None = strawberry.field(
        description="Until when its link works, 7 days from its sending; null while it waits."
    )
    failure: str | None = strawberry.field(
        description="Why it could not be sent, in the relay's words, at most 200 characters."
    )


@strawberry.type(description="A person who signs in for an account.")
class Member(Node):
    """A member."""

    email: str = strawberry.field(description="The address that they sign in with.")
    role: MemberRole = strawberry.field(description="What they may do.")
    created_at: datetime = strawberry.field(description="When they were invited or created.")
    removed_at: datetime | None = strawberry.field(
        description="When they were removed, for good; null for a member."
    )
    has_password: bool = strawberry.field(
        description="Whether they can sign in; false until the invitation is accepted."
    )
    password_changed_at: datetime | None = strawberry.field(
        description="When they last set a password; null where it is the first one of the account."
    )
    invitation: Invitation | None = strawberry.field(
        description="The newest invitation; null where none is open."
    )
    version: int = strawberry.field(description="Counts the changes; pass it as `expectedVersion`.")

    @classmethod
    def of(cls, row: MemberRow) -> Self:
        """Build one."""
        return cls(
            id=strawberry.ID(node_ids.encode(node_ids.MEMBER, row.id)),
            email=row.email,
            role=row.role,
            created_at=row.created_at,
            removed_at=row.disabled_at,
            has_password=row.has_password,
            password_changed_at=row.password_changed_at,
            invitation=_invitation(row),
            version=row.version,
        )


def _invitation(row: MemberRow) -> Invitation | None:
    if row.has_password or row.disabled_at is not None:
        return None
    return Invitation(
        sent_at=row.invitation_sent_at,
        expires_at=row.invitation_expires_at,
        failure=row.invitation_failure,
    )


@strawberry.type(name="MemberConnection", description="One page of members (Relay).")
class MemberConnection:
    """A page of members."""

    edges: list[Edge[Member]] = strawberry.field(description="The items with their cursors.")
    page_info: PageInfo = strawberry.field(description="Where the page stands.")

    @classmethod
    def of(cls, page: Page[MemberRow]) -> Self:
        """Build one."""
        items = zip(page.items, page.cursors, strict=True)
        return cls(
            edges=[Edge(node=Member.of(row), cursor=cursor) for row, cursor in items],
            page_info=PageInfo.of(page),
        )
