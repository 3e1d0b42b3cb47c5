"""What proxies and resource servers are told: /validate and /introspect."""

from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import httpx2
import pytest
from conftest import FrozenClock
from edge_scene import People, bearer, client_of
from factories import make_token
from pydantic import SecretStr

from service.app import create_app
from service.composition import Service
from service.settings import Settings
from service.tokens import Created
from service.usage import flush_usage
from service.validator import Validator, open_validator

REALM = 'Bearer realm="tokenward"'
INACTIVE = b'{"active": false}'
NOWHERE = "127.0.0.1:9"  # the discard port: nothing listens


@pytest.fixture
async def people(service: Service) -> People:
    return await People.make(service)


@pytest.fixture
async def token(service: Service, people: People) -> Created:
    return await make_token(service, people.customer.actor, scopes=("dns:*", "mail:read"))


@pytest.fixture
async def asking(service: Service, people: People) -> dict[str, str]:
    """The credentials of a resource server of the reseller's."""
    caller = await make_token(service, people.reseller.actor, scopes=("tokens:introspect",))
    return bearer(caller.secret)


@pytest.fixture
async def blind(settings: Settings, service: Service) -> AsyncIterator[httpx2.AsyncClient]:
    """The application where neither Redis nor the database answers."""
    changes = {
        "redis_url": SecretStr(f"redis://{NOWHERE}/0"),
        "database_url": SecretStr(f"postgres://nobody@{NOWHERE}/nothing"),
    }
    async with open_validator(settings.model_copy(update=changes)) as validator:
        app = create_app(settings)
        app.open(service, validator)
        async with client_of(app) as client:
            yield client


def challenge(error: str, description: str, **more: str) -> str:
    extra = "".join(f', {name}="{value}"' for name, value in more.items())
    return f'{REALM}, error="{error}", error_description="{description}"{extra}'


async def test_a_valid_token_passes_and_its_identity_is_told_to_the_proxy(
    token: Created, http: httpx2.AsyncClient
) -> None:
    for method in ("GET", "POST", "DELETE", "HEAD"):
        answer = await http.request(method, "/validate", headers=bearer(token.secret))

        assert answer.status_code == 200
        assert answer.content == b""
        assert dict(answer.headers) == {
            "content-length": "0",
            "cache-control": "no-store",
            "x-tokenward-account": str(token.token.account_id),
            "x-tokenward-token": str(token.token.id),
            "x-tokenward-scopes": "dns:* mail:read",
        }


async def test_a_request_without_a_credential_is_challenged_without_an_error(
    http: httpx2.AsyncClient,
) -> None:
    """RFC 6750 §3.1: no error code where no credential was sent."""
    validated = await http.get("/validate")
    introspected = await http.post("/introspect", data={"token": "x"})

    for answer in (validated, introspected):
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == REALM


async def test_each_refusal_has_its_challenge(
    people: People,
    service: Service,
    clock: FrozenClock,
    owner: asyncpg.Connection,
    http: httpx2.AsyncClient,
) -> None:
    actor, now = people.customer.actor, clock.now()
    revoked = await make_token(service, actor)
    await service.tokens.revoke(actor, revoked.token.id)
    expired = await make_token(service, actor, expires_at=now + timedelta(minutes=1))
    suspended = await make_token(service, actor)
    await service.tokens.suspend(actor, suspended.token.id)
    pending = await make_token(service, actor, not_before=now + timedelta(days=1))
    elsewhere = await make_token(service, actor, allowed_ip_ranges=("198.51.100.0/24",))
    below = await make_token(service, people.stranger.actor)
    others = await make_token(service, actor)
    await owner.execute(
        "UPDATE account SET suspended_at = now() WHERE id = $1",
        people.other_reseller.actor.account_id,
    )
    await owner.execute(
        "UPDATE api_token SET audiences = '{others}' WHERE id = $1", others.token.id
    )
    clock.advance(minutes=1)
    bad = "invalid_token"

    expected = [
        (people.customer.secret, 401, challenge(bad, "the token is not known")),
        (revoked.secret, 401, challenge(bad, "the token is revoked")),
        (expired.secret, 401, challenge(bad, "the token has expired")),
        (suspended.secret, 401, challenge(bad, "the token is suspended")),
        (pending.secret, 401, challenge(bad, "the token is not valid yet")),
        (elsewhere.secret, 403, challenge(bad, "the token may not be used from this address")),
        (below.secret, 401, challenge(bad, "the token is suspended")),
        (others.secret, 403, challenge(bad, "the token is meant for another audience")),
    ]
    for secret, status, header in expected:
        answer = await http.get("/validate", headers=bearer(secret))
        assert (answer.status_code, answer.headers["www-authenticate"]) == (status, header)
        assert answer.headers["cache-control"] == "no-store"
        assert not any(name.startswith("x-tokenward") for name in answer.headers)


