"""What is watched over a WebSocket: the protocol to the letter, and nobody's but one's own."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, cast

import asyncpg
import pytest
from conftest import FrozenClock
from edge_scene import People, assert_leaks_nothing, fingerprint
from factories import make_token
from live_scene import WATCH, Web, opened_web, somebody_deaf
from stores import eventually
from structlog.testing import capture_logs
from websockets.exceptions import InvalidStatus

from schema import live_connection, node_ids
from schema.live_connection import SUBSCRIPTIONS_MAX
from service.composition import Service
from service.settings import Settings
from service.validator import Validator


@pytest.fixture
async def web(settings: Settings, service: Service, validator: Validator) -> AsyncIterator[Web]:
    people = await People.make(service)
    async with opened_web(settings, service, validator, people) as opened:
        yield opened


def progress(message: dict[str, Any], id_: str = "1") -> dict[str, Any]:
    assert (message["type"], message["id"]) == ("next", id_), message
    assert "errors" not in message["payload"], message
    return cast(dict[str, Any], message["payload"]["data"]["revocationProgress"])


def code_of(message: dict[str, Any]) -> str:
    """Return the code of a refusal, before a subscription began or while it ran."""
    errors = message["payload"]
    if message["type"] == "next":
        assert message["payload"]["data"] is None
        errors = errors["errors"]
    else:
        assert message["type"] == "error"
    [code] = {error["extensions"]["code"] for error in errors}
    return str(code)


async def test_a_subscription_runs_to_its_end(web: Web) -> None:
    receipt = await web.revoke(web.people.customer)

    async with web.known(web.people.customer.secret) as live:
        await live.subscribe(WATCH, id=receipt)
        last = progress(await live.hear())
        while (message := await live.hear())["type"] == "next":
            last = progress(message)

    assert (last["id"], last["state"]) == (receipt, "APPLIED")
    assert message == {"id": "1", "type": "complete"}


async def test_several_run_side_by_side_and_an_id_is_free_after_its_end(
    web: Web, clock: FrozenClock
) -> None:
    receipt = await web.revoke(web.people.customer)
    clock.advance(hours=1)

    async with web.known(web.people.customer.secret) as live:
        for id_ in ("one", "two"):
            await live.subscribe(WATCH, id_, id=receipt)
        heard = [await live.hear() for _ in range(4)]
        await live.subscribe(WATCH, "one", id=receipt)
        again = [await live.hear() for _ in range(2)]

    assert {message["id"] for message in heard} == {"one", "two"}
    assert [message["type"] for message in again] == ["next", "complete"]


async def test_the_cookie_of_the_handshake_is_a_credential_as_well(
    web: Web, clock: FrozenClock
) -> None:
    receipt = await web.revoke(web.people.customer)
    clock.advance(hours=1)
    own = web.service.settings.public_url

    async with web.live(cookie=web.people.customer.secret, origin=own) as live:
        assert await live.init() == {"type": "connection_ack"}
        await live.subscribe(WATCH, id=receipt)

        assert progress(await live.hear())["state"] == "EFFECTIVE"


async def test_a_page_elsewhere_opens_no_socket_whatever_it_brings(web: Web) -> None:
    origins = [
        "https://evil.example",
        "null",
        "http://127.0.0.1",
        "http://127.0.0.1:8000.evil.example",
        "https://127.0.0.1:8000",
        "HTTP://127.0.0.1:8000",
        # A name that leads to us (DNS rebinding) has an origin equal to its own Host.
        str(web.client.base_url).rstrip("/"),
    ]

    for origin in origins:
        with pytest.raises(InvalidStatus) as refused:
            async with web.live(cookie=web.people.customer.secret, origin=origin):
                pass

        assert refused.value.response.status_code == 403, origin


async def test_what_is_said_at_the_beginning_counts_and_not_the_cookie(web: Web) -> None:
    own = web.service.settings.public_url

    async with web.live(cookie=web.people.customer.secret, origin=own) as live:
        await live.say({"type": "connection_init", "payload": {"Authorization": "Bearer junk"}})

        assert await live.end() == (4403, [])


async def test_another_protocol_is_not_spoken(web: Web) -> None:
    for protocols in (("graphql-ws",), ("graphql-ws", "chat"), ("GRAPHQL-TRANSPORT-WS",), ()):
        async with web.live(protocols=protocols) as live:
            assert live.socket.subprotocol is None

            assert await live.end() == (4406, [])

    async with web.live(protocols=("graphql-ws", "graphql-transport-ws")) as live:
        assert live.socket.subprotocol == "graphql-transport-ws"


INIT = {"type": "connection_init", "payload": {}}
SUBSCRIBE = {"type": "subscribe", "id": "1", "payload": {"query": "{ __typename }"}}


BEFORE = [
    (SUBSCRIBE, 4401),
    ({"type": "start", "id": "1", "payload": {}}, 4401),
    ({"type": "complete", "id": "1"}, 4401),
    ({"type": "connection_init", "payload": []}, 4400),
    ({"type": "connection_init", "payload": {"Authorization": 7}}, 4400),
    (INIT, 4403),
    ({"type": "connection_init"}, 4403),
    ({"type": "connection_init", "payload": {"Authorization": "Bearer é"}}, 4403),
    ({"type": "connection_init", "payload": {"Authorization": "x" * 9000}}, 4403),
    ("", 4400),
    ("[]", 4400),
    ('{"type": "ping", "type": "connection_init"}', 4400),
    ("7", 4400),
    ("{}", 4400),
    ('{"type": 7}', 4400),
    ('{"type": NaN}', 4400),
    ('{"type": "\\ud800"}', 4400),
    ("[" * 30_000, 4400),
    ('{"type": "ping", "payload": "' + "x" * 70_000 + '"}', 1009),
]
AFTER = [
    (INIT, 4429),
    ({"type": "start", "id": "1", "payload": {}}, 4400),
    ({"type": "subscribe", "payload": {"query": "{ __typename }"}}, 4400),
    ({"type": "subscribe", "id": "", "payload": {"query": "{ __typename }"}}, 4400),
    ({"type": "subscribe", "id": ["1"], "payload": {"query": "{ __typename }"}}, 4400),
    ({"type": "subscribe", "id": "x" * 129, "payload": {"query": "{ __typename }"}}, 4400),
    ({"type": "subscribe", "id": "1"}, 4400),
    ({"type": "subscribe", "id": "1", "payload": {}}, 4400),
    ({"type": "subscribe", "id": "1", "payload": [SUBSCRIBE["payload"]]}, 4400),
    ([SUBSCRIBE], 4400),
    ({"type": "subscribe", "id": "1", "payload": {"query": "{a}", "variables": []}}, 4400),
    ({"type": "subscribe", "id": "1", "payload": {"query": "{a}", "operationName": 1}}, 4400),
    ({"type": "subscribe", "id": "1", "payload": {"query": "{a}", "extensions": 1}}, 4400),
]


async def test_before_it_is_known_who_calls_nothing_is_done(web: Web) -> None:
    for message, code in BEFORE:
        async with web.live() as live:
            await live.say(message)

            assert await live.end() == (code, []), message


async def test_a_message_of_another_shape_ends_the_connection(web: Web) -> None:
    for message, code in AFTER:
        async with web.known(web.people.customer.secret) as live:
            await live.say(message)

            assert await live.end() == (code, []), message


async def test_what_is_no_text_ends_the_connection(web: Web) -> None:
    async with web.live() as live:
        await live.socket.send(b"{}")

        assert await live.end() == (4400, [])
    async with web.live() as live:
        await live.socket.send(b"\xff\xfe", text=True)

        assert (await live.end())[0] == 1007


async def test_who_never_says_who_calls_is_let_go(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_connection, "INIT_SECONDS_MAX", 0.05)

    async with web.live() as live:
        await live.say({"type": "ping"})

        assert await live.end() == (4408, [{"type": "pong"}])


async def test_a_ping_is_answered_and_an_unknown_end_is_none(web: Web) -> None:
    async with web.known(web.people.customer.secret) as live:
        await live.say({"type": "pong"})
        await live.say({"type": "complete", "id": "unknown"})
        await live.say({"type": "ping", "payload": {"any": "thing"}})

        assert await live.hear() == {"type": "pong"}


async def test_an_id_that_runs_is_not_taken_twice(web: Web) -> None:
    async with somebody_deaf(web.service), web.known(web.people.customer.secret) as live:
        receipt = await web.revoke(web.people.customer)
        await live.subscribe(WATCH, id=receipt)
        progress(await live.hear())

        await live.say({"type": "subscribe", "id": "1", "payload": {"query": WATCH}})

        assert (await live.end())[0] == 4409
    await all_is_free(web)


ALIASES = " ".join(f"a{number}: state" for number in range(16))
NOT_RUN = [
    "{ viewer { id } }",
    'mutation { signIn(input: {email: "a@example.com", password: "x"}) { secret } }',
    "subscription(",
    "",
    "subscription { __schema { types { name } } }",
    "subscription { a: __typename b: __typename }",
    f"subscription($id: ID!) {{ revocationProgress(id: $id) {{ {ALIASES} }} }}",
    "subscription one { __typename } subscription two { __typename }",
    "subscription { revocationProgress(id: 7) { secret } }",
    "subscription($id: Int!) { revocationProgress(id: $id) { id } }",
    "subscription { tokenEvents(after: $undeclared) { cursor } }",
    "subscription { tokenEvents @skip(if: true) { cursor } }",
    "subscription { tokenEvents { ...a } } fragment a on TokenEvent { ...a }",
    "subscription { tokenEvents" + " @include(if: true)" * 400 + " { cursor } }",
    "subscription {" + " tokenEvents { cursor }" * 200 + " }",
    "subscription { tokenEvents { event { account { id " + "parent { id " * 12 + "}" * 16,
]


async def test_what_is_no_subscription_within_the_limits_is_refused_and_nothing_else_ends(
    web: Web, owner: asyncpg.Connection
) -> None:
    before = await fingerprint(owner)

    async with web.known(web.people.customer.secret) as live:
        for query in NOT_RUN:
            await live.subscribe(query, "no")
            refused = await live.hear()
            assert refused["type"] == "error", query
            assert code_of(refused) == "INVALID_OPERATION", query
            assert_leaks_nothing(json.dumps(refused))
        await live.say({"type": "ping"})
        assert await live.hear() == {"type": "pong"}

    assert await fingerprint(owner) == before


async def test_every_caller_watches_its_own_reach_and_all_else_is_missing(
    web: Web, clock: FrozenClock
) -> None:
    people = web.people
    receipt = await web.revoke(people.customer)
    clock.advance(hours=1)
    narrow = await make_token(web.service, people.reseller.actor, scopes=("dns:read",))
    missing = node_ids.encode(node_ids.PROPAGATION, people.customer.actor.account_id)
    callers = {
        people.customer.secret: None,
        people.reseller.secret: None,
        people.operator.secret: None,
        narrow.secret: "INSUFFICIENT_SCOPE",
        people.sibling.secret: "NOT_FOUND",
        people.other_reseller.secret: "NOT_FOUND",
    }

    for secret, code in callers.items():
        async with web.known(secret) as live:
            await live.subscribe(WATCH, id=receipt)
            foreign = await live.hear()
            assert (await live.hear())["type"] == "complete"
            await live.subscribe(WATCH, id=missing)
            absent = await live.hear()
        if code is None:
            assert progress(foreign)["id"] == receipt
        else:
            assert code_of(foreign) == code
            assert foreign == absent
        assert code_of(absent) == (code or "NOT_FOUND")
        assert_leaks_nothing(json.dumps(foreign))


async def test_a_surprise_is_masked_with_an_id(web: Web, owner: asyncpg.Connection) -> None:
    receipt = await web.revoke(web.people.customer)
    async with web.known(web.people.customer.secret) as live:
        await owner.execute("ALTER TABLE outbox_event RENAME TO outbox_event_away")
        try:
            with capture_logs() as logged:
                await live.subscribe(WATCH, id=receipt)
                told = await live.hear()
        finally:
            await owner.execute("ALTER TABLE outbox_event_away RENAME TO outbox_event")

    assert code_of(told) == "INTERNAL"
    assert "outbox" not in json.dumps(told)
    assert "graphql.surprise" in [line["event"] for line in logged]
    assert_leaks_nothing(json.dumps(told))


async def all_is_free(web: Web) -> None:
    """Return once nobody holds a place in the web process any more."""

    async def free() -> bool:
        return (len(web.streams.places), len(web.streams.sockets)) == (0, 0)

    await eventually(free, seconds=5)


async def test_one_connection_carries_only_so_many_and_an_end_makes_room(web: Web) -> None:
    async with somebody_deaf(web.service), web.known(web.people.customer.secret) as live:
        receipt = await web.revoke(web.people.customer)
        for number in range(SUBSCRIPTIONS_MAX):
            await live.subscribe(WATCH, str(number), id=receipt)
            assert (await live.hear())["type"] == "next"

        await live.subscribe(WATCH, "one more", id=receipt)
        refused = await live.hear()
        await live.say({"type": "complete", "id": "0"})
        await live.subscribe(WATCH, "in its place", id=receipt)
        taken = await live.hear()

    assert code_of(refused) == "TOO_MANY_STREAMS"
    assert (taken["type"], taken["id"]) == ("next", "in its place")
    await all_is_free(web)


async def test_connections_of_one_credential_are_bounded_and_leave_nothing_behind(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.streams.PER_CREDENTIAL_MAX", 3)

    async with AsyncExitStack() as opened:
        for _ in range(3):
            await opened.enter_async_context(web.known(web.people.customer.secret))
        async with web.live() as live:
            await live.say(
                {
                    "type": "connection_init",
                    "payload": {"Authorization": f"Bearer {web.people.customer.secret}"},
                }
            )
            assert await live.end() == (4503, [])
        async with web.known(web.people.sibling.secret):
            pass

    await all_is_free(web)
