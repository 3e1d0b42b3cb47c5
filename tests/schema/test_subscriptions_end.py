"""A stream ends with the credential that it began with, and tells nothing after that."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, cast

import pytest
from conftest import FrozenClock
from edge_scene import People
from factories import make_token
from live_scene import Event, Web, opened_web
from stores import eventually

from service import streams
from service.composition import Service
from service.settings import Settings
from service.token_changes import TokenChanges
from service.tokens import Created, RevocationReason
from service.validator import Validator

TOKENS = "subscription { tokenEvents { cursor event { action } } }"
SOON_SECONDS = 0.02
NEVER_SECONDS = 3600.0


@pytest.fixture
async def web(
    settings: Settings,
    service: Service,
    validator: Validator,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Web]:
    monkeypatch.setattr(streams, "JUDGED_SECONDS_MAX", SOON_SECONDS)
    people = await People.make(service)
    await service.sealer.seal()
    async with opened_web(settings, service, validator, people) as opened:
        yield opened


async def make(web: Web, *scopes: str, **fields: Any) -> Created:
    """Create the customer's token."""
    return await make_token(web.service, web.people.customer.actor, scopes=scopes, **fields)


def code_of(event: Event) -> str:
    name, told = event
    assert name == "next"
    assert told["data"] is None
    [error] = told["errors"]
    return str(error["extensions"]["code"])


async def test_a_revoke_ends_the_stream_and_the_socket(web: Web) -> None:
    token = await make(web, "tokens:read")
    async with web.known(token.secret) as live:
        await live.subscribe(TOKENS)
        await live.hear()
        async with aclosing(cast(Any, web.events(token.secret, TOKENS))) as stream:
            await anext(stream)

            await web.service.tokens.revoke(
                web.people.customer.actor, token.token.id, reason=RevocationReason.LEAKED
            )

            assert [event async for event in stream][-1] == ("complete", {})
        code, said = await live.end()

    assert code == 4403
    assert all("data" not in message or message["data"] is None for message in said)
    await all_is_free(web)


async def test_it_ends_by_itself_at_the_expiry(web: Web, clock: FrozenClock) -> None:
    token = await make(web, "tokens:read")
    stream = web.events(token.secret, TOKENS)
    await anext(stream)

    clock.advance(days=31)

    [refused, end] = [event async for event in stream]
    assert code_of(refused) == "UNAUTHENTICATED"
    assert end == ("complete", {})


async def test_signing_out_ends_what_the_session_watches(web: Web) -> None:
    customer = web.people.customer
    async with web.live(cookie=customer.secret, origin=web.service.settings.public_url) as live:
        await live.init()

        await web.service.sessions.sign_out(customer.actor)

        assert await live.end() == (4403, [])


async def test_a_suspended_account_watches_nothing(web: Web) -> None:
    people = web.people
    stream = web.events(people.customer.secret, TOKENS)
    await anext(stream)

    await web.service.accounts.suspend(people.reseller.actor, people.customer.actor.account_id)

    [refused, _] = [event async for event in stream]
    assert code_of(refused) == "UNAUTHENTICATED"


async def test_a_scope_less_ends_the_stream_whether_it_needs_that_one_or_not(web: Web) -> None:
    """By the others it was decided what each event tells."""
    actor = web.people.customer.actor
    for lost, kept, code in (
        ("tokens:read", "audit:read", "INSUFFICIENT_SCOPE"),
        ("audit:read", "tokens:read", "UNAVAILABLE"),
    ):
        token = await make(web, lost, kept)
        async with web.known(token.secret) as live:
            await live.subscribe(TOKENS)
            await live.hear()

            await web.service.tokens.update(actor, token.token.id, TokenChanges(scopes=(kept,)))

            while not (payload := (await live.hear())["payload"]).get("errors"):
                pass
            assert payload["data"] is None
            assert payload["errors"][0]["extensions"]["code"] == code
            await live.hear()  # its end
            await live.say({"type": "ping"})
            assert await live.hear() == {"type": "pong"}


async def test_nothing_is_told_that_arrives_after_the_revoke(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where nobody has looked at the credential in between."""
    monkeypatch.setattr(streams, "JUDGED_SECONDS_MAX", NEVER_SECONDS)
    monkeypatch.setattr(streams.Standing, "interval_seconds", NEVER_SECONDS)
    token = await make(web, "tokens:read")
    await web.service.sealer.seal()
    stream = web.events(token.secret, TOKENS)
    await anext(stream)

    await web.service.tokens.revoke(web.people.customer.actor, token.token.id)
    await web.service.sealer.seal()

    [refused, _] = [event async for event in stream]
    assert code_of(refused) == "UNAUTHENTICATED"


async def test_a_stream_is_no_use_of_its_credential(web: Web, validator: Validator) -> None:
    token = await make(web, "tokens:read")
    async with aclosing(cast(Any, web.events(token.secret, TOKENS))) as stream:
        await anext(stream)
        first = validator.usage
        assert first is validator.usage


async def test_streams_of_a_credential_are_bounded_over_both_transports(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "PER_CREDENTIAL_MAX", 2)
    token = await make(web, "tokens:read")
    async with web.known(token.secret) as live:
        await live.subscribe(TOKENS)
        await live.hear()
        async with aclosing(cast(Any, web.events(token.secret, TOKENS))) as stream:
            await anext(stream)

            [refused, _] = await web.all(token.secret, TOKENS)
            await live.subscribe(TOKENS, "2")
            told = await live.hear()

    assert code_of(refused) == "TOO_MANY_STREAMS"
    assert told["payload"]["errors"][0]["extensions"]["code"] == "TOO_MANY_STREAMS"
    await all_is_free(web)


async def all_is_free(web: Web) -> None:
    """Return once nobody holds a place in the web process any more."""

    async def free() -> bool:
        return (len(web.streams.places), len(web.streams.sockets)) == (0, 0)

    await eventually(free, seconds=5)
