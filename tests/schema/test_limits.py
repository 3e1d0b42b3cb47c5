"""Documents that ask for too much are refused before they cost anything."""

# ruff: noqa: UP031 - braces are GraphQL's own here: format() would need each of them twice

import json
import time
from collections.abc import AsyncIterator

import httpx2
import pytest
from conftest import GraphQL
from edge_scene import People, assert_leaks_nothing

from schema.limits import ALIASES_MAX, FIELDS_MAX, FRAGMENTS_MAX, LEVELS_MAX, REPEATS_MAX
from service.app import create_app
from service.composition import Service
from service.settings import Settings
from service.validator import Validator

SECONDS_MAX = 1.0
"""Each takes a few milliseconds; what is refused too late takes seconds, or for ever."""


def chain(length: int, *, spreads: int, last: str = "__typename") -> str:
    """Return fragments that each spread the next one."""
    parts = [f"fragment F{n} on Query {{ {f'...F{n + 1} ' * spreads} }}" for n in range(length)]
    return f"{{ ...F0 }} {' '.join(parts)} fragment F{length} on Query {{ {last} }}"


TOO_MUCH = {
    "aliases": "{ %s }" % " ".join(f"a{n}: __typename" for n in range(ALIASES_MAX + 1)),
    "10,000 aliases": "{%s}" % "".join(f"a{n}:v " for n in range(9_000)),
    "aliases in fragments": "{ ...A ...B } "
    + " ".join(
        f"fragment {f} on Query {{ {' '.join(f'{f}{n}: __typename' for n in range(8))} }}"
        for f in "AB"
    ),
    "fragments": chain(FRAGMENTS_MAX, spreads=1),
    "4,000 fragments": "{ ...F0 }" + "".join(f"fragment F{n} on A{{a}}" for n in range(3_000)),
    "fragments that double": chain(40, spreads=2),
    "fragments that double an alias": chain(40, spreads=2, last="a: __typename"),
    "spreads": "{ %s } fragment F on Query { __typename }" % ("...F " * (FRAGMENTS_MAX + 1)),
    "repeats": "{ %s }" % ("__typename " * (REPEATS_MAX + 1)),
    "repeats in a fragment that is not used": "{ __typename } fragment F on Query { %s }"
    % ("__typename " * 240),
    "3,000 repeats": "{ %s }" % ("viewer { email } " * 3_000),
    "fields": "{ %s }" % " ".join(f"f{n}" for n in range(FIELDS_MAX + 1)),
    "5,000 directives": "{ __typename %s }" % ("@skip(if: false)" * 3_500),
    "levels": "{ a " * (LEVELS_MAX + 1) + "}" * (LEVELS_MAX + 1),
    "levels in fragments": "{ ...A } fragment A on Query { a { a { a { a { a { a { ...B } } } } } }"
    " } fragment B on Query { a { a { a { a { a { a } } } } } }",
    "3,000 levels": "{ a" * 3_000 + "}" * 3_000,
    "levels of lists": "{ token(id: %s) { id } }" % ("[" * 450 + "]" * 450),
    "levels of objects": "{ tokens(first: 1, filter: %s) { edges { cursor } } }"
    % ("{a:" * 240 + "1" + "}" * 240),
    "levels of types": "query($a: %s) { __typename }" % ("[" * 450 + "Int" + "]" * 450),
    "levels of inline fragments": "{ ..." * 300 + "{ __typename }" + "}" * 300,
    "50 mutations": "mutation { %s }"
    % " ".join(f"a{n}: signOut {{ userErrors {{ code }} }}" for n in range(50)),
    "two passwords": "mutation { %s }"
    % " ".join(
        f'a{n}: signIn(input: {{email: "a@b.cc", password: "{n}"}}) {{ userErrors {{ code }} }}'
        for n in range(2)
    ),
    "two passwords in fragments": "mutation { ...A ...B } "
    + " ".join(
        f'fragment {n} on Mutation {{ {n}: signIn(input: {{email: "a@b.cc", password: "{n}"}})'
        " { userErrors { code } } }"
        for n in "AB"
    ),
    "two secrets": "mutation { %s }"
    % " ".join(f'a{n}: rotateToken(input: {{id: "{n}"}}) {{ secret }}' for n in range(2)),
    "16 passwords": "mutation { %s }"
    % " ".join(
        f'a{n}: signIn(input: {{email: "a@b.cc", password: "{n}"}}) {{ userErrors {{ code }} }}'
        for n in range(16)
    ),
}
WRONG = {
    "fragment cycle": "{ ...A } fragment A on Query { ...A }",
    "fragment cycle of two": "{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }",
    "unknown fragment": "{ ...Nope }",
    "unused fragment": "{ __typename } fragment F on Query { __typename }",
    "undeclared variable": "{ token(id: $id) { id } }",
    "unused variable": "query($id: ID!) { __typename }",
    "variable twice": "query($id: ID!, $id: ID!) { token(id: $id) { id } }",
    "subscription": "subscription { x }",
    "enum as a string": '{ tokens(first: 1, orderBy: {field: "NAME"}) { edges { cursor } } }',
    "first absent": "{ tokens { edges { cursor } } }",
    "first null": "{ tokens(first: null) { edges { cursor } } }",
    "first 2^31": "{ tokens(first: 2147483648) { edges { cursor } } }",
    "first of 5,000 digits": "{ tokens(first: %s) { edges { cursor } } }" % ("9" * 5_000),
    "first 1e400": "{ tokens(first: 1e400) { edges { cursor } } }",
    "first a string": '{ tokens(first: "1") { edges { cursor } } }',
    "defer": "{ viewer { ... @defer { email } } }",
    "comment only": "# nothing",
    "several operations": "query A { __typename } query B { __typename }",
    "typed twice": "{ viewer { email: scopes email } }",
}
TYPOS = {
    "field": "{ viewr { email } }",
    "argument": "{ tokens(frst: 1) { edges { cursor } } }",
    "input field": "{ tokens(first: 1, filter: {statu: ACTIVE}) { edges { cursor } } }",
    "enum value": "{ tokens(first: 1, filter: {status: ACTIV}) { edges { cursor } } }",
    "type": "query($a: ApiTokenFiltr) { tokens(first: 1, filter: $a) { edges { cursor } } }",
    "fragment type": "{ ... on Quer { __typename } }",
    "directive": "{ viewer @skp(if: true) { email } }",
}


