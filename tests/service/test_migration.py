"""The schema: migrated up and down with rows in it, by one at a time, known to the last grant."""

# ruff: noqa: E501 - SQL is kept whole

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from tortoise import Tortoise
from tortoise.migrations.autodetector import MigrationAutodetector

from service import migrations
from service.database import tortoise_config
from service.local.servers import APP_ROLE
from service.migration import TABLES, bypasses_row_security
from service.models import Account
from service.settings import Settings

EXPECTED = Path(__file__).with_name("catalogue.txt")
HISTORY = "tortoise_migrations"
MIGRATIONS = len(list(Path(migrations.__file__).parent.glob("0*.py")))

ROWS = """
INSERT INTO account (id, kind, reseller_id, name, grantable_scopes, created_at) VALUES
    ('00000000-0000-0000-0000-000000000001', 'RESELLER', '00000000-0000-0000-0000-000000000001', 'R', '{*}', now()),
    ('00000000-0000-0000-0000-000000000002', 'CUSTOMER', '00000000-0000-0000-0000-000000000001', 'C', '{*}', now());
INSERT INTO member (id, account_id, email, password_hash, created_at)
    SELECT gen_random_uuid(), id, lower(name) || '@example.com', 'none', now() FROM account;
INSERT INTO password_reset (id, account_id, member_id, purpose, created_at, attempts)
    SELECT gen_random_uuid(), account_id, id, 'RESET', now(), 0 FROM member;
INSERT INTO api_token (id, account_id, reseller_id, kind, name, scopes, allowed_ip_ranges, created_at, expires_at, version, member_id)
    SELECT gen_random_uuid(), account_id, reseller_id, 'API_TOKEN', 'T', '{*}', '{}', now(), now() + interval '1 day', 1, id FROM member;
INSERT INTO secret (id, account_id, token_id, digest, pepper_id, prefix, last_four, created_at)
    SELECT gen_random_uuid(), account_id, id, sha256(id::text::bytea), 1, 'tw_live_', 'abcd', now() FROM api_token;
INSERT INTO replay (id, account_id, principal_id, key_digest, request_digest, token_id, sealed_secret, expires_at)
    SELECT gen_random_uuid(), account_id, id, '', '', id, '', now() FROM api_token;
INSERT INTO job (id, account_id, kind, state, parameters, request_digest, total, succeeded, failed, skipped, created_at, due_at, attempts, actor_token_id)
    SELECT gen_random_uuid(), account_id, 'REVOKE', 'QUEUED', '{"reason": "LEAKED"}', '', 1, 0, 0, 0, now(), now(), 0, id FROM api_token;
INSERT INTO job_item (id, account_id, job_id, token_id, state)
    SELECT gen_random_uuid(), account_id, id, actor_token_id, 'PENDING' FROM job;
INSERT INTO notice (id, account_id, token_id, expires_at, threshold_days, recipient, state, created_at, attempts)
    SELECT gen_random_uuid(), account_id, id, expires_at, 1, 'c@example.com', 'PENDING', now(), 0 FROM api_token;
INSERT INTO audit_event (id, account_id, occurred_at, action, subject_id, details)
    SELECT gen_random_uuid(), account_id, now(), 'token.created', id, '{}' FROM api_token;
INSERT INTO policy (id, account_id, reseller_id, level, requires_address_limits, allows_delegation, changed_at, version)
    SELECT gen_random_uuid(), id, reseller_id, 'PLATFORM', true, true, now(), 1 FROM account;
INSERT INTO scope_template (id, account_id, reseller_id, name, scopes, created_at, version)
    SELECT gen_random_uuid(), id, reseller_id, 'T', '{*}', now(), 1 FROM account;
INSERT INTO outbox_event (id, account_id, kind, subject, created_at, due_at, stage)
    SELECT gen_random_uuid(), account_id, 'TOKEN', '00', now(), now(), 0 FROM api_token;
"""