async def test_a_token_is_valid_until_the_instant_of_its_expiry_and_not_before_its_beginning(
    people: People, service: Service, clock: FrozenClock, http: httpx2.AsyncClient
) -> None:
    actor, now = people.customer.actor, clock.now()
    ending = await make_token(service, actor, expires_at=now + timedelta(seconds=1))
    coming = await make_token(service, actor, not_before=now + timedelta(seconds=1))
    told = []

    for milliseconds in (999, 1, 1):
        clock.advance(milliseconds=milliseconds)
        answers = [await http.get("/validate", headers=bearer(t.secret)) for t in (ending, coming)]
        told.append([answer.status_code for answer in answers])

    assert told == [[200, 401], [401, 200], [401, 200]]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 200),
        ("scope=dns:read", 200),
        ("scope=dns:read%20mail:read", 200),
        ("scope=dns:read+mail:read", 200),
        ("scope=dns:read&scope=mail:read", 200),
        ("scope=dns:*", 200),
        ("scope=mail:write", 403),
        ("scope=dns:read%20mail:write", 403),
        ("scope=dns:read&scope=mail:write", 403),
        ("scope=*", 403),
        ("scope=", 400),
        ("scope", 400),
        ("scope=%20", 400),
        ("scope=dns", 400),
        ("scope=DNS:read", 400),
        ("scope=dns:read,mail:read", 400),
        ("scope=dns:read%0d%0aX-Evil:%201", 400),
        ("scope=%ff", 400),
        ("scopes=dns:read", 400),
        ("scope=dns:read&x=1", 400),
        ("token=x", 400),
        ("scope=dns:read&access_token=x", 400),
        ("&".join(["scope=dns:read"] * 11), 400),
    ],
)
async def test_a_proxy_asks_for_scopes_or_is_told_that_it_asked_wrongly(
    query: str, status: int, token: Created, http: httpx2.AsyncClient
) -> None:
    answer = await http.get(f"/validate?{query}", headers=bearer(token.secret))

    assert answer.status_code == status
    if status == 403:
        wanted = answer.request.url.params.get_list("scope")
        assert answer.headers["www-authenticate"] == challenge(
            "insufficient_scope", "the token lacks a scope", scope=" ".join(wanted)
        )
    elif status == 400:
        assert answer.json() == {"error": "invalid_request"}


async def test_where_the_truth_is_not_known_the_answer_is_503_and_never_no(
    token: Created, asking: dict[str, str], blind: httpx2.AsyncClient
) -> None:
    validated = await blind.get("/validate", headers=bearer(token.secret))
    introspected = await blind.post("/introspect", data={"token": token.secret}, headers=asking)
    viewed = await blind.post(
        "/graphql", json={"query": "{ viewer { email } }"}, headers=bearer(token.secret)
    )
    junk = await blind.get("/validate", headers=bearer("junk"))

    for answer in (validated, introspected):
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.content == b""
    assert viewed.status_code == 503
    assert viewed.json()["errors"][0]["extensions"] == {"code": "UNAVAILABLE"}
    assert junk.status_code == 401, "what is no secret needs no look-up"


