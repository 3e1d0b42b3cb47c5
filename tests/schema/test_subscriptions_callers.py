"""Every subscription against every kind of caller."""

import json
from contextlib import aclosing
from typing import Any, cast

import asyncpg
import pytest
from caller_scene import CALLERS, NOBODY, NOTHING, OK, SCOPE
from conftest import FrozenClock
from edge_scene import People, assert_leaks_nothing, fingerprint
from factories import make_token
from job_scene import begin
from live_scene import WATCH, Web, opened_web

from schema import node_ids
from schema.root import build_schema
from service.access.jobs import JobKind
from service.composition import Service
from service.settings import Settings
from service.validator import Validator

JOB = "subscription($id: ID!) { jobProgress(id: $id) { id account { id } } }"
EVENTS = "subscription { tokenEvents { cursor token { id } } }"
EVENTS_OF = "subscription($id: ID!) { tokenEvents(accountId: $id) { cursor token { id } } }"
ACCOUNTS = "subscription { accountEvents { cursor account { id } } }"

ANYBODY = (NOBODY, OK, OK, OK, OK, OK, OK, SCOPE, OK, NOBODY, NOBODY)
WITHIN = (NOBODY, NOTHING, NOTHING, NOTHING, OK, OK, OK, SCOPE, OK, NOBODY, NOBODY)
TABLE = {
    "revocationProgress": (WATCH, "receipt", WITHIN),
    "jobProgress": (JOB, "job", WITHIN),
    "tokenEvents": (EVENTS, "", ANYBODY),
    "tokenEvents of one account": (EVENTS_OF, "account", WITHIN),
    "accountEvents": (ACCOUNTS, "", ANYBODY),
}


async def secrets_of(service: Service, people: People, clock: FrozenClock) -> list[str | None]:
    """Return what each of the callers sends."""
    actor = people.reseller.actor
    wide = ("tokens:read", "accounts:read")
    soon = clock.now().replace(minute=9)
    without = await make_token(service, actor, scopes=("dns:read",))
    with_it = await make_token(service, actor, scopes=wide)
    expired = await make_token(service, actor, scopes=wide, expires_at=soon)
    revoked = await make_token(service, actor, scopes=wide)
    await service.tokens.revoke(actor, revoked.token.id)
    clock.advance(minutes=9)
    return [
        None,
        people.stranger.secret,
        people.sibling.secret,
        people.other_reseller.secret,
        people.customer.secret,
        people.reseller.secret,
        people.operator.secret,
        *(made.secret for made in (without, with_it, expired, revoked)),
    ]


async def outcome(web: Web, secret: str | None, query: str, target: str) -> str:
    """Return what the first message of a stream says."""
    async with aclosing(cast(Any, web.events(secret, query, id=target))) as stream:
        name, told = await anext(stream)
    assert name == "next"
    assert_leaks_nothing(json.dumps(told))
    if not told.get("errors"):
        return OK
    assert told["data"] is None
    [error] = told["errors"]
    code = str(error["extensions"]["code"])
    return NOTHING if code == "NOT_FOUND" else code


@pytest.mark.parametrize("row", TABLE)
async def test_a_subscription_serves_whom_it_should_and_changes_nothing(
    row: str,
    settings: Settings,
    service: Service,
    validator: Validator,
    owner: asyncpg.Connection,
    clock: FrozenClock,
) -> None:
    people = await People.make(service)
    secrets = await secrets_of(service, people, clock)
    token = await make_token(service, people.customer.actor)
    job = await begin(service, people.customer.actor, JobKind.REVOKE, token.token.id)
    query, target, outcomes = TABLE[row]

    async with opened_web(settings, service, validator, people) as web:
        targets = {
            "receipt": await web.revoke(people.customer) if target == "receipt" else "",
            "job": node_ids.encode(node_ids.JOB, job.id),
            "account": people.customer.account_id,
            "": "",
        }
        before = await fingerprint(owner)
        got = [await outcome(web, secret, query, targets[target]) for secret in secrets]

    assert dict(zip(CALLERS, got, strict=True)) == dict(zip(CALLERS, outcomes, strict=True))
    assert await fingerprint(owner) == before


def test_every_subscription_has_a_row() -> None:
    root = build_schema(production=False)._schema.subscription_type  # noqa: SLF001 - Strawberry's own is not public

    assert root is not None
    assert {name.partition(" ")[0] for name in TABLE} == set(root.fields)
