"""A database in recovery may not have heard of a revoke; nobody believes what it says."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from factories import Platform, make_token
from standby import StandbyServer
from stores import eventually

from service import database
from service.composition import Service
from service.database import PostgresClient
from service.health import readiness
from service.secret_format import make_secret
from service.settings import Settings
from service.validator import Validator, open_validator
from service.verdict import Status

RECOVERY_SECONDS = 10.0


@pytest.fixture
def behind(tmp_path: Path, settings: Settings) -> Iterator[Settings]:
    """Settings that name a standby of the tests' database."""
    server = StandbyServer(tmp_path / "standby", settings)
    server.start()
    try:
        yield server.settings(settings)
    finally:
        server.delete()


@pytest.fixture
async def standby(behind: Settings) -> AsyncIterator[asyncpg.Connection]:
    """A superuser's connection to that standby."""
    connection = await asyncpg.connect(behind.database_owner_url.get_secret_value())
    yield connection
    connection.terminate()


@pytest.fixture
async def pool(behind: Settings) -> AsyncIterator[PostgresClient]:
    """A pool of that standby's, as a process has it."""
    url = behind.database_url.get_secret_value()
    config = database.tortoise_config(url, pool_size=1)
    made = PostgresClient(
        connection_name="standby", **config["connections"]["default"]["credentials"]
    )
    await made.create_connection(with_db=True)
    yield made
    await made.close()


async def test_nothing_is_read_from_a_standby_and_nothing_stale_reaches_redis(
    service: Service,
    platform: Platform,
    validator: Validator,
    behind: Settings,
    standby: asyncpg.Connection,
    pool: PostgresClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    created = await make_token(service, platform.customer)
    token_id, missing = created.token.id, make_secret("live", behind.pepper_keys)
    has_arrived = "SELECT count(*) = 1 FROM api_token WHERE id = $1"

    async def arrived() -> bool:
        return bool(await standby.fetchval(has_arrived, token_id))

    await eventually(arrived, seconds=RECOVERY_SECONDS)
    await standby.execute("SELECT pg_wal_replay_pause()")
    async with open_validator(behind, clock=service.clock) as astray:
        before = [await astray.check(secret) for secret in (created.secret, missing.text)]
        await service.tokens.revoke(platform.customer, token_id)
        after = [await one.check(created.secret) for one in (astray, validator, astray)]
        is_live = "SELECT revoked_at IS NULL FROM api_token WHERE id = $1"
        believes = await standby.fetchval(is_live, token_id)
        with monkeypatch.context() as patch:
            patch.setattr(database, "get_connection", lambda _: pool)
            ready, told = await readiness(service)
        payloads = [
            await service.cache.redis.hget(key, "payload")
            for key in await service.cache.redis.keys("tk:*")
        ]

        assert [verdict.status for verdict in before] == 2 * [Status.UNAVAILABLE]
        assert [verdict.status for verdict in after] == [
            Status.UNAVAILABLE,
            Status.REVOKED,
            Status.UNAVAILABLE,
        ]
        assert believes, "the standby must have been behind, or nothing is proved"
        assert payloads == [None]
        assert (ready, told["database"]["state"]) == (False, "standby")

        await standby.execute("SELECT pg_promote()")

        async def serves() -> bool:
            return (await astray.check(created.secret)).status is Status.REVOKED

        await eventually(serves, seconds=RECOVERY_SECONDS)
