"""Widening through GraphQL: absent is not null, and no program can do it."""

from typing import Any

import asyncpg
import pytest
from conftest import FrozenClock, GraphQL
from edge_scene import People, fingerprint
from factories import make_token

from schema import node_ids
from service.composition import Service

FIELDS = "scopes allowedIpRanges audiences expiresAt notBefore version"
WIDEN = (
    "mutation($input: WidenTokenInput!) { widenToken(input: $input)"
    f" {{ token {{ {FIELDS} }} propagation {{ state }} userErrors {{ code field }} }} }}"
)


@pytest.fixture
async def people(service: Service) -> People:
    return await People.make(service)


@pytest.fixture
async def limited(people: People, service: Service) -> str:
    """The global id of a token of the customer's that is limited in everything."""
    created = await make_token(
        service,
        people.customer.actor,
        allowed_ip_ranges=("192.0.2.0/24",),
        audiences=("dns",),
        not_before=service.clock.now().replace(day=20),
    )
    return node_ids.encode(node_ids.TOKEN, created.token.id)


LIMITED: dict[str, Any] = {
    "scopes": ["dns:read"],
    "allowedIpRanges": ["192.0.2.0/24"],
    "audiences": ["dns"],
    "expiresAt": "2030-02-14T12:00:00+00:00",
    "notBefore": "2030-01-20T12:00:00+00:00",
}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"scopes": ["dns:*"]}, {"scopes": ["dns:*"]}),
        ({"allowedIpRanges": []}, {"allowedIpRanges": []}),
        ({"audiences": []}, {"audiences": []}),
        ({"expiresAt": None}, {"expiresAt": None}),
        ({"notBefore": None}, {"notBefore": None}),
        ({"expiresAt": "2030-03-01T00:00:00+01:00"}, {"expiresAt": "2030-02-28T23:00:00+00:00"}),
        # Of a list, null is as absent: no list is given away by mishap.
        (
            {"scopes": None, "allowedIpRanges": None, "audiences": None, "notBefore": None},
            {"notBefore": None},
        ),
    ],
)
async def test_a_widening_gives_what_is_named_and_leaves_what_is_absent(
    change: dict[str, Any], told: dict[str, Any], people: People, limited: str, graphql: GraphQL
) -> None:
    wanted = {"id": limited, "expectedVersion": 1} | change

    answer = await graphql(WIDEN, secret=people.customer.secret, input=wanted)

    widened = answer["data"]["widenToken"]
    assert widened["userErrors"] == []
    assert widened["token"] == LIMITED | told | {"version": 2}
    assert widened["propagation"]["state"] in {"CONFIRMED", "APPLIED"}


async def test_the_version_that_was_looked_at_must_be_named(
    people: People, limited: str, graphql: GraphQL, owner: asyncpg.Connection
) -> None:
    before = await fingerprint(owner)

    missing = await graphql(
        WIDEN, secret=people.customer.secret, input={"id": limited, "expiresAt": None}
    )
    another = await graphql(
        WIDEN,
        secret=people.customer.secret,
        input={"id": limited, "expiresAt": None, "expectedVersion": 2},
    )

    assert missing["errors"][0]["extensions"]["code"] == "INVALID_OPERATION"
    errors = another["data"]["widenToken"]["userErrors"]
    assert errors == [{"code": "VERSION_CONFLICT", "field": None}]
    assert await fingerprint(owner) == before


async def test_a_widening_asks_for_the_password_again(
    people: People, limited: str, graphql: GraphQL, owner: asyncpg.Connection, clock: FrozenClock
) -> None:
    wanted = {"id": limited, "expiresAt": None, "expectedVersion": 1}
    clock.advance(minutes=10)
    before = await fingerprint(owner)

    refused = await graphql(WIDEN, secret=people.customer.secret, input=wanted)

    errors = refused["data"]["widenToken"]["userErrors"]
    assert errors == [{"code": "PASSWORD_REQUIRED", "field": None}]
    assert await fingerprint(owner) == before
    confirm = (
        'mutation { confirmPassword(input: {password: "correct horse battery"})'
        " { userErrors { code } } }"
    )
    await graphql(confirm, secret=people.customer.secret)
    again = await graphql(WIDEN, secret=people.customer.secret, input=wanted)
    assert again["data"]["widenToken"]["token"]["expiresAt"] is None


async def test_no_token_widens_one_not_even_with_every_right(
    people: People, limited: str, service: Service, graphql: GraphQL, owner: asyncpg.Connection
) -> None:
    full = await make_token(service, people.customer.actor, scopes=("*",))
    before = await fingerprint(owner)

    for global_id in (limited, node_ids.encode(node_ids.TOKEN, full.token.id)):
        wanted = {"id": global_id, "expiresAt": None, "expectedVersion": 1}
        answer = await graphql(WIDEN, secret=full.secret, input=wanted)
        errors = answer["data"]["widenToken"]["userErrors"]
        assert errors == [{"code": "FORBIDDEN", "field": None}]

    assert await fingerprint(owner) == before
