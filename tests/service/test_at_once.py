"""`/validate` is answered at once where it can be, and nobody can tell by the answer."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import httpx2
import pytest
from edge_scene import bearer
from factories import Platform, make_token
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send
from stores import eventually
from web_scene import served

from service.app import create_app
from service.clock import boottime
from service.composition import Service
from service.edge import Edge
from service.http_protocol import PIPELINED_MAX
from service.secret_format import digest_of, make_secret
from service.settings import Settings
from service.validator import Validator

LAST = b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
VALIDATE = b"GET /validate HTTP/1.1\r\nHost: x\r\n"
LONG = b"X-Long: " + b"x" * 5_000 + b"\r\n"  # longer than a piece: half a head comes first
WAIT_SECONDS = 5.0


class CountingEdge(Edge):
    """Counts what is served in uvicorn's way, and answers ``/held`` when it is let go."""

    asked = 0

    def __init__(self, app: Starlette, settings: Settings) -> None:
        super().__init__(app, settings)
        self.holding, self.let_go = asyncio.Event(), asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked += 1
        if scope["path"] == "/held":
            self.holding.set()
            await self.let_go.wait()
        await super().__call__(scope, receive, send)


@dataclass(frozen=True, slots=True)
class Passing:
    """Hands everything on, and is no edge: nothing is answered at once."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


@dataclass(frozen=True, slots=True)
class Stage:
    """One application served in both ways, and secrets that its validator remembers."""

    edge: CountingEdge
    at_once: str
    ordinary: str
    validator: Validator
    settings: Settings
    secrets: dict[str, str]

    def digest(self, name: str) -> bytes:
        return digest_of(self.secrets[name], next(iter(self.settings.pepper_keys.values())))


@pytest.fixture
async def stage(
    settings: Settings, service: Service, platform: Platform, validator: Validator
) -> AsyncIterator[Stage]:
    secrets = await _make_secrets(settings, service, platform)
    edge = CountingEdge(create_app(settings)._app, settings)  # noqa: SLF001 - to count in front of it
    edge.open(service, validator)
    for secret in secrets.values():
        await validator.check(secret)
    async with served(edge) as at_once, served(Passing(edge)) as ordinary:
        yield Stage(edge, at_once, ordinary, validator, settings, secrets)


async def _make_secrets(settings: Settings, service: Service, platform: Platform) -> dict[str, str]:
    customer = platform.customer
    created = {
        "wide": await make_token(service, customer, scopes=("dns:*", "mail:read")),
        "here": await make_token(service, customer, allowed_ip_ranges=("203.0.113.0/24",)),
        "meant": await make_token(service, customer, audiences=("api.example",)),
        "suspended": await make_token(service, customer),
        "revoked": await make_token(service, customer),
    }
    await service.tokens.suspend(customer, created["suspended"].token.id)
    await service.tokens.revoke(customer, created["revoked"].token.id)
    unknown = make_secret(settings.token_label, settings.pepper_keys).text
    return {name: each.secret for name, each in created.items()} | {"unknown": unknown}


async def told(url: str, request: bytes) -> bytes:
    """Return all that is answered to a request and to one more that ends the connection."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        writer.write(request + LAST)
        async with asyncio.timeout(WAIT_SECONDS):
            answer = await reader.read()
    finally:
        writer.close()
    return re.sub(rb"date: [^\r]*\r\n|x-request-id: [^\r]*\r\n", b"", answer)


def asking(secret: str, path: str = "/validate", *headers: str) -> bytes:
    lines = [f"GET {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {secret}", *headers]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode()


