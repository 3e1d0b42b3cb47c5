"""What is watched over server-sent events: news as they come, an end, and one's own alone."""

import asyncio
import io
import json
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from typing import Any, cast
from uuid import UUID, uuid4

import asyncpg
import pytest
from conftest import FrozenClock
from edge_scene import People, assert_leaks_nothing, bearer, fingerprint
from factories import make_token
from live_scene import ACCEPT, SILENT, WATCH, Web, opened_web, progress, refusal, somebody_deaf
from stores import eventually
from structlog.testing import capture_logs

from schema import node_ids
from service.cache import REPORTS
from service.composition import Service
from service.settings import Settings
from service.validator import Validator


@pytest.fixture
async def web(settings: Settings, service: Service, validator: Validator) -> AsyncIterator[Web]:
    people = await People.make(service)
    async with opened_web(settings, service, validator, people) as opened:
        yield opened


async def test_it_ends_once_every_validator_has_applied_it(web: Web) -> None:
    receipt = await web.revoke(web.people.customer)

    *news, end = await web.all(web.people.customer.secret, id=receipt)

    assert end == ("complete", {})
    last = progress(news[-1])
    assert (last["id"], last["state"]) == (receipt, "APPLIED")
    assert last["validatorsKnown"] == last["validatorsApplied"] == 1
    states = [progress(event)["state"] for event in news]
    assert states[:-1] == ["CONFIRMED"] * (len(states) - 1)


async def test_news_come_as_they_happen_and_not_at_the_end(web: Web) -> None:
    async with somebody_deaf(web.service):
        receipt = await web.revoke(web.people.customer)
        stream = web.events(web.people.customer.secret, id=receipt)

        first = progress(await anext(stream))
        assert first["state"] == "CONFIRMED"
        assert first["validatorsKnown"] == 2

    seen = [event async for event in stream]  # it is gone now, and so the last has applied it
    assert seen[-1][0] == "complete"
    assert progress(seen[-2])["state"] == "APPLIED"
    assert progress(seen[-2])["validatorsKnown"] == 1


async def test_a_validator_that_vanishes_is_named_on_the_way(web: Web) -> None:
    redis = web.service.cache.redis
    seconds, micros = await redis.time()
    heard_ms = int(seconds) * 1000 + int(micros) // 1000 - 2500
    receipt = await web.revoke(web.people.customer)
    await redis.hset(REPORTS, SILENT, f"{heard_ms} - 0")

    async with aclosing(cast(Any, web.events(web.people.customer.secret, id=receipt))) as stream:
        first = progress(await anext(stream))

    assert first["vanishedValidators"] == [{"name": SILENT}]


async def test_it_ends_at_the_bound_whoever_is_silent(web: Web, clock: FrozenClock) -> None:
    async with somebody_deaf(web.service):
        receipt = await web.revoke(web.people.customer)
        stream = web.events(web.people.customer.secret, id=receipt)
        assert progress(await anext(stream))["state"] == "CONFIRMED"

        clock.advance(seconds=web.service.settings.staleness_bound_seconds)

        *_, last, end = [event async for event in stream]
        assert progress(last)["state"] == "EFFECTIVE"
        assert end == ("complete", {})


async def test_a_receipt_from_before_is_told_once(web: Web, clock: FrozenClock) -> None:
    receipt = await web.revoke(web.people.customer)
    clock.advance(hours=1)

    [only, end] = await web.all(web.people.customer.secret, id=receipt)

    assert progress(only)["state"] == "EFFECTIVE"
    assert end == ("complete", {})


