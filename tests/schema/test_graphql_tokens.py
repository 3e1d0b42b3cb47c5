"""Tokens through GraphQL: their life, their lists, and that nothing ever widens one."""

import json
from datetime import timedelta
from typing import Any

import asyncpg
import httpx2
import pytest
from conftest import FrozenClock, GraphQL
from edge_scene import People, Person, fingerprint
from factories import make_token

from schema import node_ids
from service.composition import Service

FIELDS = (
    "id name prefix lastFour scopes allowedIpRanges audiences createdAt notBefore expiresAt"
    " suspendedAt revokedAt revocationReason lastUsedAt lastUsedAddress version status"
    " description metadata createdBy { account { id } email isDelegated }"
)
CREATE = (
    "mutation($input: CreateTokenInput!) { createToken(input: $input)"
    f" {{ token {{ {FIELDS} }} secret warnings userErrors {{ code field }} }} }}"
)
RENAME = (
    "mutation($input: RenameTokenInput!) { renameToken(input: $input)"
    f" {{ token {{ {FIELDS} }} userErrors {{ code field }} }} }}"
)
UPDATE = (
    "mutation($input: UpdateTokenInput!) { updateToken(input: $input)"
    f" {{ token {{ {FIELDS} }} propagation {{ state }} userErrors {{ code field }} }} }}"
)
READ = f"query($id: ID!) {{ token(id: $id) {{ {FIELDS} }} }}"


@pytest.fixture
async def people(service: Service) -> People:
    return await People.make(service)


async def create(graphql: GraphQL, person: Person, **fields: Any) -> dict[str, Any]:
    wanted = {"name": "deploy", "scopes": ["dns:read"], "expiresAt": "2030-02-14T12:00:00Z"}
    answer = await graphql(CREATE, secret=person.secret, input=wanted | fields)
    return answer["data"]["createToken"]  # type: ignore[no-any-return] # JSON


async def test_a_secret_is_told_by_the_mutation_that_makes_it_and_never_again(
    people: People, graphql: GraphQL, http: httpx2.AsyncClient, owner: asyncpg.Connection
) -> None:
    made = await create(graphql, people.customer)
    secret, token_id = made["secret"], made["token"]["id"]

    for query, variables in (
        (READ, {"id": token_id}),
        (RENAME, {"input": {"id": token_id, "name": "other"}}),
        (UPDATE, {"input": {"id": token_id, "allowedIpRanges": ["192.0.2.0/24"]}}),
        (f"{{ tokens(first: 9) {{ edges {{ cursor node {{ {FIELDS} }} }} }} }}", {}),
    ):
        answer = await graphql(query, secret=people.customer.secret, **variables)
        assert token_id in json.dumps(answer)
        assert secret not in json.dumps(answer)
        assert secret[8:-4] not in json.dumps(answer)
    assert (made["token"]["prefix"], made["token"]["lastFour"]) == ("tw_live_", secret[-4:])
    assert secret not in repr(await fingerprint(owner))
    passed = await http.get("/validate", headers={"Authorization": f"Bearer {secret}"})
    assert passed.status_code == 200


async def test_a_name_is_taken_until_its_token_has_ended_even_before_the_sweep(
    people: People, graphql: GraphQL, service: Service, clock: FrozenClock
) -> None:
    first = await create(graphql, people.customer)
    refused = await create(graphql, people.customer)
    assert refused["userErrors"] == [{"code": "NAME_TAKEN", "field": "name"}]
    assert (refused["token"], refused["secret"]) == (None, None)
    assert (await create(graphql, people.sibling))["userErrors"] == []

    actor = people.customer.actor
    await service.tokens.revoke(actor, node_ids.decode(node_ids.TOKEN, first["token"]["id"]))
    soon = (clock.now() + timedelta(hours=1)).isoformat()
    second = await create(graphql, people.customer, expiresAt=soon)
    assert second["userErrors"] == []

    clock.advance(hours=1)
    third = await create(graphql, people.customer)
    assert third["userErrors"] == []
    assert len({made["token"]["id"] for made in (first, second, third)}) == 3


async def test_a_token_can_take_the_name_of_an_expired_one_before_the_sweep(
    people: People, graphql: GraphQL, clock: FrozenClock
) -> None:
    soon = (clock.now() + timedelta(hours=1)).isoformat()
    await create(graphql, people.customer, expiresAt=soon)
    other = await create(graphql, people.customer, name="other")
    clock.advance(hours=1)

    wanted = {"id": other["token"]["id"], "name": "deploy"}
    answer = await graphql(RENAME, secret=people.customer.secret, input=wanted)

    assert answer["data"]["renameToken"]["userErrors"] == []
    assert answer["data"]["renameToken"]["token"]["name"] == "deploy"


