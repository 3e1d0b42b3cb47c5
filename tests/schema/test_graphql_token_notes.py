"""What people and programs write about a token, and who made it, through GraphQL."""

import json
from typing import Any

import asyncpg
import pytest
from conftest import GraphQL
from edge_scene import People, Person, fingerprint
from factories import make_token

from service.composition import Service

CREATE = (
    "mutation($input: CreateTokenInput!) { createToken(input: $input)"
    " { token { id description metadata version } userErrors { code field } } }"
)
UPDATE = (
    "mutation($input: UpdateTokenInput!) { updateToken(input: $input)"
    " { token { description metadata version } propagation { state } userErrors { code field } } }"
)
CREATORS = (
    "{ tokens(first: 9) { edges { node"
    " { name createdBy { isDelegated email account { id } } } } } }"
)
NUMBER_MAX = 9_007_199_254_740_991


@pytest.fixture
async def people(service: Service) -> People:
    return await People.make(service)


async def create(graphql: GraphQL, person: Person, **fields: Any) -> dict[str, Any]:
    wanted = {"name": "deploy", "scopes": ["dns:read"], "expiresAt": "2030-02-14T12:00:00Z"}
    answer = await graphql(CREATE, secret=person.secret, input=wanted | fields)
    assert "errors" not in answer, answer
    return answer["data"]["createToken"]  # type: ignore[no-any-return] # JSON


async def update(graphql: GraphQL, person: Person, **fields: Any) -> dict[str, Any]:
    answer = await graphql(UPDATE, secret=person.secret, input=fields)
    assert "errors" not in answer, answer
    return answer["data"]["updateToken"]  # type: ignore[no-any-return] # JSON


async def test_notes_are_told_as_they_were_written(people: People, graphql: GraphQL) -> None:
    notes: dict[str, Any] = {
        "description": "  Nightly job: “backup”\r\n\n\towner:\tops <b>{{7*7}}</b>  \n",
        "metadata": {
            "team": "web",
            "build": 1_024,
            "share": -0.25,
            "most": NUMBER_MAX,
            "is critical": True,
            "ticket": None,
        },
    }

    made = await create(graphql, people.customer, **notes)

    assert made["token"]["description"] == "Nightly job: “backup”\n\nowner: ops <b>{{7*7}}</b>"
    assert made["token"]["metadata"] == notes["metadata"]
    bare = await create(graphql, people.customer, name="bare", description=" \n ", metadata=None)
    assert (bare["token"]["description"], bare["token"]["metadata"]) == (None, {})


async def test_other_notes_narrow_nothing_and_leave_no_receipt(
    people: People, graphql: GraphQL, owner: asyncpg.Connection
) -> None:
    made = await create(graphql, people.customer, description="old", metadata={"a": 1, "b": 2})
    token_id = made["token"]["id"]

    first = await update(graphql, people.customer, id=token_id, metadata={"b": 3})
    second = await update(graphql, people.customer, id=token_id, description=None)
    third = await update(graphql, people.customer, id=token_id, description="", metadata=None)

    assert first["token"] == {"description": "old", "metadata": {"b": 3}, "version": 2}
    assert second["token"] == {"description": None, "metadata": {"b": 3}, "version": 3}
    assert third["token"] == {"description": None, "metadata": {}, "version": 4}
    assert [answer["propagation"] for answer in (first, second, third)] == [None] * 3
    assert await owner.fetchval("SELECT count(*) FROM outbox_event") == 0
    told = await owner.fetch(
        "SELECT details FROM audit_event WHERE action = 'token.updated' ORDER BY id"
    )
    details = [json.loads(row["details"]) for row in told]
    assert details[0] == {"metadata": {"b": 3}, "previous": {"metadata": {"a": 1, "b": 2}}}
    assert details[1] == {"description": None, "previous": {"description": "old"}}


REFUSED: list[dict[str, Any]] = [
    {"description": "x" * 501},
    {"description": "e\u0301\u0301" * 3_000},
    {"description": "a\0b"},
    {"description": "a\u202eb"},
    {"description": "a\x0bb"},
    {"description": "a\u2028b"},
    {"description": "=?utf-8?q?ok=0ABcc:_x?="},
    {"metadata": []},
    {"metadata": "text"},
    {"metadata": 0},
    {"metadata": False},
    {"metadata": {"a": {}}},
    {"metadata": {"a": [1]}},
    {"metadata": {"": 1}},
    {"metadata": {" a": 1}},
    {"metadata": {"a\0": 1}},
    {"metadata": {"e\u0301": 1}},
    {"metadata": {"k" * 51: 1}},
    {"metadata": {f"k{n}": n for n in range(51)}},
    {"metadata": {"a": "b\0c"}},
    {"metadata": {"a": NUMBER_MAX + 1}},
    {"metadata": {"a": -NUMBER_MAX - 1}},
    {"metadata": {"a": 1e300}},
    {"metadata": {"a": 10**400}},
    {"metadata": {"a": "x" * 4_088}},
    {"metadata": {"a": "é" * 2_044}},
]


