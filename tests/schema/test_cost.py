"""What an operation costs is known before it runs, and nobody spends more than they have."""

# ruff: noqa: UP031 - braces are GraphQL's own here: format() would need each of them twice

import time
from typing import Any

import httpx2
import pytest
from edge_scene import People, bearer
from graphql import GraphQLSchema, parse, validate
from test_query_counts import counted

from schema.cost import COST_MAX, INTROSPECTION_COST, MUTATION_COST, PASSWORD_COST, bill_of
from schema.root import build_schema
from service.budget import SHARED_KEY
from service.composition import Service

SCHEMA: GraphQLSchema = build_schema(production=False)._schema  # noqa: SLF001 - strawberry has no public name

PAGE = "{ tokens(first: 100) { edges { node { account { name } secrets { prefix } } } } }"
PAGE_COST = 1 + 1 + 100 * (1 + 1 + 1 + 5)
TOO_DEAR = "{ %s }" % " ".join(f"a{n}: {PAGE[2:-2]}" for n in range(7))

COSTS = {
    "{ __typename }": 1,
    "{ viewer { email scopes } }": 2,
    "{ viewer { email account { name } } }": 3,
    "{ availableScopes }": 1,
    "{ tokens(first: 10) { pageInfo { endCursor } } }": 3,
    "{ tokens(first: 10) { edges { cursor } } }": 1 + 1 + 10,
    "{ tokens(first: 10) { edges { node { name } } pageInfo { endCursor } } }": 1 + 1 + 20 + 1,
    PAGE: PAGE_COST,
    # Out of bounds is refused later, and counts as what is nearest to it.
    "{ tokens(first: 0) { edges { cursor } } }": 2,
    "{ tokens(first: -1) { edges { cursor } } }": 2,
    "{ tokens(first: 2147483647) { edges { cursor } } }": 102,
    # What is left out is paid for.
    "{ viewer @skip(if: true) { email } }": 2,
    # Each alias runs for itself.
    "{ a: viewer { email } b: viewer { email } }": 3,
    "{ ...A } fragment A on Query { viewer { ...B } } fragment B on Viewer { account { id } }": 3,
    "{ tokens(first: 5) { ...P } } fragment P on ApiTokenConnection { edges { cursor } }": 7,
    "{ ... on Query { ... { viewer { email } } } }": 2,
    '{ nodes(ids: ["a", "b", "c"]) { id } }': 1 + 3,
    "{ accounts(first: 20) { edges { node { tokens(first: 100) { edges { cursor } } } } } }": 1
    + 1
    + 20 * (1 + 1 + 1 + 100),
    "{ __schema { types { name fields { name } } } }": 1 + INTROSPECTION_COST,
    "mutation { signOut { userErrors { code } } }": 1 + MUTATION_COST + 5,
    'mutation { signIn(input: {email: "a", password: "b"}) { sessionSecret } }': 1 + PASSWORD_COST,
    'subscription { revocationProgress(id: "x") { state } }': 2,
    # Lists that nobody asks a number of bring as many as they may.
    "mutation($i: ExtendTokensInput!) { extendTokens(input: $i) { preview { sample { id } } } }": 1
    + MUTATION_COST
    + 1
    + 20,
}


@pytest.fixture
async def people(service: Service) -> People:
    return await People.make(service)


def cost(query: str, **variables: Any) -> int:
    document = parse(query)
    assert validate(SCHEMA, document) == []
    return bill_of(SCHEMA, document, None).price.of(variables)


@pytest.mark.parametrize(("query", "points"), COSTS.items(), ids=COSTS.keys())
def test_a_document_has_its_price(query: str, points: int) -> None:
    assert cost(query) == points


PAGED = "query($first: Int!) { tokens(first: $first) { edges { node { secrets { prefix } } } } }"
HALF = "query($first: Int! = 50) { tokens(first: $first) { edges { cursor } } }"


@pytest.mark.parametrize(
    ("value", "items"),
    [(1, 1), (100, 100), (0, 0), (-5, 0), (10**9, 100), ("x", 100), (None, 100), (1.5, 100)],
)
def test_a_page_costs_what_the_variable_says_and_nonsense_a_whole_one(
    value: object, items: int
) -> None:
    assert cost(PAGED, first=value) == 1 + 1 + items * (1 + 1 + 5)


@pytest.mark.parametrize(("ids", "count"), [([], 0), (["a"], 1), (["a"] * 7, 7), ("a", 100)])
def test_what_is_asked_for_by_ids_costs_as_many(ids: object, count: int) -> None:
    assert cost("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", ids=ids) == 1 + count


def test_an_absent_variable_is_its_default_or_a_whole_page() -> None:
    assert cost(HALF) == 1 + 1 + 50
    assert cost(HALF, first=2) == 1 + 1 + 2
    assert cost(PAGED) == 1 + 1 + 100 * 7


