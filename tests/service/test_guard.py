"""Applications that check in process refuse as the edge does, over HTTP and WebSocket."""

from collections.abc import AsyncIterator
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import httpx2
import pytest
from conftest import FrozenClock
from edge_scene import People, bearer
from factories import make_token
from starlette.applications import Starlette
from starlette.authentication import AuthenticationError, requires
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import bearer as rfc6750
from service.composition import Service
from service.errors import Unavailable
from service.guard import GetValidator, TokenBackend, TokenGuard, answer_refused
from service.settings import Settings
from service.tokens import Created
from service.validator import Validator
from service.verdict import Record, Status

PROXIES = (ip_network("10.0.0.0/8"),)


@pytest.fixture
async def people(service: Service) -> People:
    return await People.make(service)


@pytest.fixture
async def token(service: Service, people: People) -> Created:
    return await make_token(service, people.customer.actor, scopes=("dns:*", "mail:read"))


@pytest.fixture
def blind(service: Service, settings: Settings) -> Validator:
    """A validator that knows nothing and cannot read the database."""

    async def find(_: bytes) -> Record | None:
        raise Unavailable

    return Validator(
        service.cache, find, settings.pepper_keys, clock=service.clock, lease_seconds=4
    )


class Inner:
    """An application that remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Scope] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.append(scope)
        if scope["type"] == "http":
            await Response("inside")(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.accept"})


async def call(app: ASGIApp, kind: str, headers: dict[str, str], **scope: Any) -> list[Message]:
    """Call an application as a server does; return what it sent."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": f"{kind}.connect"}

    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    asked = {"type": kind, "path": "/", "headers": raw, "client": ("192.0.2.7", 1)} | scope
    await app(asked, receive, send)
    return sent


def client_of(app: ASGIApp) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=app, client=("192.0.2.7", 40_000))
    return httpx2.AsyncClient(transport=transport, base_url="http://test")


def refusals(people: People, token: Created) -> dict[str, dict[str, str]]:
    """Return headers that bear no valid token."""
    return {
        "none": {},
        "two spaces": {"Authorization": f"Bearer  {token.secret}"},
        "basic": {"Authorization": f"Basic {token.secret}"},
        "two": {"Authorization": f"Bearer {token.secret}, Bearer {token.secret}"},
        "a megabyte": {"Authorization": "Bearer " + "x" * 1_048_576},
        "near miss": bearer(token.secret[:-1]),
        "session": bearer(people.customer.secret),
    }


async def test_a_valid_token_passes_and_its_record_is_in_the_scope(
    token: Created, validator: Validator
) -> None:
    inner = Inner()
    guard = TokenGuard(inner, validator, scope="dns:read")

    answered = await call(guard, "http", bearer(token.secret))
    accepted = await call(guard, "websocket", bearer(token.secret))

    assert answered[1]["body"] == b"inside"
    assert accepted == [{"type": "websocket.accept"}]
    for scope in inner.asked:
        assert isinstance(scope["tokenward"], Record)
        assert scope["tokenward"].token_id == token.token.id


async def test_a_guard_refuses_as_the_edge_does(
    people: People,
    token: Created,
    service: Service,
    clock: FrozenClock,
    validator: Validator,
    http: httpx2.AsyncClient,
) -> None:
    actor, now = people.customer.actor, clock.now()
    revoked = await make_token(service, actor)
    await service.tokens.revoke(actor, revoked.token.id)
    ending = await make_token(service, actor, expires_at=now + timedelta(minutes=1))
    suspended = await make_token(service, actor)
    await service.tokens.suspend(actor, suspended.token.id)
    pending = await make_token(service, actor, not_before=now + timedelta(days=1))
    limited = await make_token(service, actor, allowed_ip_ranges=("198.51.100.0/24",))
    lacking = await make_token(service, actor, scopes=("mail:read",))
    clock.advance(minutes=1)
    cases = refusals(people, token) | {
        made.token.name: bearer(made.secret)
        for made in (revoked, ending, suspended, pending, limited, lacking)
    }
    inner = Inner()
    guard = TokenGuard(inner, validator, scope="dns:read mail:write")

    async with client_of(guard) as client:
        for case, headers in cases.items():
            expected = await http.get(
                "/validate", params={"scope": "dns:read mail:write"}, headers=headers
            )
            answer = await client.get("/", headers=headers)

            assert answer.status_code == expected.status_code in {401, 403}, case
            assert dict(answer.headers) == dict(expected.headers), case
            assert answer.content == expected.content == b""

    assert inner.asked == []