FROM = "X-Forwarded-For: "
KNOWN_AT_ONCE = {
    "valid": ("wide", ()),
    "a scope": ("wide", ("/validate?scope=dns:read",)),
    "a scope it lacks": ("wide", ("/validate?scope=web:read+dns:read",)),
    "a scope that is none": ("wide", ("/validate?scope=DNS",)),
    "no scope at all": ("wide", ("/validate?scope=",)),
    "another query": ("wide", ("/validate?scopes=dns:read",)),
    "an empty query": ("wide", ("/validate?",)),
    "a fragment": ("wide", ("/validate?scope=dns:read#x",)),
    "two audiences": ("wide", ("/validate?audience=a&audience=b",)),
    "the audience": ("meant", ("/validate?audience=api.example",)),
    "another audience": ("meant", ("/validate?audience=other.example",)),
    "no audience": ("meant", ()),
    "the address": ("here", ("/validate", FROM + "203.0.113.9")),
    "another address": ("here", ("/validate", FROM + "198.51.100.9")),
    "a forged address": ("here", ("/validate", FROM + "203.0.113.9, 198.51.100.9")),
    "two headers of addresses": ("here", ("/validate", FROM + "1.2.3.4", FROM + "203.0.113.9")),
    "nonsense for an address": ("here", ("/validate", FROM + "nowhere")),
    "no address": ("here", ()),
    "suspended": ("suspended", ()),
    "revoked": ("revoked", ()),
    "unknown": ("unknown", ()),
    "two credentials": ("wide", ("/validate", "authorization: Bearer x")),
    "a protocol that nobody asks to change to": ("wide", ("/validate", "Upgrade: h2c")),
    "a body of nothing": ("wide", ("/validate", "Content-Length: 0")),
    "a long head": ("wide", ("/validate", LONG.decode().strip())),
}

WITHOUT_CREDENTIAL = {
    "no credential": VALIDATE + b"\r\n",
    "another scheme": VALIDATE + b"Authorization: Basic eDp5\r\n\r\n",
    "no ASCII": VALIDATE + b"Authorization: Bearer \xc3\xa9\r\n\r\n",
    "too long": VALIDATE + b"Authorization: Bearer %s\r\n\r\n" % (b"x" * 600),
}
BEYOND_HEAD = [
    (b"HEAD /validate HTTP/1.1\r\n", b""),
    (b"POST /validate HTTP/1.1\r\n", b""),
    (b"GET /validate HTTP/1.0\r\n", b""),
    (b"GET /validate HTTP/1.0\r\nConnection: keep-alive\r\n", b""),
    (b"GET /validate HTTP/1.1\r\nConnection: close\r\n", b""),
    (b"GET /validate HTTP/1.1\r\nContent-Length: 3\r\n", b"abc"),
    (b"GET /validate HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n", b"abc"),
    (b"GET /validate HTTP/1.1\r\nTransfer-Encoding: chunked\r\n", b"0\r\nX-A: b\r\n\r\n"),
    (b"GET /%76alidate HTTP/1.1\r\n", b""),
    (b"GET http://x/validate HTTP/1.1\r\n", b""),
]


async def test_an_answer_at_once_is_the_same_byte_for_byte(stage: Stage) -> None:
    requests = {
        what: asking(stage.secrets[name], *more) for what, (name, more) in KNOWN_AT_ONCE.items()
    }
    requests |= WITHOUT_CREDENTIAL

    for what, request in requests.items():
        stage.edge.asked = 0
        at_once = await told(stage.at_once, request)

        assert stage.edge.asked == 1, f"{what}: only the last one of the connection is served"
        assert at_once == await told(stage.ordinary, request), what
        assert at_once.count(b"HTTP/1.1 ") == 2, what


async def test_what_is_more_than_a_head_goes_the_ordinary_way(stage: Stage) -> None:
    secret = stage.secrets["wide"].encode()

    for before, after in BEYOND_HEAD:
        request = before + b"Host: x\r\nAuthorization: Bearer " + secret + b"\r\n\r\n" + after
        stage.edge.asked = 0
        at_once = await told(stage.at_once, request)

        assert at_once.startswith(b"HTTP/1.1 200 "), before
        assert stage.edge.asked == at_once.count(b"HTTP/1.1 "), before
        assert at_once == await told(stage.ordinary, request), before


async def test_who_asks_for_another_protocol_is_served_the_ordinary_way(stage: Stage) -> None:
    headers = bearer(stage.secrets["wide"]) | {"Connection": "Upgrade", "Upgrade": "h2c"}

    async with httpx2.AsyncClient(base_url=stage.at_once) as client:
        answer = await client.get("/validate", headers=headers)

    assert answer.status_code == 200
    assert stage.edge.asked == 1


