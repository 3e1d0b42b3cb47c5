"""Connections to PostgreSQL: one engine, transactions that survive cancellation, migrations.

This module is itself the engine that Tortoise loads (``client_class`` below).
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

import asyncpg
from tortoise import Tortoise
from tortoise.backends.asyncpg.client import AsyncpgDBClient, TransactionWrapper
from tortoise.backends.base.client import (
    TransactionalDBClient,
    TransactionContext,
    TransactionContextPooled,
)
from tortoise.connection import get_connection, get_connections

from service.liveness import Liveness, Watch
from service.settings import Settings

CONNECTION = "default"
STATEMENT_TIMEOUT_SECONDS = 10
LOCK_TIMEOUT_SECONDS = 5
CLOSE_SECONDS_MAX = 3
ROLLBACK_SECONDS_MAX = 2
RELEASE_SECONDS_MAX = 1


class OutcomeUnknown(Exception):
    """The connection was lost at a commit, which may have been made."""


class CancellationSafe(TransactionContextPooled):
    """A transaction that gives its connection back also when it is cancelled while it begins.

    Tortoise 1.1.9 keeps it for ever: a pool of five is gone after five aborted requests
    (tortoise-orm#1152).
    """

    async def __aenter__(self) -> TransactionalDBClient:
        """Acquire a connection and begin; on any failure undo both."""
        try:
            return await super().__aenter__()
        except BaseException:
            # The names are bound by the parent, in this order, as far as it came.
            if token := getattr(self, "token", None):
                get_connections().reset(token)
            connection = self.client._connection  # noqa: SLF001 - Tortoise has no public name
            pool = self.client._parent._pool  # noqa: SLF001 - as above
            if connection is not None and pool is not None:
                # asyncpg waits for the answer to a cancellation, which a frozen server never gives.
                await asyncio.shield(pool.release(connection, timeout=RELEASE_SECONDS_MAX))
            raise

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Commit, or roll back what failed, and give the connection back."""
        await super().__aexit__(exc_type, exc_val, exc_tb)


class Watched(CancellationSafe):
    """A transaction that waits for no server that does not answer."""

    _watch: Watch

    def __init__(
        self, client: TransactionalDBClient, pool_init_lock: asyncio.Lock, liveness: Liveness
    ) -> None:
        super().__init__(client, pool_init_lock)
        self._liveness = liveness

    async def __aenter__(self) -> TransactionalDBClient:
        """Begin, or give up; at once where the server did not answer to others.

        Whoever waits for a place in the pool of a server that answers goes on waiting.
        """
        self._liveness.require()
        async with asyncio.timeout(None) as deadline:
            self._watch = self._liveness.watch(partial(deadline.reschedule, 0))
            try:
                client = await super().__aenter__()
            except BaseException:
                self._watch.end()
                raise
            self._watch.give_up = client._connection.terminate  # noqa: SLF001 - Tortoise has no public name
        return client

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Commit, or roll back what failed, and give the connection back."""
        try:
            await super().__aexit__(exc_type, exc_val, exc_tb)
        finally:
            self._watch.end()


class PostgresClient(AsyncpgDBClient):
    """Tortoise's client with transactions that survive cancellation and a frozen server."""

    def __init__(self, **credentials: Any) -> None:
        super().__init__(**credentials)
        self.liveness = Liveness(self._connect)

    def _in_transaction(self) -> TransactionContext:
        return CancellationSafe(TransactionWrapper(self), self._pool_init_lock)

    def transaction(self, opening: str) -> TransactionContext:
        """Return a transaction whose first round trip also runs an opening statement.

        Args:
            opening: SQL without parameters, built from validated values only.
        """
        begun = OpenedTransaction(self, opening)
        return Watched(begun, self._pool_init_lock, self.liveness)

    async def _connect(self) -> None:
        """Make a connection as the pool makes its own, and close it."""
        address = {name: getattr(self, name) for name in ("host", "port", "user", "password")}
        connection = await asyncpg.connect(**address, database=self.database)
        await connection.close()


class OpenedTransaction(TransactionWrapper):
    """A transaction that begins and sets its local settings in one round trip."""

    def __init__(self, connection: PostgresClient, opening: str) -> None:
        super().__init__(connection)
        self._opening = opening

    async def begin(self) -> None:
        """Begin, and run the opening statement; where that refuses, nothing has begun."""
        try:
            await self._connection.execute(f"BEGIN; {self._opening}")
        except asyncpg.PostgresError:
            await end_open_transaction(self._connection)
            raise

    async def commit(self) -> None:
        """Commit.

        Raises:
            OutcomeUnknown: If no answer came; the caller must not assume either.
        """
        self._finalized = True
        try:
            await self._connection.execute("COMMIT")
        except _UNANSWERED as lost:
            raise OutcomeUnknown from lost

    async def rollback(self) -> None:
        """Roll back, or give up the connection, with which the server rolls back by itself."""
        self._finalized = True
        try:
            async with asyncio.timeout(ROLLBACK_SECONDS_MAX):
                await self._connection.execute("ROLLBACK")
        except TimeoutError:
            self._connection.terminate()

    def _in_transaction(self) -> TransactionContext:
        raise NotImplementedError("a unit of work is one transaction, never a nested one")


client_class = PostgresClient

_UNANSWERED = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
)


