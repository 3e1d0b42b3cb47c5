"""Whoever holds a secret may end it, one or many at once, and learns nothing else (RFC 7009)."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import httpx2
import pytest
from conftest import FrozenClock
from edge_scene import People, client_of, fingerprint
from factories import make_token
from pydantic import SecretStr
from stores import eventually, everything, one_row

from service import database
from service.app import create_app
from service.cache import open_cache
from service.composition import Service, compose
from service.edge import REVOKE_TOKENS_MAX
from service.holders import CALLS_MAX, CALLS_SECONDS
from service.secret_format import make_secret
from service.settings import Settings
from service.tokens import Created
from service.validator import Validator
from service.verdict import CredentialKind, Status

NOWHERE = "127.0.0.1:9"  # the discard port: nothing listens
FORM = "application/x-www-form-urlencoded"
JSON = "application/json"


@pytest.fixture
async def people(service: Service) -> People:
    return await People.make(service)


@pytest.fixture
async def token(service: Service, people: People) -> Created:
    return await make_token(service, people.customer.actor)


async def takes_connections() -> bool | None:
    """Return whether PostgreSQL does, or None where an old connection has yet to be found dead."""
    try:
        await database.query("SELECT 1")
    except asyncpg.TooManyConnectionsError:
        return False
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
        return None
    return True


@asynccontextmanager
async def database_away(owner: asyncpg.Connection) -> AsyncIterator[None]:
    """Have PostgreSQL take no connection of the application's for a while."""
    name = await owner.fetchval("SELECT current_database()")

    async def becomes(*, expected: bool) -> None:
        async def is_so() -> bool:
            return await takes_connections() is expected

        await eventually(is_so, seconds=5)

    await owner.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 0")
    try:
        await owner.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await becomes(expected=False)
        yield
    finally:
        await owner.execute(f"ALTER DATABASE {name} CONNECTION LIMIT -1")
        await becomes(expected=True)


async def revoke(http: httpx2.AsyncClient, *secrets: str) -> httpx2.Response:
    """Revoke one secret by form, or many by JSON."""
    if len(secrets) == 1:
        return await http.post("/revoke", data={"token": secrets[0]})
    return await http.post("/revoke", json={"tokens": list(secrets)})


def told(answer: httpx2.Response) -> tuple[int, bytes, dict[str, str]]:
    """Return all that an answer tells but the id to ask about."""
    headers = {name: value for name, value in answer.headers.items() if name != "x-request-id"}
    return answer.status_code, answer.content, headers


SILENCE = (200, b"", {"content-length": "0", "cache-control": "no-store"})


async def statuses(validator: Validator, *secrets: str) -> list[Status]:
    return [(await validator.check(secret)).status for secret in secrets]


async def test_a_live_secret_ends_its_token_everywhere(
    token: Created,
    people: People,
    validator: Validator,
    owner: asyncpg.Connection,
    http: httpx2.AsyncClient,
    clock: FrozenClock,
) -> None:
    assert await statuses(validator, token.secret) == [Status.VALID]
    before = await everything(owner)

    answer = await revoke(http, token.secret)

    async def refused() -> bool:
        return await statuses(validator, token.secret) == [Status.REVOKED]

    assert told(answer) == SILENCE
    await eventually(refused, seconds=1)
    after = await everything(owner)
    [row] = [row for row in after["api_token"] if row not in before["api_token"]]
    [old] = [row for row in before["api_token"] if row["id"] == token.token.id]
    changes = {"revoked_at": clock.now(), "revocation_reason": "USER_REQUEST", "version": 2}
    counts = {name: row[name] for name in ("counted_as", "recount_at")}  # a trigger's
    assert row == old | changes | counts
    [event] = [row for row in after["audit_event"] if row not in before["audit_event"]]
    assert (event["action"], event["subject_id"]) == ("token.revoked", token.token.id)
    assert (event["account_id"], event["actor_account_id"]) == (token.token.account_id, None)
    assert event["reseller_id"] == people.reseller.actor.account_id
    assert json.loads(event["details"]) == {"reason": "USER_REQUEST", "by": "holder"}
    assert event["address"] == "192.0.2.7"
    assert event["request_id"] == answer.headers["x-request-id"]
    assert len(after["outbox_event"]) == len(before["outbox_event"]) + 1
    assert token.secret not in str(after)


async def test_leaked_secrets_of_anybody_are_ended_together(
    people: People,
    service: Service,
    validator: Validator,
    owner: asyncpg.Connection,
    http: httpx2.AsyncClient,
) -> None:
    actors = [people.customer.actor, people.stranger.actor, people.reseller.actor]
    made = [await make_token(service, actor) for actor in actors]
    kept = await make_token(service, people.customer.actor)
    unknown = make_secret("live", service.settings.pepper_keys).text
    secrets = [token.secret for token in made]

    answer = await revoke(http, *secrets, unknown, "nonsense", *secrets, people.customer.secret)

    assert told(answer) == SILENCE
    assert await statuses(validator, *secrets) == [Status.REVOKED] * 3
    assert await statuses(validator, kept.secret) == [Status.VALID]
    session = await validator.check(people.customer.secret, kind=CredentialKind.SESSION)
    assert session.status is Status.REVOKED
    events = await owner.fetch("SELECT * FROM audit_event WHERE details->>'by' = 'holder'")
    assert {(event["action"], event["subject_id"]) for event in events} == {
        *(("token.revoked", token.token.id) for token in made),
        ("session.ended", people.customer.actor.token_id),
    }
    assert len(events) == 4
    assert {json.loads(event["details"])["reason"] for event in events} == {"LEAKED"}


