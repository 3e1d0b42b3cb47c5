"""The database's roles that ``deploy/`` makes suffice, and none walks past row-level security."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from pydantic import SecretStr

from service.local.servers import PostgresServer
from service.migration import TABLES, bypasses_row_security, migrate
from service.settings import Settings

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    server = PostgresServer(tmp_path_factory.mktemp("deploy") / "postgres", durable=False)
    server.start()
    yield server
    server.delete()


def run_roles(server: PostgresServer, **addresses: str) -> subprocess.CompletedProcess[str]:
    superuser, password = server.owner_url().split("//")[1].split("@")[0].split(":")
    return subprocess.run(  # noqa: S603 - our own script
        [DEPLOY / "postgres-roles.sh"],
        env={
            "PATH": os.defpath,
            "PGHOST": "127.0.0.1",
            "PGPORT": str(server.port),
            "PGPASSWORD": password,
            "POSTGRES_USER": superuser,
            **addresses,
        },
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.needs("psql")
async def test_the_roles_suffice_for_the_migration_and_only_the_owner_bypasses_row_security(
    postgres: PostgresServer,
) -> None:
    place = f"127.0.0.1:{postgres.port}/deployed"
    application = f"postgres://deployed_app:app_password@{place}"
    owner = f"postgres://deployed_owner:owner_password@{place}"

    ran = run_roles(
        postgres, TOKENWARD_DATABASE_URL=application, TOKENWARD_DATABASE_OWNER_URL=owner
    )

    assert (ran.returncode, ran.stderr) == (0, "")
    await migrate(
        Settings(database_url=SecretStr(application), database_owner_url=SecretStr(owner))
    )
    for address, bypasses in ((application, False), (owner, True)):
        connection = await asyncpg.connect(address)
        try:
            assert await bypasses_row_security(connection) is bypasses
            for table in TABLES:
                assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0  # noqa: S608
        finally:
            await connection.close()
    await run_query_of_the_readme(postgres)


async def run_query_of_the_readme(postgres: PostgresServer) -> None:
    query = re.search(r"```sql\n(.*?)```", (DEPLOY / "README.md").read_text(), re.DOTALL)
    assert query is not None
    connection = await asyncpg.connect(postgres.owner_url("deployed"))
    try:
        assert await connection.fetchval(query[1]) == 0
    finally:
        await connection.close()


@pytest.mark.needs("psql")
def test_the_passwords_of_the_example_are_refused(postgres: PostgresServer) -> None:
    example = (DEPLOY / "env.example").read_text()

    ran = run_roles(
        postgres, **dict(re.findall(r"^(TOKENWARD_DATABASE_.*URL)=(.*)$", example, re.MULTILINE))
    )

    assert ran.returncode == 1
    assert "openssl rand -hex 24" in ran.stderr