async def test_every_caller_watches_its_own_reach_and_all_else_is_missing(
    web: Web, owner: asyncpg.Connection, clock: FrozenClock
) -> None:
    people, service = web.people, web.service
    receipt = await web.revoke(people.customer)
    clock.advance(hours=1)
    wide = await make_token(service, people.reseller.actor, scopes=("tokens:read",))
    narrow = await make_token(service, people.reseller.actor, scopes=("dns:read",))
    revoked = await make_token(service, people.reseller.actor, scopes=("tokens:read",))
    await service.tokens.revoke(people.reseller.actor, revoked.token.id)
    missing = node_ids.encode(node_ids.PROPAGATION, uuid4())
    before = await fingerprint(owner)
    secrets: dict[str, tuple[str | None, str]] = {
        "anonymous": (None, "UNAUTHENTICATED"),
        "junk": ("junk", "UNAUTHENTICATED"),
        "a revoked token": (revoked.secret, "UNAUTHENTICATED"),
        "a token without the scope": (narrow.secret, "INSUFFICIENT_SCOPE"),
        "sibling": (people.sibling.secret, "NOT_FOUND"),
        "stranger": (people.stranger.secret, "NOT_FOUND"),
        "other reseller": (people.other_reseller.secret, "NOT_FOUND"),
    }
    ours = (people.customer.secret, people.reseller.secret, people.operator.secret, wide.secret)

    for own in ours:
        [only, _] = await web.all(own, id=receipt)
        assert progress(only)["id"] == receipt
        assert refusal(await web.all(own, id=missing)) == "NOT_FOUND"
    for name, (secret, code) in secrets.items():
        foreign = await web.all(secret, id=receipt)
        absent = await web.all(secret, id=missing)
        assert refusal(foreign) == code, name
        assert foreign == absent, name
        assert_leaks_nothing(json.dumps(foreign))

    assert await fingerprint(owner) == before


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "AAAA",
        "§",
        "=",
        "UHJvcGFnYXRpb246",
        "x" * 5000,
        node_ids.encode("Account", UUID(int=7)),
    ],
)
async def test_what_is_no_receipts_id_reads_like_a_missing_one(web: Web, text: str) -> None:
    assert refusal(await web.all(web.people.customer.secret, id=text)) == "NOT_FOUND"


ALIASES = " ".join(f"a{number}: state" for number in range(16))
SENSELESS = [
    "subscription { revocationProgress { id } }",
    "subscription($id: ID!) { revocationProgress(id: $id) { secret } }",
    "subscription($id: ID!) { revocationProgress(id: $id) { id } other: __typename }",
    "subscription { __schema { types { name } } }",
    "subscription { tokens(first: 1) { edges { cursor } } }",
]
BROKEN_OFF = [
    "subscription(",
    "",
    f"subscription($id: ID!) {{ revocationProgress(id: $id) {{ {ALIASES} }} }}",
    "subscription one($id: ID!) { revocationProgress(id: $id) { id } } query two { __typename }",
]


@pytest.mark.parametrize(
    "query",
    [*SENSELESS, *BROKEN_OFF],
)
async def test_a_document_that_makes_no_sense_is_refused_as_any_other(web: Web, query: str) -> None:
    """The limits for documents hold for what is watched as well."""
    receipt = await web.revoke(web.people.customer)

    events = await web.all(web.people.customer.secret, query, id=receipt)

    assert refusal(events) == "INVALID_OPERATION"
    assert_leaks_nothing(json.dumps(events))


async def test_a_query_that_is_asked_for_as_a_stream_is_told_so(web: Web) -> None:
    events = await web.all(web.people.customer.secret, "{ viewer { email } }")

    assert refusal(events) == "INVALID_OPERATION"
    assert "Only subscriptions are streamed" in json.dumps(events)


async def test_without_an_open_ear_a_subscription_is_refused_in_json(web: Web) -> None:
    receipt = await web.revoke(web.people.customer)
    body = {"query": WATCH, "variables": {"id": receipt}}

    answer = await web.client.post(
        "/graphql", json=body, headers=bearer(web.people.customer.secret)
    )

    assert answer.headers["content-type"].startswith("application/json")
    assert answer.json()["errors"]
    assert "data" not in answer.json() or answer.json()["data"] is None
    assert_leaks_nothing(answer.text)


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_it_is_a_post_of_json_alone_so_that_no_other_page_can_watch(
    web: Web, method: str
) -> None:
    headers = ACCEPT | bearer(web.people.customer.secret)

    got = await web.client.request(method, "/graphql", params={"query": WATCH}, headers=headers)
    form = await web.client.post("/graphql", data={"query": WATCH}, headers=headers)

    assert got.status_code == 405
    assert form.status_code == 415


def watchers() -> list[str]:
    """Return the tasks of this process that serve a stream."""
    names = [repr(task.get_coro()) for task in asyncio.all_tasks()]
    return [name for name in names if "heartbeat" in name or "drain" in name]


