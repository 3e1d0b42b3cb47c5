"""``make bench``: measure everything once, or what is named, and print one table."""

import asyncio
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path

import asyncpg
import click
from api_creates import measure_creates
from api_documents import measure_documents
from api_lists import measure_lists
from bench_scene import Scene, Sizes, make_scene
from database_load import measure_database
from fleet_pages import measure_fleet
from http_rates import measure_http
from in_process import measure_checks
from load import generator
from measured import Measured, table
from memory import measure_memory
from revocation import measure_revocations

from service.composition import open_service
from service.local.servers import PostgresServer, ValkeyServer
from service.logs import configure_logs
from service.migration import migrate
from service.settings import Settings, read_settings

PACKAGES = ("uvicorn", "uvloop", "httptools", "redis", "hiredis", "asyncpg")

MEASUREMENTS: dict[str, Callable[[Scene], Awaitable[list[Measured]]]] = {
    "checks": measure_checks,
    "http": measure_http,
    "memory": measure_memory,
    "database": measure_database,
    "fleet": measure_fleet,
    "documents": measure_documents,
    "lists": measure_lists,
    "creates": measure_creates,
    "revocations": measure_revocations,  # last: the others want every token to be valid
}


def main() -> None:
    """Start the servers, measure, and leave nothing behind."""
    directory = Path(tempfile.mkdtemp(prefix="tokenward-bench-"))
    postgres = PostgresServer(directory / "postgres")
    valkey = ValkeyServer(directory / "valkey")
    try:
        postgres.start()
        valkey.start()
        settings = read_settings(
            environment="test",
            database_url=postgres.app_url(),
            database_owner_url=postgres.owner_url(),
            redis_url=valkey.url,
            log_level="WARNING",
        )
        configure_logs(settings)
        asyncio.run(_run(settings, directory))
    finally:
        valkey.delete()
        postgres.delete()
        shutil.rmtree(directory, ignore_errors=True)


async def _run(settings: Settings, directory: Path) -> None:
    began = time.monotonic()
    await migrate(settings)
    click.echo(_machine())
    async with open_service(settings) as service:
        owner = await asyncpg.connect(settings.database_owner_url.get_secret_value())
        scene = await make_scene(service, owner, directory, Sizes())
        await owner.close()
        lines: list[Measured] = []
        for name, measure in MEASUREMENTS.items():
            if name in sys.argv[1:] or not sys.argv[1:]:
                click.echo(f"{name} …", err=True)
                lines += await measure(scene)
    click.echo(table(lines))
    click.echo(f"In {time.monotonic() - began:.0f} s.")


def _machine() -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"{os.cpu_count()} CPUs, Python {platform.python_version()}, {versions};"
        f" load by {generator()}; load average before {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    main()