async def test_a_websocket_is_refused_in_its_handshake(
    token: Created, validator: Validator
) -> None:
    inner = Inner()
    guard = TokenGuard(inner, validator, scope="mail:write")
    telling: dict[str, Any] = {"extensions": {"websocket.http.response": {}}}

    told = await call(guard, "websocket", bearer(token.secret), **telling)
    closed = await call(guard, "websocket", bearer(token.secret))

    assert (told[0]["type"], told[0]["status"]) == ("websocket.http.response.start", 403)
    assert b'error="insufficient_scope"' in dict(told[0]["headers"])[b"www-authenticate"]
    assert told[1] == {"type": "websocket.http.response.body", "body": b""}
    assert closed == [{"type": "websocket.close", "code": 1008}]
    assert inner.asked == []


async def test_where_the_truth_is_not_known_a_guard_says_503(
    token: Created, blind: Validator
) -> None:
    inner = Inner()

    async with client_of(TokenGuard(inner, blind)) as client:
        answer = await client.get("/", headers=bearer(token.secret))

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "www-authenticate" not in answer.headers
    assert inner.asked == []


async def test_a_validator_may_be_opened_after_the_guard_is_built(
    token: Created, validator: Validator
) -> None:
    opened: list[Validator] = []
    inner = Inner()
    guard = TokenGuard(inner, lambda: opened[0])

    await call(guard, "lifespan", {})
    without = await call(guard, "http", {})
    opened.append(validator)
    passed = await call(guard, "http", bearer(token.secret))

    assert [scope["type"] for scope in inner.asked] == ["lifespan", "http"]
    assert without[0]["status"] == 401, "no credential needs no validator"
    assert passed[0]["status"] == 200


async def test_what_another_middleware_left_in_the_scope_is_no_record(
    validator: Validator,
) -> None:
    inner = Inner()

    sent = await call(TokenGuard(inner, validator), "http", {}, tokenward="forged")

    assert sent[0]["status"] == 401
    assert inner.asked == []


@pytest.mark.parametrize(
    ("peer", "forwarded", "status"),
    [
        ("198.51.100.7", None, 200),
        ("10.0.0.1", "198.51.100.7", 200),
        ("10.0.0.1", "192.0.2.7, 198.51.100.7", 200),
        ("10.0.0.1", "198.51.100.7, 192.0.2.7", 403),
        ("192.0.2.7", "198.51.100.7", 403),
        ("10.0.0.1", None, 403),
        ("10.0.0.1", "nonsense", 403),
        (None, "198.51.100.7", 403),
    ],
)
async def test_a_guard_believes_the_proxies_that_it_was_told_of(
    peer: str | None,
    forwarded: str | None,
    status: int,
    people: People,
    service: Service,
    validator: Validator,
) -> None:
    ranges = ("198.51.100.0/24",)
    token = await make_token(service, people.customer.actor, allowed_ip_ranges=ranges)
    headers = bearer(token.secret) | ({"X-Forwarded-For": forwarded} if forwarded else {})
    client = None if peer is None else (peer, 1)

    guard = TokenGuard(Inner(), validator, trusted_proxies=PROXIES)
    sent = await call(guard, "http", headers, client=client)
    trusting_nobody = await call(TokenGuard(Inner(), validator), "http", headers, client=client)

    assert sent[0]["status"] == status
    assert trusting_nobody[0]["status"] == (200 if peer == "198.51.100.7" else 403)


