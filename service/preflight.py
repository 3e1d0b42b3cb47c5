"""What is looked at before a process serves: better one sentence now than a traceback later."""

import os
import socket

import asyncpg

from service.errors import SettingsRefused
from service.settings import Settings


def require(settings: Settings, *names: str) -> None:
    """Make sure that servers are named, because drivers guess where they are not.

    Raises:
        SettingsRefused: If one is not.
    """
    for name in names:
        if not getattr(settings, name).get_secret_value():
            raise SettingsRefused(
                f"TOKENWARD_{name.upper()} is empty: name a server, or start `tokenward run`, "
                "which brings its own and tells how other commands find them."
            )


async def check_durability(connection: asyncpg.Connection) -> None:
    """Make sure that a database keeps what it has committed, also where it crashes.

    Whether a single commit waits for the disk is asked for by each connection.

    Raises:
        SettingsRefused: If it is set not to.
    """
    query = "SELECT name FROM pg_settings WHERE name = ANY($1) AND setting = 'off' ORDER BY name"
    for row in await connection.fetch(query, ["fsync", "full_page_writes"]):
        raise SettingsRefused(
            f"TOKENWARD_DATABASE_URL names a server with {row['name']}=off, where a crash undoes "
            "revokes that were acknowledged: switch it on in postgresql.conf"
        )


def check_port(host: str, port: int) -> None:
    """Make sure that a port of this machine is free.

    Raises:
        SettingsRefused: If it cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as refused:
        # Of a name that does not resolve the number is another library's.
        reason = refused.strerror if isinstance(refused, socket.gaierror) else _words(refused)
        raise SettingsRefused(
            f"Port {port} of {host} cannot be used ({reason}). "
            "Set TOKENWARD_BIND_PORT to another one."
        ) from None


def _words(failure: OSError) -> str:
    # create_server adds the address to its strerror, which the sentence tells anyway.
    return os.strerror(failure.errno or 0)