# One line per fact, sorted within its kind, so that a difference reads as what changed.
CATALOGUE = {
    "table": """
        SELECT relname || CASE WHEN relrowsecurity THEN ' ROW SECURITY' ELSE '' END
            || CASE WHEN relforcerowsecurity THEN ' FORCED' ELSE '' END
        FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v', 'm', 'p', 'S')
    """,
    "column": """
        SELECT c.relname || '.' || lpad(a.attnum::text, 2, '0') || ' ' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
            || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END
            || coalesce(' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), '')
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
    """,
    "constraint": """
        SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid)
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 'n'
    """,
    "index": "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "policy": """
        SELECT tablename || ' ' || policyname || ' ' || permissive || ' ' || cmd || ' TO ' || roles::text
            || ' USING ' || coalesce(qual, '-') || ' CHECK ' || coalesce(with_check, '-')
        FROM pg_policies WHERE schemaname = 'public'
    """,
    "trigger": "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
    "function": """
        SELECT pg_get_functiondef(oid)
        FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    """,
    "right": """
        SELECT table_name || ': ' || string_agg(privilege_type, ', ' ORDER BY privilege_type) || ' TO ' || grantee
        FROM information_schema.role_table_grants WHERE table_schema = 'public' AND grantee <> 'tokenward_owner'
        GROUP BY table_name, grantee
        UNION ALL
        SELECT routine_name || ': ' || privilege_type || ' TO ' || grantee
        FROM information_schema.role_routine_grants WHERE specific_schema = 'public' AND grantee <> 'tokenward_owner'
    """,
}


async def catalogue(connection: asyncpg.Connection) -> str:
    """Return what the database holds besides rows, as text to be read and compared."""
    lines = []
    for kind, query in CATALOGUE.items():
        found = [" ".join(row[0].split()) for row in await connection.fetch(query)]
        lines += [f"{kind} {fact}" for fact in sorted(found) if HISTORY not in fact]
    return "\n".join(lines) + "\n"


@pytest.fixture
async def fresh(owner: asyncpg.Connection, settings: Settings) -> AsyncIterator[Settings]:
    """An empty database of the test's own."""
    name = settings.database_url.get_secret_value().rpartition("/")[2] + "_migration"
    await owner.execute(f"CREATE DATABASE {name}")
    urls = {
        field: getattr(settings, field).get_secret_value().rpartition("/")[0] + f"/{name}"
        for field in ("database_url", "database_owner_url")
    }
    yield settings.model_copy(
        update={field: type(settings.database_url)(url) for field, url in urls.items()}
    )
    await owner.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def there(fresh: Settings) -> AsyncIterator[asyncpg.Connection]:
    """A connection of that database's owner."""
    connection = await asyncpg.connect(fresh.database_owner_url.get_secret_value())
    yield connection
    await connection.close()


async def migrate(settings: Settings, *arguments: str) -> None:
    """Run ``tokenward migrate``; in a process of its own, as it closes Tortoise at its end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service.command", "migrate", *arguments),
        env={
            "PATH": os.defpath,
            "TOKENWARD_DATABASE_URL": settings.database_url.get_secret_value(),
            "TOKENWARD_DATABASE_OWNER_URL": settings.database_owner_url.get_secret_value(),
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told, _ = await process.communicate()
    assert process.returncode == 0, told.decode()


async def counts(connection: asyncpg.Connection) -> list[int]:
    return [await connection.fetchval(f"SELECT count(*) FROM {table}") for table in TABLES]  # noqa: S608 - our own names


async def test_the_schema_goes_up_and_down_and_up_again_with_rows_in_it(
    fresh: Settings, there: asyncpg.Connection
) -> None:
    empty = await catalogue(there)
    await migrate(fresh)
    migrated = await catalogue(there)
    await there.execute(ROWS)
    assert await counts(there) == [2] * len(TABLES)

    await migrate(fresh)
    assert await counts(there) == [2] * len(TABLES)
    await migrate(fresh, "--target", "service.__first__")
    assert await catalogue(there) == empty
    await migrate(fresh)

    assert await catalogue(there) == migrated
    await there.execute(ROWS)
    assert await counts(there) == [2] * len(TABLES)


async def test_migrations_that_start_together_queue(
    fresh: Settings, there: asyncpg.Connection
) -> None:
    await asyncio.gather(*(migrate(fresh) for _ in range(3)))

    applied = await there.fetchval(f"SELECT count(*) FROM {HISTORY}")  # noqa: S608 - our own name
    assert applied == MIGRATIONS
    assert await there.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0


async def test_the_migrated_schema_is_the_expected_one(
    owner: asyncpg.Connection, tmp_path: Path
) -> None:
    found = await catalogue(owner)

    actual = tmp_path / "catalogue.txt"
    actual.write_text(found)
    assert found == EXPECTED.read_text(), (
        f"If the change is meant, renew the expectation: cp {actual} {EXPECTED}"
    )


async def test_the_application_does_not_walk_past_the_wall(
    owner: asyncpg.Connection, settings: Settings
) -> None:
    app = await asyncpg.connect(settings.database_url.get_secret_value())
    try:
        assert await app.fetchval("SELECT current_user") == APP_ROLE
        assert await bypasses_row_security(app) is False
        assert await bypasses_row_security(owner) is True
    finally:
        await app.close()


def detector(settings: Settings) -> MigrationAutodetector:
    config = tortoise_config(settings.database_url.get_secret_value(), pool_size=1)
    assert Tortoise.apps is not None
    return MigrationAutodetector(Tortoise.apps, config["apps"])


async def test_no_model_has_changed_without_a_migration(
    settings: Settings,
    opened: None,  # noqa: ARG001 - loads the models
) -> None:
    assert await detector(settings).changes() == []


async def test_a_model_that_changes_without_a_migration_is_noticed(
    settings: Settings,
    opened: None,  # noqa: ARG001 - loads the models
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The control of the test above."""
    monkeypatch.setattr(Account._meta.fields_map["name"], "max_length", 101)  # noqa: SLF001 - Tortoise's own name

    assert len(await detector(settings).changes()) == 1