async def test_a_client_that_goes_away_leaves_nothing_behind(web: Web) -> None:
    async with somebody_deaf(web.service):
        receipt = await web.revoke(web.people.customer)
        for _ in range(5):
            stream = cast(Any, web.events(web.people.customer.secret, id=receipt))
            assert progress(await anext(stream))["state"] == "CONFIRMED"
            assert watchers() != []
            await stream.aclose()

        async def nobody_watches() -> bool:
            return watchers() == []

        await eventually(nobody_watches, seconds=5)

    ended = await web.all(web.people.customer.secret, id=receipt)
    assert ended[-1][0] == "complete"


async def test_many_watch_at_once_without_holding_a_connection_each(web: Web) -> None:
    """The pool has ten connections; a watcher holds none while it waits."""
    async with somebody_deaf(web.service):
        receipt = await web.revoke(web.people.customer)
        secrets = [web.people.customer.secret, web.people.reseller.secret] * 15
        streams = [cast(Any, web.events(secret, id=receipt)) for secret in secrets]
        firsts = await asyncio.gather(*(anext(stream) for stream in streams))
        assert {progress(event)["state"] for event in firsts} == {"CONFIRMED"}

        answer = await web.client.post(
            "/graphql",
            json={"query": "{ viewer { email } }"},
            headers=bearer(web.people.customer.secret),
        )

        assert answer.json()["data"]["viewer"]["email"] == web.people.customer.email
        await asyncio.gather(*(stream.aclose() for stream in streams))


async def test_a_surprise_is_masked_with_an_id_and_ends_the_stream(
    web: Web, owner: asyncpg.Connection
) -> None:
    receipt = await web.revoke(web.people.customer)
    await owner.execute("ALTER TABLE outbox_event RENAME TO outbox_event_away")
    written, root = io.StringIO(), logging.getLogger()
    handler = logging.StreamHandler(written)
    root.addHandler(handler)
    try:
        with capture_logs():  # as below
            events = await web.all(web.people.customer.secret, id=receipt)
    finally:
        root.removeHandler(handler)
        await owner.execute("ALTER TABLE outbox_event_away RENAME TO outbox_event")

    assert refusal(events) == "INTERNAL"
    [error] = events[0][1]["errors"]
    assert len(error["extensions"]["requestId"]) == 32
    assert_leaks_nothing(json.dumps(events))
    assert "outbox_event" not in json.dumps(events)
    assert web.people.customer.secret[8:] not in written.getvalue()


async def test_a_surprise_on_the_way_is_masked_too(web: Web, clock: FrozenClock) -> None:
    """Between two news; here the clock says what no clock can."""
    async with somebody_deaf(web.service):
        receipt = await web.revoke(web.people.customer)
        stream = web.events(web.people.customer.secret, id=receipt)
        assert progress(await anext(stream))["state"] == "CONFIRMED"

        clock._now = cast(Any, "half past SELECT asyncpg")  # noqa: SLF001 - nothing else is as wrong
        with capture_logs():  # telling it takes seconds
            events = [event async for event in stream]

    assert refusal(events) == "INTERNAL"
    assert_leaks_nothing(json.dumps(events))


async def test_what_was_confirmed_late_is_watched_from_its_beginning(
    web: Web, owner: asyncpg.Connection
) -> None:
    """As where Redis was away at the change and the relay has delivered it since."""
    receipt = await web.revoke(web.people.customer)
    row = await owner.fetchrow("SELECT * FROM outbox_event ORDER BY created_at DESC LIMIT 1")
    assert row is not None
    await owner.execute(
        "UPDATE outbox_event SET confirmed_at = NULL, revision = NULL, epoch = NULL,"
        " done_at = NULL, stage = 0, due_at = $1 WHERE id = $2",
        web.service.clock.now() - timedelta(seconds=1),
        row["id"],
    )
    stream = web.events(web.people.customer.secret, id=receipt)
    assert progress(await anext(stream))["state"] == "PENDING"

    await web.service.relay.relay_due()

    states = [progress(event)["state"] async for event in stream if event[0] == "next"]
    assert states[-1] == "APPLIED"
    assert "PENDING" not in states
