"""Whoever clicks twice, all at once, or goes away in the middle finds one change, whole or none."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import timedelta
from itertools import count
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import httpx2
import pytest
from conftest import FrozenClock, GraphQL
from edge_scene import People, Person, bearer, fingerprint
from factories import PASSWORD, Platform, make_token
from replay_scene import Aborted, create
from rotation_scene import HOUR, opening, rotate, secrets_of
from stores import eventually, one_row
from web_scene import served

from schema import node_ids
from service.app import create_app
from service.composition import Service
from service.errors import IdempotencyConflict, ServiceError
from service.rotation import Rotated
from service.settings import Settings
from service.sweep import sweep_expired
from service.tokens import TokenChanges
from service.validator import Validator
from service.verdict import Status

KEY = "7c1a5b1e-5a3f-4b0e-8a43-0d2b6c1f9e77"
AT_ONCE = 100
AWAITS_MIN = 5


@pytest.fixture
async def people(service: Service) -> People:
    return await People.make(service)


async def all_at_once(acts: list[Coroutine[Any, Any, Any]]) -> list[Any]:
    """Run all; return what came of each. Anything but a refusal is raised."""
    results = await asyncio.gather(*acts, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, ServiceError):
            raise result
    return results


@pytest.mark.parametrize("seed", range(3))
async def test_a_hundred_acts_of_every_kind_at_once_leave_a_revoked_token_revoked(
    seed: int,
    service: Service,
    platform: Platform,
    validator: Validator,
    clock: FrozenClock,
    owner: asyncpg.Connection,
) -> None:
    customer, reseller = platform.customer, platform.reseller
    soon = clock.now() + timedelta(hours=1)
    made = await make_token(service, customer, scopes=("dns:read", "mail:read"), expires_at=soon)
    neighbour = await make_token(service, customer)
    token_id, tokens = made.token.id, service.tokens
    earlier = TokenChanges(expires_at=soon - timedelta(minutes=1))
    kinds: list[Callable[[], Coroutine[Any, Any, Any]]] = [
        lambda: tokens.revoke(customer, token_id),
        lambda: tokens.revoke(reseller, token_id),
        lambda: rotate(service, customer, token_id, 0),
        lambda: rotate(service, reseller, token_id, HOUR),
        lambda: tokens.rename(customer, token_id, "another"),
        lambda: tokens.update(customer, token_id, TokenChanges(scopes=("dns:read",))),
        lambda: tokens.update(reseller, token_id, earlier),
        lambda: tokens.suspend(customer, token_id),
        lambda: tokens.resume(reseller, token_id),
        lambda: sweep_expired(clock),
    ]
    acts = [kind() for kind in kinds * (AT_ONCE // len(kinds))]
    random.Random(seed).shuffle(acts)  # noqa: S311 - the same order each time

    results = await all_at_once(acts)

    row = await one_row(owner, "SELECT * FROM api_token WHERE id = $1", token_id)
    assert row["revoked_at"] == clock.now()
    told = [result.secret for result in results if isinstance(result, Rotated)]
    assert await opening(service, owner, made.secret, *told) == []
    assert [row["retires_at"] for row in await secrets_of(owner, token_id)].count(None) == 1
    assert await count_of(owner, "token.revoked", token_id) == 1
    assert (await validator.check(made.secret)).status in {Status.REVOKED, Status.EXPIRED}
    assert (await validator.check(neighbour.secret)).is_valid


async def count_of(owner: asyncpg.Connection, action: str, subject: UUID | None = None) -> int:
    """Count the events of a kind."""
    query = (
        "SELECT count(*) FROM audit_event"
        " WHERE action = $1 AND ($2::uuid IS NULL OR subject_id = $2)"
    )
    return int(await owner.fetchval(query, action, subject))


async def click_twice(
    graphql: GraphQL, person: Person, mutation: str, fields: dict[str, Any]
) -> list[str]:
    """Run a mutation twice at the same moment; return what each was refused for, in order."""
    told = "secret" if mutation in {"createToken", "rotateToken"} else "__typename"
    query = (
        f"mutation($input: {mutation[0].upper()}{mutation[1:]}Input!)"
        f" {{ {mutation}(input: $input) {{ {told} userErrors {{ code }} }} }}"
    )
    answers = await asyncio.gather(
        *(graphql(query, secret=person.secret, input=fields) for _ in range(2))
    )
    payloads = [answer["data"][mutation] for answer in answers]
    assert len({payload[told] for payload in payloads} - {None}) == 1
    return sorted("".join(error["code"] for error in told["userErrors"]) for told in payloads)


async def test_a_double_click_on_a_token_does_it_once(
    service: Service, people: People, graphql: GraphQL, owner: asyncpg.Connection
) -> None:
    made = [await make_token(service, people.customer.actor) for _ in range(5)]
    revoked, suspended, renamed, rotated, keyed = (token_of(one.token.id) for one in made)
    new = {"scopes": ["dns:read"]}
    clicks: list[tuple[str, str, dict[str, Any], str]] = [
        ("revokeToken", "token.revoked", {"id": revoked}, ""),
        ("suspendToken", "token.suspended", {"id": suspended}, ""),
        ("resumeToken", "token.resumed", {"id": suspended}, ""),
        ("renameToken", "token.renamed", {"id": renamed, "name": "x", "expectedVersion": 1}, OLD),
        ("createToken", "token.created", {**new, "name": "one"}, "NAME_TAKEN"),
        ("createToken", "token.created", {**new, "name": "two", "idempotencyKey": KEY}, ""),
        ("rotateToken", "token.rotated", {"id": rotated}, "ROTATION_IN_PROGRESS"),
        ("rotateToken", "token.rotated", {"id": keyed, "idempotencyKey": f"{KEY}2"}, ""),
        ("completeTokenRotation", "token.rotation_completed", {"id": rotated}, "NO_ROTATION"),
        ("cancelTokenRotation", "token.rotation_cancelled", {"id": keyed}, "NO_ROTATION"),
    ]

    for mutation, event, fields, second in clicks:
        before = await count_of(owner, event)
        assert await click_twice(graphql, people.customer, mutation, fields) == ["", second]
        assert await count_of(owner, event) == before + 1


OLD = "VERSION_CONFLICT"


async def test_a_double_click_on_an_account_does_it_once(
    people: People, graphql: GraphQL, owner: asyncpg.Connection
) -> None:
    which = people.customer.actor.account_id
    name = await owner.fetchval("SELECT name FROM account WHERE id = $1", which)
    this = {"id": people.customer.account_id}
    email = {"email": "new@example.com", "password": PASSWORD}
    clicks: list[tuple[str, str, dict[str, Any], str]] = [
        ("suspendAccount", "account.suspended", this, ""),
        ("resumeAccount", "account.resumed", this, ""),
        ("closeAccount", "account.closed", {**this, "expectedName": name}, ""),
        ("createAccount", "account.created", {**email, "name": "New", "kind": "CUSTOMER"}, TAKEN),
    ]

    for mutation, event, fields, second in clicks:
        before = await count_of(owner, event)
        assert await click_twice(graphql, people.reseller, mutation, fields) == ["", second]
        assert await count_of(owner, event) == before + 1


TAKEN = "EMAIL_TAKEN"


async def test_two_sign_outs_at_once_end_the_session_once(
    people: People, http: httpx2.AsyncClient, owner: asyncpg.Connection
) -> None:
    query = {"query": "mutation { signOut { userErrors { code } } }"}
    headers = bearer(people.customer.secret)

    answers = await asyncio.gather(
        *(http.post("/graphql", json=query, headers=headers) for _ in range(2))
    )

    assert all(answer.status_code == 200 for answer in answers)
    assert await count_of(owner, "session.ended") == 1


async def test_of_different_requests_under_one_key_at_once_one_is_served(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    results = await all_at_once(
        [create(service, platform.customer, KEY, name=f"name {number}") for number in range(10)]
    )

    assert Counter(type(result).__name__ for result in results) == {
        "Created": 1,
        IdempotencyConflict.__name__: 9,
    }
    assert await owner.fetchval("SELECT count(*) FROM api_token WHERE kind = 'API_TOKEN'") == 1
    assert await count_of(owner, "token.created") == 1


def token_of(token_id: UUID) -> str:
    return node_ids.encode(node_ids.TOKEN, token_id)


@pytest.mark.parametrize("door", ["graphql", "revoke"])
async def test_a_revoke_that_is_cut_off_at_any_moment_is_made_whole_or_not_at_all(
    door: str,
    service: Service,
    people: People,
    validator: Validator,
    http: httpx2.AsyncClient,
    owner: asyncpg.Connection,
) -> None:
    actor, seen = people.customer.actor, Counter[bool]()
    for nth in count(1):
        await service.cache.redis.delete(*await service.cache.redis.keys("revoke:*") or ["none"])
        made = await make_token(service, actor)
        assert (await validator.check(made.secret)).is_valid
        requests = {
            "graphql": lambda made=made: http.post(
                "/graphql",
                json={"query": REVOKE, "variables": {"id": token_of(made.token.id)}},
                headers=bearer(people.customer.secret),
            ),
            "revoke": lambda made=made: http.post("/revoke", data={"token": made.secret}),
        }
        aborted = Aborted(requests[door](), nth)

        answer = await aborted.outcome()

        is_made = await is_revoked(owner, made.token.id)
        assert is_made or answer is None
        assert (await requests[door]()).status_code == 200
        assert await is_revoked(owner, made.token.id)
        assert await count_of(owner, "token.revoked", made.token.id) == 1
        await service.relay.relay_due()
        validator.forget()
        assert (await validator.check(made.secret)).status is Status.REVOKED
        seen[is_made] += 1
        if aborted.waits < nth:
            break

    assert min(seen.values()) > 1, "cut off before its commit, and after it"
    assert seen.total() > AWAITS_MIN
    await assert_nothing_is_held(service, people)


REVOKE = "mutation($id: ID!) { revokeToken(input: {id: $id}) { userErrors { code } } }"


async def is_revoked(owner: asyncpg.Connection, token_id: UUID) -> bool:
    """Return whether a token is revoked, by its row, its event and its drop alike."""
    row = await one_row(
        owner,
        "SELECT t.revoked_at IS NOT NULL AS ended, (SELECT count(*) FROM audit_event"
        " WHERE subject_id = t.id AND action = 'token.revoked') AS told, (SELECT count(*)"
        " FROM outbox_event WHERE subject = encode(s.digest, 'hex')) AS dropped"
        " FROM api_token t JOIN secret s ON s.token_id = t.id WHERE t.id = $1",
        token_id,
    )
    ended = bool(row["ended"])
    assert (row["told"], row["dropped"] > 0) == (int(ended), ended)
    return ended


async def assert_nothing_is_held(service: Service, people: People) -> None:
    """Fail if those who went away kept connections: more than the pool has are used at once."""
    actor = people.customer.actor
    async with asyncio.timeout(5):
        await asyncio.gather(
            *(
                service.accounts.get(actor, actor.account_id)
                for _ in range(2 * service.settings.database_pool_size)
            )
        )


async def test_a_suspension_that_is_cut_off_at_any_moment_is_made_whole_or_not_at_all(
    service: Service, people: People, owner: asyncpg.Connection
) -> None:
    above, account_id = people.reseller.actor, people.customer.actor.account_id
    seen = Counter[bool]()
    for nth in count(1):
        await owner.execute("TRUNCATE audit_event, outbox_event")
        await owner.execute("UPDATE account SET suspended_at = NULL WHERE id = $1", account_id)
        aborted = Aborted(service.accounts.suspend(above, account_id), nth)

        await aborted.outcome()

        suspended = await owner.fetchval(
            "SELECT suspended_at IS NOT NULL FROM account WHERE id = $1", account_id
        )
        assert await count_of(owner, "account.suspended") == int(suspended)
        assert await owner.fetchval("SELECT count(*) FROM outbox_event") == int(suspended)
        await service.accounts.suspend(above, account_id)
        assert await count_of(owner, "account.suspended") == 1
        seen[suspended] += 1
        if aborted.waits < nth:
            break

    assert min(seen.values()) > 1
    await assert_nothing_is_held(service, people)


@pytest.fixture
async def wire(settings: Settings, service: Service, validator: Validator) -> AsyncIterator[str]:
    """The application behind a real socket."""
    app = create_app(settings)
    app.open(service, validator)
    async with served(app) as url:
        yield url


WAITING = (
    "SELECT count(*) > 0 FROM pg_stat_activity"
    " WHERE wait_event_type = 'Lock' AND datname = current_database()"
)
CREATE = (
    "mutation($input: CreateTokenInput!)"
    " { createToken(input: $input) { secret userErrors { code } } }"
)


async def send(url: str, secret: str, body: bytes, sent: int) -> asyncio.StreamWriter:
    """Send a part of a request; whoever closes the connection hangs up."""
    parts = urlsplit(url)
    _, writer = await asyncio.open_connection(parts.hostname, parts.port)
    head = (
        f"POST /graphql HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body[:sent])
    await writer.drain()
    return writer


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()


async def test_a_client_that_hangs_up_gets_the_one_secret_under_its_key(
    wire: str, people: People, graphql: GraphQL, validator: Validator, owner: asyncpg.Connection
) -> None:
    person = people.customer
    fields = {"name": "deploy", "scopes": ["dns:read"], "idempotencyKey": KEY}
    body = json.dumps({"query": CREATE, "variables": {"input": fields}}).encode()
    rows = await fingerprint(owner)

    await hang_up(await send(wire, person.secret, body, len(body) - 1))
    assert await fingerprint(owner) == rows
    async with owner.transaction():
        # Who creates a token waits for its account.
        lock = "SELECT 1 FROM account WHERE id = $1 FOR UPDATE"
        await owner.execute(lock, person.actor.account_id)
        writer = await send(wire, person.secret, body, len(body))
        await eventually(lambda: owner.fetchval(WAITING), seconds=5)
        await hang_up(writer)

    async def is_made() -> bool:
        return bool(await count_of(owner, "token.created"))

    await eventually(is_made, seconds=5)
    answer = await graphql(CREATE, secret=person.secret, input=fields)
    assert (await validator.check(answer["data"]["createToken"]["secret"])).is_valid
    assert await count_of(owner, "token.created") == 1
