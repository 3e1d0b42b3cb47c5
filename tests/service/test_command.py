"""The command line as its users meet it: a sentence for whatever is in the way, no traceback."""

import json
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from processes import environment
from redis import Redis

from service.migration import TABLES, migrate
from service.settings import Settings, read_settings

ROOT = Path(__file__).parents[2]

PEPPER = "a-pepper-of-this-test-" + "0" * 20
PRODUCTION = {
    "ENVIRONMENT": "production",
    "PEPPERS": f"1:{PEPPER}",
    "PUBLIC_URL": "https://tokens.example.com",
}

COMMANDS = {
    "audit": "Check the audit trail, or take it elsewhere.",
    "beat": "Tell the workers when to run.",
    "check": "Print the settings in force, without secrets.",
    "counts": "Check the counts of tokens, or count anew.",
    "create-operator": "Create the platform's operator, the first account of all.",
    "demo": "Fill an empty database, to try things on.",
    "migrate": "Bring the database to this version's schema.",
    "revoke": "Take away again what a restore has brought back.",
    "run": "Start the whole system on this machine, to develop.",
    "web": "Serve GraphQL, /validate and /introspect.",
    "worker": "Run the background tasks.",
}

OPERATOR = ("create-operator", "--email", "operator@example.com", "--password", "correct horse")
SERVING = [("web",), ("worker",), OPERATOR, ("demo",)]

Ran = subprocess.CompletedProcess[str]


def run(*arguments: str, **settings: str) -> Ran:
    """Run a command to its end, with these settings and none of the tests' own."""
    return subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "service.command", *arguments],
        cwd=ROOT,
        env=environment(**({"smtp_port": "1"} | settings)),  # where nobody listens
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def sentence(ran: Ran, code: int) -> str:
    """Return the one line that a refused command says."""
    assert ran.returncode == code, ran.stderr
    assert ran.stdout == ""
    [line] = ran.stderr.splitlines()
    return line


@pytest.fixture(scope="module")
def redis_url(addresses: list[str]) -> Iterator[str]:
    url = addresses[2].rpartition("/")[0] + "/10"
    yield url
    with Redis.from_url(url) as redis:
        redis.flushdb()


@pytest.fixture
async def servers(
    addresses: list[str], redis_url: str, worker_id: str
) -> AsyncIterator[dict[str, str]]:
    """The addresses of an empty database, and of a Redis."""
    owner_url, app_url, _, _ = addresses
    name = f"command_{worker_id}"
    admin = await asyncpg.connect(owner_url.format(database="postgres"))
    await admin.execute(f"CREATE DATABASE {name}")
    yield {
        "DATABASE_URL": app_url.format(database=name),
        "DATABASE_OWNER_URL": owner_url.format(database=name),
        "REDIS_URL": redis_url,
        "BROKER_URL": redis_url,
    }
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


@pytest.fixture
async def migrated(servers: dict[str, str]) -> dict[str, str]:
    await migrate(
        read_settings(
            database_url=servers["DATABASE_URL"], database_owner_url=servers["DATABASE_OWNER_URL"]
        )
    )
    return servers


@pytest.fixture
async def database(servers: dict[str, str]) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(servers["DATABASE_OWNER_URL"])
    yield connection
    await connection.close()


# What it says of itself -----------------------------------------------------------------------


def test_the_help_tells_every_command_in_a_sentence() -> None:
    ran = run("--help")

    assert ran.returncode == 0
    assert ran.stdout.startswith("Usage: tokenward [OPTIONS] COMMAND [ARGS]...\n")
    listed = ran.stdout.partition("Commands:\n")[2]
    assert dict(re.split(r"\s{2,}", line.strip()) for line in listed.splitlines()) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_begins_with_the_same_sentence(command: str) -> None:
    ran = run(command, "--help")

    assert ran.returncode == 0
    assert ran.stdout.startswith(f"Usage: tokenward {command} [OPTIONS]")
    assert f"\n\n  {COMMANDS[command]}" in ran.stdout


# check ----------------------------------------------------------------------------------------


def test_check_prints_every_setting_and_no_secret() -> None:
    ran = run(
        "check",
        DATABASE_URL="postgres://app:hunter2@db.example/tokenward",
        REDIS_URL="rediss://:hunter2@cache.example:6380/0",
        SMTP_PASSWORD="hunter2",
        **PRODUCTION,
    )

    assert (ran.returncode, ran.stderr) == (0, "")
    told = dict(line.split("=", 1) for line in ran.stdout.splitlines())
    assert list(told) == [f"TOKENWARD_{name.upper()}" for name in Settings.model_fields]
    assert told["TOKENWARD_DATABASE_URL"] == "postgres://app:…@db.example/tokenward"
    assert told["TOKENWARD_REDIS_URL"] == "rediss://:…@cache.example:6380/0"
    assert told["TOKENWARD_PEPPERS"] == told["TOKENWARD_SMTP_PASSWORD"] == "(set)"
    assert "hunter2" not in ran.stdout
    assert PEPPER not in ran.stdout


