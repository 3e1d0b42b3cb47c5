"""Many secrets in one introspection: each is told of exactly as if it were the only one."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from conftest import FrozenClock
from edge_scene import People, bearer, client_of
from factories import make_token

from service import database
from service.app import create_app
from service.composition import Service
from service.edge import INTROSPECT_TOKENS_MAX
from service.errors import Unavailable
from service.secret_format import digest_of, make_secret
from service.settings import Settings
from service.tokens import Created
from service.usage import flush_usage
from service.validator import Validator
from service.verdict import Record

INACTIVE = {"active": False}

Find = Callable[[bytes], Awaitable[Record | None]]


@pytest.fixture
async def people(service: Service) -> People:
    return await People.make(service)


@pytest.fixture
async def token(service: Service, people: People) -> Created:
    return await make_token(service, people.customer.actor)


@pytest.fixture
async def asking(service: Service, people: People) -> dict[str, str]:
    """The credentials of a resource server of the reseller's."""
    caller = await make_token(service, people.reseller.actor, scopes=("tokens:introspect",))
    return bearer(caller.secret)


async def find(digest: bytes) -> Record | None:
    """Return the record of a digest, as the validator's own pool would."""
    rows = await database.query("SELECT * FROM credential_by_digest($1)", digest)
    return Record.from_row(rows[0]) if rows else None


@pytest.fixture
async def reading(
    settings: Settings, service: Service
) -> AsyncIterator[Callable[[Find], httpx2.AsyncClient]]:
    """Make a client of an application whose validator reads the database in another way."""
    clients = []

    def make(instead: Find) -> httpx2.AsyncClient:
        validator = Validator(
            service.cache,
            instead,
            settings.pepper_keys,
            clock=service.clock,
            lease_seconds=settings.lease_seconds,
        )
        app = create_app(settings)
        app.open(service, validator)
        clients.append(client_of(app))
        return clients[-1]

    yield make
    for client in clients:
        await client.aclose()


async def ask(
    http: httpx2.AsyncClient, asking: dict[str, str], secrets: list[str], **fields: str
) -> Any:
    """Return what is told of many secrets."""
    answer = await http.post("/introspect", json={"tokens": secrets} | fields, headers=asking)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"scope": "dns:read"},
        {"scope": "dns:write"},
        {"scope": "dns:read mail:read"},
        {"client_address": "198.51.100.7"},
        {"client_address": "nonsense"},
        {"scope": "dns:read", "client_address": "192.0.2.7"},
    ],
    ids=str,
)
async def test_each_answer_is_that_of_the_single_form_and_in_order(
    fields: dict[str, str],
    people: People,
    service: Service,
    clock: FrozenClock,
    asking: dict[str, str],
    http: httpx2.AsyncClient,
) -> None:
    actor, now = people.customer.actor, clock.now()
    made = {
        "live": await make_token(service, actor, scopes=("dns:*", "mail:read")),
        "revoked": await make_token(service, actor),
        "expired": await make_token(service, actor, expires_at=now + timedelta(minutes=1)),
        "suspended": await make_token(service, actor),
        "pending": await make_token(service, actor, not_before=now + timedelta(days=1)),
        "limited": await make_token(service, actor, allowed_ip_ranges=("198.51.100.0/24",)),
        "foreign": await make_token(service, people.stranger.actor),
        "above": await make_token(service, people.operator.actor),
        "sibling": await make_token(service, people.sibling.actor, expires_at=None),
    }
    await service.tokens.revoke(actor, made["revoked"].token.id)
    await service.tokens.suspend(actor, made["suspended"].token.id)
    clock.advance(minutes=1)
    secrets = [token.secret for token in made.values()]
    secrets += ["x", "tw_live_" + "0" * 36, people.customer.secret, secrets[0], "é\0"]

    told = await ask(http, asking, secrets, **fields)

    single = [
        await http.post("/introspect", data={"token": secret} | fields, headers=asking)
        for secret in secrets
    ]
    assert told == {"tokens": [answer.json() for answer in single]}
    assert {answer["active"] for answer in told["tokens"]} == {True, False} or "mail" in str(fields)


async def test_a_hundred_are_told_of_at_once_also_where_none_is_remembered(
    people: People, service: Service, asking: dict[str, str], http: httpx2.AsyncClient
) -> None:
    made = [await make_token(service, people.customer.actor) for _ in range(INTROSPECT_TOKENS_MAX)]

    told = await ask(http, asking, [token.secret for token in made])

    assert [answer["jti"] for answer in told["tokens"]] == [str(token.token.id) for token in made]


async def test_the_checks_run_side_by_side(
    people: People,
    service: Service,
    asking: dict[str, str],
    reading: Callable[[Find], httpx2.AsyncClient],
) -> None:
    made = [await make_token(service, people.customer.actor) for _ in range(5)]
    known = {digest_of(t.secret, next(iter(service.settings.pepper_keys.values()))) for t in made}
    together = asyncio.Barrier(len(made))

    async def find_together(digest: bytes) -> Record | None:
        if digest in known:
            async with asyncio.timeout(5):
                await together.wait()
        return await find(digest)

    told = await ask(reading(find_together), asking, [token.secret for token in made])

    assert [answer["active"] for answer in told["tokens"]] == [True] * 5


