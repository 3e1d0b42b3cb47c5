"""The door's functions of a fleet, tried against both walls in test_access.py."""

from collections.abc import Awaitable, Callable
from uuid import UUID

from access_scene import Foreign

from service.access import fleet
from service.access.door import Door
from service.paging import PageRequest


async def list_fleet(door: Door, it: Foreign) -> object:
    found: list[object] = []
    for order in fleet.FleetOrder:
        page = await fleet.list_fleet(
            door, UUID(int=0), fleet.FleetFilter(), order, PageRequest(100), descending=False
        )
        found += [item for item in page.items if item.account.id == it.account_id]
    return found


REACHING: dict[str, Callable[[Door, Foreign], Awaitable[object]]] = {
    "list_fleet": list_fleet,
    "find_counts": lambda door, it: fleet.find_counts(door, [it.account_id]),
    "find_totals": lambda door, it: fleet.find_totals(door, it.reseller_id or UUID(int=0)),
}

ABOVE = {"find_totals"}
"""What is told of a whole fleet, and to none of its customers."""
