"""Who listens says what it has applied: at once, and nothing that is in doubt."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import redis as blocking
from pydantic import SecretStr
from redis.asyncio import Redis
from stores import eventually

from service import listener as module
from service.background import end
from service.cache import (
    NOTHING_DROPPED,
    REPORTS,
    Cache,
    Drop,
    Fleet,
    Revision,
    open_cache,
)
from service.listener import PING_SECONDS, Listener
from service.local.servers import ValkeyServer
from service.settings import Settings
from service.validator import open_validator

BOUND = 10.0
SOON = 1.0
DROP = Drop.of_secret(bytes(31) + b"\1")
OTHER = Drop.of_secret(bytes(31) + b"\2")


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
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
def apart(settings: Settings, valkey: ValkeyServer) -> Settings:
    return settings.model_copy(update={"redis_url": SecretStr(valkey.url)})


@pytest.fixture
async def cache(apart: Settings, redis: Redis) -> AsyncIterator[Cache]:  # noqa: ARG001 - it is empty
    async with open_cache(apart) as opened:
        yield opened


class Memory:
    """Whatever can be told to forget: it notes what it was told, and what it could see then."""

    def __init__(self, look: Callable[[], object]) -> None:
        self.told: list[tuple[Drop | None, object]] = []
        self._look = look

    def drop(self, drop: Drop) -> None:
        """Note a drop."""
        self.told.append((drop, self._look()))

    def forget(self) -> None:
        """Note that everything is to be forgotten."""
        self.told.append((None, self._look()))


@asynccontextmanager
async def listening(
    settings: Settings, cache: Cache, look: Callable[[], object] = lambda: None
) -> AsyncIterator[tuple[Listener, Memory]]:
    """Have a memory follow drops and report, as a validator does."""
    memory = Memory(look)
    listener = Listener(memory, cache, settings)
    tasks = [
        asyncio.create_task(listener.keep_following()),
        asyncio.create_task(listener.keep_reporting()),
    ]
    try:
        await eventually(lambda: has_told(cache, listener), seconds=5)
        yield listener, memory
    finally:
        for task in tasks:
            await end(task)


async def fleet(cache: Cache) -> Fleet:
    found = await cache.fleet(silent_seconds_max=BOUND)
    assert found is not None
    return found


async def applied_by(cache: Cache, name: str) -> Revision | None:
    reports = (await fleet(cache)).reports
    return next((report.applied for report in reports if report.name == name), None)


async def is_counted(cache: Cache, listener: Listener) -> bool:
    return await applied_by(cache, listener.name) is not None


async def has_told(cache: Cache, listener: Listener) -> bool:
    """Return whether it listens, and has said what it has applied."""
    return listener.applied is not None and (
        await applied_by(cache, listener.name) == listener.applied
    )


async def has_applied(cache: Cache, listener: Listener, revision: Revision) -> None:
    async def is_so() -> bool:
        told = await applied_by(cache, listener.name)
        return told is not None and told.covers(revision)

    await eventually(is_so, seconds=SOON)


async def drop(cache: Cache, wanted: Drop = DROP) -> Revision:
    revisions = await cache.revoke([wanted])
    assert revisions is not None
    return revisions[0]


async def test_a_drop_is_applied_and_told_at_once_and_not_only_in_the_rhythm_of_the_pings(
    apart: Settings, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PING_SECONDS", 60.0)
    monkeypatch.setattr(module, "SILENCE_SECONDS_MAX", 120.0)
    async with listening(apart, cache) as (listener, memory):
        for wanted in (DROP, OTHER, DROP):
            revision = await drop(cache, wanted)

            await has_applied(cache, listener, revision)

            assert memory.told[-1] == (wanted, None)
            assert listener.applied == revision


async def test_what_is_applied_is_told_after_it_was_applied(apart: Settings, cache: Cache) -> None:
    heard: list[Listener] = []

    def told_so_far() -> Revision | None:
        return heard[0].applied if heard else None

    async with listening(apart, cache, told_so_far) as (listener, memory):
        heard.append(listener)
        before = listener.applied

        revision = await drop(cache)
        await has_applied(cache, listener, revision)

    assert (DROP, before) in memory.told
    assert before != revision


async def test_who_is_idle_is_heard_all_the_same(apart: Settings, cache: Cache) -> None:
    async with listening(apart, cache) as (listener, _):
        await cache.redis.delete(REPORTS)

        await eventually(lambda: is_counted(cache, listener), seconds=SOON)

        assert await applied_by(cache, listener.name) == NOTHING_DROPPED


async def test_who_closes_is_counted_no_longer(apart: Settings, cache: Cache) -> None:
    async with AsyncExitStack() as stack:
        stays, _ = await stack.enter_async_context(listening(apart, cache))
        async with listening(apart, cache) as (leaves, _):
            names = {report.name for report in (await fleet(cache)).reports}
            assert names == {stays.name, leaves.name}

        assert [report.name for report in (await fleet(cache)).reports] == [stays.name]
    assert (await fleet(cache)).reports == ()


async def test_an_open_validator_is_counted_and_a_closed_one_is_not(
    apart: Settings,
    cache: Cache,
    clean: None,  # noqa: ARG001 - an empty database
) -> None:
    async def is_alone() -> bool:
        return len((await fleet(cache)).reports) == 1

    async with open_validator(apart):
        await eventually(is_alone, seconds=5)

    assert (await fleet(cache)).reports == ()


async def test_a_new_process_has_a_name_of_its_own_that_says_nothing(
    apart: Settings, cache: Cache
) -> None:
    names = {Listener(Memory(lambda: None), cache, apart).name for _ in range(50)}

    assert len(names) == 50
    assert {len(name) for name in names} == {12}


async def test_it_subscribes_first_then_reads_the_last_drop_then_forgets_then_claims_it(
    apart: Settings, cache: Cache, redis: Redis, valkey: ValkeyServer
) -> None:
    """In any other order a drop in between would be claimed and not applied."""
    revision = await drop(cache)
    await redis.config_resetstat()
    listeners: list[Listener] = []

    def look() -> tuple[int, int, Revision | None]:
        with blocking.Redis.from_url(valkey.url) as client:
            stats = client.info("commandstats")
        calls = [
            stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("subscribe", "hmget")
        ]
        return calls[0], calls[1], listeners[0].applied if listeners else None

    async with listening(apart, cache, look) as (listener, memory):
        listeners.append(listener)
        assert listener.applied == revision

    applied, seen = memory.told[0]
    assert applied is None
    assert seen in [(1, read, None) for read in range(1, 20)]
    order = [name for name in await commands(redis, apart, cache) if name in {"subscribe", "hmget"}]
    assert order == ["subscribe", "hmget"]


async def commands(redis: Redis, apart: Settings, cache: Cache) -> list[str]:
    """Return the commands that beginning to listen sends, in the server's order."""
    found: list[str] = []
    async with redis.monitor() as monitor:
        async with listening(apart, cache):
            pass
        await redis.echo("the end")
        while "echo" not in found:
            told = await monitor.next_command()
            if told["client_type"] != "lua":
                found.append(told["command"].split(" ")[0].lower())
    return found


