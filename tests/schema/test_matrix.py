"""All that the schema can be asked, by everybody, with everybody's ids: made of the schema itself.

A new field, type or argument is in here by being in the schema.
"""

import json
from collections.abc import AsyncIterator

import asyncpg
import pytest
from edge_scene import assert_leaks_nothing
from graphql import GraphQLInputObjectType, GraphQLObjectType, get_named_type
from kept_world import open_world
from matrix_scene import Caller, Matrix, make_matrix, missing, told_of, types_in
from matrix_walk import NODES, SCHEMA, Place, places, trees

from schema import cost, limits
from service.access.door import Statement
from service.migration import TABLES
from service.settings import Settings

ONLY_WATCHED = {"Subscription", "TokenEvent", "AccountEvent"}
"""What tests/schema/test_subscriptions_callers.py is about."""
NOT_SEEN = {"VanishedValidator"}
"""There is none: no validator that was heard has fallen silent."""
TOGETHER = 14
"""How many ids one document asks with; an API takes so many aliases."""
PLACES = places()
READING = [place for place in PLACES if place.root == "Query"]
CHANGING = [place for place in PLACES if place.root == "Mutation"]
ASKING_WITH_IDS = (
    "anonymous",
    "the operator",
    "the reseller",
    "the customer",
    "the customer's viewer",
    "a token without the scope",
    "a token with it",
)
ASKING_TO_CHANGE = tuple(name for name in ASKING_WITH_IDS if name != "the customer's viewer")
WALKED_THROUGH = ("the customer", "the reseller")


@pytest.fixture(scope="module")
async def kept(
    settings: Settings,
    opened: None,  # noqa: ARG001 - the pool comes first
    owner: asyncpg.Connection,
) -> AsyncIterator[Matrix]:
    async with open_world(settings, owner) as world:
        matrix = await make_matrix(world)
        await world.keep()
        yield matrix


@pytest.fixture
async def matrix(kept: Matrix, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Matrix]:
    """The matrix as it was at first, in a schema where one document may ask for very much."""
    for name in ("FIELDS_MAX", "REPEATS_MAX"):
        monkeypatch.setattr(limits, name, 10**6)
    monkeypatch.setattr(cost, "COST_MAX", 10**9)
    monkeypatch.setattr(cost, "_is_sensitive", lambda _: False)
    yield kept
    await kept.world.put_back()


async def ask_everything(matrix: Matrix, caller: Caller) -> set[str]:
    """Ask each query with all that is below it; return the types that were told of."""
    seen: set[str] = set()
    for name, document, needs in trees():
        ids = {variable: matrix.objects[caller.tenant][kind] for variable, kind in needs.items()}
        answer = await matrix.world.graphql(document, secret=caller.secret, **ids)
        assert_tells_nothing_foreign(matrix, caller, answer, name)
        seen |= types_in(answer["data"])
    return seen


def assert_tells_nothing_foreign(
    matrix: Matrix, caller: Caller, answer: dict[str, object], asked: str
) -> None:
    text = json.dumps(answer)
    assert matrix.leaks(caller, answer.get("data")) == [], asked
    assert matrix.leaks(caller, answer.get("errors")) == [], asked
    assert_leaks_nothing(text)
    assert "INTERNAL" not in text, (asked, text)
    assert "INVALID_OPERATION" not in text, (asked, text)


def strange_ids(matrix: Matrix, caller: Caller, place: Place) -> list[tuple[str, str]]:
    """Return ids that are none to the caller, each with its type; none for what is no id at all."""
    found = [(kind, missing(kind)) for kind in NODES]
    foreign = matrix.foreign(caller)
    for number, kind in enumerate(NODES):
        others = foreign
        if kind in place.tells_of_above:
            others = [name for name in foreign if not matrix.is_above(name, caller)]
        # Accounts and tokens of everybody; of the rest, each of somebody else.
        several = others if kind in {"Account", "ApiToken"} else others[number % 2 :][:1]
        found += [(kind, matrix.objects[name][kind]) for name in several]
    return [*found, ("", "QXBpVG9rZW46no-id"), ("", "%00' OR 1=1 --")]


async def ask_with(
    matrix: Matrix, caller: Caller, place: Place, ids: list[str]
) -> dict[str, object]:
    variables = {f"v{number}": value for number, value in enumerate(ids)}
    answer = await matrix.world.graphql(place.ask(len(ids)), secret=caller.secret, **variables)
    assert_tells_nothing_foreign(matrix, caller, answer, str(place))
    return answer


async def ask_with_strange_ids(matrix: Matrix, caller: Caller, place: Place) -> dict[str, set[str]]:
    """Return what a place tells of ids that are none to the caller, by their type."""
    strange = strange_ids(matrix, caller, place)
    if place.is_never_null:  # there one refusal takes the answers to all others with it
        right = await right_types(matrix, place)
        groups = [[it for it in strange if it[0] == kind] for kind in right]
        groups += in_parts([it for it in strange if it[0] not in right])
    else:
        groups = in_parts(strange)
    told: dict[str, set[str]] = {kind: set() for kind, _ in strange}
    for group in groups:
        answer = await ask_with(matrix, caller, place, [identifier for _, identifier in group])
        for number, (kind, identifier) in enumerate(group):
            told[kind].add(told_of(answer, f"a{number}", identifier))
    return told


