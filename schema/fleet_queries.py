"""Queries of a fleet."""

from typing import Annotated

import strawberry

from schema.context import Info
from schema.enums import FleetOrder
from schema.fleet_inputs import FleetFilterInput, FleetOrderInput
from schema.fleet_types import FleetConnection, FleetTotals
from schema.relay import After, First, OrderDirection
from service.paging import PageRequest


@strawberry.type(description="What can be read of a fleet.")
class FleetQueries:
    """Reading a fleet."""

    @strawberry.field(
        description="The accounts below the caller's with live counts of their tokens: a "
        "reseller's customers, for the operator all. By name unless `orderBy` says otherwise; "
        "the same cost for any number of accounts and tokens, but for what a filter has to pass "
        "over. `accounts` lists the same without counts, and needs no `tokens:read`. Needs "
        "`accounts:read` and `tokens:read`."
    )
    async def fleet(
        self,
        info: Info,
        first: First,
        after: After = None,
        filter: Annotated[  # noqa: A002 - the field's common word
            FleetFilterInput | None, strawberry.argument(description="Which of them.")
        ] = None,
        order_by: Annotated[
            FleetOrderInput | None, strawberry.argument(description="In which order.")
        ] = None,
    ) -> FleetConnection:
        """Read one page of a fleet."""
        order = order_by or FleetOrderInput(field=FleetOrder.NAME, direction=OrderDirection.ASC)
        page = await info.context.service.fleet.page(
            info.context.actor,
            PageRequest(first, after),
            only=filter.to_filter() if filter else None,
            order=order.field,
            descending=order.direction is OrderDirection.DESC,
        )
        return FleetConnection.of(page)

    @strawberry.field(
        description="The sums of the accounts below the caller's, kept as they change. Needs "
        "`accounts:read` and `tokens:read`."
    )
    async def fleet_totals(self, info: Info) -> FleetTotals:
        """Read the sums of a fleet."""
        return FleetTotals.of(await info.context.service.fleet.totals(info.context.actor))
