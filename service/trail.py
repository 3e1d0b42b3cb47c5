"""The audit trail: what happened, who did it, and what is happening now."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from typing import Literal
from uuid import UUID

from service import scopes
from service.access.actor import Actor, Reach
from service.access.door import open_door
from service.access.trail import (
    Event,
    EventFilter,
    find_events,
    list_events,
    list_events_behind,
    newest_position,
    read_place,
)
from service.errors import InvalidInput
from service.news import News
from service.paging import Page, PageRequest
from service.token_rules import clean_instant

READ = "audit:read"
ACTIONS_MAX = 20
BATCH = 100

Subject = Literal["token", "account"]

SCOPES = {"token": "tokens:read", "account": "accounts:read", None: READ}


@dataclass(frozen=True, slots=True)
class Trail:
    """Reads the trail, and follows it."""

    news: News

    async def page(self, actor: Actor, only: EventFilter, page: PageRequest) -> Page[Event]:
        """Return one page of the events within reach, newest first.

        Raises:
            InsufficientScope: Without ``audit:read``.
            InvalidInput: If the page, the cursor, an instant or the list of actions is senseless.
        """
        actor.require(READ)
        only = _clean(only)
        async with open_door(actor.reach) as door:
            return await list_events(door, only, page)

    async def get_many(self, actor: Actor, ids: list[UUID]) -> list[Event | None]:
        """Return events in the order of their ids; None for what is not within reach.

        Raises:
            InsufficientScope: Without ``audit:read``.
        """
        actor.require(READ)
        async with open_door(actor.reach) as door:
            found = {event.id: event for event in await find_events(door, ids)}
        return [found.get(event_id) for event_id in ids]

    async def follow(
        self, actor: Actor, after: str | None = None, subject: Subject | None = None
    ) -> AsyncGenerator[Event, None]:
        """Yield the events within an actor's reach as they are sealed, oldest first, for ever.

        The caller ends it when the actor's credential ends: what it may see is asked of the
        database at each step, but who is asking was decided before.

        Args:
            actor: Who asks. Without ``audit:read`` an event tells what happened, and neither who
                did it, from where, nor its details.
            after: The ``cursor`` of the last event that was received; None begins now. Nothing
                behind it is missed, and nothing comes twice.
            subject: Events of tokens or of accounts alone, by the noun of their action.

        Raises:
            InsufficientScope: Without ``tokens:read`` for those of tokens, ``accounts:read`` for
                those of accounts, ``audit:read`` for all.
            InvalidInput: If the cursor is from somewhere else.
            Unavailable: If the database cannot be read; go on behind the last cursor.
        """
        actor.require(SCOPES[subject])
        sees_actors = scopes.covers(actor.scopes, READ)
        position = None if after is None else read_place(after)
        async with self.news.follower(actor.reach) as follower:
            while True:
                follower.forget()
                # Every event up to here is committed, so that what is read below is whole up to it.
                seen = self.news.position or 0
                if position is None:
                    async with open_door(actor.reach) as door:
                        position = await newest_position(door)
                events = await self._events_behind(actor.reach, position, subject, seen)
                for event in events:
                    yield event if sees_actors else _summary(event)
                position = max([position, *(event.position or 0 for event in events)])
                if len(events) < BATCH:
                    position = max(position, seen)
                    await follower.wait()

    async def _events_behind(
        self, reach: Reach, position: int, subject: Subject | None, seen: int
    ) -> list[Event]:
        async def read() -> list[Event]:
            async with open_door(reach) as door:
                return await list_events_behind(door, position, actions_of=subject, limit=BATCH)

        # One that began when less was seen may miss what was sealed since: it is not shared.
        return await self.news.shared((reach, position, subject, seen), read)


def _clean(only: EventFilter) -> EventFilter:
    """Return a filter whose values the database can be asked for."""
    if only.actions is not None and not 1 <= len(only.actions) <= ACTIONS_MAX:
        raise InvalidInput(f"Name 1 to {ACTIONS_MAX} actions.", field="actions")
    if any("\0" in action for action in only.actions or ()):
        raise InvalidInput("There is no such action.", field="actions")
    after, before = only.occurred_after, only.occurred_before
    return replace(
        only,
        occurred_after=after and clean_instant(after, field="occurredAfter"),
        occurred_before=before and clean_instant(before, field="occurredBefore"),
    )


def _summary(event: Event) -> Event:
    return replace(event, actor=None, address=None, request_id=None, details={})