def in_parts(ids: list[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    return [ids[start : start + TOGETHER] for start in range(0, len(ids), TOGETHER)]


async def right_types(matrix: Matrix, place: Place) -> list[str]:
    """Return the types whose ids a place takes; asked once."""
    if place not in matrix.right_types:
        operator = matrix.callers["the operator"]
        answers = [
            (kind, await ask_with(matrix, operator, place, [missing(kind)])) for kind in NODES
        ]
        matrix.right_types[place] = [kind for kind, answer in answers if answer["data"] is not None]
    return matrix.right_types[place]


async def assert_all_read_alike(matrix: Matrix, caller: Caller, place: Place) -> None:
    """Fail unless ids of a type that are none to the caller are all answered in the same words.

    An id of another type can be told from a missing one, by whoever wrote it: it says so itself.
    But then it reads like what is no id at all.
    """
    told = await ask_with_strange_ids(matrix, caller, place)

    assert {kind: texts for kind, texts in told.items() if len(texts) > 1} == {}
    if not place.takes_any_type:
        assert len(set().union(*told.values())) <= 2, told


async def test_an_answer_tells_of_nobody_beyond_the_callers_reach(
    matrix: Matrix, subtests: pytest.Subtests
) -> None:
    seen = set()
    for name, caller in matrix.callers.items():
        with subtests.test(caller=name):
            seen |= await ask_everything(matrix, caller)

    assert await matrix.world.is_as_kept()
    # Otherwise nothing was proved of a type.
    assert readable_types() - seen == NOT_SEEN


@pytest.mark.parametrize("place", READING, ids=str)
async def test_a_foreign_id_reads_exactly_like_a_missing_one(
    place: Place, matrix: Matrix, subtests: pytest.Subtests
) -> None:
    for name in ASKING_WITH_IDS:
        with subtests.test(caller=name):
            caller = matrix.callers[name]
            await assert_all_read_alike(matrix, caller, place)

            own = matrix.objects[caller.tenant]
            kinds = await right_types(matrix, place) if place.is_never_null else list(own)
            await ask_with(matrix, caller, place, [own[kind] for kind in kinds])

    assert await matrix.world.is_as_kept()


@pytest.mark.parametrize("place", CHANGING, ids=str)
async def test_a_mutation_refuses_a_foreign_id_like_a_missing_one_and_changes_nothing(
    place: Place, matrix: Matrix, subtests: pytest.Subtests
) -> None:
    for name in ASKING_TO_CHANGE:
        with subtests.test(caller=name):
            await matrix.world.forget()  # an account invites so often, and then no more
            await assert_all_read_alike(matrix, matrix.callers[name], place)

    assert await matrix.world.is_as_kept()


@pytest.mark.parametrize("wall", ["row-level security", "the door's filter"])
async def test_each_wall_holds_alone(
    wall: str, matrix: Matrix, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    if wall == "row-level security":
        monkeypatch.setattr(Statement, "within", lambda *_, **__: "TRUE")
    else:
        await set_row_security(owner, "DISABLE")

    try:
        for name in WALKED_THROUGH:
            await ask_everything(matrix, matrix.callers[name])
            for place in READING:
                await ask_with_strange_ids(matrix, matrix.callers[name], place)
    finally:
        await set_row_security(owner, "ENABLE")


async def set_row_security(owner: asyncpg.Connection, way: str) -> None:
    for table in TABLES:
        await owner.execute(f"ALTER TABLE {table} {way} ROW LEVEL SECURITY")


def readable_types() -> set[str]:
    """Return the object types that a query can tell of."""
    payloads = {
        get_named_type(field.type).name
        for field in SCHEMA.mutation_type.fields.values()  # type: ignore[union-attr] # there is one
    }
    changing = {"Mutation", "UserError", "JobPreview", "BreakingChange", *payloads}
    return (
        {
            name
            for name, kind in SCHEMA.type_map.items()
            if isinstance(kind, GraphQLObjectType) and not name.startswith("__")
        }
        - changing
        - ONLY_WATCHED
        - {"Query"}
    )


def test_the_walk_comes_by_every_type_and_every_place_for_an_id() -> None:
    walked = " ".join(document for _, document, _ in trees())
    told = {
        (name, field)
        for name, kind in SCHEMA.type_map.items()
        if name in readable_types() and isinstance(kind, GraphQLObjectType)
        for field in kind.fields
    }
    wanted = {
        (kind.name, name)
        for kind in SCHEMA.type_map.values()
        if isinstance(kind, GraphQLInputObjectType)
        for name, field in kind.fields.items()
        if get_named_type(field.type).name == "ID"
    } | {
        (f"{kind.name}.{field}", name)
        for kind in SCHEMA.type_map.values()
        if isinstance(kind, GraphQLObjectType) and kind.name not in ONLY_WATCHED
        for field, told_field in kind.fields.items()
        for name, argument in told_field.args.items()
        if get_named_type(argument.type).name == "ID"
    }

    assert {field for _, field in told if f" {field} " not in f" {walked} "} == set()
    assert wanted - placed() == set()


def placed() -> set[tuple[str, str]]:
    """Return the inputs, or the fields, that the places for ids are in."""
    found = set()
    for place in PLACES:
        kind = SCHEMA.query_type if place.root == "Query" else SCHEMA.mutation_type
        for name in place.fields[:-1]:
            kind = get_named_type(kind.fields[name].type)  # type: ignore[union-attr] # an object
        field = kind.fields[place.fields[-1]]  # type: ignore[union-attr] # as above
        where, within = f"{kind.name}.{place.fields[-1]}", field.args[place.way[0]].type  # type: ignore[union-attr] # as above
        for name in place.way[1:]:
            where = get_named_type(within).name
            within = get_named_type(within).fields[name].type
        found.add((where, place.way[-1]))
    return found
