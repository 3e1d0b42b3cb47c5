"""The trail's functions of the door, as somebody reaches for another's events."""

from collections.abc import Awaitable, Callable

from access_scene import Foreign

from service.access import trail
from service.access.door import Door
from service.access.trail import POSITION_MAX, EventFilter
from service.paging import PageRequest


async def list_events(door: Door, it: Foreign) -> object:
    return (await trail.list_events(door, EventFilter(subject_id=it.token_id), ALL)).items


async def list_events_behind(door: Door, it: Foreign) -> object:
    events = await trail.list_events_behind(door, 0, actions_of="token", limit=100)
    return [event for event in events if event.account_id == it.account_id]


async def list_sealed(door: Door, it: Foreign) -> object:
    return await trail.list_sealed(door, 0, account_id=it.account_id, last=POSITION_MAX, limit=100)


async def span_of(door: Door, it: Foreign) -> object:
    first, last = await trail.span_of(door, account_id=it.account_id, since=None, until=None)
    return first <= last


async def newest_position(door: Door, it: Foreign) -> object:
    return await trail.newest_position(door) == it.position  # the newest of all is theirs


ALL = PageRequest(100)

REACHING: dict[str, Callable[[Door, Foreign], Awaitable[object]]] = {
    "list_events": list_events,
    "find_events": lambda door, it: trail.find_events(door, [it.event_id]),
    "list_events_behind": list_events_behind,
    "list_sealed": list_sealed,
    "span_of": span_of,
    "newest_position": newest_position,
}