async def test_introspection_tells_a_live_token_within_reach(
    token: Created,
    asking: dict[str, str],
    people: People,
    service: Service,
    clock: FrozenClock,
    owner: asyncpg.Connection,
    http: httpx2.AsyncClient,
) -> None:
    answer = await http.post("/introspect", data={"token": token.secret}, headers=asking)

    now = int(clock.now().timestamp())
    told = {
        "active": True,
        "token_type": "Bearer",
        "scope": "dns:* mail:read",
        "sub": str(people.customer.actor.account_id),
        "jti": str(token.token.id),
        "iss": "http://127.0.0.1:8000",
        "iat": now,
        "exp": now + 30 * 86_400,
    }
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == told
    begun = await make_token(
        service, people.customer.actor, not_before=clock.now(), expires_at=None
    )
    late = await make_token(service, people.customer.actor, expires_at=None)
    answer = await http.post("/introspect", data={"token": begun.secret}, headers=asking)
    assert "exp" not in answer.json()
    assert answer.json()["nbf"] == now
    # A secret that a rotation has replaced ends before its token.
    await owner.execute(
        "UPDATE secret SET retires_at = $1 WHERE token_id = $2",
        clock.now() + timedelta(hours=1),
        late.token.id,
    )
    answer = await http.post("/introspect", data={"token": late.secret}, headers=asking)
    assert answer.json()["exp"] == now + 3600


async def test_an_introspection_is_a_use_within_the_callers_reach_alone(
    people: People,
    service: Service,
    validator: Validator,
    asking: dict[str, str],
    http: httpx2.AsyncClient,
) -> None:
    own = await make_token(service, people.customer.actor)
    foreign = await make_token(service, people.stranger.actor)

    for created in (own, foreign):
        form = {"token": created.secret, "client_address": "198.51.100.9"}
        await http.post("/introspect", data=form, headers=asking)

    await validator.usage.hand_on(service.cache.redis)
    await flush_usage(service.cache.redis)
    operator = people.operator.actor
    used = [await service.tokens.get(operator, made.token.id) for made in (own, foreign)]
    assert [token.last_used_address for token in used] == ["198.51.100.9", None]


async def test_every_no_of_introspection_is_the_same(
    people: People,
    service: Service,
    clock: FrozenClock,
    asking: dict[str, str],
    http: httpx2.AsyncClient,
) -> None:
    actor, now = people.customer.actor, clock.now()
    live = await make_token(service, actor)
    revoked = await make_token(service, actor)
    await service.tokens.revoke(actor, revoked.token.id)
    expired = await make_token(service, actor, expires_at=now + timedelta(minutes=1))
    suspended = await make_token(service, actor)
    await service.tokens.suspend(actor, suspended.token.id)
    pending = await make_token(service, actor, not_before=now + timedelta(days=1))
    limited = await make_token(service, actor, allowed_ip_ranges=("198.51.100.0/24",))
    foreign = await make_token(service, people.stranger.actor)
    above = await make_token(service, people.operator.actor)
    clock.advance(minutes=1)
    forms: list[dict[str, str]] = [
        {"token": "x"},
        {"token": "tw_live_" + "0" * 36},
        {"token": "é\0"},
        {"token": people.customer.secret},
        {"token": revoked.secret},
        {"token": expired.secret},
        {"token": suspended.secret},
        {"token": pending.secret},
        {"token": foreign.secret},
        {"token": above.secret},
        {"token": limited.secret},
        {"token": limited.secret, "client_address": "192.0.2.7"},
        {"token": limited.secret, "client_address": "nonsense"},
        {"token": live.secret, "scope": "dns:write"},
        {"token": live.secret, "scope": "dns:read mail:read"},
    ]

    for form in forms:
        answer = await http.post("/introspect", data=form, headers=asking)
        assert (answer.status_code, answer.content) == (200, INACTIVE), form
        assert answer.headers["cache-control"] == "no-store"
    for form in (
        {"token": live.secret, "scope": "dns:read", "token_type_hint": "access_token"},
        {"token": limited.secret, "client_address": "198.51.100.7"},
    ):
        answer = await http.post("/introspect", data=form, headers=asking)
        assert answer.json()["active"] is True


