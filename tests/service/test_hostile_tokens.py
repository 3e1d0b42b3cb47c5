"""What is not exactly one live secret opens no door, and the asking leaves nothing behind."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any, cast
from urllib.parse import quote, urlsplit

import asyncpg
import httpx2
import pytest
from conftest import FrozenClock
from edge_scene import People, bearer, fingerprint
from factories import make_token
from rotation_scene import rotate
from web_scene import served

from service.app import create_app
from service.composition import Service
from service.secret_format import ALPHABET, checksum
from service.settings import Settings
from service.tokens import Created
from service.validator import Validator
from service.verdict import CredentialKind

EXPLAIN = "query($input: ExplainTokenInput!) { explainToken(input: $input) { status } }"
REFUSALS = {200, 400, 401, 413}

Opens = Callable[[httpx2.AsyncClient, dict[str, str], str], Awaitable[bool]]


@pytest.fixture
async def people(service: Service) -> People:
    return await People.make(service)


@pytest.fixture
async def live(service: Service, people: People) -> Created:
    """A token of the customer's that opens everything it should."""
    return await make_token(service, people.customer.actor)


@pytest.fixture
async def asking(service: Service, people: People) -> dict[str, str]:
    """The credentials of a resource server of the operator's, which sees everybody's tokens."""
    scopes = ("tokens:introspect", "tokens:read")
    return bearer((await make_token(service, people.operator.actor, scopes=scopes)).secret)


def told(answer: httpx2.Response) -> dict[str, Any]:
    """Return what an answer says, which is a yes or an orderly no."""
    assert answer.status_code in REFUSALS, answer.text
    if answer.headers.get("content-type") != "application/json":
        return {}
    return cast(dict[str, Any], answer.json())


async def validates(client: httpx2.AsyncClient, _: dict[str, str], text: str) -> bool:
    answer = await client.get("/validate", headers=carrying(text))
    assert answer.status_code in {200, 401}
    return answer.status_code == 200


async def is_somebody(client: httpx2.AsyncClient, _: dict[str, str], text: str) -> bool:
    body = {"query": "{ viewer { account { id } } }"}
    answer = told(await client.post("/graphql", json=body, headers=carrying(text)))
    return answer["data"]["viewer"] is not None


async def introspects(client: httpx2.AsyncClient, asking: dict[str, str], text: str) -> bool:
    form = b"token=" + quote(text, errors="surrogatepass").encode()
    headers = asking | {"Content-Type": "application/x-www-form-urlencoded"}
    answer = told(await client.post("/introspect", content=form, headers=headers))
    return bool(answer.get("active"))


async def introspects_many(client: httpx2.AsyncClient, asking: dict[str, str], text: str) -> bool:
    answer = told(await post_json(client, "/introspect", {"tokens": [text]}, asking))
    return any(one["active"] for one in answer.get("tokens", []))


async def is_explained(client: httpx2.AsyncClient, asking: dict[str, str], text: str) -> bool:
    body = {"query": EXPLAIN, "variables": {"input": {"secret": text}}}
    answer = told(await post_json(client, "/graphql", body, asking))
    explained = (answer.get("data") or {}).get("explainToken") or {}
    return explained.get("status") == "VALID"


def carrying(text: str) -> dict[bytes, bytes]:
    return {b"Authorization": b"Bearer " + text.encode("utf-8", "surrogatepass")}


async def post_json(
    client: httpx2.AsyncClient, path: str, value: object, headers: dict[str, str]
) -> httpx2.Response:
    """Send JSON in ASCII, as it can also name half a character."""
    content = json.dumps(value).encode()
    return await client.post(
        path, content=content, headers=headers | {"Content-Type": "application/json"}
    )


async def report_leaked(client: httpx2.AsyncClient, text: str) -> None:
    """Say that a secret is known to strangers; the answer tells nothing."""
    told(await post_json(client, "/revoke", {"tokens": [text]}, {}))


DOORS: dict[str, Opens] = {
    "validate": validates,
    "graphql": is_somebody,
    "introspect": introspects,
    "introspect many": introspects_many,
    "explain": is_explained,
}
ASKING_DOORS = set(DOORS)


async def doors_open_to(text: str, client: httpx2.AsyncClient, asking: dict[str, str]) -> set[str]:
    """Return which doors take a text for a live secret."""
    return {name for name, opens in DOORS.items() if await opens(client, asking, text)}


