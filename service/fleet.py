"""Use cases of a fleet: its accounts with live counts of their tokens, and its sums.

The counts are kept by triggers of the database (``0006_fleet.sql``), in the transaction that
changes a token: what acts change is exact at once. What time alone changes (a token begins, comes
near its expiry, expires, has not been used for long) is told up to about a minute late, by
:meth:`Fleet.recount_due`.
"""

from dataclasses import dataclass
from uuid import UUID

from service.access.actor import Actor
from service.access.door import open_door
from service.access.fleet import (
    Counts,
    FleetAccount,
    FleetFilter,
    FleetOrder,
    Totals,
    find_counts,
    find_totals,
    list_fleet,
)
from service.access.recounts import system_recount
from service.clock import Clock
from service.errors import InvalidInput
from service.names import check_search
from service.paging import Page, PageRequest

READ_ACCOUNTS = "accounts:read"
READ_TOKENS = "tokens:read"
BATCH = 1_000
CONDITIONS_MAX = 10
COUNT_MAX = 999_999_999

_NOTHING = Totals(0, Counts.none())


@dataclass(frozen=True, slots=True)
class Fleet:
    """The accounts below an actor's; a customer has none."""

    clock: Clock

    async def page(
        self,
        actor: Actor,
        request: PageRequest,
        *,
        only: FleetFilter | None = None,
        order: FleetOrder = FleetOrder.NAME,
        descending: bool = False,
    ) -> Page[FleetAccount]:
        """Return one page of the actor's fleet; the same cost however large it is.

        A filter is applied along the order that was asked for. At the worst, where it refuses
        nearly everything, the fleet's rows of counts are read once; an order by the count that it
        bounds reads only what it lets pass.

        Raises:
            InsufficientScope: Without ``accounts:read`` and ``tokens:read``.
            InvalidInput: If the cursor, the search text or a bound is not usable.
        """
        actor.require(READ_ACCOUNTS)
        actor.require(READ_TOKENS)
        only = only or FleetFilter()
        _check(only)
        async with open_door(actor.reach) as door:
            return await list_fleet(
                door, actor.account_id, only, order, request, descending=descending
            )

    async def totals(self, actor: Actor) -> Totals:
        """Return the sums of the actor's fleet; the same cost however large it is.

        Raises:
            InsufficientScope: Without ``accounts:read`` and ``tokens:read``.
        """
        actor.require(READ_ACCOUNTS)
        actor.require(READ_TOKENS)
        async with open_door(actor.reach) as door:
            return await find_totals(door, actor.account_id) or _NOTHING

    async def counts_of(self, actor: Actor, account_ids: list[UUID]) -> list[Counts | None]:
        """Return the counts of some accounts in order, None for each beyond reach, in one query.

        Raises:
            InsufficientScope: Without ``tokens:read``.
        """
        actor.require(READ_TOKENS)
        async with open_door(actor.reach) as door:
            found = await find_counts(door, account_ids)
        return [found.get(account_id) for account_id in account_ids]

    async def recount_due(self, *, batch: int = BATCH) -> int:
        """Count anew the tokens of which time has changed a facet; return how many.

        A second run, or two at once, is harmless: a row that was counted is not due any more, and
        one that somebody else holds is skipped and left to the next run. Cost follows what is due.

        Args:
            batch: Rows of one transaction, at the most.
        """
        total = 0
        while True:
            counted = await system_recount(self.clock.now(), limit=batch)
            total += counted
            if counted < batch:
                return total


def _check(only: FleetFilter) -> None:
    if only.name_contains is not None:
        check_search(only.name_contains, field="nameContains")
    if len(only.at_least) > CONDITIONS_MAX:
        raise InvalidInput(f"Bound at most {CONDITIONS_MAX} counts.", field="atLeast")
    if any(not 1 <= one.count <= COUNT_MAX for one in only.at_least):
        raise InvalidInput(f"A count is bounded by 1 to {COUNT_MAX:,}.", field="atLeast")