async def test_where_the_truth_of_one_is_not_known_nothing_is_said_of_any(
    token: Created,
    service: Service,
    asking: dict[str, str],
    reading: Callable[[Find], httpx2.AsyncClient],
) -> None:
    pepper = next(iter(service.settings.pepper_keys.values()))
    silent = make_secret("live", service.settings.pepper_keys)

    async def find_all_but_one(digest: bytes) -> Record | None:
        if digest == digest_of(silent.text, pepper):
            raise Unavailable
        return await find(digest)

    client = reading(find_all_but_one)
    body = {"tokens": [token.secret, silent.text]}

    answer = await client.post("/introspect", json=body, headers=asking)

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.content == b""
    assert (await ask(client, asking, [token.secret]))["tokens"][0]["active"] is True


async def test_each_introspection_is_a_use_within_the_callers_reach_alone(
    people: People,
    service: Service,
    validator: Validator,
    asking: dict[str, str],
    http: httpx2.AsyncClient,
) -> None:
    own = await make_token(service, people.customer.actor)
    lacking = await make_token(service, people.customer.actor, scopes=("mail:read",))
    foreign = await make_token(service, people.stranger.actor)
    made = [own, lacking, foreign]

    await ask(
        http,
        asking,
        [token.secret for token in made],
        scope="dns:read",
        client_address="198.51.100.9",
    )

    await validator.usage.hand_on(service.cache.redis)
    await flush_usage(service.cache.redis)
    operator = people.operator.actor
    used = [await service.tokens.get(operator, token.token.id) for token in made]
    assert [token.last_used_address for token in used] == ["198.51.100.9", None, None]


async def test_a_batch_is_for_callers_with_the_scope(
    token: Created, people: People, service: Service, http: httpx2.AsyncClient
) -> None:
    lacking = await make_token(service, people.reseller.actor, scopes=("tokens:read",))
    body = {"tokens": [token.secret]}

    answers = [
        await http.post("/introspect", json=body, headers=headers)
        for headers in ({}, bearer("x"), bearer(people.reseller.secret), bearer(lacking.secret))
    ]

    assert [answer.status_code for answer in answers] == [401, 401, 401, 403]
    assert all(answer.content == b"" for answer in answers)


BODIES = {
    "nothing": "",
    "null": "null",
    "a string": '"S"',
    "a number": "1",
    "a list": '["S"]',
    "no tokens": "{}",
    "one token": '{"token": "S"}',
    "tokens that are one": '{"tokens": "S"}',
    "tokens that are none": '{"tokens": null}',
    "tokens that are an object": '{"tokens": {"S": "S"}}',
    "an empty list": '{"tokens": []}',
    "an empty token": '{"tokens": ["S", ""]}',
    "a null token": '{"tokens": ["S", null]}',
    "a token that is a number": '{"tokens": ["S", 1e400]}',
    "a token that is a list": '{"tokens": ["S", ["S"]]}',
    "too many": json.dumps({"tokens": ["S"] + ["x"] * INTROSPECT_TOKENS_MAX}),
    "repeated tokens": '{"tokens": ["S"], "tokens": ["S"]}',
    "repeated scope": '{"tokens": ["S"], "scope": "dns:read", "scope": "dns:read"}',
    "an empty scope": '{"tokens": ["S"], "scope": ""}',
    "a null scope": '{"tokens": ["S"], "scope": null}',
    "a list of scopes": '{"tokens": ["S"], "scope": ["dns:read"]}',
    "a scope that is none": '{"tokens": ["S"], "scope": "nonsense"}',
    "a misspelt scope": '{"tokens": ["S"], "scopes": "dns:read"}',
    "a null address": '{"tokens": ["S"], "client_address": null}',
    "a number for an address": '{"tokens": ["S"], "client_address": 1}',
    "a byte order mark": '\ufeff{"tokens": ["S"]}',
    "too long": '{"tokens": ["S"' + " " * 65_536 + "]}",
    "too deep": "[" * 50_000,
    "too deep inside": '{"tokens": ' + '{"a": ' * 50_000,
    "a long number": '{"tokens": ' + "1" * 5_000 + "}",
    "cut off": '{"tokens": ["S"',
    "two": '{"tokens": ["S"]}{"tokens": ["S"]}',
}


@pytest.mark.parametrize("case", BODIES)
async def test_a_batch_of_another_shape_is_refused(
    case: str, token: Created, asking: dict[str, str], http: httpx2.AsyncClient
) -> None:
    headers = asking | {"Content-Type": "application/json"}
    content = BODIES[case].replace("S", token.secret).encode()

    answer = await http.post("/introspect", content=content, headers=headers)

    assert (answer.status_code, answer.json()) == (400, {"error": "invalid_request"})


async def test_json_may_name_its_charset_and_hold_any_text(
    token: Created, asking: dict[str, str], http: httpx2.AsyncClient
) -> None:
    body = json.dumps({"tokens": [token.secret, "\ud800", "\0", token.secret + "\u200b"]})
    headers = asking | {"Content-Type": 'Application/JSON; charset="utf-8"'}

    answer = await http.post("/introspect", content=body, headers=headers)

    assert answer.status_code == 200
    active, *others = answer.json()["tokens"]
    assert active["active"] is True
    assert others == [INACTIVE] * 3
