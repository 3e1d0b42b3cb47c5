"""What a web process says while its servers or its machine let it down, and that it recovers."""

import asyncio
import resource
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from edge_scene import fingerprint
from fault_proxy import CUT, FORGET, PASS, Behaviour, FaultProxy, proxying
from redis.asyncio import Redis
from system import Person, System, eventually, opened_system

from service.clock import SystemClock, boottime
from service.settings import read_settings

LEASE_SECONDS = 1.0
BOUND_SECONDS = read_settings(lease_seconds=LEASE_SECONDS).staleness_bound_seconds
RECOVERY_SECONDS = 10.0
PAUSE_SECONDS = 0.02
DESCRIPTORS = 64
CROWD = 30

_numbers = count(1)


@dataclass(frozen=True)
class Day:
    """A web process behind proxies, and somebody who uses it.

    Attributes:
        live: The secret of a token that must work.
        dead: The secret of one that was revoked.
        redis: A client around the proxies.
    """

    system: System
    customer: Person
    database_link: FaultProxy
    redis_link: FaultProxy
    redis: Redis
    live: str
    dead: str

    async def validated(self, secret: str) -> int | None:
        """Return the status for a secret; None where no connection was had."""
        headers = {"Authorization": f"Bearer {secret}"}
        try:
            answer = await self.system.http.get(f"{self.system.web}/validate", headers=headers)
        except httpx2.TransportError:
            return None
        return answer.status_code

    async def created(self) -> str:
        """Create a token; return the code of its refusal, or nothing."""
        fields = {"name": f"bad day {next(_numbers)}", "scopes": ["dns:read"]}
        query = (
            "mutation ($input: CreateTokenInput!)"
            " { createToken(input: $input) { userErrors { code } } }"
        )
        try:
            answer = await self.system.http.post(
                f"{self.system.web}/graphql",
                json={"query": query, "variables": {"input": fields}},
                headers={"Authorization": f"Bearer {self.customer.secret}"},
            )
        except httpx2.TransportError:
            return "TRANSPORT"
        return code_of(answer.json())


def code_of(answer: dict[str, Any]) -> str:
    """Return the code of a refusal, in whichever place it stands."""
    if errors := answer.get("errors"):
        return str(errors[0]["extensions"]["code"])
    return "".join(error["code"] for error in answer["data"]["createToken"]["userErrors"])


@pytest.fixture(scope="module")
async def day(
    addresses: list[str], tmp_path_factory: pytest.TempPathFactory, worker_id: str
) -> AsyncIterator[Day]:
    directory = tmp_path_factory.mktemp("bad-days")
    owner_url, app_url, *others = addresses
    with proxying() as proxies:
        database_link = proxies.open(urlsplit(app_url).port or 5432)
        behind = [owner_url, through(app_url, database_link.port), *others]
        name = f"bad_days_{worker_id}"
        async with opened_system(
            behind, directory, name, lease_seconds=str(LEASE_SECONDS)
        ) as system:
            redis_link = proxies.open(system.valkey.port)
            url = system.environment["TOKENWARD_REDIS_URL"]
            system.environment["TOKENWARD_REDIS_URL"] = through(url, redis_link.port)
            system.start("web")
            await eventually(system.is_ready)
            customer = await system.create_operator("operator@example.com")
            _, live = await new_token(customer)
            doomed, dead = await new_token(customer)
            await customer.change("revokeToken", doomed)
            redis = Redis.from_url(url)
            yield Day(system, customer, database_link, redis_link, redis, live, dead)
            await redis.aclose()


def through(url: str, port: int) -> str:
    """Return an address with the port of a proxy."""
    parts = urlsplit(url)
    return parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{port}").geturl()


async def new_token(person: Person) -> tuple[str, str]:
    return await person.create_token(SystemClock().now() + timedelta(days=1))


async def end_sessions(day: Day) -> None:
    """Have PostgreSQL end every connection of the web process."""
    await day.system.database.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


async def alter_database(day: Day, words: str) -> None:
    name = await day.system.database.fetchval("SELECT current_database()")
    await day.system.database.execute(f"ALTER DATABASE {name} {words}")


@asynccontextmanager
async def sessions_ended(day: Day) -> AsyncIterator[None]:
    """Somebody ends every session, once."""
    await end_sessions(day)
    yield


