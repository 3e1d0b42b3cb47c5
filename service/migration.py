"""Bring a database to this version's schema, by one process at a time."""

import asyncpg
from tortoise.context import TortoiseContext
from tortoise.migrations.api import migrate as run_migrations

from service.database import tortoise_config
from service.settings import Settings

ADVISORY_LOCK = 0x746F6B656E  # "token"; two migrations at once would both create the history table

FUNCTIONS = ("credential_by_digest(bytea)", "reseller_caps(uuid)", "forget_canaries(timestamptz)")
TABLES = (
    "account",
    "member",
    "api_token",
    "secret",
    "replay",
    "notice",
    "audit_event",
    "outbox_event",
)
FORGETTABLE = {"outbox_event", "replay"}
"""Tables whose rows the application may delete; of the others none ever goes."""


async def migrate(settings: Settings, *, target: str | None = None) -> None:
    """Run what is missing as the owning role, then grant the application role what it needs.

    Harmless to repeat. Several may start at once: they queue on an advisory lock.

    Args:
        settings: Names the database, its owner and the application role.
        target: A migration such as ``service.0001_initial`` to go to; None means the newest.
    """
    url = (settings.database_owner_url or settings.database_url).get_secret_value()
    url = url or settings.database_url.get_secret_value()
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", ADVISORY_LOCK)
        config = tortoise_config(url, pool_size=1)
        # A migration may take as long as the table is large.
        config["connections"]["default"]["credentials"] |= {
            "command_timeout": None,
            "server_settings": {"timezone": "UTC"},
        }
        # A context of its own, closed at its end: what the process has open stays as it is.
        async with TortoiseContext():
            await run_migrations(config=config, target=target)
        await grant(connection, settings.application_role)
    finally:
        await connection.close()


async def grant(connection: asyncpg.Connection, role: str) -> None:
    """Give the application role its rights: no DDL, no TRUNCATE, no rewriting of the audit trail.

    Args:
        connection: A connection of the owner.
        role: The application role; it exists.
    """
    existing = {
        row["relname"]
        for row in await connection.fetch(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname = ANY($1)", TABLES
        )
    }
    quoted = '"' + role.replace('"', '""') + '"'
    for table in TABLES:
        if table not in existing:
            continue
        await connection.execute(f"GRANT SELECT, INSERT ON {table} TO {quoted}")
        if table != "audit_event":
            await connection.execute(f"GRANT UPDATE ON {table} TO {quoted}")
    for table in FORGETTABLE & existing:
        await connection.execute(f"GRANT DELETE ON {table} TO {quoted}")
    for function in FUNCTIONS:
        if await connection.fetchval("SELECT to_regprocedure($1)", function) is not None:
            await connection.execute(f"GRANT EXECUTE ON FUNCTION {function} TO {quoted}")


async def bypasses_row_security(connection: asyncpg.Connection) -> bool:
    """Return whether a connection's role walks past row-level security.

    A superuser does, a role with BYPASSRLS, and the tables' owner with the members of its role.
    """
    return not await connection.fetchval("SELECT row_security_active('api_token')")