async def test_introspection_is_for_callers_with_the_scope(
    people: People, service: Service, token: Created, http: httpx2.AsyncClient
) -> None:
    form = {"token": token.secret}
    lacking = await make_token(service, people.reseller.actor, scopes=("tokens:read",))
    revoked = await make_token(service, people.reseller.actor, scopes=("tokens:*",))
    await service.tokens.revoke(people.reseller.actor, revoked.token.id)
    elsewhere = await make_token(
        service,
        people.reseller.actor,
        scopes=("tokens:introspect",),
        allowed_ip_ranges=("198.51.100.0/24",),
    )

    misplaced = await http.post("/introspect", data=form, headers=bearer(elsewhere.secret))
    forbidden = await http.post("/introspect", data=form, headers=bearer(lacking.secret))
    refused = [
        await http.post("/introspect", data=form, headers=headers)
        for headers in (
            bearer("x"),
            bearer(revoked.secret),
            bearer(people.reseller.secret),
            {"Authorization": "Basic eDp5"},
        )
    ]

    assert (misplaced.status_code, forbidden.status_code) == (403, 403)
    assert forbidden.headers["www-authenticate"] == challenge(
        "insufficient_scope", "the token lacks a scope", scope="tokens:introspect"
    )
    assert [answer.status_code for answer in refused] == [401] * 4
    assert all(answer.content == b"" for answer in [forbidden, *refused])


BODIES: dict[str, tuple[str, bytes]] = {
    "nothing": ("application/x-www-form-urlencoded", b""),
    "no token": ("application/x-www-form-urlencoded", b"scope=dns:read"),
    "empty token": ("application/x-www-form-urlencoded", b"token="),
    "repeated": ("application/x-www-form-urlencoded", b"token=a&token=b"),
    "another repeated": ("application/x-www-form-urlencoded", b"token=a&x=1&x=2"),
    "many fields": ("application/x-www-form-urlencoded", b"token=a&" + b"x=1&" * 20),
    "too long": ("application/x-www-form-urlencoded", b"token=" + b"a" * 8_192),
    "an empty scope": ("application/x-www-form-urlencoded", b"token=a&scope="),
    "a scope that is none": ("application/x-www-form-urlencoded", b"token=a&scope=nonsense"),
    "no ASCII": ("application/x-www-form-urlencoded", "token=é".encode()),
    "one in JSON": ("application/json", b'{"token": "a"}'),
    "no type": ("", b"token=a"),
    "multipart": ("multipart/form-data; boundary=x", b"--x\r\n\r\n--x--"),
}


@pytest.mark.parametrize(("content_type", "body"), BODIES.values(), ids=BODIES.keys())
async def test_introspection_takes_one_small_form(
    content_type: str, body: bytes, asking: dict[str, str], http: httpx2.AsyncClient
) -> None:
    headers = asking | {"Content-Type": content_type}

    answer = await http.post("/introspect", content=body, headers=headers)

    assert (answer.status_code, answer.json()) == (400, {"error": "invalid_request"})


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
async def test_introspection_is_a_post_so_that_no_address_holds_a_secret(
    method: str, token: Created, asking: dict[str, str], http: httpx2.AsyncClient
) -> None:
    answer = await http.request(
        method, "/introspect", params={"token": token.secret}, headers=asking
    )

    assert (answer.status_code, answer.headers["allow"], answer.content) == (405, "POST", b"")
