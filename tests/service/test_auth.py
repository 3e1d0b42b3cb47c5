"""Who is calling: what counts as a credential, from where, and sent by whose page."""

from collections.abc import AsyncIterator
from ipaddress import ip_network
from typing import Any

import httpx2
import pytest
from edge_scene import People
from factories import make_token

from service.app import create_app
from service.composition import Service
from service.settings import Settings
from service.validator import Validator

VIEWER = {"query": "{ viewer { account { id } email } }"}
OTHER_ORIGIN = "https://evil.example"
CONSOLE = "https://console.example"
PROXY = "10.0.0.1"


@pytest.fixture
async def people(service: Service) -> People:
    return await People.make(service)


@pytest.fixture
async def secret(service: Service, people: People) -> str:
    """An API token of the customer's."""
    return (await make_token(service, people.customer.actor)).secret


@pytest.fixture
async def open_to_console(
    settings: Settings, service: Service, validator: Validator
) -> AsyncIterator[httpx2.AsyncClient]:
    """The application with a console on another origin."""
    app = create_app(settings.model_copy(update={"allowed_origins": (CONSOLE,)}))
    app.open(service, validator)
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=app), base_url=settings.public_url
    ) as client:
        yield client


def header_of(form: str, secret: str) -> dict[bytes, bytes]:
    """Return an Authorization header of a form; ``S`` stands for the secret."""
    return {b"Authorization": form.replace("S", secret).encode()}


REFUSED = [
    "",
    "S",
    "Bearer",
    "Bearer ",
    "Bearer  S",
    "Bearer\tS",
    "Bearer S S",
    "Bearer S,S",
    "Bearer S, Bearer S",
    "Bearer S;",
    'Bearer "S"',
    "Bearer S%20",
    "Bearer S\u200b",
    "Bearer Ｓ",
    "Bearer S\0",
    "Basic S",
    "Token S",
    "Bearer: S",
    "Bearer=S",
    "Bearer S" + "x" * 1_000_000,
]


@pytest.mark.parametrize("form", REFUSED, ids=range(len(REFUSED)))
async def test_an_authorization_header_is_one_bearer_secret_or_nothing(
    form: str, secret: str, people: People, http: httpx2.AsyncClient
) -> None:
    """A header that is no credential also keeps the cookie from counting: never guess."""
    headers = header_of(form, secret)
    http.cookies.set("tokenward", people.customer.secret)

    validated = await http.get("/validate", headers=headers)
    viewed = await http.post("/graphql", json=VIEWER, headers=headers)

    assert validated.status_code == 401
    assert viewed.json()["data"] == {"viewer": None}


@pytest.mark.parametrize("form", ["Bearer S", "bearer S", "BEARER S"])
async def test_the_scheme_is_read_in_any_case(
    form: str, secret: str, people: People, http: httpx2.AsyncClient
) -> None:
    headers = header_of(form, secret)

    assert (await http.get("/validate", headers=headers)).status_code == 200
    viewer = (await http.post("/graphql", json=VIEWER, headers=headers)).json()["data"]["viewer"]
    assert viewer["account"] == {"id": people.customer.account_id}


def without_a_character(secret: str) -> list[str]:
    """Return near misses of a secret: another case, character, length or prefix."""
    flipped = "B" if secret[20] != "B" else "C"
    return [
        secret.upper(),
        secret.lower(),
        secret[:-1],
        secret + "A",
        secret[:20] + flipped + secret[21:],
        secret[:-1] + ("B" if secret[-1] != "B" else "C"),
        secret.replace("tw_", "tws_", 1),
        secret.replace("tw_", "gh_", 1),
        secret.replace("_live_", "_test_", 1),
        "tw_live_",
        "tw_live_" + "0" * 36,
    ]


async def test_a_near_miss_of_a_secret_is_unknown(secret: str, http: httpx2.AsyncClient) -> None:
    for text in without_a_character(secret):
        answer = await http.get("/validate", headers={"Authorization": f"Bearer {text}"})
        assert answer.status_code == 401, text
        assert 'error_description="the token is not known"' in answer.headers["www-authenticate"]