@pytest.fixture
async def production(
    settings: Settings, service: Service, validator: Validator
) -> AsyncIterator[httpx2.AsyncClient]:
    """The application as production has it."""
    app = create_app(settings.model_copy(update={"environment": "production"}))
    app.open(service, validator)
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=app), base_url=settings.public_url
    ) as client:
        yield client


@pytest.mark.parametrize(
    "query", [*TOO_MUCH.values(), *WRONG.values()], ids=[*TOO_MUCH.keys(), *WRONG.keys()]
)
async def test_a_document_that_asks_for_too_much_or_makes_no_sense_is_refused_at_once(
    query: str, http: httpx2.AsyncClient
) -> None:
    began = time.process_time()

    answer = await http.post("/graphql", json={"query": query})

    assert time.process_time() - began < SECONDS_MAX
    assert_leaks_nothing(answer.text)
    if answer.status_code == 413:
        assert len(json.dumps({"query": query})) > 64 * 1024 - 20
    else:
        assert answer.status_code == 200
        assert answer.json()["data"] is None
        codes = {error["extensions"]["code"] for error in answer.json()["errors"]}
        assert codes == {"INVALID_OPERATION"}


@pytest.mark.parametrize("first", [0, -1, 101, 2_147_483_647, -2_147_483_648])
async def test_a_page_holds_1_to_100(first: int, service: Service, graphql: GraphQL) -> None:
    people = await People.make(service)
    for field in ("tokens", "accounts"):
        query = f"query($first: Int!) {{ {field}(first: $first) {{ edges {{ cursor }} }} }}"
        answer = await graphql(query, secret=people.customer.secret, first=first)

        told = {"code": "INVALID_INPUT", "field": "first"}
        assert [error["extensions"] for error in answer["errors"]] == [told]
        for allowed in (1, 100):
            fine = await graphql(query, secret=people.customer.secret, first=allowed)
            assert fine == {"data": {field: {"edges": []}}}


@pytest.mark.parametrize("variable", [None, "1", 1.5, True, [], {}, 2**31, 1e308])
async def test_a_variable_of_another_type_is_refused(variable: object, graphql: GraphQL) -> None:
    query = "query($first: Int!) { tokens(first: $first) { edges { cursor } } }"

    answer = await graphql(query, first=variable)

    codes = [error["extensions"]["code"] for error in answer["errors"]]
    # GraphQL lets a list of none or one stand for its one item only where a list is asked for.
    assert codes == ["INVALID_OPERATION"]
    assert_leaks_nothing(json.dumps(answer))


async def test_what_may_be_left_out_but_not_null_is_told_in_graphqls_words(
    graphql: GraphQL,
) -> None:
    query = (
        'mutation { updateAccount(input: {id: "x", grantableScopes: null})'
        " { userErrors { code } } }"
    )

    [error] = (await graphql(query))["errors"]

    assert error["extensions"] == {"code": "INVALID_OPERATION"}
    assert error["message"] == "Field 'grantableScopes' may be left out, but not null."


async def test_what_is_within_the_limits_is_served(graphql: GraphQL) -> None:
    aliases = " ".join(f"a{n}: __typename" for n in range(ALIASES_MAX))
    served = (
        f"{{ {aliases} }}",
        "{ %s }" % ("__typename " * REPEATS_MAX),
        chain(FRAGMENTS_MAX - 1, spreads=1),
        chain(6, spreads=2),
    )

    for query in served:
        answer = await graphql(query)
        assert "errors" not in answer, (query, answer)
        assert set(answer["data"].values()) == {"Query"}


@pytest.mark.parametrize("query", TYPOS.values(), ids=TYPOS.keys())
async def test_a_typing_mistake_is_told_without_a_hint_at_what_exists(
    query: str, production: httpx2.AsyncClient
) -> None:
    answer = await production.post("/graphql", json={"query": query})

    assert answer.json()["data"] is None
    assert_leaks_nothing(answer.text)  # "Did you mean" is among the words


@pytest.mark.parametrize(
    "query",
    [
        "{ __schema { types { name } } }",
        '{ __type(name: "Query") { name } }',
        "{ ...F } fragment F on Query { __schema { queryType { name } } }",
        "{ ... on Query { a: __schema { queryType { name } } } }",
    ],
)
async def test_production_does_not_describe_itself(
    query: str, production: httpx2.AsyncClient, graphql: GraphQL
) -> None:
    answer = await production.post("/graphql", json={"query": query})

    assert answer.json()["data"] is None
    assert answer.json()["errors"][0]["extensions"] == {"code": "INVALID_OPERATION"}
    assert "errors" not in await graphql(query), "development does"
    typename = await production.post("/graphql", json={"query": "{ __typename }"})
    assert typename.json()["data"] == {"__typename": "Query"}
