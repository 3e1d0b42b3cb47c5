"""Relay's words: a node, an edge, where a page stands, which way a list runs."""

from enum import Enum
from typing import Annotated, Generic, Self, TypeVar

import strawberry

from service.paging import Page

Item = TypeVar("Item")

First = Annotated[int, strawberry.argument(description="How many; 1–100.")]
After = Annotated[
    str | None, strawberry.argument(description="An `endCursor`; absent is from the beginning.")
]


@strawberry.interface(description="Anything with a global id.")
class Node:
    """Relay's Node."""

    id: strawberry.ID = strawberry.field(description="Opaque, and unique over all types.")


@strawberry.type(description="Where a page of a list stands (Relay).")
class PageInfo:
    """Relay's PageInfo, forward only."""

    has_next_page: bool = strawberry.field(description="Whether more follow.")
    end_cursor: str | None = strawberry.field(
        description="Pass it as `after` for the next page; null where the page is empty."
    )

    @classmethod
    def of(cls, page: Page[Item]) -> Self:
        """Tell where a page stands."""
        return cls(
            has_next_page=page.has_next, end_cursor=page.cursors[-1] if page.cursors else None
        )


@strawberry.type(description="An item of a list and the place behind it (Relay).")
class Edge(Generic[Item]):
    """Relay's edge."""

    node: Item = strawberry.field(description="The item.")
    cursor: str = strawberry.field(description="The place behind it, for `after`.")


@strawberry.enum(description="Which way a list runs.")
class OrderDirection(Enum):
    """Which way a list runs."""

    ASC = strawberry.enum_value("ASC", description="The least, the earliest or `a` first.")
    DESC = strawberry.enum_value("DESC", description="The greatest, the latest or `z` first.")