def test_the_operation_that_is_named_is_the_one_that_is_priced() -> None:
    document = parse("query Small { viewer { email } } query Dear %s" % PAGE)

    assert bill_of(SCHEMA, document, "Small").price.of({}) == 2
    assert bill_of(SCHEMA, document, "Dear").price.of({}) == PAGE_COST


def test_fragments_that_double_are_priced_once_each() -> None:
    chain = " ".join(f"fragment F{n} on Account {{ ...F{n + 1} ...F{n + 1} }}" for n in range(8))
    query = "{ viewer { account { ...F0 } } } %s fragment F8 on Account { id }" % chain
    began = time.perf_counter()

    assert cost(query) == 3
    assert time.perf_counter() - began < 1


def test_a_cached_price_is_only_a_sum() -> None:
    document = parse(PAGE)

    first, again = (bill_of(SCHEMA, document, None) for _ in range(2))

    assert first is again
    assert first.price.repeated == ()


async def ask(
    http: httpx2.AsyncClient, query: str, secret: str | None = None, **headers: str
) -> httpx2.Response:
    sent = headers | ({} if secret is None else bearer(secret))
    return await http.post("/graphql", json={"query": query}, headers=sent)


async def test_every_answer_tells_what_it_cost_and_what_is_left(
    people: People, http: httpx2.AsyncClient, service: Service
) -> None:
    first = (await ask(http, PAGE, people.customer.secret)).json()["extensions"]["cost"]
    second = (await ask(http, "{ nope }", people.customer.secret)).json()
    third = (await ask(http, PAGE, people.customer.secret)).json()["extensions"]["cost"]

    budget = service.settings.cost_budget
    assert first == {
        "requestedQueryCost": PAGE_COST,
        "throttleStatus": {
            "maximumAvailable": budget,
            "currentlyAvailable": budget - PAGE_COST,
            "restoreRate": service.settings.cost_restore_per_second,
        },
    }
    assert "extensions" not in second, "what cannot run costs nothing"
    assert third["throttleStatus"]["currentlyAvailable"] < budget


async def test_what_costs_more_than_any_may_is_refused_before_anything_runs(
    people: People, http: httpx2.AsyncClient
) -> None:
    with counted() as statements:
        answer = await ask(http, TOO_DEAR, people.customer.secret)

    points = 1 + 7 * (PAGE_COST - 1)
    [error] = answer.json()["errors"]
    assert error["extensions"] == {"code": "COST_EXCEEDED"}
    assert error["message"] == f"The document costs {points:,} points; at most {COST_MAX:,}."
    assert answer.json()["extensions"] == {"cost": {"requestedQueryCost": points}}
    assert statements == []


async def drain(service: Service, payer: object, points: int) -> None:
    """Leave a caller so many points."""
    seconds, micros = await service.cache.redis.time()
    at = int(seconds) * 1000 + int(micros) // 1000
    await service.cache.redis.set(f"{SHARED_KEY}:{payer}", f"{points}.000 {at}")


async def test_who_has_spent_everything_is_told_when_to_come_back_and_nobody_else_is(
    people: People, http: httpx2.AsyncClient, service: Service
) -> None:
    await drain(service, people.customer.actor.token_id, 0)

    with counted() as statements:
        refused = await ask(http, PAGE, people.customer.secret)
    served = await ask(http, PAGE, people.sibling.secret)

    assert refused.status_code == 200  # as for every answer in application/json
    [error] = refused.json()["errors"]
    assert error["extensions"] == {"code": "TOO_MANY_REQUESTS", "retryAfterSeconds": 2}
    assert refused.headers["retry-after"] == "2"
    left = refused.json()["extensions"]["cost"]["throttleStatus"]["currentlyAvailable"]
    assert left < PAGE_COST
    assert refused.json()["data"] is None
    assert statements == []
    assert "errors" not in served.json()


async def test_strangers_are_counted_by_address_and_an_ipv6_one_by_its_network(
    http: httpx2.AsyncClient, service: Service
) -> None:
    await drain(service, "2001:db8:1:2::/64", 0)
    http._transport.client = ("127.0.0.1", 40_000)  # type: ignore[attr-defined]  # noqa: SLF001 - a trusted proxy calls
    codes = []

    for address in ("2001:db8:1:2::7", "2001:db8:1:2:ffff::1", "2001:db8:1:3::7", "192.0.2.1"):
        answer = await ask(http, PAGE, **{"X-Forwarded-For": address})
        codes.append(answer.json()["errors"][0]["extensions"]["code"])

    assert codes == ["TOO_MANY_REQUESTS"] * 2 + ["UNAUTHENTICATED"] * 2


async def test_one_who_is_throttled_may_do_what_they_can_still_pay(
    people: People, http: httpx2.AsyncClient, service: Service
) -> None:
    await drain(service, people.customer.actor.token_id, 20)

    assert "errors" in (await ask(http, PAGE, people.customer.secret)).json()
    answer = await ask(http, "{ viewer { email } }", people.customer.secret)

    assert answer.json()["data"]["viewer"]["email"] == people.customer.email
