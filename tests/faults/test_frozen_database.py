"""A database that stands still keeps nobody waiting, and is served again when it goes on."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx2
import pytest
from conftest import FrozenClock, served
from factories import create_account, create_operator, make_token, sign_in
from pool_scene import service_over
from pydantic import SecretStr
from stack import signal_postgres
from stores import eventually

from schema import media_types, node_ids
from service import database, liveness
from service.access.actor import EVERYTHING, Actor
from service.access.door import Door, Statement, open_door
from service.clock import SystemClock, boottime, new_id
from service.composition import Service
from service.errors import TimedOut, Unavailable
from service.local.servers import PostgresServer
from service.migration import migrate
from service.settings import Settings, read_settings
from service.validator import open_validator
from service.verdict import AccountKind

FIRST_SECONDS_MAX = 6.0  # what is told is "about five"
FURTHER_SECONDS_MAX = 1.0
RECOVERY_SECONDS = 5.0
CUSTOMER = AccountKind.CUSTOMER
SPANS = (
    (liveness, "SUSPECT_SECONDS"),
    (liveness, "ASK_SECONDS_MAX"),
    (liveness, "BREAK_SECONDS"),
)

LIST = "{ tokens(first: 5) { edges { node { id } } } }"
REVOKE = "mutation ($id: ID!) { revokeToken(input: {id: $id}) { userErrors { code } } }"
SIGN_IN = """mutation {
  signIn(input: {email: "x@example.com", password: "a password of nobody", transport: BEARER}) {
    userErrors { code }
  }
}"""


@pytest.fixture(autouse=True)
def spans(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fifth of each span, so that a test is short, but for one that asks for the real ones."""
    if getattr(request, "param", None) == "real":
        return
    for module, name in SPANS:
        monkeypatch.setattr(module, name, getattr(module, name) / 5)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A PostgreSQL that nobody else uses."""
    server = PostgresServer(tmp_path_factory.mktemp("frozen") / "postgres", durable=False)
    server.start()
    try:
        asyncio.run(migrate(with_server(read_settings(), server)))
        yield server
    finally:
        signal_postgres(server, signal.SIGCONT)
        server.delete()


def with_server(settings: Settings, server: PostgresServer) -> Settings:
    urls = {
        "database_url": SecretStr(server.app_url()),
        "database_owner_url": SecretStr(server.owner_url()),
    }
    return settings.model_copy(update=urls)


@dataclass
class Stage:
    """One web process on a server that can be frozen."""

    server: PostgresServer
    service: Service
    http: httpx2.AsyncClient
    actor: Actor
    secret: str

    @contextmanager
    def frozen_until_the_end(self) -> Iterator[Callable[[], None]]:
        """Give what stops every process of the server where it stands; at the end all go on."""
        try:
            yield partial(signal_postgres, self.server, signal.SIGSTOP)
        finally:
            signal_postgres(self.server, signal.SIGCONT)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop it at once."""
        with self.frozen_until_the_end() as freeze:
            freeze()
            yield

    async def ask(self, query: str, **variables: str) -> tuple[int, str]:
        """Return the status of an answer, and the code that it tells."""
        answer = await self.http.post(
            "/graphql",
            json={"query": query, "variables": variables},
            headers={"Authorization": f"Bearer {self.secret}", "Accept": media_types.GRAPHQL},
        )
        told: dict[str, Any] = answer.json()
        if told.get("errors"):
            return answer.status_code, told["errors"][0]["extensions"]["code"]
        [payload] = told["data"].values()
        refusals = payload.get("userErrors") or [{"code": "NONE"}]
        return answer.status_code, refusals[0]["code"]

    async def works(self) -> bool:
        """Return whether a list is told."""
        return await self.ask(LIST) == (200, "NONE")

    async def is_told_at_once(self) -> bool:
        """Return whether it is refused without a wait."""
        began_at = boottime()
        await self.ask(LIST)
        return boottime() - began_at < FURTHER_SECONDS_MAX


@pytest.fixture
async def stage(
    settings: Settings,
    server: PostgresServer,
    clean: None,  # noqa: ARG001 - an empty Redis
    clock: FrozenClock,
) -> AsyncIterator[Stage]:
    """A web process over that server, with somebody signed in and known to its validator."""
    apart = with_server(settings, server)
    async with (
        service_over(apart, clock) as service,
        open_validator(apart, clock=clock) as validator,
        served(apart, service, validator) as http,
    ):
        operator, _ = await sign_in(service, await operators_address(service))
        actor, secret = await sign_in(service, await create_account(service, operator, CUSTOMER))
        stage = Stage(server, service, http, actor, secret)
        assert await stage.works()
        yield stage


async def operators_address(service: Service) -> str:
    """Return the address of the operator's person, who is made by the first test of all."""
    async with open_door(EVERYTHING) as door:
        found = await door.one(Statement("SELECT email FROM member ORDER BY created_at LIMIT 1"))
    return await create_operator(service) if found is None else str(found["email"])


async def promptly(answer: Awaitable[tuple[int, str]], seconds: float) -> tuple[int, str]:
    async with asyncio.timeout(seconds):
        return await answer


