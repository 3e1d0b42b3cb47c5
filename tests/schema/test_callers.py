"""Every root field against every kind of caller."""

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import asyncpg
import callers_accounts
import callers_audit
import callers_fleet
import callers_jobs
import callers_members
import callers_notices
import callers_policies
import callers_sessions
import callers_tokens
import pytest
from caller_scene import CALLERS, NOBODY, NOTHING, OK, SCOPE
from edge_scene import People, assert_leaks_nothing, fingerprint
from factories import make_token, sign_in
from job_scene import job_of
from kept_world import World, open_world
from rotation_scene import rotate

from schema import node_ids
from schema.root import build_schema
from service.access.jobs import JobKind
from service.roles import Role
from service.scope_templates import TemplateChanges
from service.secret_format import digest_of
from service.settings import Settings

TABLE = (
    callers_accounts.ROWS
    | callers_audit.ROWS
    | callers_fleet.ROWS
    | callers_jobs.ROWS
    | callers_members.ROWS
    | callers_notices.ROWS
    | callers_policies.ROWS
    | callers_sessions.ROWS
    | callers_tokens.ROWS
)
FOR_ANYBODY = {
    f"Mutation.{name}" for name in ("signIn", "signOut", "requestPasswordReset", "resetPassword")
}
FIELDS = [pytest.param(field, id=field) for field in TABLE]


@dataclass(frozen=True, slots=True)
class Stage:
    """A world, its people, the secret that each caller sends, and the target's ids."""

    world: World
    people: People
    secrets: dict[str, str | None]
    target: dict[str, str]


@pytest.fixture(scope="module")
async def kept(settings: Settings, opened: None, owner: asyncpg.Connection) -> AsyncIterator[Stage]:  # noqa: ARG001 - the pool comes first
    async with open_world(settings, owner) as world:
        stage = await make_stage(world)
        await world.keep()
        yield stage


@pytest.fixture
async def stage(kept: Stage) -> AsyncIterator[Stage]:
    """The stage as it was at first, whatever the test before has done."""
    yield kept
    await kept.world.put_back()


async def make_stage(world: World) -> Stage:
    service, clock = world.service, world.clock
    people = await People.make(service)
    for name in People.__slots__:  # so that each of them has another session to end
        await sign_in(service, getattr(people, name).email)
    token = await make_token(service, people.customer.actor)
    invited = await service.members.invite(
        people.customer.actor, "colleague@example.com", Role.MANAGER
    )
    wide = ("tokens:*", "accounts:*", "dns:read", "members:*", "audit:*")
    without = await make_token(service, people.reseller.actor, scopes=("dns:read",))
    with_it = await make_token(service, people.reseller.actor, scopes=wide)
    revoked = await make_token(service, people.reseller.actor, scopes=wide)
    await service.tokens.revoke(people.reseller.actor, revoked.token.id)
    soon = clock.now().replace(minute=9)  # a password that was entered before is still recent
    expired = await make_token(service, people.reseller.actor, scopes=wide, expires_at=soon)
    clock.advance(minutes=9)
    # So that there is a rotation to complete or to call off.
    await rotate(service, people.customer.actor, token.token.id)
    # As if it had been suspended, so that resuming it has something to refuse.
    suspended = await service.tokens.suspend(people.customer.actor, token.token.id)
    assert suspended.propagation is not None
    customer = people.customer.actor
    template = await service.scope_templates.create(
        customer, TemplateChanges(name="Theirs", scopes=("dns:read",))
    )
    job = await service.jobs.begin(customer, job_of(JobKind.REVOKE, token.token.id))
    return Stage(
        world,
        people,
        dict(
            zip(
                CALLERS,
                (
                    None,
                    people.stranger.secret,
                    people.sibling.secret,
                    people.other_reseller.secret,
                    people.customer.secret,
                    people.reseller.secret,
                    people.operator.secret,
                    without.secret,
                    with_it.secret,
                    expired.secret,
                    revoked.secret,
                ),
                strict=True,
            )
        ),
        {
            "template": node_ids.encode(node_ids.SCOPE_TEMPLATE, template.id),
            "token": node_ids.encode(node_ids.TOKEN, token.token.id),
            "job": node_ids.encode(node_ids.JOB, job.job.id),
            "receipt": node_ids.encode(node_ids.PROPAGATION, suspended.propagation.receipt.id),
            "account": people.customer.account_id,
            "reseller": people.reseller.account_id,
            "member": node_ids.encode(node_ids.MEMBER, invited.id),
            "session": node_ids.encode(node_ids.SESSION, people.customer.actor.token_id),
            "email": people.customer.email,
            "name": (await service.accounts.get(customer, customer.account_id)).name,
        },
    )


