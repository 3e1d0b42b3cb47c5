"""Signing in and out: where the session's secret goes, and that its end is an end everywhere."""

from collections.abc import AsyncIterator

import asyncpg
import httpx2
import pytest
from conftest import FrozenClock, GraphQL
from edge_scene import People, fingerprint
from factories import PASSWORD, make_token

from service.app import create_app
from service.composition import Service
from service.settings import Settings
from service.validator import Validator

SIGN_IN = (
    "mutation($input: SignInInput!) { signIn(input: $input)"
    " { sessionSecret userErrors { code message field } } }"
)
SIGN_OUT = "mutation { signOut { userErrors { code } } }"
VIEWER = "{ viewer { email account { id } scopes } }"


@pytest.fixture
async def people(service: Service) -> People:
    return await People.make(service)


@pytest.fixture
async def secure(
    settings: Settings, service: Service, validator: Validator
) -> AsyncIterator[httpx2.AsyncClient]:
    """The application behind TLS, as people reach it."""
    app = create_app(settings.model_copy(update={"public_url": "https://tokens.example.com"}))
    tls = settings.model_copy(update={"public_url": "https://tokens.example.com"})
    service = service.__class__(
        **{name: getattr(service, name) for name in service.__dataclass_fields__}
        | {"settings": tls}
    )
    app.open(service, validator)
    transport = httpx2.ASGITransport(app=app, client=("192.0.2.7", 40_000))
    async with httpx2.AsyncClient(transport=transport, base_url=tls.public_url) as client:
        yield client


async def post(client: httpx2.AsyncClient, query: str, **variables: object) -> httpx2.Response:
    answer = await client.post("/graphql", json={"query": query, "variables": variables})
    assert answer.status_code == 200, answer.text
    return answer


async def test_a_session_lives_in_a_cookie_that_scripts_cannot_read(
    people: People, http: httpx2.AsyncClient, settings: Settings
) -> None:
    wanted = {"email": people.customer.email, "password": PASSWORD}

    answer = await post(http, SIGN_IN, input=wanted)

    assert answer.json()["data"]["signIn"] == {"sessionSecret": None, "userErrors": []}
    cookie = answer.headers["set-cookie"]
    name, _, rest = cookie.partition("=")
    attributes = {part.strip().lower() for part in rest.split(";")[1:]}
    lifetime = int(settings.session_hours * 3600)
    assert name == "tokenward"
    assert attributes == {"httponly", "samesite=lax", "path=/", f"max-age={lifetime}"}
    viewer = await post(http, VIEWER)
    assert viewer.json()["data"]["viewer"]["email"] == people.customer.email


async def test_over_tls_the_cookie_is_secure_and_tied_to_the_host(
    people: People, secure: httpx2.AsyncClient
) -> None:
    answer = await post(
        secure, SIGN_IN, input={"email": people.customer.email, "password": PASSWORD}
    )

    name, _, rest = answer.headers["set-cookie"].partition("=")
    attributes = {part.strip().lower() for part in rest.split(";")[1:]}
    assert name == "__Host-tokenward"
    assert attributes == {"httponly", "secure", "samesite=lax", "path=/", "max-age=43200"}
    viewer = await post(secure, VIEWER)
    assert viewer.json()["data"]["viewer"]["email"] == people.customer.email
    gone = (await post(secure, SIGN_OUT)).headers["set-cookie"].lower()
    assert gone.startswith('__host-tokenward="";')
    assert {"max-age=0", "secure", "path=/"} <= {part.strip() for part in gone.split(";")}


async def test_a_program_is_told_the_secret_and_given_no_cookie(
    people: People, http: httpx2.AsyncClient, graphql: GraphQL
) -> None:
    wanted = {"email": people.customer.email, "password": PASSWORD, "transport": "BEARER"}

    answer = await post(http, SIGN_IN, input=wanted)

    secret = answer.json()["data"]["signIn"]["sessionSecret"]
    assert "set-cookie" not in answer.headers
    assert secret.startswith("tws_live_")
    viewer = await graphql(VIEWER, secret=secret)
    assert viewer["data"]["viewer"]["account"] == {"id": people.customer.account_id}


async def test_an_address_is_read_in_any_case(people: People, graphql: GraphQL) -> None:
    wanted = {"email": f" {people.customer.email.upper()} ", "password": PASSWORD}

    answer = await graphql(SIGN_IN, input=wanted)

    assert answer["data"]["signIn"]["userErrors"] == []