def mistaken(secret: str) -> dict[str, str]:
    """Return texts that are not the secret, though each is made of it or like it."""
    body, check = secret[:-6], secret[-6:]
    next_check = check[:-1] + ALPHABET[(ALPHABET.index(check[-1]) + 1) % len(ALPHABET)]
    other = f"ghp_{secret[8:-6]}"
    stranger = "tw_live_" + "A" * 30
    return {
        "nothing": "",
        "the prefix alone": "tw_live_",
        "a checksum off by one": body + next_check,
        "another product's": other + checksum(other),
        "another environment's": secret.replace("_live_", "_test_"),
        "a session's form": secret.replace("tw_", "tws_", 1),
        "nobody's": stranger + checksum(stranger),
        "a mebibyte": secret + "A" * 2**20,
        "a NUL behind": secret + "\0",
        "a NUL within": secret[:20] + "\0" + secret[20:],
        "a line behind": secret + "\n",
        "a header behind": secret + "\r\nX-Tokenward-Scopes: *",
        "a space behind": secret + " ",
        "a space before": " " + secret,
        "a tab behind": secret + "\t",
        "an encoded space": secret + "%20",
        "no width": secret + "\u200b",
        "a byte order mark": "\ufeff" + secret,
        "from right to left": "\u202e" + secret,
        "a look-alike": secret.replace("tw_live_", "tw_l\u0456ve_"),
        "full width": "".join(chr(ord(letter) + 0xFEE0) for letter in secret),
        "a combining mark": secret + "\u0301",
        "half a character": secret + "\ud800",
        "capitals": secret.upper(),
        "small letters": secret.lower(),
        "the other case": secret.swapcase(),
        "twice": secret + secret,
        "two of them": f"{secret},{secret}",
        "two words": f"{secret} {secret}",
        "quoted": f'"{secret}"',
        "with its scheme": f"Bearer {secret}",
        "as Basic has it": base64.b64encode(f"{secret}:".encode()).decode(),
        "backwards": secret[::-1],
        "a wildcard": secret[:-1] + "%",
        "an injection": secret + "' OR '1'='1",
    }


async def test_what_is_not_exactly_a_secret_opens_no_door_and_leaves_nothing_behind(
    live: Created,
    asking: dict[str, str],
    service: Service,
    http: httpx2.AsyncClient,
    owner: asyncpg.Connection,
) -> None:
    assert await doors_open_to(live.secret, http, asking) == ASKING_DOORS
    rows, entries = await fingerprint(owner), await entries_of(service)

    opened = {
        name: doors
        for name, text in mistaken(live.secret).items()
        if (doors := await doors_open_to(text, http, asking))
    }
    for text in mistaken(live.secret).values():
        await report_leaked(http, text)

    assert opened == {}
    assert await fingerprint(owner) == rows
    assert await entries_of(service) <= entries
    assert await doors_open_to(live.secret, http, asking) == ASKING_DOORS


async def entries_of(service: Service) -> set[bytes | str]:
    """Return the keys of what the validators share."""
    return set(await service.cache.redis.keys("tk:*"))


async def test_a_live_secret_opens_no_door_while_the_reseller_above_it_is_suspended(
    live: Created,
    asking: dict[str, str],
    people: People,
    service: Service,
    validator: Validator,
    http: httpx2.AsyncClient,
) -> None:
    operator, reseller = people.operator.actor, people.reseller.actor.account_id
    opened = []

    for change in (service.accounts.suspend, service.accounts.resume):
        await change(operator, reseller)
        validator.forget()
        opened.append(await doors_open_to(live.secret, http, asking))

    assert opened == [set(), ASKING_DOORS]


async def test_a_secret_of_a_suspended_fleet_can_be_reported_all_the_same(
    live: Created,
    people: People,
    service: Service,
    http: httpx2.AsyncClient,
    owner: asyncpg.Connection,
) -> None:
    await service.accounts.suspend(people.operator.actor, people.reseller.actor.account_id)

    await http.post("/revoke", json={"tokens": [live.secret]})

    query = "SELECT revocation_reason FROM api_token WHERE id = $1"
    assert await owner.fetchval(query, live.token.id) == "LEAKED"


async def stay_near(_: Service, __: Validator) -> None:
    """Leave the process its own memory."""


async def leave_to_redis(_: Service, validator: Validator) -> None:
    validator.forget()


async def leave_to_database(service: Service, validator: Validator) -> None:
    validator.forget()
    await service.cache.redis.flushdb()


@pytest.mark.parametrize("tier", [stay_near, leave_to_redis, leave_to_database])
async def test_what_ends_at_an_instant_is_refused_from_it_on_whoever_remembers_it(
    tier: Callable[[Service, Validator], Awaitable[None]],
    people: People,
    service: Service,
    validator: Validator,
    clock: FrozenClock,
) -> None:
    actor, hours = people.customer.actor, service.settings.session_hours
    clock.advance(hours=hours, seconds=-1)
    expiring = await make_token(service, actor, expires_at=clock.now() + timedelta(seconds=1))
    rotated = await make_token(service, actor)
    await rotate(service, actor, rotated.token.id, 1)
    ending = {
        expiring.secret: CredentialKind.API_TOKEN,
        rotated.secret: CredentialKind.API_TOKEN,
        people.customer.secret: CredentialKind.SESSION,
    }
    statuses = []

    for milliseconds in (0, 999, 1, 1):
        clock.advance(milliseconds=milliseconds)
        await tier(service, validator)
        found = [await validator.check(secret, kind=kind) for secret, kind in ending.items()]
        statuses.append([verdict.status.value for verdict in found])

    assert statuses == [["VALID"] * 3] * 2 + [["EXPIRED"] * 3] * 2


@pytest.fixture
async def wire(settings: Settings, service: Service, validator: Validator) -> AsyncIterator[str]:
    """The application behind a real socket."""
    app = create_app(settings)
    app.open(service, validator)
    async with served(app) as url:
        yield url