@pytest.mark.parametrize(
    "spans", ["short", pytest.param("real", marks=pytest.mark.faults)], indirect=True
)
async def test_while_the_database_is_frozen_the_first_are_told_soon_and_all_others_at_once(
    stage: Stage,
) -> None:
    created = await make_token(stage.service, stage.actor)
    identifier = node_ids.encode(node_ids.TOKEN, created.token.id)

    def each() -> list[Awaitable[tuple[int, str]]]:
        return [stage.ask(LIST), stage.ask(REVOKE, id=identifier), stage.ask(SIGN_IN)]

    with stage.frozen():
        first = await asyncio.gather(*(promptly(one, FIRST_SECONDS_MAX) for one in each()))
        await eventually(stage.is_told_at_once, seconds=FIRST_SECONDS_MAX)
        further = [
            await asyncio.gather(*(promptly(one, FURTHER_SECONDS_MAX) for one in each()))
            for _ in range(5)
        ]

    # Who is signed in is known for a lease; from then on nothing runs at all.
    assert first == [(503, "UNAVAILABLE"), (200, "UNAVAILABLE"), (200, "UNAVAILABLE")]
    assert {code for told in further for _, code in told} == {"UNAVAILABLE"}
    await eventually(stage.works, seconds=RECOVERY_SECONDS)
    assert (await stage.service.tokens.get(stage.actor, created.token.id)).revoked_at is None
    assert await stage.ask(REVOKE, id=identifier) == (200, "NONE")
    await all_are_there()


async def all_are_there() -> None:
    """Take every connection of the pool at the same time."""
    pool = database.client()._pool  # noqa: SLF001 - Tortoise has no public name
    assert pool is not None
    async with asyncio.timeout(RECOVERY_SECONDS):
        had = [await pool.acquire() for _ in range(pool.get_max_size())]
    for connection in had:
        assert await connection.fetchval("SELECT 1") == 1
        assert not connection.is_in_transaction()
        await pool.release(connection)


async def write(door: Door, name: str) -> None:
    values = {
        "id": new_id(),
        "kind": "CUSTOMER",
        "name": name,
        "grantable_scopes": [],
        "created_at": SystemClock().now(),
    }
    await door.query(Statement().insert("account", [values]))


async def is_there(name: str) -> bool:
    async with open_door(EVERYTHING) as door:
        statement = Statement()
        statement.text = f"SELECT 1 FROM account WHERE name = {statement.bind(name)}"  # noqa: S608 - bound
        return await door.one(statement) is not None


async def test_a_commit_without_an_answer_is_told_as_one_that_may_have_been_made(
    stage: Stage,
) -> None:
    async with asyncio.timeout(FIRST_SECONDS_MAX):
        with pytest.raises(TimedOut), stage.frozen_until_the_end() as freeze:  # noqa: PT012
            async with open_door(EVERYTHING) as door:
                await write(door, "unanswered")
                freeze()

    await eventually(stage.works, seconds=RECOVERY_SECONDS)
    assert await is_there("unanswered")
    await all_are_there()


async def test_a_statement_without_an_answer_is_given_up_and_changes_nothing(stage: Stage) -> None:
    async with asyncio.timeout(FIRST_SECONDS_MAX):
        with pytest.raises(Unavailable) as refused, stage.frozen_until_the_end() as freeze:  # noqa: PT012
            async with open_door(EVERYTHING) as door:
                await write(door, "first")
                freeze()
                await write(door, "second")

    assert refused.value.code == "UNAVAILABLE"
    await eventually(stage.works, seconds=RECOVERY_SECONDS)
    assert not await is_there("first")
    assert not await is_there("second")
    await all_are_there()


async def test_who_goes_away_meanwhile_costs_no_connection(stage: Stage) -> None:
    async def change() -> None:
        async with open_door(EVERYTHING) as door:
            await write(door, "abandoned")
            begun.set()
            await write(door, "abandoned")

    begun = asyncio.Event()
    with stage.frozen_until_the_end() as freeze:
        task = asyncio.create_task(change())
        await begun.wait()
        freeze()
        await asyncio.sleep(0)
        task.cancel()
        async with asyncio.timeout(FIRST_SECONDS_MAX):
            with suppress(asyncio.CancelledError, Unavailable):
                await task

    await eventually(stage.works, seconds=RECOVERY_SECONDS)
    assert not await is_there("abandoned")
    await all_are_there()


async def test_a_statement_may_take_its_time_where_the_server_answers(stage: Stage) -> None:
    """Longer than after which one that says nothing is suspected, and asked."""
    async with open_door(EVERYTHING) as door:
        await door.query(Statement(f"SELECT pg_sleep({2.5 * liveness.SUSPECT_SECONDS})"))
        await write(door, "slow")

    assert await is_there("slow")
    assert await stage.works()


@pytest.mark.usefixtures("stage")
async def test_who_waits_for_a_place_of_a_live_server_goes_on_waiting() -> None:
    """For longer than a server that does not answer is waited for."""
    spans = liveness.SUSPECT_SECONDS + liveness.ASK_SECONDS_MAX

    async def hold() -> None:
        async with open_door(EVERYTHING) as door:
            await door.query(Statement(f"SELECT pg_sleep({1.5 * spans})"))

    held = [asyncio.create_task(hold()) for _ in range(5)]
    await asyncio.sleep(0)
    async with open_door(EVERYTHING) as door:
        assert any(task.done() for task in held)
        await write(door, "patient")
    await asyncio.gather(*held)

    assert await is_there("patient")
