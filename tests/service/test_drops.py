"""Drops reach validators at once; where they might not, a validator forgets everything."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from factories import Platform, make_token
from pydantic import SecretStr
from redis.asyncio import Redis
from stores import eventually

from service.cache import Drop, channel_of, open_cache
from service.composition import Service, compose
from service.listener import SILENCE_SECONDS_MAX
from service.local.servers import ValkeyServer
from service.secret_format import digest_of
from service.settings import Settings
from service.validator import Validator, open_validator
from service.verdict import Status

SOON = 1.0  # well below the lease


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """A Valkey of this file's own: channels are shared by all databases of one."""
    server = ValkeyServer(Path(tmp_path_factory.mktemp("valkey")), durable=False)
    server.start()
    yield server
    server.delete()


@pytest.fixture
async def redis(valkey: ValkeyServer) -> AsyncIterator[Redis]:
    client = Redis.from_url(valkey.url)
    yield client
    await client.aclose()


@pytest.fixture
def apart(settings: Settings, valkey: ValkeyServer) -> Settings:
    return settings.model_copy(update={"redis_url": SecretStr(valkey.url)})


@pytest.fixture
async def remote(service: Service, apart: Settings) -> AsyncIterator[Service]:
    """The use cases of another process, over that Valkey."""
    async with open_cache(apart) as cache:
        yield compose(apart, cache, service.clock, passwords=service.accounts.passwords)


async def listening(redis: Redis, count: int = 1) -> None:
    async def subscribed() -> bool:
        return bool((await redis.pubsub_numsub(channel_of(redis)))[0][1] == count)

    await eventually(subscribed, seconds=5)


@pytest.fixture
async def listener(service: Service, apart: Settings, redis: Redis) -> AsyncIterator[Validator]:
    """A validator that has begun to listen."""
    async with open_validator(apart, clock=service.clock) as validator:
        await listening(redis)
        yield validator


def digest(service: Service, secret: str) -> bytes:
    return digest_of(secret, next(iter(service.settings.pepper_keys.values())))


async def warm(validator: Validator, service: Service, secret: str) -> bytes:
    """Have a secret remembered; return its digest."""
    found = digest(service, secret)

    async def remembered() -> bool:
        assert (await validator.check(secret)).status is Status.VALID
        return validator.near.find(found) is not None

    await eventually(remembered, seconds=SOON)
    return found


async def forgotten(validator: Validator, found: bytes, *, seconds: float = SOON) -> None:
    async def gone() -> bool:
        return validator.near.find(found) is None

    await eventually(gone, seconds=seconds)


async def test_a_revoke_reaches_every_warm_validator(
    remote: Service, platform: Platform, apart: Settings, redis: Redis
) -> None:
    created = await make_token(remote, platform.customer)
    async with (
        open_validator(apart, clock=remote.clock) as first,
        open_validator(apart, clock=remote.clock) as second,
    ):
        await listening(redis, 2)
        for validator in (first, second):
            await warm(validator, remote, created.secret)

        await remote.tokens.revoke(platform.reseller, created.token.id)

        for validator in (first, second):
            await forgotten(validator, digest(remote, created.secret))
            assert (await validator.check(created.secret)).status is Status.REVOKED


async def test_a_cut_off_of_a_reseller_reaches_its_fleet_and_no_other(
    remote: Service, platform: Platform, listener: Validator
) -> None:
    actors = (platform.reseller, platform.customer, platform.sibling, platform.stranger)
    made = [await make_token(remote, actor) for actor in actors]
    digests = [await warm(listener, remote, created.secret) for created in made]

    await remote.cache.revoke([Drop.of_account(platform.reseller.account_id)])

    for found in digests[:3]:
        await forgotten(listener, found)
    assert listener.near.find(digests[3]) is not None


async def test_a_cut_off_of_a_customer_leaves_its_neighbours(
    remote: Service, platform: Platform, listener: Validator
) -> None:
    actors = (platform.customer, platform.reseller, platform.sibling)
    made = [await make_token(remote, actor) for actor in actors]
    digests = [await warm(listener, remote, created.secret) for created in made]

    await remote.cache.revoke([Drop.of_account(platform.customer.account_id)])

    await forgotten(listener, digests[0])
    assert all(listener.near.find(found) for found in digests[1:])


