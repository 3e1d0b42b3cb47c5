"""A token that names audiences passes an edge that is one of them, and no other: fail closed."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from edge_scene import People, bearer
from factories import make_token
from starlette.applications import Starlette
from starlette.authentication import requires
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from service.bearer import challenge
from service.composition import Service
from service.guard import TokenBackend, TokenGuard, answer_refused
from service.tokens import Created
from service.validator import Validator
from service.verdict import Status

OTHERS = "the token is meant for another audience"
REFUSED = challenge(Status.AUDIENCE_NOT_ALLOWED)[1].decode()
INACTIVE = {"active": False}
URI = "https://dns.example.com/v1?a=b&c"


@pytest.fixture
async def people(service: Service) -> People:
    return await People.make(service)


@pytest.fixture
async def limited(service: Service, people: People) -> Created:
    return await make_token(
        service, people.customer.actor, audiences=("dns-api", URI), scopes=("dns:read",)
    )


@pytest.fixture
async def free(service: Service, people: People) -> Created:
    return await make_token(service, people.customer.actor, scopes=("dns:read",))


def validate(http: httpx2.AsyncClient, secret: str, query: str) -> Any:
    return http.get(f"/validate{query}", headers=bearer(secret))


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("?audience=dns-api", 200),
        ("?scope=dns:read&audience=dns-api", 200),
        ("?audience=dns-api&scope=dns:read", 200),
        ("?audience=https%3A%2F%2Fdns.example.com%2Fv1%3Fa%3Db%26c", 200),
        ("?audience=mail-api", 403),
        ("?audience=DNS-API", 403),
        ("?audience=dns", 403),
        ("?audience=dns-api2", 403),
        ("?audience=dns-api,mail-api", 403),
        ("", 403),
        ("?scope=dns:read", 403),
    ],
)
async def test_a_proxy_passes_a_limited_token_only_where_it_names_its_audience(
    limited: Created, free: Created, http: httpx2.AsyncClient, query: str, status: int
) -> None:
    answer = await validate(http, limited.secret, query)

    assert answer.status_code == status
    assert answer.headers.get("www-authenticate") == (None if status == 200 else REFUSED)
    assert ("x-tokenward-token" in answer.headers) is (status == 200)
    assert OTHERS in REFUSED
    assert (await validate(http, free.secret, query)).status_code == 200, "as before"


@pytest.mark.parametrize(
    "query",
    [
        "?audience=",
        "?audience",
        "?audience=dns-api&audience=dns-api",
        "?audience=mail-api&audience=dns-api",
        "?audience=dns-api&audience=",
        "?audience=dns%20api",
        "?audience=dns+api",
        "?audience=dns%0Aapi",
        "?audience=dns%00",
        "?audience=%22dns%22",
        "?audience=d%C5%9Fns",
        f"?audience={'x' * 101}",
        "?Audience=dns-api",
        "?aud=dns-api",
        "?audience[]=dns-api",
        "?scope=&audience=dns-api",
    ],
)
async def test_a_proxy_that_asks_for_an_audience_wrongly_is_told_so_and_passes_nobody(
    limited: Created, free: Created, http: httpx2.AsyncClient, query: str
) -> None:
    for created in (limited, free):
        answer = await validate(http, created.secret, query)

        assert (answer.status_code, answer.json()) == (400, {"error": "invalid_request"})
        assert "x-tokenward-token" not in answer.headers


async def test_an_audience_comes_before_the_address_and_the_scope(
    service: Service, people: People, http: httpx2.AsyncClient
) -> None:
    """A client that is at the wrong door learns that, and not what the right one would ask."""
    created = await make_token(
        service,
        people.customer.actor,
        audiences=("dns-api",),
        allowed_ip_ranges=("198.51.100.0/24",),
    )

    answer = await validate(http, created.secret, "?scope=mail:write&audience=mail-api")

    assert answer.headers["www-authenticate"] == REFUSED


@pytest.fixture
async def asking(service: Service, people: People) -> dict[str, str]:
    caller = await make_token(service, people.reseller.actor, scopes=("tokens:introspect",))
    return bearer(caller.secret)


async def test_introspection_tells_the_audiences_to_whoever_is_one_of_them(
    limited: Created, free: Created, http: httpx2.AsyncClient, asking: dict[str, str]
) -> None:
    async def ask(secret: str, **fields: str) -> Any:
        answer = await http.post("/introspect", headers=asking, data={"token": secret, **fields})
        assert answer.status_code == 200
        return answer.json()

    for audience in ("dns-api", URI):
        told = await ask(limited.secret, audience=audience)
        assert (told["active"], told["aud"]) == (True, ["dns-api", URI])
    for fields in ({}, {"audience": "mail-api"}, {"audience": ""}, {"aud": "dns-api"}):
        assert await ask(limited.secret, **fields) == INACTIVE
    told = await ask(free.secret, audience="mail-api")
    assert told["active"]
    assert "aud" not in told


async def test_many_are_introspected_for_one_audience(
    limited: Created, free: Created, http: httpx2.AsyncClient, asking: dict[str, str]
) -> None:
    for fields, expected in (
        ({"audience": "dns-api"}, [True, True]),
        ({"audience": "mail-api"}, [False, True]),
        ({}, [False, True]),
    ):
        question = {"tokens": [limited.secret, free.secret], **fields}
        answer = await http.post("/introspect", headers=asking, json=question)

        assert [told["active"] for told in answer.json()["tokens"]] == expected
    wrong = {"tokens": [limited.secret], "audience": ["dns-api"]}
    answer = await http.post("/introspect", headers=asking, json=wrong)
    assert answer.status_code == 400


async def test_introspection_itself_is_no_audience(
    service: Service, people: People, limited: Created, http: httpx2.AsyncClient
) -> None:
    caller = await make_token(
        service,
        people.reseller.actor,
        scopes=("tokens:introspect",),
        audiences=("dns-api",),
    )

    answer = await http.post(
        "/introspect",
        headers=bearer(caller.secret),
        data={"token": limited.secret, "audience": "dns-api"},
    )

    assert (answer.status_code, answer.content) == (403, b"")


@requires("dns:read")
async def page(request: Request) -> PlainTextResponse:
    return PlainTextResponse("let in" if request.user.is_authenticated else "nobody")


def guarded(validator: Validator, audience: str | None) -> Any:
    async def welcome(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("let in")(scope, receive, send)

    return TokenGuard(welcome, validator, audience=audience)


def backed(validator: Validator, audience: str | None) -> Any:
    backend = TokenBackend(validator, audience=audience)
    return Starlette(
        routes=[Route("/", page)],
        middleware=[Middleware(AuthenticationMiddleware, backend=backend, on_error=answer_refused)],
    )


@pytest.fixture(params=[guarded, backed], ids=["TokenGuard", "TokenBackend"])
async def applications(
    request: pytest.FixtureRequest, validator: Validator
) -> AsyncIterator[dict[str | None, httpx2.AsyncClient]]:
    """Applications that check in process, by what each calls itself."""
    clients = {
        audience: httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=request.param(validator, audience)),
            base_url="http://app.example",
        )
        for audience in ("dns-api", URI, "mail-api", "", None)
    }
    yield clients
    for client in clients.values():
        await client.aclose()


async def test_an_application_lets_in_what_is_meant_for_it(
    applications: dict[str | None, httpx2.AsyncClient], limited: Created, free: Created
) -> None:
    for audience, client in applications.items():
        answer = await client.get("/", headers=bearer(limited.secret))

        if audience in {"dns-api", URI}:
            assert (answer.status_code, answer.text) == (200, "let in")
        else:
            assert (answer.status_code, answer.text) == (403, "")
            assert answer.headers["www-authenticate"] == REFUSED
        assert (await client.get("/", headers=bearer(free.secret))).status_code == 200


async def test_what_a_client_says_of_the_audience_counts_for_nothing(
    applications: dict[str | None, httpx2.AsyncClient], limited: Created, http: httpx2.AsyncClient
) -> None:
    lies = {"audience": "dns-api", "x-audience": "dns-api", "aud": "dns-api"}

    for client in (applications["mail-api"], applications[None]):
        answer = await client.get("/?audience=dns-api", headers=bearer(limited.secret) | lies)
        assert answer.status_code == 403
    assert (await http.get("/validate", headers=bearer(limited.secret) | lies)).status_code == 403
