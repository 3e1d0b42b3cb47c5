"""The short way for plain values tells exactly what the library's own way would."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import pytest
import strawberry

from schema.plain_fields import PlainFields


@strawberry.enum
class Colour(Enum):
    RED = "red"


@strawberry.type
class Thing:
    name: str
    number: int | None
    at: datetime | None
    colour: Colour
    tags: list[str]
    extra: list[int | None] | None = None

    @strawberry.field
    def shouted(self) -> str:
        return self.name.upper()


@dataclass(frozen=True, slots=True)
class Odd:
    """Not the type's own class, and of values that its types cannot tell."""

    name: Any = "odd"
    number: Any = 1
    at: Any = None
    colour: Any = Colour.RED
    tags: Any = ()
    extra: Any = None


THINGS = [
    Thing(
        name="a",
        number=1,
        at=datetime(2030, 1, 1, tzinfo=UTC),
        colour=Colour.RED,
        tags=["x", "y"],
        extra=[1, None],
    ),
    Thing(name="b", number=None, at=None, colour=Colour.RED, tags=[]),
    Odd(name=None),
    Odd(number="many"),
    Odd(number=2**40),
    Odd(at="yesterday"),
    Odd(colour="blue"),
    Odd(tags=[None]),
    Odd(tags=7),
    Odd(extra=["one"]),
]


@strawberry.type
class Query:
    @strawberry.field
    def thing(self, number: int) -> Thing | None:
        return THINGS[number]  # type: ignore[return-value] # some are wrong on purpose


DOCUMENT = """
query($n: Int!, $skip: Boolean!) {
  thing(number: $n) {
    __typename name again: name number at colour tags extra @skip(if: $skip) ...More
  }
}
fragment More on Thing { name }
"""


@pytest.mark.parametrize("number", range(len(THINGS)))
async def test_a_value_an_error_and_their_order_are_the_same_on_both_ways(number: int) -> None:
    variables = {"n": number, "skip": number % 2 == 1}
    quick = strawberry.Schema(Query, execution_context_class=PlainFields)
    plain = strawberry.Schema(Query)

    expected = await plain.execute(DOCUMENT, variable_values=variables)
    told = await quick.execute(DOCUMENT, variable_values=variables)

    assert told.data == expected.data
    assert list((told.data or {}).get("thing") or ()) == list(
        (expected.data or {}).get("thing") or ()
    )
    assert [(error.message, error.path) for error in told.errors or ()] == [
        (error.message, error.path) for error in expected.errors or ()
    ]


async def test_a_field_with_a_resolver_is_still_resolved() -> None:
    schema = strawberry.Schema(Query, execution_context_class=PlainFields)

    answer = await schema.execute("{ thing(number: 0) { shouted } }")

    assert answer.data == {"thing": {"shouted": "A"}}