async def sent(url: str, request: str) -> int | None:
    """Send bytes over a connection of their own; return the first status, or None for a reset."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        writer.write(request.encode("latin-1"))
        async with asyncio.timeout(5):
            line = await reader.readline()
    except ConnectionResetError:
        return None
    finally:
        writer.close()
    return int(line.split()[1]) if line else None


GET, POST = (f"{method} /validate HTTP/1.1\r\nHost: x\r\n" for method in ("GET", "POST"))
BEARER = "Authorization: Bearer SECRET\r\n"
BROKEN = {400, 401, 431, None}

REQUESTS: dict[str, tuple[str, set[int | None]]] = {
    "the control": (f"{GET}{BEARER}\r\n", {200}),
    "spaces before": (f"{GET}Authorization:    Bearer SECRET\r\n\r\n", {200}),
    "none before": (f"{GET}Authorization:Bearer SECRET\r\n\r\n", {200}),
    "a name in capitals": (f"{GET}AUTHORIZATION: Bearer SECRET\r\n\r\n", {200}),
    "HTTP/1.0": (f"GET /validate HTTP/1.0\r\n{BEARER}\r\n", {200}),
    "an absolute address": (f"GET http://x/validate HTTP/1.1\r\nHost: x\r\n{BEARER}\r\n", {200}),
    # RFC 9112 takes them off, but not every parser does.
    "spaces behind": (f"{GET}Authorization: Bearer SECRET \t\r\n\r\n", {200, 401}),
    "two of them": (f"{GET}{BEARER}{BEARER}\r\n", {401}),
    "a bad one first": (f"{GET}Authorization: Bearer x\r\n{BEARER}\r\n", {401}),
    "an empty one last": (f"{GET}{BEARER}authorization:\r\n\r\n", {401}),
    "an underscore": (f"{GET}Authorization_: Bearer SECRET\r\n\r\n", {401}),
    "a proxy's": (f"{GET}Proxy-Authorization: Bearer SECRET\r\n\r\n", {401}),
    "another header": (f"{GET}X-Api-Key: SECRET\r\nAccess-Token: SECRET\r\n\r\n", {401}),
    "a comma": (f"{GET}Authorization: Bearer SECRET, Bearer SECRET\r\n\r\n", {401}),
    "a high byte": (f"{GET}Authorization: Bearer SECRET\xa0\r\n\r\n", {401}),
    "a hundred kilobytes": (f"{GET}Authorization: Bearer {'x' * 100_000}\r\n\r\n", BROKEN),
    "folded": (f"{GET}Authorization: Bearer\r\n SECRET\r\n\r\n", BROKEN),
    "a space before the colon": (f"{GET}Authorization : Bearer SECRET\r\n\r\n", BROKEN),
    "a lone CR": (f"{GET}Authorization: Bearer SECRET\rX: 1\r\n\r\n", BROKEN),
    "a NUL": (f"{GET}Authorization: Bearer SECRET\0\r\n\r\n", BROKEN),
    "a DEL": (f"{GET}Authorization: Bearer SECRET\x7f\r\n\r\n", BROKEN),
    "a query": ("GET /validate?access_token=SECRET HTTP/1.1\r\nHost: x\r\n\r\n", {400}),
    "a body": (f"{POST}Content-Length: 9\r\n\r\n{BEARER}", BROKEN),
    "a length and chunks": (
        f"{POST}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{GET}{BEARER}\r\n",
        BROKEN,
    ),
    "two lengths": (f"{POST}Content-Length: 0\r\nContent-Length: 9\r\n{BEARER}\r\n", BROKEN),
    "no HTTP at all": (f"{BEARER}\r\n\r\n", {400, None}),
    "TLS": ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", {400, None}),
}
"""Bytes, and which answers are right; None is a connection that is closed without one."""


async def test_on_the_wire_a_secret_counts_once_and_in_its_own_place_alone(
    live: Created, wire: str, owner: asyncpg.Connection
) -> None:
    rows, answers = await fingerprint(owner), {}

    for name, (request, _) in REQUESTS.items():
        answers[name] = await sent(wire, request.replace("SECRET", live.secret))

    wrong = {name: said for name, said in answers.items() if said not in REQUESTS[name][1]}
    assert wrong == {}
    assert await fingerprint(owner) == rows
    assert await sent(wire, REQUESTS["the control"][0].replace("SECRET", live.secret)) == 200


async def test_a_trailer_is_no_header(live: Created, wire: str) -> None:
    """RFC 9110 §6.5.1: a field that authenticates counts in front of the body alone."""
    chunked = f"{POST}Transfer-Encoding: chunked\r\n\r\n0\r\n{BEARER}\r\n"

    assert await sent(wire, chunked.replace("SECRET", live.secret)) in BROKEN


async def test_a_head_without_end_is_cut_off(wire: str) -> None:
    """It is read on the event loop, at a cost that grows with its square, and by nobody yet."""
    assert await sent(wire, f"{GET}X: {'x' * 2**22}\r\n\r\n") in BROKEN - {401}
