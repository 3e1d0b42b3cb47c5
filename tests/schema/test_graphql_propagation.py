"""A receipt through GraphQL: its steps as they come, and nothing of anybody else's."""

import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from conftest import FrozenClock, GraphQL
from edge_scene import People, Person, assert_leaks_nothing, fingerprint
from factories import make_token

from schema import node_ids
from service.cache import REPORTS
from service.composition import Service

FIELDS = (
    "id state confirmedAt effectiveEverywhereBy validatorsKnown validatorsApplied"
    " vanishedValidators { name lastHeardAt leasesDeadAt }"
)
REVOKE = (
    "mutation($id: ID!) { revokeToken(input: {id: $id})"
    f" {{ propagation {{ {FIELDS} }} userErrors {{ code }} }} }}"
)
READ = f"query($id: ID!) {{ propagation(id: $id) {{ {FIELDS} }} }}"
NULL = {"data": {"propagation": None}}


@pytest.fixture
async def people(service: Service) -> People:
    return await People.make(service)


async def revoke(service: Service, graphql: GraphQL, person: Person) -> dict[str, Any]:
    """Revoke a new token of a person's; return the receipt as the mutation told it."""
    created = await make_token(service, person.actor)
    token_id = node_ids.encode(node_ids.TOKEN, created.token.id)
    answer = await graphql(REVOKE, secret=person.secret, id=token_id)
    payload = answer["data"]["revokeToken"]
    assert payload["userErrors"] == []
    return payload["propagation"]  # type: ignore[no-any-return] # JSON


async def read(graphql: GraphQL, person: Person, receipt_id: str) -> dict[str, Any]:
    answer = await graphql(READ, secret=person.secret, id=receipt_id)
    answer.pop("extensions", None)
    return answer


async def test_a_receipt_is_read_as_the_change_told_it(
    people: People, service: Service, graphql: GraphQL, clock: FrozenClock
) -> None:
    told = await revoke(service, graphql, people.customer)

    found = (await read(graphql, people.customer, told["id"]))["data"]["propagation"]

    assert told["state"] in {"CONFIRMED", "APPLIED"}
    for name in ("id", "confirmedAt", "effectiveEverywhereBy"):
        assert found[name] == told[name]
    by = clock.now() + timedelta(seconds=service.settings.staleness_bound_seconds)
    assert told["effectiveEverywhereBy"] == by.isoformat()
    assert told["confirmedAt"] == clock.now().isoformat()


async def test_a_receipt_becomes_effective_by_time_alone(
    people: People, service: Service, graphql: GraphQL, clock: FrozenClock
) -> None:
    told = await revoke(service, graphql, people.customer)

    clock.advance(seconds=service.settings.staleness_bound_seconds)

    found = (await read(graphql, people.customer, told["id"]))["data"]["propagation"]
    assert found["state"] == "EFFECTIVE"


async def test_a_silent_validator_is_named_with_the_instant_from_which_it_is_harmless(
    people: People, service: Service, graphql: GraphQL, clock: FrozenClock
) -> None:
    told = await revoke(service, graphql, people.customer)
    redis = service.cache.redis
    seconds, micros = await redis.time()
    heard_ms = int(seconds) * 1000 + int(micros) // 1000 - 3000
    await redis.hset(REPORTS, "gone", f"{heard_ms} - 0")

    found = (await read(graphql, people.customer, told["id"]))["data"]["propagation"]

    [gone] = found["vanishedValidators"]
    assert (gone["name"], gone["leasesDeadAt"]) == ("gone", told["effectiveEverywhereBy"])
    assert gone["lastHeardAt"] < clock.now().isoformat()
    assert found["validatorsKnown"] > found["validatorsApplied"]
    assert found["state"] == "CONFIRMED"


async def test_every_caller_reads_its_own_reach_and_null_for_all_else(
    people: People, service: Service, graphql: GraphQL, owner: asyncpg.Connection
) -> None:
    """A foreign, a missing and a wrong kind of id are told in the same words."""
    own = {
        "customer": await revoke(service, graphql, people.customer),
        "stranger": await revoke(service, graphql, people.stranger),
        "reseller": await revoke(service, graphql, people.reseller),
        "operator": await revoke(service, graphql, people.operator),
    }
    reaches = {
        "operator": {"customer", "stranger", "reseller", "operator"},
        "reseller": {"customer", "reseller"},
        "other_reseller": {"stranger"},
        "customer": {"customer"},
        "sibling": set(),
        "stranger": {"stranger"},
    }
    token = await make_token(service, people.customer.actor)
    senseless = [
        node_ids.encode(node_ids.PROPAGATION, uuid4()),
        node_ids.encode(node_ids.TOKEN, token.token.id),
        people.customer.account_id,
        node_ids.encode("OutboxEvent", uuid4()),
        *("", " ", "AAAA", "§", "\0", "=", "UHJvcGFnYXRpb246", "x" * 5000),
    ]
    before = await fingerprint(owner)

    for name, reach in reaches.items():
        person = getattr(people, name)
        for whose, receipt in own.items():
            answer = await read(graphql, person, receipt["id"])
            if whose in reach:
                assert answer["data"]["propagation"]["id"] == receipt["id"], (name, whose)
            else:
                assert answer == NULL, (name, whose)
        for text in senseless:
            assert await read(graphql, person, text) == NULL, (name, text)

    assert await fingerprint(owner) == before


async def test_nobody_and_who_lacks_the_scope_learn_nothing_of_any_receipt(
    people: People, service: Service, graphql: GraphQL
) -> None:
    told = await revoke(service, graphql, people.customer)
    narrow = await make_token(service, people.customer.actor, scopes=("dns:read",))
    for secret, code in ((None, "UNAUTHENTICATED"), (narrow.secret, "INSUFFICIENT_SCOPE")):
        answers = []
        for receipt_id in (told["id"], node_ids.encode(node_ids.PROPAGATION, uuid4())):
            answer = await graphql(READ, secret=secret, id=receipt_id)
            assert answer["errors"][0]["extensions"]["code"] == code
            answers.append(json.dumps(answer["errors"]))
        assert answers[0] == answers[1]
        assert_leaks_nothing(" ".join(answers))


async def test_an_api_token_with_the_scope_reads_the_receipt_of_what_it_did(
    people: People, service: Service, graphql: GraphQL
) -> None:
    robot = await make_token(service, people.customer.actor, scopes=("tokens:*", "dns:read"))
    person = Person(people.customer.actor, robot.secret, "")

    told = await revoke(service, graphql, person)

    found = (await read(graphql, person, told["id"]))["data"]["propagation"]
    assert found["id"] == told["id"]
    assert found["state"] in {"CONFIRMED", "APPLIED"}
