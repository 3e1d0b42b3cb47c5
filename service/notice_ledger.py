"""Use case of the ledger: who was told what of an expiry, and when, or why not."""

from dataclasses import dataclass

from service.access.actor import Actor
from service.access.door import open_door
from service.access.notice_ledger import Notice, NoticeFilter, list_notices
from service.paging import Page, PageRequest
from service.tokens import READ


@dataclass(frozen=True, slots=True)
class NoticeLedger:
    """Notices of the tokens within an actor's reach."""

    async def page(self, actor: Actor, only: NoticeFilter, request: PageRequest) -> Page[Notice]:
        """Return one page of notices, newest first.

        Raises:
            InsufficientScope: Without ``tokens:read``.
            InvalidInput: If the cursor is not from this list.
        """
        actor.require(READ)
        async with open_door(actor.reach) as door:
            return await list_notices(door, only, request)
