"""What scanners of GraphQL services try, tried here against the service as production has it.

The lists are those of graphql-cop, BatchQL and OWASP's GraphQL cheat sheet, in words of our own.
Each attack comes from a stranger and from somebody with a session cookie. Each is refused before a
statement runs, in a short answer that tells nothing of us; what is answered is no more than asked.
"""

# ruff: noqa: UP031 - braces are GraphQL's own here: format() would need each of them twice

import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx2
import pytest
from edge_scene import People, assert_leaks_nothing, bearer, client_of, fingerprint
from factories import make_token
from test_query_counts import counted

from schema import node_ids
from service.app import create_app
from service.composition import Service
from service.settings import Settings
from service.validator import Validator

ANSWER_BYTES_MAX = 16 * 1024

FORM = "application/x-www-form-urlencoded"
PAGE = "text/html,application/xhtml+xml"


def posted(query: str, **more: object) -> dict[str, Any]:
    return {"method": "POST", "json": {"query": query, **more}}


def sent(content: str, content_type: str) -> dict[str, Any]:
    return {"method": "POST", "content": content, "headers": {"Content-Type": content_type}}


INVALID = (200, "INVALID_OPERATION")
NOT_TAKEN = (415, "UNSUPPORTED_MEDIA_TYPE")
NOT_SERVED = (405, "METHOD_NOT_ALLOWED")
BAD = (400, "BAD_REQUEST")

SIGN_INS = " ".join(
    f'a{n}: signIn(input: {{email: "a@b.cc", password: "{n}"}}) {{ sessionSecret }}'
    for n in range(10)
)
INTROSPECTION = "{ __schema { types { name fields { name type { name } } } } }"

