"""The trail over GraphQL: what is told to whom, in pages, and how many statements that costs."""

import base64
import json
from typing import Any

import pytest
from conftest import FrozenClock, GraphQL
from edge_scene import People
from factories import make_token
from test_query_counts import counted

from schema import node_ids
from service.composition import Service

EVENT = (
    "id occurredAt action subjectId address requestId details sequence hash account { name }"
    " onBehalfOf { name } actor { accountName accountKind email tokenId account { name } }"
)
EVENTS = (
    "query($first: Int!, $after: String, $filter: AuditEventFilter) { auditEvents(first: $first,"
    f" after: $after, filter: $filter) {{ edges {{ node {{ {EVENT} }} }}"
    " pageInfo { hasNextPage endCursor } } }"
)


@pytest.fixture
async def people(service: Service) -> People:
    return await People.make(service)


def nodes(answer: dict[str, Any]) -> list[dict[str, Any]]:
    assert "errors" not in answer, answer
    return [edge["node"] for edge in answer["data"]["auditEvents"]["edges"]]


def code_of(answer: dict[str, Any]) -> tuple[str, str | None]:
    extensions = answer["errors"][0]["extensions"]
    return extensions["code"], extensions.get("field")


async def test_what_a_reseller_did_on_behalf_of_a_customer_is_told_to_each_as_far_as_it_may_be(
    service: Service, people: People, graphql: GraphQL
) -> None:
    created = await make_token(
        service, people.reseller.actor, account_id=people.customer.actor.account_id
    )
    await service.sealer.seal()
    token_id = node_ids.encode(node_ids.TOKEN, created.token.id)
    only = {"subjectId": token_id}

    [above] = nodes(await graphql(EVENTS, secret=people.reseller.secret, first=9, filter=only))
    [below] = nodes(await graphql(EVENTS, secret=people.customer.secret, first=9, filter=only))

    reseller = above["actor"]["account"]["name"]
    session = node_ids.encode(node_ids.SESSION, people.reseller.actor.token_id)
    assert above["actor"] == {
        "accountName": reseller,
        "accountKind": "RESELLER",
        "email": people.reseller.email,
        "tokenId": session,
        "account": {"name": reseller},
    }
    assert below["actor"] == {
        "accountName": reseller,
        "accountKind": "RESELLER",
        "email": None,
        "tokenId": None,
        "account": None,
    }
    assert (above["address"], below["address"]) == ("192.0.2.7", None)
    for event in (above, below):
        assert event["action"] == "token.created"
        assert event["subjectId"] == token_id
        assert event["onBehalfOf"] == event["account"] is not None
        assert event["requestId"] == "test"
        assert event["details"]["name"] == created.token.name
    told = {key: value for key, value in above.items() if key not in {"actor", "address"}}
    assert told == {key: below[key] for key in told}
    assert bytes.fromhex(below["hash"])
    assert people.reseller.email not in json.dumps(below)


async def test_what_one_did_oneself_is_on_nobodys_behalf_and_unsealed_for_a_moment(
    service: Service, people: People, graphql: GraphQL
) -> None:
    await service.sealer.seal()
    await make_token(service, people.customer.actor)

    event = nodes(await graphql(EVENTS, secret=people.customer.secret, first=1))[0]

    assert (event["onBehalfOf"], event["sequence"], event["hash"]) == (None, None, None)
    assert event["actor"]["email"] == people.customer.email


async def test_pages_in_any_size_are_the_whole_trail_newest_first(
    service: Service, people: People, graphql: GraphQL, clock: FrozenClock
) -> None:
    for _ in range(4):
        clock.advance(minutes=1)
        await make_token(service, people.customer.actor)
    whole = nodes(await graphql(EVENTS, secret=people.reseller.secret, first=100))

    found: list[dict[str, Any]] = []
    more, after = True, None
    while more:
        answer = await graphql(EVENTS, secret=people.reseller.secret, first=3, after=after)
        found += nodes(answer)
        page = answer["data"]["auditEvents"]["pageInfo"]
        more, after = page["hasNextPage"], page["endCursor"]

    assert found == whole
    assert [event["occurredAt"] for event in whole] == sorted(
        (event["occurredAt"] for event in whole), reverse=True
    )


