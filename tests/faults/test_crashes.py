"""What was acknowledged is there after a crash of the database.

A process that is killed takes what it had not handed to the system with it, and that is all that
these tests lose: they do not show that the disk keeps what the system was given. For that there is
``fsync``, which production insists on.
"""

import asyncio
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import UUID

import asyncpg
import pytest
from conftest import FrozenClock
from factories import Platform, make_token
from pool_scene import opened_pool, service_over
from pydantic import SecretStr
from stack import signal_postgres

from service.access.actor import EVERYTHING
from service.composition import Service, check_database
from service.errors import SettingsRefused, Unavailable
from service.local.servers import APP_ROLE, PostgresServer
from service.migration import migrate
from service.settings import Settings, read_settings

ROUNDS = 40
AT_ONCE = 4
FORGETFUL = f"ALTER ROLE {APP_ROLE} SET synchronous_commit = off"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A PostgreSQL that keeps what it commits, and whose role would rather not."""
    server = PostgresServer(tmp_path_factory.mktemp("crashes") / "postgres")
    server.start()
    try:
        asyncio.run(migrate(settings_of(server, read_settings())))
        asyncio.run(_execute(server, FORGETFUL))
        yield server
    finally:
        server.delete()


async def _execute(server: PostgresServer, *statements: str) -> None:
    connection = await asyncpg.connect(server.owner_url())
    try:
        for statement in statements:  # ALTER SYSTEM runs in no transaction
            await connection.execute(statement)
    finally:
        await connection.close()


def settings_of(server: PostgresServer, settings: Settings, **changes: object) -> Settings:
    urls = {
        "database_url": SecretStr(server.app_url()),
        "database_owner_url": SecretStr(server.owner_url()),
    }
    return settings.model_copy(update=urls | changes)


def test_a_commit_waits_for_the_log_although_the_role_would_not(
    server: PostgresServer, settings: Settings
) -> None:
    async def commit() -> tuple[str, bool]:
        async with opened_pool(settings_of(server, settings)) as pool:
            async with pool.transaction(EVERYTHING.opening()) as connection:
                await connection.execute_query(
                    "INSERT INTO account (id, kind, name, grantable_scopes, created_at)"
                    " VALUES (gen_random_uuid(), 'CUSTOMER', 'x', '{}', now())"
                )
                [row] = await connection.execute_query_dict("SELECT pg_current_wal_insert_lsn()")
            told = "SELECT current_setting('synchronous_commit') AS how, pg_current_wal_flush_lsn()"
            [found] = await pool.execute_query_dict(f"{told} >= $1 AS is_flushed", [*row.values()])
        return found["how"], found["is_flushed"]

    assert asyncio.run(commit()) == ("on", True)


def test_production_refuses_a_server_that_loses_commits_in_a_crash(
    server: PostgresServer, settings: Settings
) -> None:
    async def checked() -> None:
        await check_database(production)
        for name in ("fsync", "full_page_writes"):
            await _execute(server, f"ALTER SYSTEM SET {name} = off", "SELECT pg_reload_conf()")
            await is_set(server, name, "off")
            with pytest.raises(SettingsRefused, match=f"{name}=off"):
                await check_database(production)
            await check_database(production.model_copy(update={"environment": "development"}))
            await _execute(server, f"ALTER SYSTEM RESET {name}", "SELECT pg_reload_conf()")
            await is_set(server, name, "on")
        await check_database(production)

    production = settings_of(server, settings, environment="production")
    asyncio.run(checked())


async def is_set(server: PostgresServer, name: str, value: str) -> None:
    """Wait until new connections find a setting so; the server reads its files when it likes."""
    async with asyncio.timeout(5):
        while True:
            connection = await asyncpg.connect(server.owner_url())
            found = await connection.fetchval("SELECT current_setting($1)", name)
            await connection.close()
            if found == value:
                return


@dataclass
class Acknowledged:
    """What was acknowledged over all crashes."""

    revoked: set[UUID] = field(default_factory=set)
    unknown: int = 0


@pytest.mark.faults
def test_no_acknowledged_revoke_is_lost_when_the_database_is_killed(
    server: PostgresServer, settings: Settings
) -> None:
    seen, clock = Acknowledged(), FrozenClock()
    platform = asyncio.run(_people(settings_of(server, settings), clock))

    for _ in range(ROUNDS):
        asyncio.run(_round(server, settings_of(server, settings), clock, platform, seen))
        server.stop()
        server.start()
        asyncio.run(_all_there(server, seen))

    assert len(seen.revoked) >= ROUNDS
    print(f"acknowledged: {len(seen.revoked)}, outcome unknown: {seen.unknown}")  # noqa: T201 - for the record


async def _people(settings: Settings, clock: FrozenClock) -> Platform:
    async with service_over(settings, clock) as service:
        return await Platform.make(service)


async def _round(
    server: PostgresServer,
    settings: Settings,
    clock: FrozenClock,
    platform: Platform,
    seen: Acknowledged,
) -> None:
    """Revoke some tokens at once, and kill the database as soon as the first is acknowledged."""
    async with service_over(settings, clock) as service:
        made = [(await make_token(service, platform.customer)).token.id for _ in range(AT_ONCE)]
        revoking = {asyncio.create_task(_revoke(service, platform, one, seen)) for one in made}
        await asyncio.wait(revoking, return_when=asyncio.FIRST_COMPLETED)
        signal_postgres(server, signal.SIGKILL)
        await asyncio.wait(revoking)
        for task in revoking:
            task.result()


async def _revoke(service: Service, platform: Platform, token_id: UUID, seen: Acknowledged) -> None:
    try:
        await service.tokens.revoke(platform.customer, token_id)
    except Unavailable:
        seen.unknown += 1
    else:
        seen.revoked.add(token_id)


async def _all_there(server: PostgresServer, seen: Acknowledged) -> None:
    owner = await asyncpg.connect(server.owner_url())
    try:
        query = "SELECT id FROM api_token WHERE revoked_at IS NOT NULL"
        there = {row["id"] for row in await owner.fetch(query)}
        told = "SELECT subject_id FROM audit_event WHERE action = 'token.revoked'"
        assert {row["subject_id"] for row in await owner.fetch(told)} == there
        assert seen.revoked <= there
    finally:
        await owner.close()