async def end_open_transaction(connection: asyncpg.Connection) -> None:
    """Stand in for asyncpg's reset, which costs a round trip at each release.

    No session state is ever set (settings are transaction-local), so only an abandoned transaction
    is left to end; whether there is one is known without asking the server.
    """
    if connection.is_in_transaction():
        await connection.execute("ROLLBACK")


def tortoise_config(url: str, *, pool_size: int) -> dict[str, Any]:
    """Return Tortoise's configuration for a ``postgres://`` address."""
    return {
        "connections": {
            CONNECTION: {
                "engine": "service.database",
                "credentials": {
                    **_address(url),
                    # One at the start, to learn whether there is a server; none is kept up after
                    # that: the pool would hold its place while it waits for a server that hangs.
                    "minsize": 0,
                    "init_size": 1,
                    "maxsize": pool_size,
                    "reset": end_open_transaction,
                    "command_timeout": STATEMENT_TIMEOUT_SECONDS + 5,
                    "server_settings": server_settings(),
                },
            }
        },
        "apps": {
            "service": {
                "models": ["service.models"],
                "default_connection": CONNECTION,
                "migrations": "service.migrations",
            }
        },
        "use_tz": True,
        "timezone": "UTC",
    }


def server_settings() -> dict[str, str]:
    """Return what every connection asks of the server.

    It must not wait for ever for us, nor tell us of a commit that a crash could take back, whatever
    the role or the server is set to: a revoke would be undone.
    """
    return {
        "synchronous_commit": "on",
        "application_name": "tokenward",
        "statement_timeout": f"{STATEMENT_TIMEOUT_SECONDS}s",
        "lock_timeout": f"{LOCK_TIMEOUT_SECONDS}s",
        "idle_in_transaction_session_timeout": "30s",
        "timezone": "UTC",
    }


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[None]:
    """Open Tortoise's pool for this process, as the application role, and close it at the end.

    The context is process-wide because Starlette's lifespan and Celery's tasks each run outside
    the task that opens it.
    """
    config = tortoise_config(
        settings.database_url.get_secret_value(), pool_size=settings.database_pool_size
    )
    await Tortoise.init(config=config, _enable_global_fallback=True)
    try:
        yield
    finally:
        # A pool waits for each of its connections, and one whose path is half open never answers.
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS_MAX):
                await Tortoise.close_connections()


def client() -> PostgresClient:
    """Return this process's client."""
    connection = get_connection(CONNECTION)
    if not isinstance(connection, PostgresClient):
        raise TypeError("inside a transaction already; use its own connection")
    return connection


async def query(sql: str, *values: object) -> list[dict[str, Any]]:
    """Run one statement on the current transaction's connection and return its rows."""
    return await get_connection(CONNECTION).execute_query_dict(sql, list(values))


def _address(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    return {
        "host": parts.hostname,
        "port": parts.port or 5432,
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "database": parts.path.lstrip("/"),
    }