async def test_a_rename_touches_only_the_name_unlike_whms_which_grants_all_and_unsets_the_expiry(
    people: People, graphql: GraphQL
) -> None:
    made = await create(
        graphql,
        people.customer,
        allowedIpRanges=["192.0.2.0/24"],
        notBefore="2030-01-20T00:00:00Z",
        description="for the nightly job",
        metadata={"team": "web"},
    )

    wanted = {"id": made["token"]["id"], "name": "renamed"}
    answer = await graphql(RENAME, secret=people.customer.secret, input=wanted)

    token = answer["data"]["renameToken"]["token"]
    assert token == made["token"] | {"name": "renamed", "version": 2}
    assert (token["scopes"], token["expiresAt"]) == (["dns:read"], "2030-02-14T12:00:00+00:00")


WIDENINGS: list[dict[str, Any]] = [
    {"scopes": ["dns:*"]},
    {"scopes": ["*"]},
    {"scopes": ["dns:read", "dns:write"]},
    {"allowedIpRanges": []},
    {"allowedIpRanges": ["192.0.2.0/23"]},
    {"allowedIpRanges": ["192.0.2.0/25", "198.51.100.1"]},
    {"allowedIpRanges": ["::/0"]},
    {"audiences": []},
    {"audiences": ["mail"]},
    {"audiences": ["dns", "mail"]},
    {"expiresAt": "2030-02-14T12:00:00.000001Z"},
    {"expiresAt": "9999-12-31T00:00:00Z"},
    {"notBefore": "2030-01-15T12:59:59.999999Z"},
    # Where null would mean no limit.
    {"scopes": None},
    {"allowedIpRanges": None},
    {"audiences": None},
    {"expiresAt": None},
    {"notBefore": None},
]


@pytest.mark.parametrize("change", WIDENINGS, ids=json.dumps)
async def test_an_update_never_widens(
    change: dict[str, Any], people: People, graphql: GraphQL, owner: asyncpg.Connection
) -> None:
    made = await create(
        graphql,
        people.customer,
        allowedIpRanges=["192.0.2.0/24"],
        audiences=["dns"],
        notBefore="2030-01-15T13:00:00Z",
    )
    before = await fingerprint(owner)

    wanted = {"id": made["token"]["id"]} | change
    answer = await graphql(UPDATE, secret=people.customer.secret, input=wanted)

    assert answer["data"]["updateToken"] == {
        "token": None,
        "propagation": None,
        "userErrors": [{"code": "WIDENING_REFUSED", "field": next(iter(change))}],
    }
    assert await fingerprint(owner) == before


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"scopes": ["dns:read"]}, {"scopes": ["dns:read"]}),
        ({"allowedIpRanges": ["192.0.2.7"]}, {"allowedIpRanges": ["192.0.2.7/32"]}),
        ({"audiences": ["mail", "dns"]}, {"audiences": ["dns", "mail"]}),
        ({"expiresAt": "2030-01-16T00:00:00+01:00"}, {"expiresAt": "2030-01-15T23:00:00+00:00"}),
        (
            {"notBefore": "2030-01-16T00:00:00Z"},
            {"notBefore": "2030-01-16T00:00:00+00:00", "status": "PENDING"},
        ),
    ],
)
async def test_an_update_changes_what_it_names_and_what_is_absent_stays(
    change: dict[str, Any], told: dict[str, Any], people: People, graphql: GraphQL
) -> None:
    notes = {"description": "for the nightly job", "metadata": {"team": "web"}}
    made = await create(graphql, people.customer, scopes=["dns:read", "dns:write"], **notes)

    wanted = {"id": made["token"]["id"]} | change
    answer = await graphql(UPDATE, secret=people.customer.secret, input=wanted)

    assert answer["data"]["updateToken"]["token"] == made["token"] | told | {"version": 2}
    state = answer["data"]["updateToken"]["propagation"]["state"]
    assert state in {"CONFIRMED", "APPLIED"}  # as fast as the validator is


async def test_an_update_of_nothing_is_refused(people: People, graphql: GraphQL) -> None:
    made = await create(graphql, people.customer)

    answer = await graphql(UPDATE, secret=people.customer.secret, input={"id": made["token"]["id"]})

    assert answer["data"]["updateToken"]["userErrors"] == [{"code": "INVALID_INPUT", "field": None}]


