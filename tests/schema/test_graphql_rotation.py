"""Rotation and idempotency keys through GraphQL."""

import json
from typing import Any

import asyncpg
import httpx2
import pytest
from conftest import FrozenClock, GraphQL
from edge_scene import People, Person, bearer, fingerprint
from factories import make_token
from rotation_scene import use

from schema import node_ids
from service.composition import Service
from service.validator import Validator

KEY = "2f1c8a4e-9f0b-4c36-8a55-0d8b8b1f7f10"
TOKEN = "id name scopes audiences expiresAt version status prefix lastFour secretReusedAt"
SECRETS = "secrets { prefix lastFour createdAt retiresAt lastUsedAt reusedAt reusedAddress }"
DELIVERED = {"CONFIRMED", "APPLIED"}
"""Which of the two depends on how fast a validator is."""
PROPAGATION = "propagation { id state }"
ERRORS = "userErrors { code field }"
CREATE = (
    "mutation($input: CreateTokenInput!) { createToken(input: $input)"
    f" {{ token {{ {TOKEN} {SECRETS} }} secret isReplay warnings {ERRORS} }} }}"
)
ROTATE = (
    "mutation($input: RotateTokenInput!) { rotateToken(input: $input)"
    f" {{ token {{ {TOKEN} {SECRETS} }} secret isReplay {PROPAGATION} {ERRORS} }} }}"
)
COMPLETE, CANCEL = (
    f"mutation($input: {name[0].upper()}{name[1:]}Input!) {{ {name}(input: $input)"
    f" {{ token {{ {TOKEN} {SECRETS} }} {PROPAGATION} {ERRORS} }} }}"
    for name in ("completeTokenRotation", "cancelTokenRotation")
)
READ = f"query($id: ID!) {{ token(id: $id) {{ {TOKEN} {SECRETS} }} }}"


@pytest.fixture
async def people(service: Service) -> People:
    return await People.make(service)


@pytest.fixture
async def made(service: Service, people: People) -> tuple[str, str]:
    """The global id of a customer's token, and its secret."""
    created = await make_token(service, people.customer.actor, audiences=("dns",))
    return node_ids.encode(node_ids.TOKEN, created.token.id), created.secret


async def run(graphql: GraphQL, person: Person, query: str, **fields: Any) -> dict[str, Any]:
    answer = await graphql(query, secret=person.secret, input=fields)
    assert "errors" not in answer, answer
    [payload] = answer["data"].values()
    return payload  # type: ignore[no-any-return] # JSON


async def passes(http: httpx2.AsyncClient, secret: str) -> bool:
    return (await http.get("/validate", headers=bearer(secret))).status_code == 200


async def test_a_new_secret_is_told_by_its_rotation_and_never_again(
    people: People, graphql: GraphQL, owner: asyncpg.Connection, made: tuple[str, str]
) -> None:
    token_id, old = made
    before = (await graphql(READ, secret=people.customer.secret, id=token_id))["data"]["token"]

    rotated = await run(graphql, people.customer, ROTATE, id=token_id)

    secret = rotated["secret"]
    assert (rotated["isReplay"], rotated["userErrors"]) == (False, [])
    assert rotated["propagation"]["state"] in DELIVERED
    current = before["secrets"][0] | {"lastFour": secret[-4:]}
    retiring = before["secrets"][0] | {"retiresAt": "2030-01-16T12:00:00+00:00"}
    told = {"lastFour": secret[-4:], "version": 2, "secrets": [current, retiring]}
    assert rotated["token"] == before | told
    assert retiring["lastFour"] == old[-4:]
    again = await graphql(READ, secret=people.customer.secret, id=token_id)
    assert again["data"]["token"] == rotated["token"]
    for answer in (again, await run(graphql, people.customer, COMPLETE, id=token_id)):
        assert secret[8:-4] not in json.dumps(answer)
    assert secret not in repr(await fingerprint(owner))


@pytest.mark.parametrize("grace", [0, 3600, 2_592_000])
async def test_both_secrets_pass_until_the_grace_ends(
    people: People,
    service: Service,
    graphql: GraphQL,
    http: httpx2.AsyncClient,
    clock: FrozenClock,
    grace: int,
) -> None:
    created = await make_token(service, people.customer.actor, expires_at=None)
    token_id = node_ids.encode(node_ids.TOKEN, created.token.id)

    rotated = await run(graphql, people.customer, ROTATE, id=token_id, gracePeriodSeconds=grace)

    if grace:
        clock.advance(seconds=grace, microseconds=-1)
        assert await passes(http, created.secret)
        assert await passes(http, rotated["secret"])
        clock.advance(microseconds=1)
    assert not await passes(http, created.secret)
    assert await passes(http, rotated["secret"])