@pytest.mark.parametrize("scope", ["", " ", "dns", "DNS:read", "dns:read,mail:read"])
def test_a_guard_for_a_scope_that_is_none_is_refused(scope: str, blind: Validator) -> None:
    with pytest.raises(ValueError, match="names no scopes"):
        TokenGuard(Inner(), blind, scope=scope)


@requires("dns:read")
async def reads(request: Request) -> Response:
    record = request.user.record
    return JSONResponse({"token": str(record.token_id), "who": request.user.identity})


@requires("mail:write")
async def writes(request: Request) -> Response:
    return Response(request.user.display_name)


@requires("authenticated")
async def anybody(request: Request) -> Response:
    return Response(request.user.display_name)


async def everybody(request: Request) -> Response:
    return Response("signed in" if request.user.is_authenticated else "signed out")


def starlette_of(validator: Validator | GetValidator) -> Starlette:
    return Starlette(
        routes=[
            Route("/reads", reads),
            Route("/writes", writes),
            Route("/anybody", anybody),
            Route("/everybody", everybody),
        ],
        middleware=[
            Middleware(
                AuthenticationMiddleware,
                backend=TokenBackend(validator, trusted_proxies=PROXIES),
                on_error=answer_refused,
            )
        ],
    )


@pytest.fixture
async def client(validator: Validator) -> AsyncIterator[httpx2.AsyncClient]:
    """An application with Starlette's own authentication."""
    async with client_of(starlette_of(lambda: validator)) as opened:
        yield opened


async def test_starlettes_requires_reads_a_tokens_scopes(
    token: Created, client: httpx2.AsyncClient
) -> None:
    answers = {
        path: await client.get(path, headers=bearer(token.secret))
        for path in ("/reads", "/writes", "/anybody", "/everybody")
    }

    assert answers["/reads"].json() == {
        "token": str(token.token.id),
        "who": str(token.token.account_id),
    }
    assert answers["/writes"].status_code == 403
    assert answers["/anybody"].text == str(token.token.id)
    assert answers["/everybody"].text == "signed in"


async def test_a_token_of_everything_may_do_everything(
    people: People, service: Service, client: httpx2.AsyncClient
) -> None:
    token = await make_token(service, people.customer.actor, scopes=("*",))

    for path in ("/reads", "/writes", "/anybody"):
        assert (await client.get(path, headers=bearer(token.secret))).status_code == 200


async def test_without_a_credential_nobody_is_signed_in(
    people: People, token: Created, client: httpx2.AsyncClient
) -> None:
    cases = refusals(people, token)
    for case in ("none", "two spaces", "basic", "two", "a megabyte"):
        assert (await client.get("/everybody", headers=cases[case])).text == "signed out"
        assert (await client.get("/reads", headers=cases[case])).status_code == 403


async def test_a_refused_token_is_told_so_and_is_not_the_same_as_none(
    people: People, token: Created, service: Service, client: httpx2.AsyncClient
) -> None:
    await service.tokens.revoke(people.customer.actor, token.token.id)

    answer = await client.get("/everybody", headers=bearer(token.secret))

    assert (answer.status_code, answer.content) == (401, b"")
    assert 'error_description="the token is revoked"' in answer.headers["www-authenticate"]
    assert answer.headers["cache-control"] == "no-store"


async def test_where_the_truth_is_not_known_nobody_is_signed_out(
    token: Created, blind: Validator
) -> None:
    async with client_of(starlette_of(blind)) as client:
        answer = await client.get("/everybody", headers=bearer(token.secret))

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.content == b""


def test_another_backends_error_is_refused_too() -> None:
    answer = answer_refused(HTTPConnection({"type": "http"}), AuthenticationError("other"))

    assert answer.status_code == 401


def test_every_verdict_but_a_yes_has_its_refusal() -> None:
    for status in set(Status) - {Status.VALID}:
        code, headers = rfc6750.refusal(status)
        assert code in {401, 403, 503}
        assert headers