def near_misses(secret: str) -> list[str]:
    """Return what is no secret, however much it looks like one."""
    return [
        "tw_live_",
        secret[:-1],
        secret + "A",
        secret[:-1] + ("B" if secret[-1] != "B" else "C"),
        secret.upper(),
        secret.lower(),
        secret.replace("tw_", "ghp_", 1),
        secret.replace("_live_", "_test_", 1),
        secret + "\n",
        secret + " ",
        " " + secret,
        secret + "%20",
        secret + "\u200b",
        secret + "\0",
        secret.replace("t", "\u0442", 1),
        secret.replace("tw", "\uff54\uff57", 1),
        f"Bearer {secret}",
        f"{secret},{secret}",
        "x" * 4_000,
    ]


async def test_where_the_database_cannot_be_reached_nothing_is_revoked_and_that_is_told(
    token: Created,
    owner: asyncpg.Connection,
    http: httpx2.AsyncClient,
) -> None:
    before = await fingerprint(owner)

    async with database_away(owner):
        answers = [await revoke(http, token.secret), await revoke(http, token.secret, "x")]

    for answer in answers:
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.content == b""
    assert await fingerprint(owner) == before


async def test_what_is_no_secret_reads_the_same_and_costs_no_look_up(
    token: Created, owner: asyncpg.Connection, http: httpx2.AsyncClient
) -> None:
    misses = near_misses(token.secret)
    body = json.dumps({"tokens": [*misses, "\ud800"]})

    async with database_away(owner):
        answers = [await revoke(http, miss) for miss in misses]
        answers.append(await http.post("/revoke", content=body, headers={"Content-Type": JSON}))
        control = await revoke(http, token.secret)

    assert [told(answer) for answer in answers] == [SILENCE] * len(answers)
    assert control.status_code == 503


async def test_what_was_not_known_reads_the_same_as_what_was(
    token: Created, service: Service, http: httpx2.AsyncClient
) -> None:
    unknown = make_secret("live", service.settings.pepper_keys).text

    answers = [await revoke(http, secret) for secret in (unknown, token.secret, token.secret)]

    assert [told(answer) for answer in answers] == [SILENCE] * 3


async def test_without_redis_a_secret_is_ended_all_the_same_and_calls_are_not_counted(
    token: Created,
    settings: Settings,
    service: Service,
    validator: Validator,
    owner: asyncpg.Connection,
) -> None:
    deaf = settings.model_copy(update={"redis_url": SecretStr(f"redis://{NOWHERE}/0")})
    async with open_cache(deaf) as cache:
        app = create_app(deaf)
        parts = compose(deaf, cache, service.clock, passwords=service.accounts.passwords)
        app.open(parts, validator)
        async with client_of(app) as client:
            answers = [await revoke(client, token.secret) for _ in range(CALLS_MAX + 1)]

    assert {told(answer)[0] for answer in answers} == {200}
    row = await one_row(owner, "SELECT * FROM api_token WHERE id = $1", token.token.id)
    assert row["revoked_at"] == service.clock.now()
    row = await one_row(owner, "SELECT * FROM outbox_event")
    assert (row["confirmed_at"], row["done_at"]) == (None, None)