@pytest.mark.parametrize("command", ["check", "web", "worker", "beat", "migrate", "demo", "run"])
def test_a_senseless_setting_is_one_sentence(command: str) -> None:
    ran = run(command, LEASE_SECONDS="900")

    assert sentence(ran, 1 if command == "run" else 2) == (
        "TOKENWARD_LEASE_SECONDS: Input should be less than or equal to 60"
    )


def test_a_refused_address_is_told_without_its_password() -> None:
    refused = sentence(run("check", DATABASE_URL="mysql://app:hunter2@db.example/tokenward"), 2)

    assert refused.startswith("TOKENWARD_DATABASE_URL: write an address such as postgres://")
    assert "hunter2" not in refused


# What production refuses ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unsafe", "words"),
    [
        ({"PEPPERS": "1:development-only-pepper-never-for-production"}, "development pepper"),
        ({"PUBLIC_URL": "http://tokens.example.com"}, "plain HTTP"),
        ({"REDIS_URL": ""}, "TOKENWARD_REDIS_URL is empty"),
    ],
)
@pytest.mark.parametrize("command", ["check", "web"])
def test_production_refuses_an_unsafe_default(
    command: str, unsafe: dict[str, str], words: str
) -> None:
    urls = {"DATABASE_URL": "postgres://a@h/d", "REDIS_URL": "redis://h/0"}

    assert words in sentence(run(command, **(urls | PRODUCTION | unsafe)), 2)


@pytest.mark.parametrize("command", SERVING[:3], ids=" ".join)
def test_production_refuses_a_role_that_walks_past_row_level_security(
    command: tuple[str, ...], migrated: dict[str, str]
) -> None:
    superuser = {**migrated, "DATABASE_URL": migrated["DATABASE_OWNER_URL"]}

    assert sentence(run(*command, **superuser, **PRODUCTION), 2) == (
        "TOKENWARD_DATABASE_URL names a role that walks past row-level security, the wall between "
        "tenants: name one without SUPERUSER and BYPASSRLS"
    )


def test_production_refuses_a_database_that_forgets_in_a_crash(migrated: dict[str, str]) -> None:
    """As the tests' own does; one that does not is accepted in ``tests/faults/test_crashes.py``."""
    assert sentence(run(*OPERATOR, **migrated, **PRODUCTION), 2) == (
        "TOKENWARD_DATABASE_URL names a server with fsync=off, where a crash undoes revokes that "
        "were acknowledged: switch it on in postgresql.conf"
    )


async def test_production_refuses_the_demo(
    migrated: dict[str, str], database: asyncpg.Connection
) -> None:
    refused = sentence(run("demo", **migrated, **PRODUCTION), 1)

    assert refused == "Error: The demo has well-known passwords: not in production."
    assert await database.fetchval("SELECT count(*) FROM account") == 0


def test_production_refuses_to_migrate_as_the_application(servers: dict[str, str]) -> None:
    refused = sentence(run("migrate", **servers | {"DATABASE_OWNER_URL": ""}, **PRODUCTION), 2)

    assert refused.startswith("TOKENWARD_DATABASE_OWNER_URL is empty: name a server")


# What is in the way ---------------------------------------------------------------------------


@pytest.mark.parametrize("command", [*SERVING, ("migrate",)], ids=" ".join)
def test_without_a_database_nothing_starts(command: tuple[str, ...]) -> None:
    assert sentence(run(*command, REDIS_URL="redis://127.0.0.1/0"), 2) == (
        "TOKENWARD_DATABASE_URL is empty: name a server, or start `tokenward run`, which brings "
        "its own and tells how other commands find them."
    )


@pytest.mark.parametrize("command", [*SERVING, ("beat",)], ids=" ".join)
def test_without_a_redis_nothing_starts(command: tuple[str, ...]) -> None:
    refused = sentence(run(*command, DATABASE_URL="postgres://a@127.0.0.1/d"), 2)

    assert refused.startswith("TOKENWARD_REDIS_URL is empty: name a server")


@pytest.mark.parametrize("command", [*SERVING, ("migrate",)], ids=" ".join)
def test_a_database_that_does_not_answer_is_one_sentence(
    command: tuple[str, ...], redis_url: str
) -> None:
    with socket.socket() as gone:
        gone.bind(("127.0.0.1", 0))  # the port is ours and refuses, for nobody listens
        port = gone.getsockname()[1]
        ran = run(
            *command,
            DATABASE_URL=f"postgres://app:hunter2@127.0.0.1:{port}/tokenward",
            REDIS_URL=redis_url,
        )

    refused = sentence(ran, 1)
    assert refused.startswith("Error: The database cannot be used: ")
    assert str(port) in refused
    assert "hunter2" not in refused


@pytest.mark.parametrize("command", [("web",), ("migrate",)], ids=" ".join)
def test_a_database_that_refuses_the_password_is_one_sentence(
    command: tuple[str, ...], servers: dict[str, str]
) -> None:
    address = urlsplit(servers["DATABASE_URL"])
    url = f"postgres://{address.username}:hunter2@127.0.0.1:{address.port}{address.path}"

    ran = run(*command, **servers | {"DATABASE_URL": url, "DATABASE_OWNER_URL": ""})

    assert sentence(ran, 1) == (
        "Error: The database cannot be used: password authentication failed for user "
        f'"{address.username}"'
    )


