"""Bring a database to this version's schema, by one process at a time."""

import asyncpg
from tortoise.context import TortoiseContext
from tortoise.migrations.api import migrate as run_migrations

from service.database import tortoise_config
from service.settings import Settings

ADVISORY_LOCK = 0x746F6B656E  # "token"; two migrations at once would both create the history table

FUNCTIONS = (
    "credential_by_digest(bytea)",
    "reseller_caps(uuid)",
    "event_actor(uuid)",
    "require_credential(uuid, uuid, timestamptz, inet, text[])",
    "forget_canaries(timestamptz)",
    "policy_levels(uuid)",
    "templates_for(uuid)",
)
TABLES = (
    "account",
    "member",
    "password_reset",
    "api_token",
    "secret",
    "replay",
    "job",
    "job_item",
    "notice",
    "audit_event",
    "policy",
    "scope_template",
    "outbox_event",
)
COUNTED = ("token_count", "token_total")
"""Tables that triggers keep: the application may read them, and writes none of it."""
FORGETTABLE = {"outbox_event", "replay", "password_reset", "scope_template", "job"}
"""Tables whose rows the application may delete; of the others none ever goes."""
SEAL = "position, sequence, hash"
"""All that the application may write of an event that is there; a trigger lets it do so once."""

_HAS_SEAL = (
    "SELECT count(*) FROM information_schema.columns"
    " WHERE table_name = 'audit_event' AND column_name = 'hash'"
)


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
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname = ANY($1)",
            TABLES + COUNTED,
        )
    }
    quoted = '"' + role.replace('"', '""') + '"'
    for table in sorted(existing):
        await connection.execute(f"GRANT {', '.join(_rights(table))} ON {table} TO {quoted}")
    if await connection.fetchval(_HAS_SEAL):
        await connection.execute(f"GRANT UPDATE ({SEAL}) ON audit_event TO {quoted}")
    for function in FUNCTIONS:
        if await connection.fetchval("SELECT to_regprocedure($1)", function) is not None:
            await connection.execute(f"GRANT EXECUTE ON FUNCTION {function} TO {quoted}")


def _rights(table: str) -> list[str]:
    """Return what the application may do with the rows of a table."""
    if table in COUNTED:
        return ["SELECT"]
    may = {
        "SELECT": True,
        "INSERT": True,
        "UPDATE": table != "audit_event",
        "DELETE": table in FORGETTABLE,
    }
    return [right for right, is_given in may.items() if is_given]


async def bypasses_row_security(connection: asyncpg.Connection) -> bool:
    """Return whether a connection's role walks past row-level security.

    A superuser does, a role with BYPASSRLS, and the tables' owner with the members of its role.
    """
    return not await connection.fetchval("SELECT row_security_active('api_token')")
