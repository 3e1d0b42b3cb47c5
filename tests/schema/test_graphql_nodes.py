"""Anything by its global id: what is foreign, missing, of another type or no id at all is null."""

import base64
import json
from uuid import uuid4

import pytest
from conftest import GraphQL
from edge_scene import People
from factories import make_token
from graphql import GraphQLInterfaceType

from schema import node_ids
from schema.node_queries import LOADERS
from schema.root import build_schema
from service.composition import Service

NODE = "query($id: ID!) { node(id: $id) { __typename id } }"
NODES = "query($ids: [ID!]!) { nodes(ids: $ids) { __typename id } }"


@pytest.fixture
async def people(service: Service) -> People:
    return await People.make(service)


@pytest.fixture
async def ids(people: People, service: Service) -> dict[str, str]:
    """The global id of one of each type that is the customer's."""
    actor = people.customer.actor
    created = await make_token(service, actor)
    suspended = await service.tokens.suspend(actor, created.token.id)
    assert suspended.propagation is not None
    return {
        "ApiToken": node_ids.encode(node_ids.TOKEN, created.token.id),
        "Account": people.customer.account_id,
        "Propagation": node_ids.encode(node_ids.PROPAGATION, suspended.propagation.receipt.id),
    }


async def test_everything_is_found_by_its_id_by_those_who_reach_it(
    people: People, ids: dict[str, str], graphql: GraphQL
) -> None:
    found = [{"__typename": name, "id": global_id} for name, global_id in ids.items()]
    for person in (people.customer, people.reseller, people.operator):
        for node in found:
            answer = await graphql(NODE, secret=person.secret, id=node["id"])
            assert answer == {"data": {"node": node}}

        answer = await graphql(NODES, secret=person.secret, ids=list(ids.values()))
        assert answer == {"data": {"nodes": found}}


async def test_foreign_missing_and_senseless_ids_are_null_in_their_place(
    people: People, ids: dict[str, str], graphql: GraphQL
) -> None:
    own = people.stranger.account_id
    senseless = [
        "",
        "?",
        "é",
        "a" * 10_000,
        node_ids.encode("Nothing", uuid4()),
        node_ids.encode("ApiToken:", uuid4()),
        node_ids.encode("", uuid4()),
        base64.urlsafe_b64encode(b"ApiToken:1").decode(),
        # A session is no token; a token's id under another type's name is nobody's.
        node_ids.encode(node_ids.TOKEN, people.stranger.actor.token_id),
        node_ids.encode(node_ids.ACCOUNT, node_ids.decode(node_ids.TOKEN, ids["ApiToken"])),
    ]
    missing = [node_ids.encode(kind, uuid4()) for kind in ids]
    wanted = [own, *ids.values(), *missing, *senseless, own]

    for person in (people.stranger, people.other_reseller):
        answer = await graphql(NODES, secret=person.secret, ids=wanted)

        seen = {"__typename": "Account", "id": own}
        assert answer == {"data": {"nodes": [seen, *[None] * (len(wanted) - 2), seen]}}
        for global_id in wanted[1:-1]:
            alone = await graphql(NODE, secret=person.secret, id=global_id)
            assert alone == {"data": {"node": None}}


async def test_a_node_needs_the_scope_of_its_own_query(
    people: People, ids: dict[str, str], service: Service, graphql: GraphQL
) -> None:
    narrow = await make_token(service, people.customer.actor)
    missing = node_ids.encode(node_ids.TOKEN, uuid4())

    for global_id in (ids["ApiToken"], missing, ids["Propagation"], people.sibling.account_id):
        answer = await graphql(NODE, secret=narrow.secret, id=global_id)
        assert answer["data"] == {"node": None}
        assert answer["errors"][0]["extensions"]["code"] == "INSUFFICIENT_SCOPE"
    own = await graphql(NODE, secret=narrow.secret, id=ids["Account"])
    assert own["data"]["node"]["id"] == ids["Account"]
    many = await graphql(NODES, secret=narrow.secret, ids=list(ids.values()))
    assert (many["data"], len(many["errors"])) == (None, 1)


async def test_at_most_a_hundred_nodes_are_read_at_once(people: People, graphql: GraphQL) -> None:
    own = people.customer.account_id

    full = await graphql(NODES, secret=people.customer.secret, ids=[own] * 100)
    refused = await graphql(NODES, secret=people.customer.secret, ids=[own] * 101)

    assert len(full["data"]["nodes"]) == 100
    assert refused["data"] is None
    assert refused["errors"][0]["extensions"] == {"code": "INVALID_INPUT", "field": "ids"}
    assert (await graphql(NODES, secret=people.customer.secret, ids=[]))["data"] == {"nodes": []}


async def test_nobody_reads_no_node(people: People, graphql: GraphQL) -> None:
    for query, variables in ((NODE, {"id": "?"}), (NODES, {"ids": [people.customer.account_id]})):
        answer = await graphql(query, **variables)

        assert answer["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED", json.dumps(answer)


def test_every_type_that_is_a_node_is_found_by_its_id() -> None:
    schema = build_schema(production=False)._schema  # noqa: SLF001 - Strawberry's own is not public
    node = schema.type_map["Node"]
    assert isinstance(node, GraphQLInterfaceType)

    assert {kind.name for kind in schema.get_possible_types(node)} == set(LOADERS)
