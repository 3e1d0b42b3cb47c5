"""What is asked of a fleet, with the limits."""

import strawberry

from schema.enums import AccountStatus, FleetOrder, TokenFacet
from schema.relay import OrderDirection
from service.access.fleet import AtLeast, FleetFilter


@strawberry.input(
    name="FleetOrder",
    description="How a fleet is sorted; accounts that are equal in it, by their ids.",
)
class FleetOrderInput:
    """How a fleet is sorted."""

    field: FleetOrder = strawberry.field(description="By what.")
    direction: OrderDirection = strawberry.field(
        default=OrderDirection.DESC, description="Which way."
    )


@strawberry.input(description="A lower bound of one count.")
class TokenCountAtLeast:
    """A lower bound of one count."""

    field: TokenFacet = strawberry.field(description="Which count.")
    count: int = strawberry.field(default=1, description="1–999,999,999.")


@strawberry.input(name="FleetFilter", description="Which accounts; each field narrows further.")
class FleetFilterInput:
    """Which accounts of a fleet."""

    status: AccountStatus | None = strawberry.field(
        default=None, description="Those that are this by themselves."
    )
    name_contains: str | None = strawberry.field(
        default=None, description="Those whose name contains this, in any case; 1–50 characters."
    )
    at_least: list[TokenCountAtLeast] | None = strawberry.field(
        default=None, description="Those with at least so many tokens of each; at most 10 bounds."
    )

    def to_filter(self) -> FleetFilter:
        """Return the domain's filter."""
        return FleetFilter(
            status=self.status,
            name_contains=self.name_contains,
            at_least=tuple(AtLeast(one.field, one.count) for one in self.at_least or ()),
        )
