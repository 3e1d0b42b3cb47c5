"""A pool of the service's own kind on another server than the tests', and the use cases over it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from conftest import composed
from tortoise.context import TortoiseContext

from service import database
from service.clock import Clock
from service.composition import Service
from service.database import CONNECTION, PostgresClient, tortoise_config
from service.settings import Settings


@asynccontextmanager
async def opened_pool(settings: Settings, *, size: int = 5) -> AsyncIterator[PostgresClient]:
    """Open a process's pool; at the end nobody waits for what the server does with it."""
    url = settings.database_url.get_secret_value()
    config = tortoise_config(url, pool_size=size)["connections"][CONNECTION]
    client = PostgresClient(connection_name=CONNECTION, **config["credentials"])
    async with TortoiseContext():
        await client.create_connection(with_db=True)
        try:
            yield client
        finally:
            assert client._pool is not None  # noqa: SLF001 - Tortoise has no public name
            client._pool.terminate()  # noqa: SLF001 - as above


@asynccontextmanager
async def service_over(settings: Settings, clock: Clock) -> AsyncIterator[Service]:
    """Put the use cases together over the server that settings name, in place of the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        async with opened_pool(settings) as client, composed(settings, clock) as service:
            patch.setattr(database, "get_connection", lambda _: client)
            yield service
