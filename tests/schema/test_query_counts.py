"""How many statements an operation costs, and that the number of rows does not matter."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from conftest import GraphQL
from edge_scene import People
from factories import make_token
from rotation_scene import rotate

from schema import node_ids
from service.composition import Service


class Counter(logging.Handler):
    """Counts what Tortoise's client says it sends: every statement but BEGIN and COMMIT."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.statements: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.statements.append(record.getMessage())


@contextmanager
def counted() -> Iterator[list[str]]:
    logger = logging.getLogger("tortoise.db_client")
    counter, level, propagate = Counter(), logger.level, logger.propagate
    logger.addHandler(counter)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        yield counter.statements
    finally:
        logger.removeHandler(counter)
        logger.setLevel(level)
        logger.propagate = propagate


@pytest.fixture
async def people(service: Service) -> People:
    return await People.make(service)


@pytest.mark.parametrize("count", [1, 50])
async def test_a_page_of_tokens_with_their_accounts_is_two_statements_for_any_number(
    count: int, people: People, service: Service, graphql: GraphQL
) -> None:
    for number in range(count):
        await make_token(service, (people.customer, people.sibling)[number % 2].actor)
    query = "{ tokens(first: 50) { edges { node { name status account { name } } } } }"

    with counted() as statements:
        answer = await graphql(query, secret=people.reseller.secret)

    assert len(answer["data"]["tokens"]["edges"]) == count
    assert len(statements) == 2, statements


OPERATIONS = {
    "{ viewer { email account { name } } }": 2,
    "{ availableScopes }": 1,
    "{ tokens(first: 1) { edges { cursor } } }": 1,
    "{ accounts(first: 100) { edges { node { name grantableScopes } } } }": 1,
    "query($token: ID!) { token(id: $token) { name } }": 1,
    "query($token: ID!) { token(id: $token) { name account { name } } }": 2,
    "query($account: ID!) { account(id: $account) { name } }": 1,
    # The token, its current secret, and what a validator reads behind that.
    "query($token: ID!) { explainToken(input: {id: $token}) { status } }": 3,
    "query($token: ID!) { explainToken(input: {id: $token}) { token { account { name } } } }": 4,
    # The account with what binds it; the token, its secret and the trail.
    'mutation { createToken(input: {name: "new", scopes: ["dns:read"]}) { secret } }': 2,
    # As without a key, and its claim.
    'mutation { createToken(input: {name: "new", scopes: ["dns:read"], '
    'idempotencyKey: "a-key-of-ours"}) { secret } }': 3,
    # The token under its lock, the change, the trail with the outbox; a narrowing also its digests,
    # and the note of its delivery.
    "mutation($token: ID!) { suspendToken(input: {id: $token}) { token { name } } }": 5,
    "mutation($token: ID!) { revokeToken(input: {id: $token}) { token { name } } }": 5,
    "mutation($token: ID!) { updateToken(input: {id: $token, "
    'allowedIpRanges: ["192.0.2.0/24"]}) { token { name } } }': 5,
    # As a narrowing that looks for a rotation first and ends secrets instead of reading digests;
    # then the new secret and the token with it. Without a grace there is nothing to look for. For
    # somebody else's token first whether that account lets its reseller do this.
    "mutation($token: ID!) { rotateToken(input: {id: $token}) { secret } }": 9,
    "mutation($token: ID!) { rotateToken(input: {id: $token, gracePeriodSeconds: 0}) "
    "{ secret } }": 8,
    # What binds an account, and the rows about it; for a change also the account under its lock,
    # the row as it was, the new one, the trail.
    "query($account: ID!) { policy(accountId: $account) { effective { tokenCap } } }": 2,
    "mutation($account: ID!) { setPolicy(input: {accountId: $account, rules: {tokenCap: 9}}) "
    "{ policy { effective { tokenCap } } } }": 6,
    # The account, the row, a count, a page, the tokens on it.
    "query($account: ID!) { previewPolicy(accountId: $account, first: 100, "
    "rules: {requiresAddressLimits: true}) { tokens { edges { node { token { name } } } } } }": 5,
    "{ scopeTemplates { name } }": 1,
    'mutation { createScopeTemplate(input: {name: "a", scopes: ["dns:read"]}) '
    "{ scopeTemplate { name } } }": 5,
    # As a change, and a namesake's sweep.
    'mutation($token: ID!) { renameToken(input: {id: $token, name: "b"}) { token { name } } }': 4,
    "mutation { signOut { userErrors { code } } }": 4,
    # The account under its lock, the change, the trail with the outbox, its note; of tokens none.
    "mutation($account: ID!) { suspendAccount(input: {id: $account}) { account { name } } }": 4,
    "mutation($account: ID!, $name: String!) { closeAccount(input: {id: $account, "
    "expectedName: $name}) { account { name } } }": 4,
    # Of an account that is not suspended: nothing to change, nothing to tell; dropped all the same.
    "mutation($account: ID!) { resumeAccount(input: {id: $account}) { account { name } } }": 3,
}