@pytest.mark.parametrize("command", [OPERATOR, ("demo",)], ids=" ".join)
def test_a_database_without_a_schema_is_one_sentence(
    command: tuple[str, ...], servers: dict[str, str]
) -> None:
    refused = sentence(run(*command, **servers), 1)

    assert 'relation "account" does not exist' in refused
    assert "tokenward migrate" in refused


def test_a_port_in_use_is_one_sentence(migrated: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        ran = run("web", **migrated, BIND_PORT=str(port))

    assert sentence(ran, 2) == (
        f"Port {port} of 127.0.0.1 cannot be used (Address already in use). "
        "Set TOKENWARD_BIND_PORT to another one."
    )


def test_an_address_of_another_machine_is_one_sentence(migrated: dict[str, str]) -> None:
    ran = run("web", **migrated, BIND_HOST="192.0.2.1", BIND_PORT="8123")

    assert sentence(ran, 2).startswith(
        "Port 8123 of 192.0.2.1 cannot be used (Cannot assign requested address)."
    )


# What fills the database ----------------------------------------------------------------------


async def test_migrating_twice_is_harmless(
    servers: dict[str, str], database: asyncpg.Connection
) -> None:
    first = run("migrate", **servers)
    before = await columns(database)
    assert run(*OPERATOR, **servers).returncode == 0

    second = run("migrate", **servers)

    for ran in (first, second):
        assert (ran.returncode, ran.stderr) == (0, "")
        assert ran.stdout == "The database is at this version's schema.\n"
    assert {row["table_name"] for row in before} >= set(TABLES)
    assert await columns(database) == before
    assert await database.fetchval("SELECT count(*) FROM account") == 1


async def columns(database: asyncpg.Connection) -> list[asyncpg.Record]:
    return await database.fetch(
        "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns"
        " WHERE table_schema = 'public' ORDER BY table_name, ordinal_position"
    )


async def test_a_second_operator_is_refused(
    migrated: dict[str, str], database: asyncpg.Connection
) -> None:
    assert run(*OPERATOR, **migrated).returncode == 0
    before = await database.fetch("SELECT * FROM account, member")

    for email in ("operator@example.com", "another@example.com"):
        ran = run("create-operator", "--email", email, "--password", "correct horse", **migrated)
        assert sentence(ran, 1) == "Error: The platform has its operator already."

    assert await database.fetch("SELECT * FROM account, member") == before
    assert len(before) == 1


async def test_an_operator_with_a_short_password_is_refused(
    migrated: dict[str, str], database: asyncpg.Connection
) -> None:
    ran = run("create-operator", "--email", "o@example.com", "--password", "hunter2", **migrated)

    refused = sentence(ran, 1)
    assert "12" in refused
    assert "hunter2" not in refused
    assert await database.fetchval("SELECT count(*) FROM account") == 0


async def test_the_demo_fills_an_empty_database_once(
    servers: dict[str, str], database: asyncpg.Connection
) -> None:
    first = run("demo", "--migrate", "--json", **servers)
    before = await database.fetch(ALL_TOKENS)
    second = run("demo", "--json", **servers)

    assert (first.returncode, second.returncode) == (0, 0), first.stderr
    told, again = json.loads(first.stdout), json.loads(second.stdout)
    assert [who["email"] for who in told["signIns"]] == [
        *("operator@demo.example", "nordhost@demo.example", "olsen@demo.example")
    ]
    assert told["secret"].startswith("tw_live_")
    assert again == {**told, "secret": None}
    assert await database.fetch(ALL_TOKENS) == before
    kinds = await database.fetch("SELECT kind, count(*) FROM account GROUP BY kind ORDER BY kind")
    assert [tuple(row) for row in kinds] == [("CUSTOMER", 5), ("OPERATOR", 1), ("RESELLER", 2)]
    states = await database.fetch(
        f"SELECT account_id, array_agg(DISTINCT state ORDER BY state) AS states,"  # noqa: S608 - our own words
        f" count(*) FILTER (WHERE soon) AS soon FROM ({ALL_TOKENS}) AS t GROUP BY account_id"
    )
    assert len(states) == 5
    for row in states:
        assert row["states"] == ["ACTIVE", "EXPIRED", "PENDING", "REVOKED", "SUSPENDED"]
        assert row["soon"] == 3


ALL_TOKENS = """
SELECT account_id, id, version,
    revoked_at IS NULL AND expires_at > now() AND expires_at < now() + interval '30 days' AS soon,
    CASE
        WHEN revoked_at IS NOT NULL THEN 'REVOKED'
        WHEN expires_at <= now() THEN 'EXPIRED'
        WHEN suspended_at IS NOT NULL THEN 'SUSPENDED'
        WHEN not_before > now() THEN 'PENDING'
        ELSE 'ACTIVE'
    END AS state
FROM api_token WHERE kind = 'API_TOKEN' ORDER BY id
"""