async def test_requests_that_arrive_together_are_answered_in_their_order(stage: Stage) -> None:
    request = b"".join(asking(stage.secrets[name]) for name in ("wide", "unknown", "here", "wide"))

    at_once = await told(stage.at_once, request)

    assert stage.edge.asked == 4, "only the first is answered at once"
    assert re.findall(rb"HTTP/1.1 (\d+)", at_once) == [b"200", b"401", b"403", b"200", b"404"]
    assert at_once == await told(stage.ordinary, request)


async def test_no_answer_overtakes_that_to_an_earlier_request(stage: Stage) -> None:
    parts = urlsplit(stage.at_once)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.wait_for(stage.edge.holding.wait(), WAIT_SECONDS)

    writer.write(asking(stage.secrets["wide"]))
    await told(stage.at_once, asking(stage.secrets["wide"]))  # by now that has arrived, too
    stage.edge.let_go.set()
    writer.write(LAST)
    answers = await asyncio.wait_for(reader.read(), WAIT_SECONDS)
    writer.close()

    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"404", b"200", b"404"]


async def test_a_flood_of_requests_that_could_be_answered_at_once_is_cut_off(stage: Stage) -> None:
    flood = asking(stage.secrets["wide"]) * 20_000

    for url in (stage.at_once, stage.ordinary):
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(flood)
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), WAIT_SECONDS)
        writer.close()

    assert stage.edge.asked < 10 * PIPELINED_MAX


async def test_a_connection_stays_and_each_answer_is_of_its_moment(stage: Stage) -> None:
    secret = stage.secrets["wide"]
    async with httpx2.AsyncClient(base_url=stage.at_once) as client:
        first = await client.get("/validate", headers=bearer(secret))
        second = await client.get("/validate", headers=bearer(secret))
        asked = stage.edge.asked
        stage.validator.near.store(
            stage.digest("wide"), None, asked_at=boottime(), lease=stage.settings.lease_seconds
        )

        third = await client.get("/validate", headers=bearer(secret))

    assert asked == stage.edge.asked == 0
    assert [each.status_code for each in (first, second, third)] == [200, 200, 401]


async def test_what_is_not_remembered_is_looked_up_and_then_known_at_once(stage: Stage) -> None:
    stage.validator.forget()
    async with httpx2.AsyncClient(base_url=stage.at_once) as client:
        statuses = []
        for _ in range(3):
            answer = await client.get("/validate", headers=bearer(stage.secrets["wide"]))
            statuses.append(answer.status_code)

    assert statuses == [200] * 3
    assert stage.edge.asked == 1


async def test_a_busy_record_is_still_renewed_before_it_ends(stage: Stage) -> None:
    entry = stage.validator.near.find(stage.digest("wide"))
    assert entry is not None
    entry.refresh_at = boottime()

    await told(stage.at_once, asking(stage.secrets["wide"]))

    async def is_renewed() -> bool:
        return stage.validator.near.find(stage.digest("wide")) is not entry

    await eventually(is_renewed, seconds=WAIT_SECONDS)


async def test_an_answer_at_once_counts_as_a_use(stage: Stage, service: Service) -> None:
    await stage.validator.usage.hand_on(service.cache.redis)
    await service.cache.redis.delete("usage")

    await told(stage.at_once, asking(stage.secrets["wide"], "/validate", FROM + "203.0.113.9"))
    await told(stage.at_once, asking(stage.secrets["here"], "/validate"))
    await stage.validator.usage.hand_on(service.cache.redis)

    uses = await service.cache.redis.hgetall("usage")
    assert len(uses) == 1, "the other one was refused"
    assert b"203.0.113.9" in next(iter(uses.values()))


async def test_a_scope_that_would_begin_another_header_is_told_to_nobody(stage: Stage) -> None:
    digest = stage.digest("wide")
    entry = stage.validator.near.find(digest)
    assert entry is not None
    assert entry.record is not None
    entry.record = replace(entry.record, scopes=("dns:read\r\nX-Tokenward-Account: x",))

    at_once = await told(stage.at_once, asking(stage.secrets["wide"]))

    assert at_once.startswith(b"HTTP/1.1 500 ")
    assert b"x-tokenward" not in at_once.lower()


async def test_before_the_validator_is_open_nothing_is_answered_at_once(
    settings: Settings,
) -> None:
    assert Edge(create_app(settings)._app, settings).reply_at_once({}) is None  # noqa: SLF001 - as above
