"""A session as its person sees it."""

from datetime import datetime
from typing import Self
from uuid import UUID

import strawberry

from schema import node_ids
from schema.relay import Edge, Node, PageInfo
from service.access.sessions import Session as SessionRow
from service.paging import Page


@strawberry.type(description="That a person is signed in somewhere.")
class Session(Node):
    """A session."""

    created_at: datetime = strawberry.field(description="When the person signed in.")
    expires_at: datetime = strawberry.field(description="When it ends by itself.")
    last_used_at: datetime | None = strawberry.field(
        description="When it was last used; it may lag by about ten seconds."
    )
    last_used_address: str | None = strawberry.field(description="From where, as far as known.")
    is_current: bool = strawberry.field(description="Whether it is the one that asks.")

    @classmethod
    def of(cls, row: SessionRow, current_id: UUID) -> Self:
        """Build one."""
        return cls(
            id=strawberry.ID(node_ids.encode(node_ids.SESSION, row.id)),
            created_at=row.created_at,
            expires_at=row.expires_at,
            last_used_at=row.last_used_at,
            last_used_address=row.last_used_address,
            is_current=row.id == current_id,
        )


@strawberry.type(name="SessionConnection", description="One page of sessions (Relay).")
class SessionConnection:
    """A page of sessions."""

    edges: list[Edge[Session]] = strawberry.field(description="The items with their cursors.")
    page_info: PageInfo = strawberry.field(description="Where the page stands.")

    @classmethod
    def of(cls, page: Page[SessionRow], current_id: UUID) -> Self:
        """Build one."""
        items = zip(page.items, page.cursors, strict=True)
        return cls(
            edges=[Edge(node=Session.of(row, current_id), cursor=cursor) for row, cursor in items],
            page_info=PageInfo.of(page),
        )