async def test_a_rotation_waits_for_every_validator_where_it_is_asked_to(
    people: People, graphql: GraphQL, http: httpx2.AsyncClient, service: Service
) -> None:
    created = await make_token(service, people.customer.actor)
    assert await passes(http, created.secret)

    rotated = await run(
        graphql,
        people.customer,
        ROTATE,
        id=node_ids.encode(node_ids.TOKEN, created.token.id),
        gracePeriodSeconds=0,
        waitFor="ALL_VALIDATORS",
    )

    assert rotated["propagation"]["state"] == "APPLIED"
    assert not await passes(http, created.secret)


@pytest.mark.parametrize(("mutation", "kept"), [(COMPLETE, "new"), (CANCEL, "old")])
async def test_a_rotation_is_ended_either_way_and_once(
    people: People,
    graphql: GraphQL,
    owner: asyncpg.Connection,
    http: httpx2.AsyncClient,
    service: Service,
    mutation: str,
    kept: str,
) -> None:
    created = await make_token(service, people.customer.actor)
    token_id = node_ids.encode(node_ids.TOKEN, created.token.id)
    rotated = await run(graphql, people.customer, ROTATE, id=token_id)
    secrets = {"old": created.secret, "new": rotated["secret"]}

    ended = await run(graphql, people.customer, mutation, id=token_id)

    assert ended["userErrors"] == []
    assert ended["propagation"]["state"] in DELIVERED
    assert ended["token"]["lastFour"] == secrets[kept][-4:]
    current, retired = ended["token"]["secrets"]
    assert (current["lastFour"], current["retiresAt"]) == (secrets[kept][-4:], None)
    assert retired["retiresAt"] == "2030-01-15T12:00:00+00:00"
    assert {name for name, secret in secrets.items() if await passes(http, secret)} == {kept}
    before = await fingerprint(owner)
    for again in (COMPLETE, CANCEL):
        refused = await run(graphql, people.customer, again, id=token_id)
        assert refused == {
            "token": None,
            "propagation": None,
            "userErrors": [{"code": "NO_ROTATION", "field": None}],
        }
    assert await fingerprint(owner) == before