async def test_an_address_that_calls_too_often_waits_and_no_other_does(
    token: Created,
    settings: Settings,
    service: Service,
    validator: Validator,
    owner: asyncpg.Connection,
    http: httpx2.AsyncClient,
) -> None:
    for _ in range(CALLS_MAX):
        assert told(await revoke(http, "x")) == SILENCE
    before = await fingerprint(owner)

    paused = [await revoke(http, token.secret), await revoke(http, token.secret, "x")]

    for answer in paused:
        assert (answer.status_code, answer.content) == (429, b"")
        assert answer.headers["retry-after"] == str(CALLS_SECONDS)
    assert await fingerprint(owner) == before
    redis = service.cache.redis
    [key] = [key async for key in redis.scan_iter(match="revoke:*")]
    assert 0 < await redis.ttl(key) <= CALLS_SECONDS
    await redis.expire(key, CALLS_SECONDS // 2)
    assert (await revoke(http, "x")).status_code == 429
    assert await redis.ttl(key) <= CALLS_SECONDS // 2, "a refused call prolongs nothing"
    await redis.delete(key)
    assert told(await revoke(http, "x")) == SILENCE
    app = create_app(settings)
    app.open(service, validator)
    elsewhere = httpx2.ASGITransport(app=app, client=("192.0.2.8", 40_000))
    async with httpx2.AsyncClient(transport=elsewhere, base_url="http://test") as client:
        assert told(await revoke(client, token.secret)) == SILENCE
    assert await fingerprint(owner) != before


async def test_calls_at_the_same_time_do_not_all_pass(http: httpx2.AsyncClient) -> None:
    for _ in range(CALLS_MAX - 3):
        await revoke(http, "x")

    answers = await asyncio.gather(*(revoke(http, "x") for _ in range(10)))

    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [429] * 7


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
async def test_revoking_is_a_post_so_that_no_address_holds_a_secret(
    method: str, token: Created, owner: asyncpg.Connection, http: httpx2.AsyncClient
) -> None:
    before = await fingerprint(owner)

    answer = await http.request(method, "/revoke", params={"token": token.secret})

    assert (answer.status_code, answer.headers["allow"], answer.content) == (405, "POST", b"")
    assert await fingerprint(owner) == before


BODIES: dict[str, tuple[str, str]] = {
    "nothing": (FORM, ""),
    "no token": (FORM, "token_type_hint=access_token"),
    "empty token": (FORM, "token="),
    "repeated": (FORM, "token=S&token=S"),
    "another repeated": (FORM, "token=S&x=1&x=2"),
    "many fields": (FORM, "token=S&" + "&".join(f"x{n}=1" for n in range(20))),
    "no ASCII": (FORM, "token=S&x=\u00e9"),
    "too long": (FORM, "token=S&x=" + "a" * 8_192),
    "a megabyte": (FORM, "token=" + "S" * 20_000),
    "JSON as a form": (FORM, '{"tokens": ["S"]}'),
    "a form as JSON": (JSON, "token=S"),
    "no type": ("", "token=S"),
    "multipart": ("multipart/form-data; boundary=x", "--x\r\n\r\nS\r\n--x--"),
    "text": ("text/plain", '{"tokens": ["S"]}'),
    "no JSON": (JSON, ""),
    "null": (JSON, "null"),
    "a string": (JSON, '"S"'),
    "a list": (JSON, '["S"]'),
    "one token": (JSON, '{"token": "S"}'),
    "tokens that are one": (JSON, '{"tokens": "S"}'),
    "tokens that are none": (JSON, '{"tokens": null}'),
    "no tokens": (JSON, '{"tokens": []}'),
    "an empty token among them": (JSON, '{"tokens": ["S", ""]}'),
    "a null among them": (JSON, '{"tokens": ["S", null]}'),
    "a number among them": (JSON, '{"tokens": ["S", 1e400]}'),
    "a list among them": (JSON, '{"tokens": ["S", ["S"]]}'),
    "an object": (JSON, '{"tokens": {"S": "S"}}'),
    "too many": (JSON, json.dumps({"tokens": ["S"] + ["x"] * REVOKE_TOKENS_MAX})),
    "repeated tokens": (JSON, '{"tokens": ["S"], "tokens": ["S"]}'),
    "another member": (JSON, '{"tokens": ["S"], "scope": "dns:read"}'),
    "a byte order mark": (JSON, '\ufeff{"tokens": ["S"]}'),
    "too long JSON": (JSON, '{"tokens": ["S"' + " " * 65_536 + "]}"),
    "too deep": (JSON, "[" * 50_000),
    "cut off": (JSON, '{"tokens": ["S"'),
}


@pytest.mark.parametrize("case", BODIES)
async def test_a_malformed_request_is_told_so_and_changes_nothing(
    case: str, token: Created, owner: asyncpg.Connection, http: httpx2.AsyncClient
) -> None:
    content_type, body = BODIES[case]
    before = await fingerprint(owner)

    answer = await http.post(
        "/revoke",
        content=body.replace("S", token.secret).encode(),
        headers={"Content-Type": content_type},
    )

    assert (answer.status_code, answer.json()) == (400, {"error": "invalid_request"})
    assert answer.headers["cache-control"] == "no-store"
    assert await fingerprint(owner) == before


@pytest.mark.parametrize("encoding", ["utf-7", "utf-16", "utf-32", "latin-1"])
async def test_json_is_utf_8(encoding: str, token: Created, http: httpx2.AsyncClient) -> None:
    body = json.dumps({"tokens": [token.secret, "\u00e9"]}, ensure_ascii=False).encode(encoding)
    headers = {"Content-Type": f"application/json; charset={encoding}"}

    answer = await http.post("/revoke", content=body, headers=headers)

    assert answer.status_code == (200 if encoding == "utf-7" else 400)


async def test_a_hint_and_fields_that_nobody_knows_change_nothing(
    token: Created, validator: Validator, http: httpx2.AsyncClient
) -> None:
    """RFC 7009 §2.1: a server may ignore the hint, and looks for the token in any case."""
    form = {"token": token.secret, "token_type_hint": "refresh_token", "client_id": "x", "y": ""}

    answer = await http.post("/revoke", data=form)

    assert told(answer) == SILENCE
    assert await statuses(validator, token.secret) == [Status.REVOKED]
