"""The pool survives callers who go away at the worst moment, and nobody waits for ever."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import asyncpg
import pytest
from asyncpg.pool import PoolConnectionProxy
from tortoise.backends.base.client import TransactionContext, TransactionContextPooled

from service import database
from service.access.actor import EVERYTHING
from service.access.door import Statement, open_door
from service.database import OpenedTransaction, PostgresClient, end_open_transaction
from service.settings import Settings

POOL_SIZE = 5
REQUESTS = 400

Begin = Callable[[PostgresClient], TransactionContext]


def ours(client: PostgresClient) -> TransactionContext:
    return client.transaction(EVERYTHING.opening())


def plain(client: PostgresClient) -> TransactionContext:
    return client._in_transaction()  # noqa: SLF001 - what Tortoise's own in_transaction calls


def tortoises(client: PostgresClient) -> TransactionContext:
    return TransactionContextPooled(
        OpenedTransaction(client, EVERYTHING.opening()),
        client._pool_init_lock,  # noqa: SLF001 - as Tortoise's own client does
    )


@pytest.fixture
async def client(
    settings: Settings,
    opened: None,  # noqa: ARG001 - Tortoise's context
) -> AsyncIterator[PostgresClient]:
    """A client with a pool of its own, so that what is lost here is lost to nobody else."""
    url = settings.database_url.get_secret_value()
    config = database.tortoise_config(url, pool_size=POOL_SIZE)
    credentials = config["connections"]["default"]["credentials"]
    made = PostgresClient(connection_name="storm", **credentials)
    await made.create_connection(with_db=True)
    yield made
    made._pool.terminate()  # type: ignore[union-attr] # noqa: SLF001 - close() would wait for the lost


async def storm(client: PostgresClient, begin: Begin) -> None:
    """Send many requests, most of them cancelled at whatever await they have come to."""
    loop = asyncio.get_running_loop()
    dice = random.Random(1)  # noqa: S311 - the same storm each time

    async def request() -> None:
        async with begin(client) as connection:
            await connection.execute_query("SELECT 1")

    async def abort_one() -> None:
        task = asyncio.create_task(request())
        handle = loop.call_later(dice.uniform(0, 0.006), task.cancel)
        with suppress(asyncio.CancelledError):
            await task
        handle.cancel()

    for _ in range(REQUESTS // POOL_SIZE):
        await asyncio.gather(*(abort_one() for _ in range(POOL_SIZE)))


async def usable(client: PostgresClient, *, seconds: float) -> int:
    """Count the pool's connections that can be had at the same time."""
    pool = client._pool  # noqa: SLF001 - Tortoise has no public name
    assert pool is not None
    had: list[PoolConnectionProxy] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while len(had) < POOL_SIZE:
                had.append(await pool.acquire())
    for connection in had:
        assert not connection.is_in_transaction()
        assert await connection.fetchval("SELECT current_setting('tokenward.reach', true)") in {
            None,
            "",
        }
        await pool.release(connection)
    return len(had)


@pytest.mark.parametrize("begin", [ours, plain])
async def test_cancelled_requests_cost_no_connection(client: PostgresClient, begin: Begin) -> None:
    await storm(client, begin)

    assert await usable(client, seconds=5) == POOL_SIZE


async def test_the_same_storm_drains_a_pool_that_is_not_safe(client: PostgresClient) -> None:
    """The control: Tortoise's own transactions lose connections (tortoise-orm#1152)."""
    with suppress(TimeoutError):
        async with asyncio.timeout(5):
            await storm(client, tortoises)

    assert await usable(client, seconds=0.2) < POOL_SIZE


async def test_a_request_that_is_cancelled_before_its_commit_changes_nothing(
    client: PostgresClient, owner: asyncpg.Connection
) -> None:
    reached = asyncio.Event()

    async def request() -> None:
        async with ours(client) as connection:
            await connection.execute_query(
                "INSERT INTO account (id, kind, name, grantable_scopes, created_at)"
                " VALUES (gen_random_uuid(), 'CUSTOMER', 'cancelled', '{}', now())"
            )
            reached.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(request())
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await owner.fetchval("SELECT count(*) FROM account WHERE name = 'cancelled'") == 0
    assert await usable(client, seconds=5) == POOL_SIZE


async def test_a_connection_goes_back_without_an_open_transaction(settings: Settings) -> None:
    url = settings.database_url.get_secret_value()
    async with asyncpg.create_pool(url, min_size=1, max_size=1, reset=end_open_transaction) as pool:
        async with pool.acquire() as connection:
            await connection.execute(f"BEGIN; {EVERYTHING.opening()}")
            assert await connection.fetchval("SELECT current_setting('tokenward.reach')") == "all"
            first = connection.get_server_pid()

        async with pool.acquire() as connection:
            assert connection.get_server_pid() == first
            assert not connection.is_in_transaction()
            assert (
                await connection.fetchval("SELECT current_setting('tokenward.reach', true)") == ""
            )


async def test_a_transaction_that_failed_goes_back_too(client: PostgresClient) -> None:
    for _ in range(2 * POOL_SIZE):
        with pytest.raises(asyncpg.DivisionByZeroError):
            async with ours(client) as connection:
                await connection._connection.execute("SELECT 1 / 0")  # noqa: SLF001 - no translation

    assert await usable(client, seconds=5) == POOL_SIZE


async def test_units_are_never_nested(opened: None) -> None:  # noqa: ARG001 - the pool
    async def nest() -> None:
        async with open_door(EVERYTHING), open_door(EVERYTHING):
            pass

    with pytest.raises(TypeError, match="inside a transaction already"):
        await nest()


async def test_no_statement_and_no_lock_is_waited_for_for_ever(opened: None) -> None:  # noqa: ARG001 - the pool
    async with open_door(EVERYTHING) as door:
        row = await door.one(
            Statement(
                "SELECT current_setting('statement_timeout') AS statement,"
                " current_setting('lock_timeout') AS lock,"
                " current_setting('idle_in_transaction_session_timeout') AS idle,"
                " current_setting('timezone') AS zone, current_user AS role"
            )
        )

    assert row == {
        "statement": "10s",
        "lock": "5s",
        "idle": "30s",
        "zone": "UTC",
        "role": "tokenward_app",
    }