REFUSALS: dict[str, tuple[dict[str, Any], str, str | None]] = {
    "a further grace": ({"gracePeriodSeconds": 1}, "ROTATION_IN_PROGRESS", None),
    "the default grace": ({}, "ROTATION_IN_PROGRESS", None),
    "below no grace": ({"gracePeriodSeconds": -1}, "INVALID_INPUT", "gracePeriodSeconds"),
    "too much grace": ({"gracePeriodSeconds": 2_592_001}, "INVALID_INPUT", "gracePeriodSeconds"),
    "a short key": ({"idempotencyKey": "short"}, "INVALID_INPUT", "idempotencyKey"),
    "a key with a blank": ({"idempotencyKey": "with a blank"}, "INVALID_INPUT", "idempotencyKey"),
    "a used key": ({"idempotencyKey": KEY}, "IDEMPOTENCY_CONFLICT", "idempotencyKey"),
    "another version": (
        {"gracePeriodSeconds": 0, "expectedVersion": 1},
        "VERSION_CONFLICT",
        None,
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
async def test_a_refused_rotation_says_why_and_changes_nothing(
    people: People, graphql: GraphQL, owner: asyncpg.Connection, made: tuple[str, str], case: str
) -> None:
    fields, code, field = REFUSALS[case]
    first = {"id": made[0], "gracePeriodSeconds": 60, "idempotencyKey": KEY}
    assert (await run(graphql, people.customer, ROTATE, **first))["userErrors"] == []
    before = await fingerprint(owner)

    refused = await run(graphql, people.customer, ROTATE, id=made[0], **fields)

    assert refused == {
        "token": None,
        "secret": None,
        "isReplay": False,
        "propagation": None,
        "userErrors": [{"code": code, "field": field}],
    }
    assert await fingerprint(owner) == before


async def test_a_token_rotates_neither_a_wider_one_nor_saves_its_own_old_secret(
    people: People, service: Service, graphql: GraphQL, owner: asyncpg.Connection
) -> None:
    actor = people.customer.actor
    wide = await make_token(service, actor, scopes=("*",))
    narrow = await make_token(service, actor, scopes=("tokens:write",))
    itself = node_ids.encode(node_ids.TOKEN, narrow.token.id)
    await run(graphql, people.customer, ROTATE, id=itself)
    before = await fingerprint(owner)

    told = []
    for query, fields in (
        (ROTATE, {"id": node_ids.encode(node_ids.TOKEN, wide.token.id)}),
        (CANCEL, {"id": itself}),
        (ROTATE, {"id": itself, "gracePeriodSeconds": 0}),
    ):
        answer = await graphql(query, secret=narrow.secret, input=fields)
        [payload] = answer["data"].values()
        told.append(payload["userErrors"][0]["code"])

    assert told == ["SCOPE_NOT_GRANTABLE", "FORBIDDEN", "ROTATION_IN_PROGRESS"]
    assert await fingerprint(owner) == before


@pytest.mark.parametrize("operation", ["create", "rotate"])
async def test_a_lost_answer_can_be_had_again_under_its_key(
    people: People,
    graphql: GraphQL,
    owner: asyncpg.Connection,
    made: tuple[str, str],
    operation: str,
) -> None:
    requests: dict[str, tuple[str, dict[str, Any]]] = {
        "create": (CREATE, {"name": "deploy", "scopes": ["*"], "idempotencyKey": KEY}),
        "rotate": (ROTATE, {"id": made[0], "idempotencyKey": KEY}),
    }
    query, wanted = requests[operation]
    first = await run(graphql, people.customer, query, **wanted)
    before = await fingerprint(owner)

    second = await run(graphql, people.customer, query, **wanted)

    assert first["secret"]
    for told in (first, second):
        (told.get("propagation") or {}).pop("state", None)
    assert second == first | {"isReplay": True}
    after = await fingerprint(owner)
    assert len(after.pop("audit_event")) == len(before.pop("audit_event")) + 1
    assert after == before
    other = await run(graphql, people.customer, query, **(wanted | {"idempotencyKey": KEY[::-1]}))
    code = "NAME_TAKEN" if operation == "create" else "ROTATION_IN_PROGRESS"
    assert other["userErrors"][0]["code"] == code


async def test_what_else_is_asked_for_never_costs_the_secret(
    people: People, service: Service, graphql: GraphQL
) -> None:
    """A caller who may not read gets an error for what it may not read, and the secret."""
    writer = await make_token(service, people.customer.actor, scopes=("tokens:write", "dns:read"))
    target = await make_token(service, people.customer.actor)
    wanted = {"id": node_ids.encode(node_ids.TOKEN, target.token.id)}

    answer = await graphql(ROTATE, secret=writer.secret, input=wanted)

    assert {error["extensions"]["code"] for error in answer["errors"]} == {"INSUFFICIENT_SCOPE"}
    assert answer["data"]["rotateToken"]["token"] is None
    assert answer["data"]["rotateToken"]["secret"].startswith("tw_live_")


async def test_whoever_still_tries_an_old_secret_flags_the_token(
    people: People,
    service: Service,
    graphql: GraphQL,
    http: httpx2.AsyncClient,
    validator: Validator,
    clock: FrozenClock,
) -> None:
    created = await make_token(service, people.customer.actor)
    token_id = node_ids.encode(node_ids.TOKEN, created.token.id)
    rotated = await run(graphql, people.customer, ROTATE, id=token_id, gracePeriodSeconds=0)
    assert rotated["token"]["secretReusedAt"] is None
    clock.advance(minutes=5)

    assert not await passes(http, created.secret)
    assert await passes(http, rotated["secret"])
    await use(validator, service)

    answer = await graphql(READ, secret=people.customer.secret, id=token_id)
    token = answer["data"]["token"]
    assert token["secretReusedAt"] == "2030-01-15T12:05:00+00:00"
    current, retired = token["secrets"]
    assert (current["lastUsedAt"], current["reusedAt"]) == ("2030-01-15T12:05:00+00:00", None)
    assert (retired["lastUsedAt"], retired["reusedAt"]) == (None, "2030-01-15T12:05:00+00:00")
    assert retired["reusedAddress"] == "192.0.2.7"