async def test_a_listener_that_lost_its_connection_forgets_everything_and_listens_again(
    remote: Service, platform: Platform, listener: Validator, redis: Redis
) -> None:
    created = await make_token(remote, platform.customer)
    found = await warm(listener, remote, created.secret)

    await redis.client_kill_filter(_type="pubsub")

    await forgotten(listener, found)
    await listening(redis)
    await warm(listener, remote, created.secret)
    await remote.cache.revoke([Drop.of_secret(found)])
    await forgotten(listener, found)


@pytest.mark.parametrize(
    "word", ["TOKEN nonsense", "TOKEN ab a 1", "ACCOUNT - a 1", "", "\0", "TOKEN "]
)
async def test_a_senseless_message_ends_no_listening(
    remote: Service, platform: Platform, listener: Validator, redis: Redis, word: str
) -> None:
    created = await make_token(remote, platform.customer)

    await redis.publish(channel_of(redis), word)

    found = await warm(listener, remote, created.secret)
    await listening(redis)
    await remote.cache.revoke([Drop.of_secret(found)])
    await forgotten(listener, found)


async def test_a_silent_redis_makes_a_listener_forget_and_the_database_answers(
    remote: Service, platform: Platform, listener: Validator, valkey: ValkeyServer
) -> None:
    created = await make_token(remote, platform.customer)
    found = await warm(listener, remote, created.secret)
    assert valkey.pid is not None

    os.kill(valkey.pid, signal.SIGSTOP)
    try:
        await forgotten(listener, found, seconds=SILENCE_SECONDS_MAX + 1)
        assert (await listener.check(created.secret)).status is Status.VALID
        await remote.tokens.revoke(platform.customer, created.token.id)

        async def refused() -> bool:
            return (await listener.check(created.secret)).status is Status.REVOKED

        # No drop can arrive: the lease, or the listener's own doubt, ends it.
        await eventually(refused, seconds=remote.settings.lease_seconds)
    finally:
        os.kill(valkey.pid, signal.SIGCONT)


async def test_a_new_token_is_valid_everywhere_at_its_first_use(
    remote: Service, platform: Platform, listener: Validator
) -> None:
    for _ in range(20):
        created = await make_token(remote, platform.customer)
        assert (await listener.check(created.secret)).status is Status.VALID


async def test_a_resumed_token_is_valid_again_within_the_same_time(
    remote: Service, platform: Platform, listener: Validator
) -> None:
    created = await make_token(remote, platform.customer)
    await warm(listener, remote, created.secret)

    async def becomes(status: Status) -> None:
        async def is_so() -> bool:
            return (await listener.check(created.secret)).status is status

        await eventually(is_so, seconds=SOON)

    for _ in range(3):
        await remote.tokens.suspend(platform.customer, created.token.id)
        await becomes(Status.SUSPENDED)
        await remote.tokens.resume(platform.customer, created.token.id)
        await becomes(Status.VALID)


async def test_checks_that_race_a_revoke_settle_on_revoked(
    remote: Service, platform: Platform, listener: Validator
) -> None:
    for _ in range(10):
        created = await make_token(remote, platform.customer)
        ended = asyncio.Event()

        async def use(secret: str, ended: asyncio.Event) -> None:
            while not ended.is_set():
                assert (await listener.check(secret)).status in {Status.VALID, Status.REVOKED}
                await asyncio.sleep(0)

        users = [asyncio.create_task(use(created.secret, ended)) for _ in range(5)]
        await remote.tokens.revoke(platform.customer, created.token.id)
        found = digest(remote, created.secret)

        async def refused(secret: str = created.secret) -> bool:
            return (await listener.check(secret)).status is Status.REVOKED

        await eventually(refused, seconds=SOON)
        ended.set()
        await asyncio.gather(*users)
        entry = listener.near.find(found)
        assert entry is None or (entry.record is not None and entry.record.revoked)