async def test_filters_narrow_and_null_is_like_absent(
    service: Service, people: People, graphql: GraphQL
) -> None:
    await make_token(service, people.customer.actor)
    secret = people.reseller.secret

    async def actions(**only: object) -> list[str]:
        answer = await graphql(EVENTS, secret=secret, first=100, filter=only)
        return [event["action"] for event in nodes(answer)]

    everything = await actions()
    assert await actions(accountId=None, actions=None, subjectId=None) == everything
    assert await actions(actions=["token.created"]) == ["token.created"]
    customer = people.customer.account_id
    assert "token.created" in await actions(accountId=customer, actorAccountId=customer)
    assert await actions(accountId=people.stranger.account_id) == []
    assert await actions(actorAccountId=people.stranger.account_id) == []
    assert await actions(subjectId=people.stranger.account_id) == []
    assert await actions(occurredBefore="2000-01-01T00:00:00Z") == []
    assert await actions(occurredAfter="2000-01-01T00:00:00Z") == everything
    # Its reseller made the customer's account, which learns that by the name alone.
    above = people.reseller.account_id
    assert "account.created" in await actions(accountId=customer, actorAccountId=above)
    secret = people.customer.secret
    assert "account.created" in await actions()
    assert await actions(actorAccountId=above) == []


def cursor(*parts: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


SOME_ID = "00000000-0000-7000-8000-000000000000"

SENSELESS: dict[str, tuple[dict[str, Any], tuple[str, str | None]]] = {
    "no actions": ({"filter": {"actions": []}}, ("INVALID_INPUT", "actions")),
    "too many actions": ({"filter": {"actions": ["a"] * 21}}, ("INVALID_INPUT", "actions")),
    "a NUL": ({"filter": {"actions": ["\0"]}}, ("INVALID_INPUT", "actions")),
    "no time zone": (
        {"filter": {"occurredAfter": "2030-01-01T00:00:00"}},
        ("INVALID_INPUT", "occurredAfter"),
    ),
    "beyond time": (
        {"filter": {"occurredBefore": "9999-12-31T23:59:59-23:59"}},
        ("INVALID_INPUT", "occurredBefore"),
    ),
    "too many": ({"first": 101}, ("INVALID_INPUT", "first")),
    "none": ({"first": 0}, ("INVALID_INPUT", "first")),
    "a cursor of nothing": ({"after": "x"}, ("INVALID_INPUT", "after")),
    "a cursor of another list": (
        {"after": cursor("accounts", "a", SOME_ID)},
        ("INVALID_INPUT", "after"),
    ),
    "a cursor of no instant": (
        {"after": cursor("trail:newest", "now", SOME_ID)},
        ("INVALID_INPUT", "after"),
    ),
    "a cursor without its time zone": (
        {"after": cursor("trail:newest", "2030-01-01T00:00:00", SOME_ID)},
        ("INVALID_INPUT", "after"),
    ),
    "a cursor beyond time": (
        {"after": cursor("trail:newest", "0001-01-01T00:00:00+23:59", SOME_ID)},
        ("INVALID_INPUT", "after"),
    ),
}


async def test_what_makes_no_sense_is_refused_with_the_field(
    people: People, graphql: GraphQL
) -> None:
    for name, (variables, expected) in SENSELESS.items():
        answer = await graphql(EVENTS, secret=people.customer.secret, **({"first": 9} | variables))
        assert code_of(answer) == expected, name
    for name in ("accountId", "actorAccountId", "subjectId"):
        answer = await graphql(
            EVENTS, secret=people.customer.secret, first=9, filter={name: "nonsense"}
        )
        assert nodes(answer) == []


async def test_an_event_is_a_node_within_reach_alone(people: People, graphql: GraphQL) -> None:
    listed = nodes(await graphql(EVENTS, secret=people.customer.secret, first=9))
    query = "query($id: ID!) { node(id: $id) { id ... on AuditEvent { action } } }"

    seen = [
        (await graphql(query, secret=person.secret, id=listed[0]["id"]))["data"]["node"]
        for person in (people.customer, people.reseller, people.sibling, people.stranger)
    ]

    found = {"id": listed[0]["id"], "action": listed[0]["action"]}
    assert seen == [found, found, None, None]


@pytest.mark.parametrize("count", [1, 40])
async def test_a_page_costs_two_statements_for_any_number_of_events_and_accounts(
    count: int, people: People, service: Service, graphql: GraphQL
) -> None:
    for number in range(count):
        person = (people.customer, people.sibling, people.reseller)[number % 3]
        await make_token(service, person.actor)

    with counted() as statements:
        answer = await graphql(EVENTS, secret=people.reseller.secret, first=count)

    assert len(nodes(answer)) == count
    assert len(statements) == 2, "\n".join(statements)
