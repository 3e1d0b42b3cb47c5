"""A fleet over GraphQL: sorted and filtered by its counts, for a fixed number of statements."""

from datetime import timedelta
from typing import Any

import pytest
from conftest import FrozenClock, GraphQL
from edge_scene import People
from factories import make_customer, make_token
from test_query_counts import counted

from service.composition import Service

FLEET = """query($first: Int!, $after: String, $filter: FleetFilter, $orderBy: FleetOrder) {
    fleet(first: $first, after: $after, filter: $filter, orderBy: $orderBy) {
        edges { node { account { id name status } counts {
            live active suspended expired expiringWithin7Days expiringWithin30Days neverUsed
            idle90Days withoutAddressLimits fullAccess
        } } }
        pageInfo { hasNextPage endCursor }
    }
}"""


@pytest.fixture
async def people(service: Service) -> People:
    return await People.make(service)


def ids_of(answer: dict[str, Any]) -> list[str]:
    return [edge["node"]["account"]["id"] for edge in answer["data"]["fleet"]["edges"]]


async def test_a_reseller_sees_first_who_has_the_most_tokens_that_expire_soon(
    people: People, service: Service, clock: FrozenClock, graphql: GraphQL
) -> None:
    soon = clock.now() + timedelta(days=5)
    await make_token(service, people.customer.actor)
    await make_token(service, people.sibling.actor, expires_at=soon, scopes=("*",))
    await make_token(service, people.stranger.actor, expires_at=soon)
    order = {"field": "EXPIRING_WITHIN_7_DAYS"}
    asked = {"secret": people.reseller.secret, "first": 1, "orderBy": order}

    first = await graphql(FLEET, **asked)
    page = first["data"]["fleet"]
    second = await graphql(FLEET, **asked, after=page["pageInfo"]["endCursor"])

    assert ids_of(first) == [people.sibling.account_id]
    assert page["edges"][0]["node"]["counts"] == {
        "live": 1,
        "active": 1,
        "suspended": 0,
        "expired": 0,
        "expiringWithin7Days": 1,
        "expiringWithin30Days": 1,
        "neverUsed": 1,
        "idle90Days": 0,
        "withoutAddressLimits": 1,
        "fullAccess": 1,
    }
    assert page["pageInfo"]["hasNextPage"] is True
    assert ids_of(second) == [people.customer.account_id]
    assert second["data"]["fleet"]["pageInfo"]["hasNextPage"] is False


async def test_a_fleet_is_filtered_by_what_its_accounts_are_and_have(
    people: People, service: Service, graphql: GraphQL
) -> None:
    await make_token(service, people.sibling.actor, scopes=("*",))
    secret = people.reseller.secret

    full = await graphql(
        FLEET, secret=secret, first=9, filter={"atLeast": [{"field": "FULL_ACCESS"}]}
    )
    closed = await graphql(FLEET, secret=secret, first=9, filter={"status": "CLOSED"})
    senseless = await graphql(
        FLEET, secret=secret, first=9, filter={"atLeast": [{"field": "LIVE", "count": 0}]}
    )

    assert ids_of(full) == [people.sibling.account_id]
    assert ids_of(closed) == []
    assert senseless["errors"][0]["extensions"]["code"] == "INVALID_INPUT"
    assert senseless["errors"][0]["extensions"]["field"] == "atLeast"


@pytest.mark.parametrize("count", [1, 40])
async def test_a_page_of_a_fleet_is_two_statements_for_any_number(
    count: int, people: People, service: Service, graphql: GraphQL
) -> None:
    for _ in range(count):
        await make_customer(service, people.reseller.actor)

    with counted() as statements:
        answer = await graphql(FLEET, secret=people.reseller.secret, first=50)

    assert len(ids_of(answer)) == count + 2
    assert len(statements) == 2, statements


@pytest.mark.parametrize(
    ("query", "expected"),
    {
        "{ fleetTotals { accounts counts { live neverUsed } } }": 1,
        "{ accounts(first: 50) { edges { node { name counts { live } } } } }": 2,
        "{ viewer { account { counts { live } } } }": 3,
        "{ tokens(first: 9) { edges { node { account { counts { live } } } } } }": 3,
    }.items(),
)
async def test_counts_beside_accounts_are_one_statement_more(
    query: str, expected: int, people: People, service: Service, graphql: GraphQL
) -> None:
    for person in (people.customer, people.sibling):
        await make_token(service, person.actor)

    with counted() as statements:
        answer = await graphql(query, secret=people.reseller.secret)

    assert "errors" not in answer, answer
    assert len(statements) == expected, "\n".join(statements)


async def test_who_may_not_read_tokens_reads_no_counts_but_the_account(
    people: People, service: Service, graphql: GraphQL
) -> None:
    token = await make_token(service, people.reseller.actor, scopes=("accounts:read",))

    answer = await graphql(
        "{ accounts(first: 9) { edges { node { name counts { live } } } } }", secret=token.secret
    )

    edges = answer["data"]["accounts"]["edges"]
    assert [edge["node"]["counts"] for edge in edges] == [None, None]
    assert {error["extensions"]["code"] for error in answer["errors"]} == {"INSUFFICIENT_SCOPE"}