@asynccontextmanager
async def connections_used_up(day: Day) -> AsyncIterator[None]:
    """The server has no connection to give: 53300, as at its max_connections."""
    await alter_database(day, "CONNECTION LIMIT 0")
    await end_sessions(day)
    try:
        yield
    finally:
        await alter_database(day, "CONNECTION LIMIT -1")


@asynccontextmanager
async def read_only(day: Day) -> AsyncIterator[None]:
    """The server takes no write, as one that was a primary until just now."""
    await alter_database(day, "SET default_transaction_read_only = on")
    await end_sessions(day)
    try:
        yield
    finally:
        await alter_database(day, "RESET default_transaction_read_only")
        await end_sessions(day)


@asynccontextmanager
async def disk_full(day: Day) -> AsyncIterator[None]:
    """The server has no room for a row: 53100, in the words of a trigger."""
    await day.system.database.execute(
        "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$;"
        " CREATE TRIGGER no_room BEFORE INSERT ON audit_event EXECUTE FUNCTION no_room()"
    )
    try:
        yield
    finally:
        await day.system.database.execute("DROP FUNCTION no_room CASCADE")


@asynccontextmanager
async def misconfigured(day: Day) -> AsyncIterator[None]:
    """Redis cannot save, and takes no write for that: MISCONF."""
    in_the_way = day.system.directory / "valkey" / "dump.rdb"
    in_the_way.mkdir()
    await day.redis.config_set("save", "3600 1")
    await day.redis.bgsave()
    await eventually(partial(has_saved, day.redis, "err"))
    with pytest.raises(Exception, match="MISCONF"):
        await day.redis.set("a", "b")
    try:
        yield
    finally:
        in_the_way.rmdir()
        await day.redis.config_set("save", "")
        await day.redis.bgsave()
        await eventually(partial(has_saved, day.redis, "ok"))


async def has_saved(redis: Redis, outcome: str) -> bool:
    told = await redis.info("persistence")
    return told["rdb_last_bgsave_status"] == outcome and not told["rdb_bgsave_in_progress"]


@asynccontextmanager
async def descriptors_used_up(day: Day) -> AsyncIterator[None]:
    """The process has 64 file descriptors, and idle strangers hold what is left of them."""
    pid = day.system._processes["web"].pid  # noqa: SLF001 - whose limit is lowered
    before, most = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, most))
    parts = urlsplit(day.system.web)
    strangers = [
        (await asyncio.open_connection(parts.hostname, parts.port))[1]
        for _ in range(2 * DESCRIPTORS)
    ]

    async def has_none_left() -> bool:
        return descriptors_of(pid) >= DESCRIPTORS

    await eventually(has_none_left)
    try:
        yield
    finally:
        for stranger in strangers:
            stranger.close()
            with suppress(ConnectionError):
                await stranger.wait_closed()
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (before, most))