@pytest.mark.parametrize(
    ("email", "password"),
    [
        ("", PASSWORD),
        ("nobody@example.com", PASSWORD),
        ("known", PASSWORD + " "),
        ("known", PASSWORD.upper()),
        ("known", ""),
        ("known", "\0" + PASSWORD),
        ("known", "x" * 60_000),
        ("known, b@example.com", PASSWORD),
        ("x" * 60_000, PASSWORD),
    ],
    ids=range(9),
)
async def test_a_failed_sign_in_always_reads_the_same_and_begins_nothing(
    email: str,
    password: str,
    people: People,
    http: httpx2.AsyncClient,
    owner: asyncpg.Connection,
) -> None:
    before = await fingerprint(owner)
    email = email.replace("known", people.customer.email)

    answer = await post(http, SIGN_IN, input={"email": email, "password": password})

    told = {
        "code": "SIGN_IN_FAILED",
        "message": "The e-mail address or the password is not right.",
        "field": None,
    }
    assert answer.json()["data"]["signIn"] == {"sessionSecret": None, "userErrors": [told]}
    assert "set-cookie" not in answer.headers
    assert await fingerprint(owner) == before


async def test_guessing_is_paused_for_the_guesser_and_not_for_the_person(
    people: People, http: httpx2.AsyncClient, settings: Settings, service: Service
) -> None:
    wrong = {"email": people.customer.email, "password": "not the password"}
    codes = []
    for _ in range(settings.sign_in_attempts + 1):
        answer = await post(http, SIGN_IN, input=wrong)
        codes.append(answer.json()["data"]["signIn"]["userErrors"][0]["code"])

    assert codes == ["SIGN_IN_FAILED"] * settings.sign_in_attempts + ["TOO_MANY_ATTEMPTS"]
    right = await post(http, SIGN_IN, input=wrong | {"password": PASSWORD})
    refused = right.json()["data"]["signIn"]["userErrors"][0]["code"]
    assert refused == "TOO_MANY_ATTEMPTS"
    signed_in = await service.sessions.sign_in(
        people.customer.email, PASSWORD, address="198.51.100.9", request_id=None
    )
    assert signed_in.lifetime_seconds == 43_200


async def test_signing_out_ends_the_session_everywhere_and_no_other(
    people: People, http: httpx2.AsyncClient, graphql: GraphQL, validator: Validator
) -> None:
    secret = people.customer.secret
    http.cookies.set("tokenward", secret)
    assert (await post(http, VIEWER)).json()["data"]["viewer"] is not None

    answer = await post(http, SIGN_OUT)

    assert answer.json()["data"]["signOut"] == {"userErrors": []}
    assert 'tokenward=""' in answer.headers["set-cookie"]
    assert "Max-Age=0" in answer.headers["set-cookie"]
    # What this process still remembers dies by the drop; another process is asked right away.
    validator.near.clear()
    http.cookies.clear()
    assert (await graphql(VIEWER, secret=secret))["data"]["viewer"] is None
    http.cookies.set("tokenward", secret)
    assert (await post(http, VIEWER)).json()["data"]["viewer"] is None
    assert (await post(http, SIGN_OUT)).json()["data"]["signOut"] == {"userErrors": []}
    http.cookies.clear()
    assert (await graphql(VIEWER, secret=people.sibling.secret))["data"]["viewer"] is not None


async def test_signing_out_with_a_token_leaves_the_token_alone(
    people: People, service: Service, graphql: GraphQL, owner: asyncpg.Connection
) -> None:
    token = await make_token(service, people.customer.actor)
    before = await fingerprint(owner)

    answer = await graphql(SIGN_OUT, secret=token.secret)

    assert answer["data"]["signOut"] == {"userErrors": []}
    assert await fingerprint(owner) == before
    viewer = await graphql(VIEWER, secret=token.secret)
    assert viewer["data"]["viewer"] == {
        "email": None,
        "account": {"id": people.customer.account_id},
        "scopes": ["dns:read"],
    }


async def test_a_session_ends_by_itself(
    people: People, graphql: GraphQL, clock: FrozenClock, settings: Settings
) -> None:
    clock.advance(hours=settings.session_hours, microseconds=-1)
    assert (await graphql(VIEWER, secret=people.customer.secret))["data"]["viewer"] is not None

    clock.advance(microseconds=1)

    assert (await graphql(VIEWER, secret=people.customer.secret))["data"]["viewer"] is None
