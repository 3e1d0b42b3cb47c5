"""Real servers for the suite: one PostgreSQL and one Valkey, a copy of the database per worker."""

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import asyncpg
import httpx2
import pytest
from factories import Platform
from redis.asyncio import Redis

from schema.root import build_schema
from service.app import create_app
from service.cache import open_cache
from service.clock import Clock
from service.composition import Service, compose
from service.database import connected
from service.local.servers import PostgresServer, ValkeyServer
from service.migration import COUNTED, TABLES, migrate
from service.passwords import Passwords
from service.settings import Settings, read_settings
from service.validator import Validator, open_validator

GraphQL = Callable[..., Awaitable[dict[str, Any]]]

pytest.register_assert_rewrite("forward_auth_promises")

TEMPLATE = "tokenward_template"
ADDRESSES = "TESTS_ADDRESSES"
EMPTYINGS_MAX = 5
SCANNERS = Path(__file__).parents[1] / "build/attackers/bin"  # .ci/run puts them there
CI = "CI"
WITHOUT = "TESTS_WITHOUT"  # .ci/run names the programs there that it could not install

_servers: list[PostgresServer | ValkeyServer] = []


def pytest_configure(config: pytest.Config) -> None:
    """Start the servers once, in the process that hands out the work."""
    if hasattr(config, "workerinput"):
        return
    for name in [name for name in os.environ if name.startswith("TOKENWARD_")]:  # noqa: TID251 - a developer's own settings must not reach the tests
        del os.environ[name]  # noqa: TID251 - as above
    directory = Path(tempfile.mkdtemp(prefix="tokenward-tests-"))
    config.add_cleanup(lambda: shutil.rmtree(directory, ignore_errors=True))
    postgres = PostgresServer(directory / "postgres", durable=False)
    valkey = ValkeyServer(directory / "valkey", durable=False)
    for server in (postgres, valkey):
        _servers.append(server)
        server.start()
    asyncio.run(_make_template(postgres))
    os.environ[ADDRESSES] = " ".join(  # noqa: TID251 - the workers are children and inherit it
        [
            postgres.owner_url("{database}"),
            postgres.app_url("{database}"),
            valkey.url,
            str(directory),
        ]
    )


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the servers and remove their data."""
    if not hasattr(config, "workerinput"):
        while _servers:
            _servers.pop().delete()


async def _make_template(postgres: PostgresServer) -> None:
    owner = await asyncpg.connect(postgres.owner_url("postgres"))
    await owner.execute(f"CREATE DATABASE {TEMPLATE}")
    await owner.close()
    await migrate(
        read_settings(
            database_url=postgres.app_url(TEMPLATE), database_owner_url=postgres.owner_url(TEMPLATE)
        )
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose program is missing, and say so loudly; a build server must know of it."""
    for marker in item.iter_markers("needs"):
        program = marker.args[0]
        own = f"{Path(sys.executable).parent}:{SCANNERS}"
        places = f"{own}:{os.defpath}:/usr/sbin:/sbin:/usr/local/bin"
        if shutil.which(program, path=places) is None:
            known = os.environ.get(WITHOUT, "").split()  # noqa: TID251 - the build server's word
            if CI in os.environ and program not in known:  # noqa: TID251 - as above
                pytest.fail(f"MISSING PROGRAM, and {WITHOUT} does not name it: {program}")
            pytest.skip(f"MISSING PROGRAM: {program}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell at the very end what was not tested for want of a program."""
    missing = [
        (report.nodeid, report.longrepr[2])
        for report in terminalreporter.stats.get("skipped", [])
        if isinstance(report.longrepr, tuple) and "MISSING PROGRAM" in report.longrepr[2]
    ]
    if missing:
        terminalreporter.section("NOT TESTED: programs are missing", red=True, bold=True)
        for nodeid, reason in missing:
            terminalreporter.write_line(f"{nodeid}: {reason.removeprefix('Skipped: ')}", red=True)


class FrozenClock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        # A whole second in the future of every file and certificate, the same in each run.
        self._now = datetime(2030, 1, 15, 12, 0, tzinfo=UTC)

    def now(self) -> datetime:
        """Return the instant it stands at."""
        return self._now

    def advance(self, **span: float) -> None:
        """Move on by a timedelta's arguments."""
        self._now += timedelta(**span)


@pytest.fixture(scope="session")
def addresses() -> list[str]:
    """Owner URL, application URL (both with {database}), Redis URL, directory of the servers."""
    return os.environ[ADDRESSES].split(" ")  # noqa: TID251 - written by pytest_configure


@pytest.fixture(scope="session")
async def settings(addresses: list[str], worker_id: str) -> Settings:
    """The settings of this worker: a database of its own, a Redis database of its own."""
    owner_url, app_url, redis_url, _ = addresses
    database = f"tokenward_{worker_id}"
    owner = await asyncpg.connect(owner_url.format(database="postgres"))
    await owner.execute(f"CREATE DATABASE {database} TEMPLATE {TEMPLATE}")
    await owner.close()
    number = 2 * int(worker_id.removeprefix("gw") if worker_id.startswith("gw") else 0)
    return read_settings(
        environment="test",
        database_url=app_url.format(database=database),
        database_owner_url=owner_url.format(database=database),
        redis_url=redis_url.rpartition("/")[0] + f"/{number}",
        broker_url=redis_url.rpartition("/")[0] + f"/{number + 1}",
    )


@pytest.fixture(scope="session")
async def opened(settings: Settings) -> AsyncIterator[None]:
    """Tortoise's pool, opened once per worker."""
    async with connected(settings):
        yield


@pytest.fixture(scope="session")
async def owner(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the tables' owner, to look behind the door and to clean up."""
    connection = await asyncpg.connect(settings.database_owner_url.get_secret_value())
    yield connection
    await connection.close()


@pytest.fixture(scope="session", autouse=True)
def one_schema() -> Iterator[None]:
    """Each schema built once per worker: it knows of no test, and takes longer than many."""
    built: dict[str, Any] = {}

    def build_once(**wanted: Any) -> Any:
        known = repr(wanted)
        if known not in built:
            built[known] = build_schema(**wanted)
        return built[known]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("schema.endpoint.build_schema", build_once)
        yield


@pytest.fixture
def clock() -> FrozenClock:
    """The time of this test."""
    return FrozenClock()


async def empty(owner: asyncpg.Connection, settings: Settings) -> None:
    """Empty Redis and the database, the latter as TRUNCATE would, which takes ten times as long."""
    for _ in range(EMPTYINGS_MAX - 1):
        # Whatever the test before left under way takes its locks in an order of its own.
        with suppress(asyncpg.DeadlockDetectedError):
            await _empty_database(owner)
            break
    else:
        await _empty_database(owner)
    await empty_redis(settings)


async def _empty_database(owner: asyncpg.Connection) -> None:
    tables = (*TABLES, *COUNTED)
    written = "SELECT name FROM unnest($1::text[]) name WHERE pg_relation_size(name::regclass) > 0"
    async with owner.transaction():
        # What was under way ends first.
        await owner.execute(f"LOCK TABLE {', '.join(tables)}")
        names = [row["name"] for row in await owner.fetch(written, tables)]
        # The trail's guard refuses DELETE, and keys want an order: a superuser is beyond both.
        statements = ["SET LOCAL session_replication_role = replica"]
        statements += [f"DELETE FROM {name}" for name in names]  # noqa: S608 - our own names
        await owner.execute("; ".join(statements))
    if names:  # their pages go as well: the next test's rows stand in the order it writes them
        how = "TRUNCATE, INDEX_CLEANUP ON, PROCESS_TOAST OFF, SKIP_DATABASE_STATS"
        await owner.execute(f"VACUUM ({how}) {', '.join(names)}")


async def empty_redis(settings: Settings) -> None:
    """Empty this worker's two databases of Redis, through one connection."""
    of_broker = int(settings.broker_url.get_secret_value().rpartition("/")[2])
    async with (
        Redis.from_url(settings.redis_url.get_secret_value()) as redis,
        redis.pipeline(transaction=False) as both,
    ):
        both.flushdb()
        both.select(of_broker)
        both.flushdb()
        await both.execute()


@asynccontextmanager
async def composed(settings: Settings, clock: Clock) -> AsyncIterator[Service]:
    """Put the use cases together over an open cache."""
    async with open_cache(settings) as cache:
        # A hash as cheap as Argon2 allows: it is the library's strength, not what is tested here.
        yield compose(settings, cache, clock, passwords=Passwords(passes=1, memory_kibibytes=8))


@asynccontextmanager
async def served(
    settings: Settings, service: Service, validator: Validator
) -> AsyncIterator[httpx2.AsyncClient]:
    """Open the web process' application, called without a socket from 192.0.2.7."""
    app = create_app(settings)
    app.open(service, validator)
    transport = httpx2.ASGITransport(app=app, client=("192.0.2.7", 40_000))
    async with httpx2.AsyncClient(transport=transport, base_url=settings.public_url) as client:
        yield client


@pytest.fixture
async def clean(owner: asyncpg.Connection, settings: Settings) -> None:
    """An empty database and an empty Redis."""
    await empty(owner, settings)


@pytest.fixture
async def service(
    settings: Settings,
    opened: None,  # noqa: ARG001 - comes first
    clean: None,  # noqa: ARG001 - comes first
    clock: Clock,
) -> AsyncIterator[Service]:
    """Every use case over a clean database."""
    async with composed(settings, clock) as service:
        yield service


@pytest.fixture
async def validator(settings: Settings, service: Service) -> AsyncIterator[Validator]:
    """A validator of this worker's."""
    async with open_validator(settings, clock=service.clock) as opened_validator:
        yield opened_validator


@pytest.fixture
async def http(
    settings: Settings, service: Service, validator: Validator
) -> AsyncIterator[httpx2.AsyncClient]:
    """The web process' application, called without a socket from 192.0.2.7."""
    async with served(settings, service, validator) as client:
        yield client


@pytest.fixture
def graphql(http: httpx2.AsyncClient) -> GraphQL:
    """Run one operation: ``await graphql(query, secret=secret, variable=value)``."""
    return asking(http)


def asking(http: httpx2.AsyncClient) -> GraphQL:
    """Return what runs one operation."""

    async def run(query: str, *, secret: str | None = None, **variables: Any) -> dict[str, Any]:
        headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
        answer = await http.post(
            "/graphql", json={"query": query, "variables": variables}, headers=headers
        )
        assert answer.status_code == 200, answer.text
        told = cast(dict[str, Any], answer.json())
        told.pop("extensions", None)  # what it cost, and what is left: tests/schema/test_cost.py
        return told

    return run


@pytest.fixture
async def platform(service: Service) -> Platform:
    """An operator, two resellers and three customers, each with somebody signed in."""
    return await Platform.make(service)