def descriptors_of(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@asynccontextmanager
async def behaving(link: FaultProxy, behaviour: Behaviour) -> AsyncIterator[None]:
    """The way to a server misbehaves."""
    link.behave(behaviour)
    try:
        yield
    finally:
        link.behave(PASS)


def redis_cut(day: Day) -> AbstractAsyncContextManager[None]:
    """Return a day on which connections break after three bytes of an answer."""
    return behaving(day.redis_link, CUT)


def redis_forgotten(day: Day) -> AbstractAsyncContextManager[None]:
    """Return a day on which connections lead nowhere, and nobody says so."""
    return behaving(day.redis_link, FORGET)


def database_cut(day: Day) -> AbstractAsyncContextManager[None]:
    """Return a day on which connections break after three bytes of an answer."""
    return behaving(day.database_link, CUT)


@asynccontextmanager
async def database_forgotten(day: Day) -> AsyncIterator[None]:
    """Every connection that there may be leads nowhere, and all of them are tried."""
    secrets = [(await new_token(day.customer))[1] for _ in range(CROWD)]

    async def crowd() -> list[object]:
        acts = [day.created() for _ in range(CROWD)]
        return await asyncio.gather(*acts, *map(day.validated, secrets))

    assert set(await crowd()) == {"", 200}
    async with behaving(day.database_link, FORGET):
        await eventually(partial(is_said, day, secrets[0], 503))
        assert set(await crowd()) <= {"UNAVAILABLE", "TRANSPORT", 503}
        yield


@dataclass(frozen=True)
class Fault:
    """Something that is done to a day.

    Attributes:
        does: Does it, and ends it.
        seconds: How long the process is asked meanwhile.
        live: What may be said of a live token.
        codes: How a change may end; an empty one is made.
    """

    does: Callable[[Day], AbstractAsyncContextManager[None]]
    seconds: float
    live: frozenset[int | None]
    codes: frozenset[str]


YES = frozenset({200})
NEVER_NO = YES | {503}
MADE, REFUSED = frozenset({""}), frozenset({"UNAVAILABLE"})
A_MOMENT, BEYOND_THE_LEASE = 0.2, 1.3 * LEASE_SECONDS

# The sealer's, and what a use changes once it is flushed.
BY_ITSELF = {"position", "sequence", "hash", "counted_as", "recount_at"}
FAULTS = [
    Fault(sessions_ended, A_MOMENT, NEVER_NO, MADE | REFUSED),
    Fault(connections_used_up, BEYOND_THE_LEASE, NEVER_NO, REFUSED),
    Fault(read_only, A_MOMENT, NEVER_NO, REFUSED),
    Fault(disk_full, A_MOMENT, YES, REFUSED),
    Fault(misconfigured, BEYOND_THE_LEASE, YES, MADE),
    Fault(redis_cut, BEYOND_THE_LEASE, YES, MADE),
    Fault(redis_forgotten, BEYOND_THE_LEASE, YES, MADE),
    Fault(descriptors_used_up, A_MOMENT, NEVER_NO | {None}, MADE | REFUSED | {"TRANSPORT"}),
    Fault(database_cut, BEYOND_THE_LEASE, NEVER_NO, REFUSED),
    # Its process takes ten seconds to end.
    pytest.param(
        Fault(database_forgotten, BEYOND_THE_LEASE, NEVER_NO, REFUSED | {"TRANSPORT"}),
        marks=pytest.mark.faults,
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.does.__name__)
async def test_on_a_bad_day_nothing_false_is_said_and_the_next_day_is_a_good_one(
    fault: Fault, day: Day
) -> None:
    assert [await day.validated(secret) for secret in (day.live, day.dead)] == [200, 401]

    async with fault.does(day):
        rows = await changes_of(day)
        live, dead = await statuses_for(day, fault.seconds)
        code = await day.created()
        is_changed = await changes_of(day) != rows

    assert live <= fault.live
    assert dead <= {401, 503, None}
    assert code in fault.codes
    assert is_changed is (code == "") or code == "TRANSPORT"
    await assert_is_good(day)


async def changes_of(day: Day) -> dict[str, list[tuple[Any, ...]]]:
    """Return every row, but for what the service goes on with by itself."""
    rows = await fingerprint(day.system.database)
    del rows["outbox_event"]
    return {
        table: [tuple(pair for pair in row if pair[0] not in BY_ITSELF) for row in found]
        for table, found in rows.items()
    }


async def statuses_for(day: Day, seconds: float) -> list[set[int | None]]:
    """Return what is said of the live token and of the dead one in a while."""
    said: dict[str, set[int | None]] = {day.live: set(), day.dead: set()}
    until = boottime() + seconds
    while boottime() < until:
        for secret, statuses in said.items():
            statuses.add(await day.validated(secret))
        await asyncio.sleep(PAUSE_SECONDS)
    return list(said.values())


async def assert_is_good(day: Day) -> None:
    """Fail if the process does not work by itself again, with a revoke that holds."""
    await eventually(partial(is_said, day, day.live, 200), RECOVERY_SECONDS)
    await eventually(partial(creates, day), RECOVERY_SECONDS)
    token_id, secret = await new_token(day.customer)
    assert await day.validated(secret) == 200
    await day.customer.change("revokeToken", token_id)
    await eventually(partial(is_said, day, secret, 401), BOUND_SECONDS)
    assert await day.validated(day.dead) == 401


async def is_said(day: Day, secret: str, status: int) -> bool:
    return await day.validated(secret) == status


async def creates(day: Day) -> bool:
    return await day.created() == ""