@pytest.mark.parametrize(
    ("mutation", "change"), [(RENAME, {"name": "other"}), (UPDATE, {"scopes": ["dns:read"]})]
)
async def test_a_change_of_another_version_conflicts(
    mutation: str,
    change: dict[str, Any],
    people: People,
    graphql: GraphQL,
    owner: asyncpg.Connection,
) -> None:
    made = await create(graphql, people.customer)
    wanted = {"id": made["token"]["id"], "expectedVersion": 1} | change
    first = await graphql(mutation, secret=people.customer.secret, input=wanted)
    assert next(iter(first["data"].values()))["userErrors"] == []
    before = await fingerprint(owner)

    second = await graphql(mutation, secret=people.customer.secret, input=wanted)

    refused = next(iter(second["data"].values()))
    assert refused["userErrors"] == [{"code": "VERSION_CONFLICT", "field": None}]
    assert await fingerprint(owner) == before


@pytest.mark.parametrize(
    ("fields", "warnings"),
    [
        ({}, []),
        ({"expiresAt": None}, ["NEVER_EXPIRES"]),
        ({"scopes": ["*"]}, ["FULL_ACCESS"]),
        ({"scopes": ["*"], "expiresAt": None}, ["NEVER_EXPIRES", "FULL_ACCESS"]),
    ],
)
async def test_what_is_advised_against_is_done_with_a_warning(
    fields: dict[str, Any], warnings: list[str], people: People, graphql: GraphQL
) -> None:
    made = await create(graphql, people.customer, **fields)

    assert (made["warnings"], made["userErrors"]) == (warnings, [])


@pytest.mark.parametrize("scopes", [["*"], ["dns:*"], ["dns:write"], ["dns:read", "mail:read"]])
async def test_a_token_never_mints_a_wider_one(
    scopes: list[str],
    people: People,
    service: Service,
    graphql: GraphQL,
    owner: asyncpg.Connection,
) -> None:
    narrow = await make_token(service, people.customer.actor, scopes=("tokens:write", "dns:read"))
    before = await fingerprint(owner)
    wanted = {"name": "wider", "scopes": scopes, "expiresAt": "2030-02-14T12:00:00Z"}

    refused = await graphql(CREATE, secret=narrow.secret, input=wanted)

    errors = refused["data"]["createToken"]["userErrors"]
    assert errors == [{"code": "SCOPE_NOT_GRANTABLE", "field": "scopes"}]
    assert await fingerprint(owner) == before
    granted = await graphql(CREATE, secret=narrow.secret, input=wanted | {"scopes": ["dns:read"]})
    assert granted["data"]["createToken"]["userErrors"] == []


async def test_a_session_is_no_token_to_be_read_or_changed(
    people: People, graphql: GraphQL, owner: asyncpg.Connection
) -> None:
    session = node_ids.encode(node_ids.TOKEN, people.customer.actor.token_id)
    before = await fingerprint(owner)

    read = await graphql(READ, secret=people.customer.secret, id=session)
    changes = {"id": session, "scopes": ["dns:read"]}
    changed = await graphql(UPDATE, secret=people.customer.secret, input=changes)

    assert read["data"]["token"] is None
    assert changed["data"]["updateToken"]["userErrors"][0]["code"] == "NOT_FOUND"
    assert await fingerprint(owner) == before


async def test_what_has_ended_is_never_changed(
    people: People, graphql: GraphQL, owner: asyncpg.Connection, clock: FrozenClock
) -> None:
    revoked = await create(graphql, people.customer, name="revoked")
    soon = (clock.now() + timedelta(hours=1)).isoformat()
    expired = await create(graphql, people.customer, name="expired", expiresAt=soon)
    revoke = "mutation($id: ID!) { revokeToken(input: {id: $id}) { token { revocationReason } } }"
    told = await graphql(revoke, secret=people.customer.secret, id=revoked["token"]["id"])
    assert told["data"]["revokeToken"]["token"] == {"revocationReason": "USER_REQUEST"}
    clock.advance(hours=1)
    before = await fingerprint(owner)

    for made in (revoked, expired):
        token_id = made["token"]["id"]
        for mutation, change in (
            (RENAME, {"name": "other"}),
            (UPDATE, {"scopes": ["dns:read"]}),
        ):
            wanted = {"id": token_id} | change
            answer = await graphql(mutation, secret=people.customer.secret, input=wanted)
            refused = next(iter(answer["data"].values()))
            assert refused["userErrors"] == [{"code": "TOKEN_ENDED", "field": None}]
        for name in ("suspendToken", "resumeToken"):
            mutation = (
                f"mutation($id: ID!) {{ {name}(input: {{id: $id}}) {{ userErrors {{ code }} }} }}"
            )
            answer = await graphql(mutation, secret=people.customer.secret, id=token_id)
            assert answer["data"][name] == {"userErrors": [{"code": "TOKEN_ENDED"}]}
    assert await fingerprint(owner) == before