def another_of_its_kind(value: str) -> str:
    """Return an id of the same type that belongs to nothing; what is no id stays as it is."""
    try:
        raw = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)).decode()
    except ValueError:
        return value
    kind, is_id, _ = raw.partition(":")
    return node_ids.encode(kind, uuid4()) if is_id else value


def variables_of(query: str, values: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in values.items() if f"${name}:" in query}


def outcome_of(answer: dict[str, Any]) -> str:
    """Return OK, NOTHING or the code of the one refusal."""
    if errors := answer.get("errors"):
        assert not any((answer["data"] or {}).values())
        return str(errors[0]["extensions"]["code"])
    value = next(iter(answer["data"].values()))
    if isinstance(value, dict) and (refusals := value.pop("userErrors", [])):
        assert not any(value.values()), "a refusal holds nothing but its reason"
        code = str(refusals[0]["code"])
        return NOTHING if code == "NOT_FOUND" else code
    if value == [] or (isinstance(value, dict) and value.get("edges") == []):
        return NOTHING
    if isinstance(value, list) and value and not any(value):
        return NOTHING
    return NOTHING if value is None else OK


@pytest.mark.parametrize("field", FIELDS)
async def test_a_root_field_serves_whom_it_should_and_a_refusal_changes_nothing(
    field: str, stage: Stage, subtests: pytest.Subtests
) -> None:
    query, outcomes = TABLE[field]
    variables, is_mutation = variables_of(query, stage.target), field.startswith("Mutation.")
    people = CALLERS[1:7]

    for caller, expected in zip(CALLERS, outcomes, strict=True):
        with subtests.test(caller=caller):
            answer = await stage.world.graphql(query, secret=stage.secrets[caller], **variables)

            # Before anything can fail, so that the next caller meets the same world.
            if not (is_as_kept := await stage.world.is_as_kept()):
                await stage.world.put_back()
            text = json.dumps(answer)
            assert outcome_of(answer) == expected, text
            assert_leaks_nothing(text)
            changes = is_mutation and expected == OK
            if field == "Mutation.signOut":
                changes = caller in people
            assert is_as_kept is not changes


async def test_no_mutation_is_made_with_what_has_ended_though_the_validator_does_not_know(
    stage: Stage, subtests: pytest.Subtests
) -> None:
    world, viewer = stage.world, TABLE["Query.viewer"][0]
    mutations = {name: row for name, row in TABLE.items() if name.startswith("Mutation.")}
    for_anybody = {name for name, (_, outcomes) in mutations.items() if outcomes[0] != NOBODY}
    assert for_anybody == FOR_ANYBODY

    for field in sorted(mutations.keys() - for_anybody):
        query, outcomes = mutations[field]
        secret = stage.secrets[CALLERS[outcomes.index(OK)]]
        with subtests.test(field=field):
            await world.put_back()
            assert outcome_of(await world.graphql(viewer, secret=secret)) == OK
            await end_unheard(world, secret or "")
            before = await fingerprint(world.owner)

            answer = await world.graphql(query, secret=secret, **variables_of(query, stage.target))

            assert outcome_of(answer) == NOBODY, answer
            assert await fingerprint(world.owner) == before
            # It was the database that refused: the lease is still warm.
            assert outcome_of(await world.graphql(viewer, secret=secret)) == OK