async def test_two_authorization_headers_are_none(
    secret: str, people: People, http: httpx2.AsyncClient
) -> None:
    twice = [("Authorization", f"Bearer {secret}"), ("Authorization", f"Bearer {secret}")]
    http.cookies.set("tokenward", people.customer.secret)

    assert (await http.get("/validate", headers=twice)).status_code == 401
    viewed = await http.post("/graphql", json=VIEWER, headers=twice)
    assert viewed.json()["data"] == {"viewer": None}


async def test_a_secret_in_the_address_is_no_credential(
    secret: str, http: httpx2.AsyncClient
) -> None:
    for name in ("access_token", "token", "authorization"):
        refused = await http.get("/validate", params={name: secret})
        both = await http.get(
            "/validate", params={name: secret}, headers={"Authorization": f"Bearer {secret}"}
        )
        viewed = await http.post("/graphql", json=VIEWER, params={name: secret})
        assert (refused.status_code, both.status_code) == (400, 400)
        assert viewed.json()["data"] == {"viewer": None}


async def test_a_session_opens_the_console_and_no_api(
    people: People, http: httpx2.AsyncClient
) -> None:
    headers = {"Authorization": f"Bearer {people.customer.secret}"}

    validated = await http.get("/validate", headers=headers)

    assert validated.status_code == 401
    viewer = (await http.post("/graphql", json=VIEWER, headers=headers)).json()["data"]["viewer"]
    assert viewer["email"] == people.customer.email
    http.cookies.set("tokenward", people.customer.secret)
    assert (await http.get("/validate")).status_code == 401


async def test_a_token_in_the_sessions_cookie_is_nobody(
    secret: str, http: httpx2.AsyncClient
) -> None:
    http.cookies.set("tokenward", secret)

    viewed = await http.post("/graphql", json=VIEWER)

    assert viewed.json()["data"] == {"viewer": None}


ORIGINS: list[tuple[dict[str, str], bool]] = [
    ({}, True),
    ({"Origin": "http://127.0.0.1:8000"}, True),
    ({"Origin": "http://127.0.0.1:8000", "Sec-Fetch-Site": "same-origin"}, True),
    ({"Sec-Fetch-Site": "same-origin"}, True),
    ({"Sec-Fetch-Site": "none"}, True),
    ({"Sec-Fetch-Site": "same-site"}, False),
    ({"Sec-Fetch-Site": "cross-site"}, False),
    ({"Origin": OTHER_ORIGIN}, False),
    ({"Origin": OTHER_ORIGIN, "Sec-Fetch-Site": "same-origin"}, False),
    ({"Origin": "null"}, False),
    ({"Origin": ""}, False),
    ({"Origin": "http://127.0.0.1:8000.evil.example"}, False),
    ({"Origin": "https://127.0.0.1:8000"}, False),
    ({"Origin": "http://127.0.0.1"}, False),
    ({"Origin": CONSOLE}, False),
]


@pytest.mark.parametrize(("headers", "counts"), ORIGINS)
async def test_a_cookie_counts_only_where_one_of_our_own_pages_sent_it(
    headers: dict[str, str],
    counts: bool,  # noqa: FBT001 - a column of the table
    people: People,
    http: httpx2.AsyncClient,
) -> None:
    http.cookies.set("tokenward", people.customer.secret)

    viewed = await http.post("/graphql", json=VIEWER, headers=headers)

    assert (viewed.json()["data"]["viewer"] is not None) is counts


async def test_an_allowed_origin_may_call_with_the_cookie_and_no_other_may(
    people: People, open_to_console: httpx2.AsyncClient
) -> None:
    client = open_to_console
    client.cookies.set("tokenward", people.customer.secret)
    ask = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }

    allowed = await client.post(
        "/graphql", json=VIEWER, headers={"Origin": CONSOLE, "Sec-Fetch-Site": "cross-site"}
    )
    refused = await client.post("/graphql", json=VIEWER, headers={"Origin": OTHER_ORIGIN})
    asked = await client.options("/graphql", headers=ask | {"Origin": CONSOLE})
    denied = await client.options("/graphql", headers=ask | {"Origin": OTHER_ORIGIN})

    assert allowed.json()["data"]["viewer"]["email"] == people.customer.email
    assert allowed.headers["access-control-allow-origin"] == CONSOLE
    assert allowed.headers["access-control-allow-credentials"] == "true"
    assert refused.json()["data"]["viewer"] is None
    assert "access-control-allow-origin" not in refused.headers
    assert (asked.status_code, denied.status_code) == (200, 400)
    assert "access-control-allow-origin" not in denied.headers