async def test_who_missed_a_drop_claims_it_only_after_forgetting_everything(
    apart: Settings, cache: Cache, redis: Redis
) -> None:
    async with listening(apart, cache) as (listener, memory):
        await has_applied(cache, listener, await drop(cache))
        memory.told.clear()

        await redis.client_kill_filter(_type="pubsub")
        missed = await drop(cache, OTHER)
        await has_applied(cache, listener, missed)

    assert (OTHER, None) not in memory.told
    assert (None, None) in memory.told


@asynccontextmanager
async def without(redis: Redis, command: str) -> AsyncIterator[None]:
    """Have the server refuse a command to everybody meanwhile."""
    await redis.execute_command("ACL", "SETUSER", "default", f"-{command}")  # type: ignore[no-untyped-call] # redis-py leaves it unannotated
    try:
        yield
    finally:
        await redis.execute_command("ACL", "SETUSER", "default", f"+{command}")  # type: ignore[no-untyped-call] # redis-py leaves it unannotated


async def test_who_cannot_listen_claims_nothing_until_it_listens_again(
    apart: Settings, cache: Cache, redis: Redis
) -> None:
    async with listening(apart, cache) as (listener, memory):
        async with without(redis, "subscribe"):
            await redis.client_kill_filter(_type="pubsub")

            async def is_in_doubt() -> bool:
                return listener.applied is None

            await eventually(is_in_doubt, seconds=SOON)
            assert memory.told[-1] == (None, None)
            missed = await drop(cache)

            async def is_silent_or_says_so() -> bool:
                reports = (await fleet(cache)).reports
                return all(
                    one.silent_seconds > 4 * PING_SECONDS or one.applied == NOTHING_DROPPED
                    for one in reports
                )

            await eventually(is_silent_or_says_so, seconds=4 * PING_SECONDS + SOON)
            told = await applied_by(cache, listener.name)
            assert told is None or not told.covers(missed)

        await has_applied(cache, listener, missed)
    assert (DROP, None) not in memory.told


@pytest.mark.parametrize("command", ["hmget", "evalsha"])
async def test_a_refusal_of_redis_ends_no_listening_and_no_reporting(
    apart: Settings, cache: Cache, redis: Redis, command: str
) -> None:
    await redis.acl_log_reset()

    async def is_refused() -> bool:
        return any(entry["object"] == command for entry in await redis.acl_log())

    async with listening(apart, cache) as (listener, _):
        async with without(redis, command):
            await redis.client_kill_filter(_type="pubsub")
            await eventually(is_refused, seconds=SOON)

        await has_applied(cache, listener, await drop(cache))


async def test_a_redis_that_is_full_drops_and_tells_all_the_same(
    apart: Settings, cache: Cache, redis: Redis
) -> None:
    digest = bytes.fromhex(DROP.subject)
    miss = await cache.look_up(digest, age_seconds_max=4)
    assert miss is not None
    assert await cache.fill(digest, miss, (), b"a record") == "OK"
    async with listening(apart, cache) as (_, memory):
        await redis.config_set("maxmemory", 1)
        try:
            assert await cache.revoke([DROP]) is not None

            async def is_told() -> bool:
                return (DROP, None) in memory.told

            await eventually(is_told, seconds=SOON)
        finally:
            await redis.config_set("maxmemory", 0)
    answer = await cache.look_up(digest, age_seconds_max=4)
    assert answer is not None
    assert answer.payload is None


async def test_a_flush_leaves_nobody_claiming_what_came_after_it(
    apart: Settings, cache: Cache, redis: Redis
) -> None:
    async with listening(apart, cache) as (listener, _):
        before = await drop(cache)
        await has_applied(cache, listener, before)

        await redis.flushall()
        await eventually(lambda: is_counted(cache, listener), seconds=SOON)
        assert await applied_by(cache, listener.name) == before
        after = await drop(cache)

        await has_applied(cache, listener, after)
        assert not after.covers(before)