async def end_unheard(world: World, secret: str) -> None:
    """Revoke a credential behind everybody's back, so that no validator hears of it."""
    digest = digest_of(secret, next(iter(world.service.settings.pepper_keys.values())))
    await world.owner.execute(
        "UPDATE api_token SET revoked_at = created_at, revocation_reason = 'LEAKED'"
        " WHERE id = (SELECT token_id FROM secret WHERE digest = $1)",
        digest,
    )


@pytest.mark.parametrize(
    "field", [field for field, (_, outcomes) in TABLE.items() if NOTHING in outcomes[1:4]]
)
async def test_a_foreign_object_answers_exactly_like_a_missing_one(
    field: str, stage: Stage, subtests: pytest.Subtests
) -> None:
    query = TABLE[field][0]
    missing = {name: another_of_its_kind(value) for name, value in stage.target.items()}
    assert {name for name in missing if missing[name] == stage.target[name]} == {"email", "name"}

    for caller in ("stranger", "sibling", "other reseller"):
        with subtests.test(caller=caller):
            await stage.world.forget()  # an address is invited so often, and then no more
            graphql, secret = stage.world.graphql, stage.secrets[caller]
            foreign = await graphql(query, secret=secret, **variables_of(query, stage.target))
            absent = await graphql(query, secret=secret, **variables_of(query, missing))

            assert json.dumps(foreign) == json.dumps(absent)


async def test_an_id_that_is_none_answers_exactly_like_one_that_nothing_has(
    stage: Stage, subtests: pytest.Subtests
) -> None:
    """So what a caller may not do at all is refused in the same words, whatever they name."""
    nowhere = {name: another_of_its_kind(value) for name, value in stage.target.items()}
    for field, (query, outcomes) in TABLE.items():
        wanted = variables_of(query, nowhere)
        named = {name: value for name, value in wanted.items() if name not in {"email", "name"}}
        if not named or "nodes(" in query or "node(" in query:  # which alone take any type
            continue
        of_another_type = stage.target["token" if "$job:" in query else "job"]
        for caller in ("a token without the scope", "its reseller"):
            with subtests.test(field=field, caller=caller):
                secret = stage.secrets[caller]
                expected = await stage.world.graphql(query, secret=secret, **wanted)
                for nonsense in ("", "x", "é", of_another_type):
                    await stage.world.forget()
                    junk = wanted | dict.fromkeys(named, nonsense)
                    found = await stage.world.graphql(query, secret=secret, **junk)
                    assert json.dumps(found) == json.dumps(expected)
                if caller == CALLERS[7] and outcomes[7] == SCOPE:
                    assert outcome_of(expected) == SCOPE
    assert await stage.world.is_as_kept()


async def test_the_list_of_accounts_holds_the_callers_own_fleet_alone(
    stage: Stage,
) -> None:
    people = stage.people
    fleets = {
        people.customer: [],
        people.reseller: [people.customer, people.sibling],
        people.other_reseller: [people.stranger],
        people.operator: [
            people.reseller,
            people.customer,
            people.sibling,
            people.other_reseller,
            people.stranger,
        ],
    }
    for person, fleet in fleets.items():
        answer = await stage.world.graphql(TABLE["Query.accounts"][0], secret=person.secret)

        seen = {edge["node"]["id"] for edge in answer["data"]["accounts"]["edges"]}
        assert seen == {other.account_id for other in fleet}


async def test_every_root_field_of_the_schema_has_a_row() -> None:
    schema = build_schema(production=False)._schema  # noqa: SLF001 - Strawberry's own is not public
    assert schema.query_type is not None
    assert schema.mutation_type is not None
    fields = {
        f"{root.name}.{field}"
        for root in (schema.query_type, schema.mutation_type)
        for field in root.fields
    }

    assert fields == set(TABLE)  # subscriptions stand in test_subscriptions_callers.py