ATTACKS: dict[str, tuple[dict[str, Any], tuple[int, str]]] = {
    # graphql-cop: denial of service
    "101 aliases": (posted("{ %s }" % " ".join(f"a{n}: __typename" for n in range(101))), INVALID),
    "a batch of 10": (
        sent(json.dumps([{"query": "{ __typename }"}] * 10), "application/json"),
        BAD,
    ),
    "circular introspection": (
        posted("{ __schema { types { %s name %s } } }" % ("fields { type { " * 4, "} } " * 4)),
        INVALID,
    ),
    "10 directives that are none": (posted("{ __typename %s }" % ("@aa" * 10)), INVALID),
    "500 directives": (posted("{ __typename %s }" % ("@skip(if: false) " * 500)), INVALID),
    "500 times the same field": (posted("{ %s }" % ("__typename " * 500)), INVALID),
    "500 times a field with fields": (posted("{ %s }" % ("viewer { email } " * 500)), INVALID),
    # graphql-cop: information
    "suggestions of a field": (posted("{ viewe { email } }"), INVALID),
    "suggestions of introspection": (posted("{ __schema { directive } }"), INVALID),
    "suggestions of an argument": (posted("{ tokens(frist: 1) { edges { cursor } } }"), INVALID),
    "suggestions of a type": (posted("{ ... on Accoun { id } }"), INVALID),
    "introspection": (posted(INTROSPECTION), INVALID),
    "introspection by type": (posted('{ __type(name: "Mutation") { fields { name } } }'), INVALID),
    "introspection in a fragment": (
        posted("{ ...F } fragment F on Query { __schema { queryType { name } } }"),
        INVALID,
    ),
    "introspection behind a skip": (
        posted("{ __schema @skip(if: true) { types { name } } }"),
        INVALID,
    ),
    "an error that is not handled": (posted("qwerty attack { abc }"), INVALID),
    "a subscription as a query": (
        posted('subscription { revocationProgress(id: "x") { id } }'),
        INVALID,
    ),
    "an operation that is not there": (posted("{ __typename }", operationName="Nope"), BAD),
    # graphql-cop and BatchQL: other pages and other methods
    "a query by GET": ({"method": "GET", "params": {"query": "{ __typename }"}}, NOT_SERVED),
    "a mutation by GET": (
        {"method": "GET", "params": {"query": "mutation { signOut { userErrors { code } } }"}},
        NOT_SERVED,
    ),
    "a mutation by HEAD": (
        {"method": "HEAD", "params": {"query": "mutation { signOut { userErrors { code } } }"}},
        NOT_SERVED,
    ),
    "GraphiQL": ({"method": "GET", "headers": {"Accept": PAGE}}, NOT_SERVED),
    "a playground": (
        {"method": "POST", "json": {"query": "{ __typename }"}, "headers": {"Accept": PAGE}},
        (406, "NOT_ACCEPTABLE"),
    ),
    "a form of another page": (sent("query=mutation+%7B+signOut+%7D", FORM), NOT_TAKEN),
    "JSON in a form": (sent('{"query": "{ __typename }"}=', FORM), NOT_TAKEN),
    "JSON as text": (sent('{"query": "{ __typename }"}', "text/plain"), NOT_TAKEN),
    "JSON that calls itself both": (
        sent('{"query": "{ __typename }"}', "text/plain; application/json"),
        NOT_TAKEN,
    ),
    "an upload": (
        {
            "method": "POST",
            "data": {"operations": '{"query": "{ __typename }"}', "map": "{}"},
            "files": {"0": ("a.txt", b"a")},
        },
        NOT_TAKEN,
    ),
    "a document without an envelope": (sent("{ __typename }", "application/graphql"), NOT_TAKEN),
    # BatchQL and OWASP: guessing
    "10 passwords under aliases": (posted("mutation { %s }" % SIGN_INS), INVALID),
    "10 passwords in a batch": (
        sent(json.dumps([{"query": f"mutation {{ {SIGN_INS} }}"}] * 10), "application/json"),
        BAD,
    ),
    "50 mutations": (
        posted(
            "mutation { %s }"
            % " ".join(f"a{n}: signOut {{ userErrors {{ code }} }}" for n in range(50))
        ),
        INVALID,
    ),
    # OWASP: too much
    "a deep document": (posted("{ a " * 60 + "}" * 60), INVALID),
    "a deep document in fragments": (
        posted(
            "{ ...F0 } %s fragment F30 on Query { viewer { email } }"
            % " ".join(
                f"fragment F{n} on Query {{ viewer {{ account {{ ...F{n + 1} }} }} }}"
                for n in range(30)
            )
        ),
        INVALID,
    ),
    "circular fragments": (
        posted("{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }"),
        INVALID,
    ),
    "a fragment within itself": (
        posted("{ ...A } fragment A on Query { viewer { email } ...A }"),
        INVALID,
    ),
    "a page of everything": (
        posted("{ tokens(first: 2147483648) { edges { cursor } } }"),
        INVALID,
    ),
    "pages within pages": (
        posted(
            "query($n: Int!) { %s }"
            % " ".join(
                f"a{n}: tokens(first: $n) {{ edges {{ node {{ secrets {{ prefix }} }} }} }}"
                for n in range(12)
            ),
            variables={"n": 100},
        ),
        (200, "COST_EXCEEDED"),
    ),
    "a variable of 60,000 characters for a number": (
        posted(
            "query($n: Int!) { tokens(first: $n) { edges { cursor } } }",
            variables={"n": "9" * 60_000},
        ),
        INVALID,
    ),
    "4,000 variables": (
        posted("{ nope }", variables={f"v{n}": n for n in range(4_000)}),
        INVALID,
    ),
    "a variable that nests 500 times": (
        sent(
            '{"query": "{ nope }", "variables": {"a": %s}}' % ("[" * 500 + "]" * 500),
            "application/json",
        ),
        INVALID,
    ),
    "a query in the place of a hash": (
        posted("{ __typename }", extensions={"persistedQuery": {"sha256Hash": "a" * 64}}),
        (200, "DOCUMENT_NOT_TRUSTED"),
    ),
}


@pytest.fixture
async def people(service: Service) -> People:
    return await People.make(service)


@pytest.fixture
async def production(
    settings: Settings, service: Service, validator: Validator
) -> AsyncIterator[httpx2.AsyncClient]:
    """The application as production has it."""
    app = create_app(settings.model_copy(update={"environment": "production"}))
    app.open(service, validator)
    async with client_of(app) as client:
        yield client