@pytest.mark.parametrize(("query", "expected"), OPERATIONS.items())
async def test_an_operation_costs_its_fixed_number_of_statements(
    query: str, expected: int, people: People, service: Service, graphql: GraphQL
) -> None:
    token = await make_token(service, people.customer.actor)
    customer = people.customer.actor
    values = {
        "token": node_ids.encode(node_ids.TOKEN, token.token.id),
        "account": people.customer.account_id,
        "name": (await service.accounts.get(customer, customer.account_id)).name,
    }
    variables = {name: value for name, value in values.items() if f"${name}:" in query}

    with counted() as statements:
        answer = await graphql(query, secret=people.reseller.secret, **variables)

    assert "errors" not in answer, answer
    assert len(statements) == expected, "\n".join(statements)


async def test_the_end_of_a_rotation_costs_its_fixed_number_of_statements(
    people: People, service: Service, graphql: GraphQL
) -> None:
    # The token under its lock, its secrets, the end of one, the change, the trail with the outbox,
    # its note; to call it off also the secrets once more, and the one that stays.
    for mutation, expected in (("completeTokenRotation", 6), ("cancelTokenRotation", 8)):
        token = (await make_token(service, people.customer.actor)).token
        await rotate(service, people.customer.actor, token.id)
        query = f"mutation($id: ID!) {{ {mutation}(input: {{id: $id}}) {{ token {{ name }} }} }}"
        token_id = node_ids.encode(node_ids.TOKEN, token.id)

        with counted() as statements:
            answer = await graphql(query, secret=people.reseller.secret, id=token_id)

        assert answer["data"][mutation]["token"] == {"name": token.name}
        assert len(statements) == expected, "\n".join(statements)


@pytest.mark.parametrize("count", [1, 50])
async def test_a_page_of_tokens_with_their_secrets_is_two_statements_for_any_number(
    count: int, people: People, service: Service, graphql: GraphQL
) -> None:
    for _ in range(count):
        await make_token(service, people.customer.actor)
    query = "{ tokens(first: 50) { edges { node { secretReusedAt secrets { lastFour } } } } }"

    with counted() as statements:
        answer = await graphql(query, secret=people.reseller.secret)

    assert [len(edge["node"]["secrets"]) for edge in answer["data"]["tokens"]["edges"]] == [
        1
    ] * count
    assert len(statements) == 2, statements


async def test_a_refusal_before_any_look_up_costs_no_statement(
    people: People, service: Service, graphql: GraphQL
) -> None:
    narrow = await make_token(service, people.customer.actor)

    with counted() as statements:
        nobody = await graphql("{ tokens(first: 1) { edges { cursor } } }")
        scope = await graphql("{ tokens(first: 1) { edges { cursor } } }", secret=narrow.secret)
        size = await graphql(
            "{ tokens(first: 101) { edges { cursor } } }", secret=people.customer.secret
        )

    codes = [answer["errors"][0]["extensions"]["code"] for answer in (nobody, scope, size)]
    assert codes == ["UNAUTHENTICATED", "INSUFFICIENT_SCOPE", "INVALID_INPUT"]
    assert statements == []
