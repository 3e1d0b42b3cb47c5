"""A step of Redis' clock costs look-ups, and brings nothing back.

The server is a real one, and only its clock is bent.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from uuid import UUID

import pytest
from fault_clock import FaultClock
from pydantic import SecretStr
from redis_node import RedisNode
from stores import eventually
from strategies import record

from service.cache import CHANNEL, NOTHING_DROPPED, Answer, Cache, Drop, hot_client
from service.clock import boottime
from service.local.child import LOOPBACK, free_port
from service.settings import Settings
from service.validator import open_validator

LEASE = 4.0
DIGEST, OTHER = bytes(31) + b"\1", bytes(31) + b"\2"
KEY = f"tk:{DIGEST.hex()}"
ACCOUNT, RESELLER = UUID(int=10), UUID(int=20)
CHAIN = (ACCOUNT, RESELLER)
PAYLOAD = record(ACCOUNT, RESELLER).encode()

pytestmark = pytest.mark.needs("gcc")

steps_back = pytest.mark.parametrize(
    "seconds", [1.0, LEASE, 3 * LEASE, 3600.0], ids=["1_s", "a_lease", "three_leases", "1_h"]
)

Script = Callable[[Cache], Awaitable[object]]

SCRIPTS: dict[str, Script] = {
    "look_up": lambda cache: look(cache, OTHER),
    "fill": lambda cache: cache.fill(OTHER, Answer(0, b""), CHAIN, PAYLOAD),
    "revoke": lambda cache: cache.revoke([Drop.of_secret(OTHER)]),
    "report": lambda cache: cache.report("one", NOTHING_DROPPED),
    "fleet": lambda cache: cache.fleet(silent_seconds_max=10),
}


class BentRedis(RedisNode):
    """A server whose clock can be set while it runs."""

    def __init__(self, directory: Path) -> None:
        self._clock = FaultClock(directory)
        super().__init__(directory, environment=self._clock.environment)

    async def step(self, seconds: float) -> None:
        """Set its clock ahead, or back, and return once it goes by it.

        The server looks at its machine's clock every few milliseconds only.
        """
        earliest, latest = await self._ahead()

        async def is_set() -> bool:
            least, most = await self._ahead()
            return most < earliest if seconds < 0 else least > latest

        self._clock.step(seconds)
        await eventually(is_set, seconds=5)

    def bend(self, seconds: float) -> None:
        """Set its clock while it is frozen."""
        self._clock.step(seconds)

    async def epoch(self) -> bytes | None:
        """Return what its memory of itself is called."""
        epoch: bytes | None = await self.command("HGET", CHANNEL, "epoch")
        return epoch

    async def _ahead(self) -> tuple[float, float]:
        """Return by how much its clock is ahead of ours, at least and at most."""
        asked_at = boottime()
        seconds, micros = await self.command("TIME")
        now = int(seconds) + int(micros) / 1_000_000
        return now - boottime(), now - asked_at


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[BentRedis]:
    node = BentRedis(tmp_path_factory.mktemp("redis"))
    await node.start()
    yield node
    await node.close()


@pytest.fixture
async def redis(server: BentRedis) -> BentRedis:
    """The server, empty, and neither full nor read-only."""
    await server.command("REPLICAOF", "NO", "ONE")
    await server.command("CONFIG", "SET", "maxmemory", "0")
    await server.command("FLUSHALL")
    return server


@pytest.fixture
async def cache(redis: BentRedis) -> AsyncIterator[Cache]:
    client = hot_client(redis.url(), timeout_seconds=2)
    yield Cache(client, b"k" * 32, LEASE)
    await client.aclose()


async def look(cache: Cache, digest: bytes = DIGEST) -> Answer:
    answer = await cache.look_up(digest, age_seconds_max=LEASE)
    assert answer is not None
    return answer


async def fill(cache: Cache, digest: bytes = DIGEST) -> Answer:
    """Fill a digest as a validator does; return the miss before it."""
    miss = await look(cache, digest)
    assert await cache.fill(digest, miss, CHAIN, PAYLOAD) == "OK"
    return miss


async def report(cache: Cache) -> None:
    """Do what each validator does every 250 ms."""
    await cache.report("one", NOTHING_DROPPED)


@steps_back
async def test_what_was_filled_before_a_step_back_is_no_hit_then_nor_once_the_clock_has_caught_up(
    cache: Cache, redis: BentRedis, seconds: float
) -> None:
    before = await fill(cache)

    await redis.step(-seconds)
    then = await look(cache)
    await redis.step(seconds)
    caught_up = await look(cache)

    assert await redis.command("EXISTS", KEY) == 1  # it is no hit, though it is still there
    assert then.payload is None
    assert caught_up.payload is None
    assert before.epoch != then.epoch == caught_up.epoch


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
async def test_every_script_sees_a_step_back(
    cache: Cache, redis: BentRedis, script: Script
) -> None:
    before = await fill(cache)

    await redis.step(-LEASE)
    await script(cache)
    await redis.step(LEASE)

    assert await redis.command("EXISTS", KEY) == 1
    assert await redis.epoch() != before.epoch
    assert (await look(cache)).payload is None


async def test_a_validator_that_nobody_asks_sees_a_step_back_for_all(
    cache: Cache, redis: BentRedis, settings: Settings
) -> None:
    async def is_told() -> bool:
        return await redis.epoch() is not None

    async def is_new() -> bool:
        return await redis.epoch() != before.epoch

    async with open_validator(settings.model_copy(update={"redis_url": SecretStr(redis.url())})):
        await eventually(is_told, seconds=5)
        before = await fill(cache)

        await redis.step(-LEASE)
        await eventually(is_new, seconds=5)
        await redis.step(LEASE)

    assert (await look(cache)).payload is None


@steps_back
async def test_who_began_to_read_before_a_step_back_fills_nothing(
    cache: Cache, redis: BentRedis, seconds: float
) -> None:
    miss = await look(cache)

    await redis.step(-seconds)
    then = await cache.fill(DIGEST, miss, CHAIN, PAYLOAD)
    await redis.step(seconds)
    caught_up = await cache.fill(DIGEST, miss, CHAIN, PAYLOAD)

    assert (then, caught_up) == ("SLOW", "EPOCH")
    assert await redis.command("KEYS", "*") == [CHANNEL.encode()]


@steps_back
@pytest.mark.parametrize(
    "drop",
    [Drop.of_secret(DIGEST), Drop.of_account(ACCOUNT), Drop.of_account(RESELLER)],
    ids=["secret", "account", "reseller"],
)
async def test_a_drop_of_before_a_step_back_keeps_nothing_uncached(
    cache: Cache, redis: BentRedis, seconds: float, drop: Drop
) -> None:
    """Its stamp is in the future, and would refuse every fill until the clock has caught up."""
    assert await cache.revoke([drop]) is not None

    await redis.step(-seconds)
    await fill(cache)

    assert (await look(cache)).payload == PAYLOAD


@steps_back
async def test_a_drop_of_after_a_step_back_is_a_drop(
    cache: Cache, redis: BentRedis, seconds: float
) -> None:
    await fill(cache)
    await redis.step(-seconds)
    await fill(cache)
    reading = await look(cache, OTHER)

    assert await cache.revoke([Drop.of_account(ACCOUNT)]) is not None

    assert (await look(cache)).payload is None
    assert await cache.fill(OTHER, reading, CHAIN, PAYLOAD) == "STALE"


@pytest.mark.parametrize("seconds", [LEASE, 3600.0], ids=["a_lease", "1_h"])
async def test_a_step_ahead_costs_one_look_up_each_and_nothing_else(
    cache: Cache, redis: BentRedis, seconds: float
) -> None:
    before = await fill(cache)
    await fill(cache, OTHER)
    reading = await look(cache, bytes(32))

    await redis.step(seconds)

    assert await cache.fill(bytes(32), reading, CHAIN, PAYLOAD) == "SLOW"
    for digest in (DIGEST, OTHER):
        miss = await fill(cache, digest)
        assert (miss.payload, miss.epoch) == (None, before.epoch)
        assert (await look(cache, digest)).payload == PAYLOAD


async def test_an_hour_ahead_by_mistake_and_back_again_brings_nothing_back(
    cache: Cache, redis: BentRedis
) -> None:
    await fill(cache)
    await redis.step(3600)
    await fill(cache)

    await redis.step(-3600)

    assert (await look(cache)).payload is None
    await fill(cache)
    assert (await look(cache)).payload == PAYLOAD


async def test_a_few_milliseconds_back_begin_no_epoch(cache: Cache, redis: BentRedis) -> None:
    before = await fill(cache)

    async def is_hit() -> bool:
        return (await look(cache)).payload == PAYLOAD

    await redis.step(-0.002)
    await report(cache)

    await eventually(is_hit, seconds=LEASE)
    assert await redis.epoch() == before.epoch


async def test_small_steps_back_do_not_add_up_unseen(cache: Cache, redis: BentRedis) -> None:
    before = await fill(cache)

    for _ in range(10):
        await redis.step(-0.1)
        await report(cache)

    assert await redis.epoch() != before.epoch
    assert (await look(cache)).payload is None


async def test_a_full_server_still_answers_and_still_sees_a_step_back(
    cache: Cache, redis: BentRedis
) -> None:
    await fill(cache)
    await redis.command("CONFIG", "SET", "maxmemory", "1")

    await redis.step(2.5)  # by then it would note the time, and that nobody was heard
    hit, miss = await look(cache), await look(cache, OTHER)
    filled = await cache.fill(OTHER, miss, CHAIN, PAYLOAD)
    await redis.step(-3600)
    after = await look(cache)

    assert hit.payload == PAYLOAD
    assert (miss.payload, filled) == (None, "UNREACHABLE")
    assert after.payload is None
    assert after.epoch != hit.epoch


async def test_a_read_only_server_still_answers_and_nothing_after_a_step_back(
    cache: Cache, redis: BentRedis
) -> None:
    """It cannot begin an epoch, so that whoever asks must ask the database."""
    await fill(cache)
    await redis.command("REPLICAOF", LOOPBACK, free_port())

    await redis.step(2.5)
    hit, miss = await look(cache), await look(cache, OTHER)
    await redis.step(-3600)
    after = await cache.look_up(DIGEST, age_seconds_max=LEASE)

    assert hit.payload == PAYLOAD
    assert miss.payload is None
    assert after is None


async def test_a_step_that_redis_slept_through_is_seen_by_whoever_asked_before(
    cache: Cache, redis: BentRedis
) -> None:
    """A machine that was suspended goes on where its clock stood: no script of Redis' sees that."""
    filled = await fill(cache)
    asleep_seconds = 1.5
    redis.freeze()
    fell_asleep_at = boottime()

    async def has_slept() -> bool:
        return boottime() - fell_asleep_at >= asleep_seconds

    await eventually(has_slept, seconds=2 * asleep_seconds)
    redis.bend(-asleep_seconds)
    redis.thaw()

    first = await cache.look_up(DIGEST, age_seconds_max=LEASE)
    again = await look(cache)

    assert first is None
    assert again.payload is None
    assert again.epoch != filled.epoch