async def test_a_bearer_secret_counts_from_any_origin(
    secret: str, people: People, http: httpx2.AsyncClient
) -> None:
    """A page elsewhere cannot know it; that is what a cookie lacks."""
    headers = {"Authorization": f"Bearer {secret}", "Origin": OTHER_ORIGIN}

    viewed = await http.post("/graphql", json=VIEWER, headers=headers)

    assert viewed.json()["data"]["viewer"]["account"] == {"id": people.customer.account_id}


COOKIES = [
    "tokenward",
    "tokenward=",
    'tokenward="',
    "tokenward=x; tokenward=y",
    "a[]=1; b@=2",
    "=;",
]


@pytest.mark.parametrize("cookie", COOKIES)
async def test_a_cookie_that_is_none_is_nobody(cookie: str, http: httpx2.AsyncClient) -> None:
    viewed = await http.post("/graphql", json=VIEWER, headers={"Cookie": cookie})

    assert viewed.json()["data"] == {"viewer": None}


ADDRESSES: list[tuple[str, list[str], int]] = [
    # Peer, X-Forwarded-For headers, status for a token limited to 192.0.2.0/24 and 2001:db8::/32.
    ("192.0.2.7", [], 200),
    ("::ffff:192.0.2.7", [], 200),
    ("2001:db8::1", [], 200),
    ("198.51.100.1", [], 403),
    ("::ffff:198.51.100.1", [], 403),
    # From a peer that is no proxy of ours the header is air.
    ("198.51.100.1", ["192.0.2.7"], 403),
    ("192.0.2.7", ["198.51.100.1"], 200),
    # From our proxy the last hop that is not ours counts, whatever stands before it.
    (PROXY, ["192.0.2.7"], 200),
    (PROXY, ["::ffff:192.0.2.7"], 200),
    (PROXY, ["198.51.100.1"], 403),
    (PROXY, ["192.0.2.7, 198.51.100.1"], 403),
    (PROXY, ["192.0.2.7", "198.51.100.1"], 403),
    (PROXY, ["198.51.100.1, 192.0.2.7"], 200),
    (PROXY, ["192.0.2.7, 10.0.0.2"], 200),
    (PROXY, ["192.0.2.7,, ,10.0.0.2,"], 200),
    # Nonsense from our proxy is an unknown address; so is none.
    (PROXY, ["192.0.2.7, unknown"], 403),
    (PROXY, ["192.0.2.7:4711"], 403),
    (PROXY, ["192.0.2.7, fe80::1%eth0"], 403),
    (PROXY, [], 403),
]


@pytest.mark.parametrize(("peer", "forwarded", "status"), ADDRESSES)
async def test_a_clients_address_is_what_our_own_proxies_tell(
    peer: str,
    forwarded: list[str],
    status: int,
    settings: Settings,
    service: Service,
    validator: Validator,
    people: People,
) -> None:
    ranges = ("192.0.2.0/24", "2001:db8::/32")
    token = await make_token(service, people.customer.actor, allowed_ip_ranges=ranges)
    changes: dict[str, Any] = {"trusted_proxies": (ip_network("10.0.0.0/8"),)}
    app = create_app(settings.model_copy(update=changes))
    app.open(service, validator)
    headers = [("X-Forwarded-For", value) for value in forwarded]

    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=app, client=(peer, 40_000)), base_url="http://test"
    ) as client:
        answer = await client.get(
            "/validate", headers=[*headers, ("Authorization", f"Bearer {token.secret}")]
        )

    assert answer.status_code == status