@pytest.mark.parametrize(("request_", "expected"), ATTACKS.values(), ids=ATTACKS.keys())
async def test_an_attack_of_the_known_lists_is_refused_before_anything_is_read(
    request_: dict[str, Any],
    expected: tuple[int, str],
    people: People,
    production: httpx2.AsyncClient,
    owner: asyncpg.Connection,
) -> None:
    before = await fingerprint(owner)
    status, code = expected

    for cookie in (None, people.customer.secret):
        production.cookies.clear()
        if cookie is not None:
            production.cookies.set("tokenward", cookie)
        with counted() as statements:
            answer = await production.request(url="/graphql", **request_)
        assert answer.status_code == status, answer.text
        assert len(answer.content) < ANSWER_BYTES_MAX
        assert statements == []
        assert "set-cookie" not in answer.headers
        assert_leaks_nothing(answer.text)
        if request_["method"] != "HEAD":
            codes = {error["extensions"]["code"] for error in answer.json()["errors"]}
            assert codes == {code}
            assert not answer.json().get("data")

    assert await fingerprint(owner) == before


TELLING = [
    "{ nope }",
    "{ viewer }",
    "{ viewer { nope } }",
    "{ tokens { edges { cursor } } }",
    "{ tokens(first: 1) { nope } nope }",
    "{ token(id: 5.5) { id } }",
    "query($a: Nope) { __typename }",
    "mutation { createToken { secret } }",
    'mutation { createToken(input: {name: "x"}) { secret } }',
    "{ ... on ApiToken { id } }",
    INTROSPECTION,
]


async def test_a_stranger_hears_the_same_of_every_document_that_does_not_fit(
    production: httpx2.AsyncClient, people: People
) -> None:
    """So that nothing can be guessed by what is wrong, nor by how much of it is."""
    heard, told = set(), set()

    for query in TELLING:
        answer = await production.post("/graphql", json={"query": query})
        heard.add(answer.text)
        mine = await production.post(
            "/graphql", json={"query": query}, headers=bearer(people.customer.secret)
        )
        told.add(mine.json()["errors"][0]["message"])

    assert len(heard) == 1
    assert len(told) == len(TELLING), "who is signed in hears what is wrong"


async def test_a_variable_that_does_not_fit_tells_a_stranger_no_type(
    production: httpx2.AsyncClient,
) -> None:
    query = (
        "query($order: ApiTokenOrder) { tokens(first: 1, orderBy: $order) { edges { cursor } } }"
    )

    answer = await production.post(
        "/graphql", json={"query": query, "variables": {"order": {"nope": 1}}}
    )

    assert answer.json()["errors"][0]["extensions"] == {"code": "INVALID_OPERATION"}
    assert "ApiToken" not in answer.text
    assert "nope" not in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Apollo-Tracing": "1"},
        {"Apollo-Federation-Include-Trace": "ftv1"},
        {"X-Debug": "1", "Debug": "true"},
        {"X-HTTP-Method-Override": "GET"},
    ],
)
async def test_no_header_makes_an_answer_tell_how_it_was_made(
    headers: dict[str, str], production: httpx2.AsyncClient
) -> None:
    answer = await production.post("/graphql", json={"query": "{ __typename }"}, headers=headers)

    assert answer.json()["data"] == {"__typename": "Query"}
    assert set(answer.json()["extensions"]) == {"cost"}
    assert not {"server", "x-powered-by"} & set(answer.headers)


async def test_guessing_ids_costs_points_and_finds_nothing(
    people: People, production: httpx2.AsyncClient, service: Service
) -> None:
    token = await make_token(service, people.stranger.actor)
    theirs = node_ids.encode(node_ids.TOKEN, token.token.id)
    query = "{ %s }" % " ".join(f'a{n}: token(id: "{theirs}") {{ name }}' for n in range(15))

    answer = await production.post(
        "/graphql", json={"query": query}, headers=bearer(people.customer.secret)
    )

    assert set(answer.json()["data"].values()) == {None}
    assert answer.json()["extensions"]["cost"]["requestedQueryCost"] == 16
