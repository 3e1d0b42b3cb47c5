"""A token tells what it is, and can always be given up by whoever holds it."""

import asyncpg
import httpx2
import pytest
from conftest import GraphQL
from edge_scene import People, bearer, fingerprint
from factories import make_token
from stores import eventually, one_row

from schema import node_ids
from service.composition import Service

SELF = (
    "{ viewerToken { id name scopes status secrets { lastFour } account { id }"
    " createdBy { email account { id } } } }"
)
REVOKE = (
    "mutation($input: RevokeViewerTokenInput!) { revokeViewerToken(input: $input)"
    " { token { id revocationReason account { id } } propagation { state }"
    " userErrors { code field } } }"
)


@pytest.fixture
async def people(service: Service) -> People:
    return await People.make(service)


@pytest.mark.parametrize("whose", ["customer", "reseller", "operator"])
async def test_a_token_is_told_what_it_is_without_any_scope_for_it(
    whose: str, people: People, service: Service, graphql: GraphQL
) -> None:
    person = getattr(people, whose)
    created = await make_token(service, person.actor)
    await make_token(service, person.actor)

    answer = await graphql(SELF, secret=created.secret)

    assert answer == {
        "data": {
            "viewerToken": {
                "id": node_ids.encode(node_ids.TOKEN, created.token.id),
                "name": created.token.name,
                "scopes": ["dns:read"],
                "status": "ACTIVE",
                "secrets": [{"lastFour": created.secret[-4:]}],
                "account": {"id": person.account_id},
                "createdBy": {"email": None, "account": {"id": person.account_id}},
            }
        }
    }


async def test_a_person_and_nobody_are_no_token(people: People, graphql: GraphQL) -> None:
    for secret in (people.customer.secret, None):
        assert await graphql(SELF, secret=secret) == {"data": {"viewerToken": None}}


@pytest.mark.parametrize("whose", ["customer", "reseller", "operator"])
async def test_a_token_ends_itself_without_any_scope_for_it(
    whose: str,
    people: People,
    service: Service,
    graphql: GraphQL,
    owner: asyncpg.Connection,
    http: httpx2.AsyncClient,
) -> None:
    created = await make_token(service, getattr(people, whose).actor)
    other = await make_token(service, getattr(people, whose).actor)

    answer = await graphql(REVOKE, secret=created.secret, input={"reason": "LEAKED"})

    told = answer["data"]["revokeViewerToken"]
    assert told["userErrors"] == []
    assert told["token"]["revocationReason"] == "LEAKED"
    assert told["token"]["account"]["id"] == getattr(people, whose).account_id
    assert told["propagation"]["state"] in {"CONFIRMED", "APPLIED"}
    event = await one_row(owner, "SELECT * FROM audit_event WHERE action = 'token.revoked'")
    assert event["subject_id"] == event["actor_token_id"] == created.token.id

    async def refused() -> bool:
        answer = await http.get("/validate", headers=bearer(created.secret))
        return answer.status_code == 401

    await eventually(refused, seconds=service.settings.lease_seconds / 4)
    assert (await http.get("/validate", headers=bearer(other.secret))).status_code == 200


async def test_a_person_cannot_end_a_token_without_naming_it(
    people: People, graphql: GraphQL, owner: asyncpg.Connection
) -> None:
    before = await fingerprint(owner)

    answer = await graphql(REVOKE, secret=people.customer.secret, input={})

    refused = [{"code": "FORBIDDEN", "field": None}]
    assert answer["data"]["revokeViewerToken"]["userErrors"] == refused
    assert await fingerprint(owner) == before
