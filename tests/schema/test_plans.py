"""A planned document is told exactly as the library's own way would tell it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import pytest
import strawberry
from graphql import GraphQLError
from strawberry.types import ExecutionResult

from schema.documents import ReadsDocuments
from schema.plans import PlannedExecution


@strawberry.enum
class Colour(Enum):
    RED = "red"


@strawberry.type
class Part:
    name: str
    size: int | None = None


@strawberry.interface
class Named:
    name: str


@strawberry.type
class Thing(Named):
    number: int | None
    at: datetime | None
    colour: Colour
    tags: list[str]
    extra: list[int | None] | None = None
    main: Part | None = None
    parts: list[Part] = strawberry.field(default_factory=list)
    spare: list[Part | None] | None = None

    @strawberry.field
    def shouted(self) -> str:
        return self.name.upper()

    @strawberry.field
    def asked(self, info: strawberry.Info[Any, None]) -> str | None:
        return str(info.context["word"])

    @strawberry.field
    def placed(self, info: strawberry.Info[Any, None]) -> str:
        return ".".join(map(str, info.path.as_list()))

    @strawberry.field
    async def awaited(self, times: int = 1) -> list[Part]:
        return [Part(name=self.name)] * times


@strawberry.type
class Box:
    things: list[Thing | None]


@dataclass(frozen=True, slots=True)
class Odd:
    """Not the type's own class, and of values that its types cannot tell."""

    name: Any = "odd"
    number: Any = 1
    at: Any = None
    colour: Any = Colour.RED
    tags: Any = ()
    extra: Any = None
    main: Any = None
    parts: Any = ()
    spare: Any = None


class OddThing(Thing):
    """The type's own class but for the name, and of values that its types cannot tell."""


def thing(**changed: Any) -> Any:
    usual: dict[str, Any] = {
        "name": "a",
        "number": 1,
        "at": datetime(2030, 1, 1, tzinfo=UTC),
        "colour": Colour.RED,
        "tags": ["x", "y"],
        "extra": [1, None],
        "main": Part(name="m", size=3),
        "parts": [Part(name="p"), Part(name="q", size=2)],
        "spare": [None, Part(name="s")],
    }
    return Thing(**(usual | changed))


THINGS = [
    thing(),
    thing(number=None, at=None, tags=[], extra=None, main=None, parts=[], spare=None),
    thing(name=None),
    thing(name=7),
    thing(number="many"),
    thing(number=2**40),
    thing(at="yesterday"),
    thing(colour="blue"),
    thing(tags=[None]),
    thing(tags=7),
    thing(tags="text"),
    thing(extra=["one"]),
    thing(main=Part(name=None)),  # type: ignore[arg-type] # wrong on purpose
    thing(main=GraphQLError("a value that is an error")),
    thing(parts=[Part(name="p"), None]),
    thing(parts=[Part(name="p"), Part(name="q", size="big")]),  # type: ignore[arg-type] # as above
    thing(parts=None),
    thing(parts=(Part(name="in a tuple"),)),
    thing(spare=[Part(name=None)]),  # type: ignore[arg-type] # as above
    OddThing(name="b", number=1, at=None, colour=Colour.RED, tags=[]),
    Odd(),
]


@strawberry.type
class Query:
    @strawberry.field
    def thing(self, number: int) -> Thing | None:
        thing: Thing = THINGS[number]
        return thing

    @strawberry.field
    def box(self) -> Box:
        return Box(things=THINGS)

    @strawberry.field
    async def named(self) -> list[Named | None]:
        return THINGS[:2]


FRAGMENTS = """
fragment All on Thing {
  __typename name again: name number at colour tags extra main { size name __typename }
  parts { name ... on Part { size } } spare { name } shouted asked ...More
}
fragment More on Thing { name parts { kind: __typename } }
"""
DOCUMENTS = {
    "one": "query($n: Int!) { thing(number: $n) { ...All } }",
    "a directive": "query($n: Int!, $no: Boolean!) { thing(number: $n)"
    " { at @skip(if: $no) main @include(if: $no) { name } ...All } }",
    "something to await": "query($n: Int!) { thing(number: $n)"
    " { awaited { name } ...All more: awaited(times: 2) { size name } placed } }",
    "a text with a sign": 'query($n: Int!) { thing(number: $n) { ...All placed } } # "@"',
}


class Followed(PlannedExecution):
    """Remembers which fields the library was asked for."""

    asked: list[str] = []  # noqa: RUF012 - of one test, which empties it

    def execute_field(self, parent_type: Any, source: Any, details: Any, *place: Any) -> Any:
        self.asked.append(details[0].node.name.value)
        return super().execute_field(parent_type, source, details, *place)


PLAIN = strawberry.Schema(Query)
PLANNED = strawberry.Schema(
    Query, extensions=[lambda: ReadsDocuments(())], execution_context_class=Followed
)


async def ask(schema: strawberry.Schema, document: str, **variables: Any) -> ExecutionResult:
    Followed.asked.clear()
    return await schema.execute(
        document, variable_values=variables, context_value={"word": variables.get("word", "hey")}
    )


def told(result: ExecutionResult) -> tuple[str, list[Any]]:
    """The answer with the order of its fields, and its errors."""
    errors = [(error.message, error.path, error.locations) for error in result.errors or ()]
    return repr(result.data), sorted(errors, key=repr)


@pytest.mark.parametrize("number", range(len(THINGS)))
@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS.keys())
async def test_a_value_an_error_and_their_order_are_the_same_on_both_ways(
    document: str, number: int
) -> None:
    text = document + FRAGMENTS
    variables = {"n": number} | ({"no": number % 2 == 1} if "$no" in text else {})

    expected = await ask(PLAIN, text, **variables)
    first = await ask(PLANNED, text, **variables)
    again = await ask(PLANNED, text, **variables)

    assert told(first) == told(expected)
    assert told(again) == told(expected)


async def test_a_list_in_which_some_are_odd_is_the_same_on_both_ways() -> None:
    text = "{ box { things { ...All } } named { name ... on Thing { number } } }" + FRAGMENTS

    assert told(await ask(PLANNED, text)) == told(await ask(PLAIN, text))


async def test_what_is_plain_is_read_without_the_library() -> None:
    answer = await ask(PLANNED, "{ thing(number: 0) { ...All awaited { name } } }" + FRAGMENTS)

    assert answer.errors is None
    assert Followed.asked == ["thing", "awaited"]


async def test_a_plan_holds_nothing_of_the_request_it_was_made_in() -> None:
    text = "query($n: Int!) { thing(number: $n) { asked name } }"

    one = await ask(PLANNED, text, n=0, word="one")
    two = await ask(PLANNED, text, n=1, word="two")

    assert [one.data, two.data] == [
        {"thing": {"asked": "one", "name": "a"}},
        {"thing": {"asked": "two", "name": "a"}},
    ]


async def test_the_same_words_in_another_document_have_plans_of_their_own() -> None:
    text = "{ thing(number: 0) { ...Of } } fragment Of on Thing { field }"

    answers = [
        await ask(PLANNED, text.replace("field", field)) for field in ("name", "number", "name")
    ]

    assert [answer.data for answer in answers] == [
        {"thing": {"name": "a"}},
        {"thing": {"number": 1}},
        {"thing": {"name": "a"}},
    ]
