"""Queries of sessions."""

import strawberry

from schema.context import Info
from schema.relay import After, First
from schema.session_types import SessionConnection
from service.paging import PageRequest


@strawberry.type(description="What can be read of sessions.")
class SessionQueries:
    """Reading sessions."""

    @strawberry.field(
        description="Where the person who asks is signed in, the newest session first; those of "
        "others are never told. Only a person who is signed in can ask."
    )
    async def sessions(self, info: Info, first: First, after: After = None) -> SessionConnection:
        """Read one page of one's own sessions."""
        actor = info.context.actor
        page = await info.context.service.sessions.page(actor, PageRequest(first, after))
        return SessionConnection.of(page, actor.token_id)