async def test_notes_of_another_form_are_refused_by_their_field(
    people: People, graphql: GraphQL, owner: asyncpg.Connection
) -> None:
    made = await create(graphql, people.customer)
    before = await fingerprint(owner)

    for notes in REFUSED:
        for answer in (
            await create(graphql, people.customer, name="another", **notes),
            await update(graphql, people.customer, id=made["token"]["id"], **notes),
        ):
            expected = [{"code": "INVALID_INPUT", "field": next(iter(notes))}]
            assert answer["userErrors"] == expected, json.dumps(notes)[:80]

    assert await fingerprint(owner) == before


@pytest.mark.parametrize("value", ["1e999", "-1e999"])
async def test_a_number_that_json_does_not_know_is_refused_also_in_the_document(
    value: str, people: People, graphql: GraphQL
) -> None:
    query = (
        'mutation { createToken(input: {name: "n", scopes: ["dns:read"],'
        f" metadata: {{a: {value}}}}}) {{ userErrors {{ code field }} }} }}"
    )

    answer = await graphql(query, secret=people.customer.secret)

    refused = [{"code": "INVALID_INPUT", "field": "metadata"}]
    assert answer["data"]["createToken"]["userErrors"] == refused


async def test_who_made_a_token_is_told_and_their_address_to_no_one_below(
    people: People, service: Service, graphql: GraphQL
) -> None:
    customer, reseller = people.customer, people.reseller
    of_customer = customer.actor.account_id
    writer = await make_token(service, customer.actor, name="own", scopes=("tokens:*", "dns:read"))
    await make_token(service, reseller.actor, name="delegated", account_id=of_customer)
    await make_token(service, people.operator.actor, name="from above", account_id=of_customer)
    wanted = {"name": "by a token", "scopes": ["dns:read"], "expiresAt": "2030-02-14T12:00:00Z"}
    await graphql(CREATE, secret=writer.secret, input=wanted)

    async def told(secret: str) -> dict[str, tuple[Any, ...]]:
        answer = await graphql(CREATORS, secret=secret)
        assert "errors" not in answer, answer
        nodes = [edge["node"] for edge in answer["data"]["tokens"]["edges"]]
        return {
            node["name"]: (
                made["isDelegated"],
                made["email"],
                made["account"] and made["account"]["id"],
            )
            for node in nodes
            for made in [node["createdBy"]]
        }

    own = {"own": (False, customer.email, customer.account_id)}
    by_token = {"by a token": (False, None, customer.account_id)}
    nobody = (True, None, None)
    by_reseller = (True, reseller.email, reseller.account_id)
    by_operator = (True, people.operator.email, people.operator.account_id)
    assert await told(customer.secret) == own | by_token | {
        "delegated": nobody,
        "from above": nobody,
    }
    assert await told(reseller.secret) == own | by_token | {
        "delegated": by_reseller,
        "from above": nobody,
    }
    assert await told(people.operator.secret) == own | by_token | {
        "delegated": by_reseller,
        "from above": by_operator,
    }
    # Whoever may read tokens may not for that read of people.
    assert (await told(writer.secret))["own"] == (False, None, customer.account_id)


async def test_what_is_older_than_its_creators_names_nobody(
    people: People, service: Service, graphql: GraphQL, owner: asyncpg.Connection
) -> None:
    await make_token(service, people.customer.actor)
    await owner.execute(
        "UPDATE api_token SET created_by_account_id = NULL, created_by_member_id = NULL"
    )

    answer = await graphql(CREATORS, secret=people.customer.secret)

    [edge] = answer["data"]["tokens"]["edges"]
    assert edge["node"]["createdBy"] is None


async def test_a_key_for_one_token_makes_no_other_with_other_notes(
    people: People, graphql: GraphQL
) -> None:
    key = {"idempotencyKey": "0b7c3c52-9a86-4c1e-8a4c-2f5a2d1f0c11"}
    first = await create(graphql, people.customer, metadata={"a": 1, "b": 2}, **key)

    again = await create(graphql, people.customer, metadata={"b": 2, "a": 1}, **key)
    other = await create(graphql, people.customer, metadata={"a": 1, "b": 3}, **key)

    assert again["token"]["id"] == first["token"]["id"]
    conflict = {"code": "IDEMPOTENCY_CONFLICT", "field": "idempotencyKey"}
    assert other["userErrors"] == [conflict]
