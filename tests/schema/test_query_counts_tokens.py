"""How many statements nodes, creators and nested lists of tokens cost, for any number of rows."""

import pytest
from conftest import GraphQL
from edge_scene import People
from factories import make_account, make_token
from test_query_counts import counted

from schema import node_ids
from service.composition import Service
from service.verdict import AccountKind


@pytest.fixture
async def people(service: Service) -> People:
    return await People.make(service)


@pytest.mark.parametrize("count", [1, 40])
async def test_nodes_are_one_statement_for_each_type(
    count: int, people: People, service: Service, graphql: GraphQL
) -> None:
    ids = []
    for _ in range(count):
        token = (await make_token(service, people.customer.actor)).token
        suspended = await service.tokens.suspend(people.customer.actor, token.id)
        assert suspended.propagation is not None
        receipt_id = suspended.propagation.receipt.id
        ids.append(node_ids.encode(node_ids.TOKEN, token.id))
        ids.append(node_ids.encode(node_ids.PROPAGATION, receipt_id))
    accounts = [people.customer.account_id, people.sibling.account_id, people.stranger.account_id]
    query = "query($ids: [ID!]!) { nodes(ids: $ids) { id } }"

    with counted() as statements:
        answer = await graphql(query, secret=people.reseller.secret, ids=[*ids, *accounts])

    found = [node and node["id"] for node in answer["data"]["nodes"]]
    assert found == [*ids, *accounts[:2], None]
    assert len(statements) == 3, statements


@pytest.mark.parametrize("count", [1, 40])
async def test_a_page_of_tokens_with_their_creators_is_three_statements_for_any_number(
    count: int, people: People, service: Service, graphql: GraphQL
) -> None:
    for number in range(count):
        actor = (people.customer, people.reseller)[number % 2].actor
        await make_token(service, actor, account_id=people.customer.actor.account_id)
    query = (
        "{ tokens(first: 50) { edges { node { account { name }"
        " createdBy { email account { name } } } } } }"
    )

    with counted() as statements:
        answer = await graphql(query, secret=people.reseller.secret)

    emails = {edge["node"]["createdBy"]["email"] for edge in answer["data"]["tokens"]["edges"]}
    assert emails == {people.customer.email, people.reseller.email} - (
        {people.reseller.email} if count == 1 else set()
    )
    assert len(statements) == 3, statements


@pytest.mark.parametrize("count", [0, 8])
async def test_a_page_of_accounts_with_their_tokens_is_three_statements_for_any_number(
    count: int, people: People, service: Service, graphql: GraphQL
) -> None:
    fleet = [people.customer.actor, people.sibling.actor]
    fleet += [
        (await make_account(service, people.reseller.actor, AccountKind.CUSTOMER))[0]
        for _ in range(count)
    ]
    for actor in fleet:
        for name in ("first", "second", "third"):
            await make_token(service, actor, name=name)
    query = (
        "{ accounts(first: 50) { edges { node { id tokens(first: 2, orderBy: {field: NAME,"
        " direction: ASC}) { edges { node { name account { id } } }"
        " pageInfo { hasNextPage } } } } } }"
    )

    with counted() as statements:
        answer = await graphql(query, secret=people.reseller.secret)

    accounts = [edge["node"] for edge in answer["data"]["accounts"]["edges"]]
    assert len(accounts) == count + 2
    for account in accounts:
        told = [edge["node"] for edge in account["tokens"]["edges"]]
        assert [token["name"] for token in told] == ["first", "second"]
        assert {token["account"]["id"] for token in told} == {account["id"]}
        assert account["tokens"]["pageInfo"]["hasNextPage"] is True
    # The accounts, their tokens; and once more the accounts, which the tokens ask for.
    assert len(statements) == 3, statements


async def test_the_tokens_of_an_account_go_on_where_a_page_ended(
    people: People, service: Service, graphql: GraphQL
) -> None:
    for name in ("a", "b", "c"):
        await make_token(service, people.customer.actor, name=name)
    query = (
        "query($id: ID!, $after: String) { account(id: $id) { tokens(first: 2, after: $after,"
        ' orderBy: {field: NAME, direction: ASC}, filter: {nameContains: ""})'
        " { edges { node { name } } pageInfo { endCursor hasNextPage } } } }"
    )
    secret, found, after = people.reseller.secret, [], None
    for has_next in (True, False):
        with counted() as statements:
            answer = await graphql(query, secret=secret, id=people.customer.account_id, after=after)
        page = answer["data"]["account"]["tokens"]
        found += [edge["node"]["name"] for edge in page["edges"]]
        after = page["pageInfo"]["endCursor"]
        assert page["pageInfo"]["hasNextPage"] is has_next
        assert len(statements) == 2, statements

    assert found == ["a", "b", "c"]
    foreign = await graphql(query, secret=secret, id=people.stranger.account_id)
    assert foreign == {"data": {"account": None}}


async def test_nested_tokens_are_bounded_over_all_accounts_and_need_their_own_scope(
    people: People, service: Service, graphql: GraphQL
) -> None:
    for _ in range(9):
        await make_account(service, people.reseller.actor, AccountKind.CUSTOMER)
    query = "{ accounts(first: 20) { edges { node { tokens(first: 100) { edges { cursor } } } } } }"
    reader = await make_token(service, people.reseller.actor, scopes=("accounts:read",))

    refused = await graphql(query, secret=people.reseller.secret)
    without = await graphql(query, secret=reader.secret)

    assert refused["data"] is None
    assert {error["extensions"]["code"] for error in refused["errors"]} == {"INVALID_INPUT"}
    assert {error["extensions"]["code"] for error in without["errors"]} == {"INSUFFICIENT_SCOPE"}


async def test_changes_of_a_token_cost_their_fixed_number_of_statements(
    people: People, service: Service, graphql: GraphQL
) -> None:
    token = (await make_token(service, people.customer.actor)).token
    operations = {
        # The token under its lock, the change, the trail.
        'mutation($id: ID!) { updateToken(input: {id: $id, description: "d", metadata: {a: 1}})'
        " { token { name } } }": 3,
        # The password, the token under its lock, the account with what binds it, the change, the
        # digests, the trail with the outbox, its note.
        "mutation($id: ID!) { widenToken(input: {id: $id, expiresAt: null, expectedVersion: 2})"
        " { token { name } } }": 7,
    }
    for query, expected in operations.items():
        with counted() as statements:
            answer = await graphql(
                query,
                secret=people.customer.secret,
                id=node_ids.encode(node_ids.TOKEN, token.id),
            )

        assert "errors" not in answer, answer
        assert next(iter(answer["data"].values()))["token"] == {"name": token.name}
        assert len(statements) == expected, "\n".join(statements)
