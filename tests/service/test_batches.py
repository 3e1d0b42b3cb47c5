"""Questions that arrive together share a round trip, and nothing else."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from urllib.parse import SplitResult, urlsplit
from uuid import UUID

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError
from stores import eventually
from strategies import record

from service.batches import BATCH, Batches
from service.cache import (
    BREAK_SECONDS,
    CALL_TIMEOUT_SECONDS,
    Answer,
    Cache,
    Drop,
    Failed,
    hot_client,
)
from service.clock import boottime
from service.local.servers import ValkeyServer

LEASE = 4.0
PATIENCE = 1.0  # a deadline that a busy machine meets
ACCOUNT, RESELLER = UUID(int=10), UUID(int=20)
CHAIN = (ACCOUNT, RESELLER)
PAYLOAD = record(ACCOUNT, RESELLER).encode()
DIGEST, OTHER = bytes(31) + b"\1", bytes(31) + b"\2"

# Two heads, and each question's own argument.
ECHO = """
local answers = {'one', 'two'}
for index = 2, #KEYS do answers[index + 1] = ARGV[index] end
return answers
"""


def echoing(redis: Redis) -> Batches:
    return Batches(redis, ECHO, "shared", lambda: "shared")


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """A Valkey of this file's own, whose every command is ours, to be stopped in mid-air."""
    server = ValkeyServer(Path(tmp_path_factory.mktemp("valkey")), durable=False)
    server.start()
    yield server
    server.delete()


@pytest.fixture
async def redis(valkey: ValkeyServer) -> AsyncIterator[Redis]:
    """A client that may take its time."""
    client = Redis.from_url(valkey.url)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
async def hot(valkey: ValkeyServer, redis: Redis) -> AsyncIterator[Redis]:  # noqa: ARG001 - it is empty
    client = hot_client(valkey.url, timeout_seconds=PATIENCE)
    yield client
    await client.aclose()


@pytest.fixture
def cache(hot: Redis) -> Cache:
    return Cache(hot, b"k" * 32, LEASE)


@contextmanager
def stopped(valkey: ValkeyServer) -> Iterator[None]:
    """Have the server hang meanwhile."""
    assert valkey.pid is not None
    os.kill(valkey.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(valkey.pid, signal.SIGCONT)


def digest(number: int) -> bytes:
    return number.to_bytes(32)


async def look(cache: Cache, wanted: bytes) -> Answer | None:
    return await cache.look_up(wanted, age_seconds_max=LEASE)


async def fill(cache: Cache, wanted: bytes, payload: bytes) -> None:
    miss = await look(cache, wanted)
    assert miss is not None
    assert await cache.fill(wanted, miss, CHAIN, payload) == "OK"


async def traffic(redis: Redis) -> tuple[int, int]:
    """Return how often the server has read from its clients, and how many have come."""
    stats = await redis.info("stats")
    return stats["total_reads_processed"], stats["total_connections_received"]


async def test_many_look_ups_at_once_are_one_round_trip_of_one_connection(
    cache: Cache, redis: Redis
) -> None:
    await look(cache, DIGEST)
    reads_before, connections_before = await traffic(redis)

    answers = await asyncio.gather(*(look(cache, digest(number)) for number in range(100)))

    reads, connections = await traffic(redis)
    assert all(answer is not None and answer.payload is None for answer in answers)
    assert connections == connections_before
    # A network may cut what was sent at once; a question each would be a hundred.
    assert reads - reads_before <= 10


async def test_each_of_more_than_a_batch_gets_its_own_answer(cache: Cache) -> None:
    count = 2 * BATCH + 7
    for number in range(0, count, 3):
        await fill(cache, digest(number), f"record {number}".encode())

    answers = await asyncio.gather(*(look(cache, digest(number)) for number in range(count)))

    found = [answer and answer.payload for answer in answers]
    expected = [None if number % 3 else f"record {number}".encode() for number in range(count)]
    assert found == expected


async def test_an_entry_of_a_wrong_type_is_its_own_askers_miss_alone(
    cache: Cache, redis: Redis
) -> None:
    wanted = [digest(number) for number in range(3)]
    for one in wanted:
        await fill(cache, one, PAYLOAD)
    await redis.delete(f"tk:{wanted[1].hex()}")
    await redis.set(f"tk:{wanted[1].hex()}", "no hash")

    answers = await asyncio.gather(*(look(cache, one) for one in wanted))

    assert [answer and answer.payload for answer in answers] == [PAYLOAD, None, PAYLOAD]


async def test_a_refusal_of_the_script_is_told_to_all_who_asked_and_to_nobody_later(
    hot: Redis,
) -> None:
    script = "if ARGV[2] == '13' then return redis.error_reply('wrong') end " + ECHO
    batches = Batches(hot, script, "shared", lambda: "shared")

    told = await asyncio.gather(
        *(batches.ask("a", number) for number in (13, 14)), return_exceptions=True
    )

    assert [type(one) for one in told] == [ResponseError] * 2
    assert await batches.ask("a", 15) == (b"one", b"two", b"15")


async def test_who_goes_away_takes_nobodys_answer_along(cache: Cache, valkey: ValkeyServer) -> None:
    await fill(cache, DIGEST, PAYLOAD)
    with stopped(valkey):
        tasks = [asyncio.create_task(look(cache, DIGEST)) for _ in range(2 * BATCH)]
        await asyncio.sleep(0)
        gone, left = tasks[::2], tasks[1::2]
        for task in gone:
            task.cancel()
        await asyncio.wait(gone)

    answers = await asyncio.gather(*left)

    assert all(task.cancelled() for task in gone)
    assert {answer and answer.payload for answer in answers} == {PAYLOAD}
    again = await look(cache, DIGEST)
    assert again is not None
    assert again.payload == PAYLOAD


async def test_scripts_that_redis_forgot_are_told_again(cache: Cache, redis: Redis) -> None:
    await fill(cache, DIGEST, PAYLOAD)
    await redis.script_flush()

    answers = await asyncio.gather(*(look(cache, DIGEST) for _ in range(50)))

    assert {answer and answer.payload for answer in answers} == {PAYLOAD}
    await redis.script_flush()
    await fill(cache, OTHER, PAYLOAD)
    await redis.script_flush()
    assert await cache.revoke([Drop.of_secret(DIGEST), Drop.of_account(ACCOUNT)]) is not None
    await redis.script_flush()
    assert await cache.fleet(silent_seconds_max=1) is not None


async def test_a_redis_that_hangs_releases_all_who_wait_within_two_deadlines(
    cache: Cache, hot: Redis, valkey: ValkeyServer
) -> None:
    await look(cache, DIGEST)
    batches = echoing(hot)
    await batches.ask("a", 1)
    with stopped(valkey):
        began = boottime()
        first = [asyncio.create_task(look(cache, digest(number))) for number in range(3 * BATCH)]
        asked = [asyncio.create_task(batches.ask("a", number)) for number in range(3 * BATCH)]
        await asyncio.wait([first[0], asked[0]], timeout=PATIENCE / 2)
        assert not first[0].done()
        late = [asyncio.create_task(batches.ask("a", 0)) for _ in range(3)]

        answers = await asyncio.gather(*first)
        told = await asyncio.gather(*asked, *late, return_exceptions=True)
        took = boottime() - began

    assert set(answers) == {None}
    assert all(isinstance(one, Exception) for one in told)
    assert took < 2 * PATIENCE

    async def answers_again() -> bool:
        return await look(cache, DIGEST) is not None

    await eventually(answers_again, seconds=5)
    assert await batches.ask("a", 2) == (b"one", b"two", b"2")


@asynccontextmanager
async def slow_network(url: str, *, pause_seconds: float) -> AsyncIterator[str]:
    """Yield an address behind which answers come in pieces, each after a pause."""
    server_at = urlsplit(url)

    passing: set[asyncio.Task[None]] = set()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(_pass_on(server_at, reader, writer, pause_seconds))
        passing.add(task)
        with suppress(ConnectionError, asyncio.CancelledError):  # the client gave up
            await task

    server = await asyncio.start_server(pass_on, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield server_at._replace(netloc=f":{server_at.password}@127.0.0.1:{port}").geturl()
    finally:
        server.close()
        for task in passing:
            task.cancel()
        await asyncio.gather(*passing, return_exceptions=True)


async def _pass_on(
    server_at: SplitResult,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    pause_seconds: float,
) -> None:
    back, forth = await asyncio.open_connection(server_at.hostname, server_at.port)

    async def send() -> None:
        while piece := await reader.read(65_536):
            forth.write(piece)

    sending = asyncio.create_task(send())
    try:
        while piece := await back.read(40):
            writer.write(piece)
            await asyncio.sleep(pause_seconds)  # the fault itself
    finally:
        sending.cancel()
        forth.close()
        writer.close()


async def test_answers_that_trickle_keep_nobody_longer_than_two_deadlines(
    valkey: ValkeyServer,
    redis: Redis,  # noqa: ARG001 - it is empty
) -> None:
    async with slow_network(valkey.url, pause_seconds=0.05) as url:
        client = hot_client(url, timeout_seconds=0.5)
        cache = Cache(client, b"k" * 32, LEASE)
        await look(cache, DIGEST)
        began = boottime()

        await asyncio.gather(*(look(cache, digest(number)) for number in range(50)))

        took = boottime() - began
        await client.aclose()
    assert took < 2 * 0.5


async def test_who_waits_while_the_process_closes_is_told(hot: Redis, valkey: ValkeyServer) -> None:
    batches = echoing(hot)
    await batches.ask("a", 1)
    with stopped(valkey):
        asked = [asyncio.create_task(batches.ask("a", 1)) for _ in range(2 * BATCH)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert batches._sender is not None  # noqa: SLF001 - what a closing loop cancels
        batches._sender.cancel()  # noqa: SLF001 - as above

        told = await asyncio.gather(*asked, return_exceptions=True)

    assert all(isinstance(one, Failed) for one in told)
    assert await batches.ask("a", 2) == (b"one", b"two", b"2")


async def test_a_frozen_redis_is_waited_for_once_and_then_spared(valkey: ValkeyServer) -> None:
    assert valkey.pid is not None
    client = hot_client(valkey.url)
    cache = Cache(client, b"k" * 32, LEASE)
    miss = await cache.look_up(DIGEST, age_seconds_max=LEASE)
    assert miss is not None
    assert await cache.fill(DIGEST, miss, CHAIN, PAYLOAD) == "OK"
    os.kill(valkey.pid, signal.SIGSTOP)

    began = boottime()
    assert await cache.look_up(DIGEST, age_seconds_max=LEASE) is None
    first = boottime() - began
    assert await cache.look_up(DIGEST, age_seconds_max=LEASE) is None
    second = boottime() - began - first
    began = boottime()
    assert await cache.fill(DIGEST, miss, CHAIN, PAYLOAD) == "UNREACHABLE"
    assert await cache.revoke([Drop.of_secret(DIGEST)]) is None
    others = boottime() - began

    assert CALL_TIMEOUT_SECONDS <= first < 1
    assert second < CALL_TIMEOUT_SECONDS / 2
    assert others < 1
    os.kill(valkey.pid, signal.SIGCONT)
    until = boottime() + 5
    while await cache.look_up(OTHER, age_seconds_max=LEASE) is None:
        assert boottime() < until
    assert boottime() - began > BREAK_SECONDS - CALL_TIMEOUT_SECONDS
    await client.aclose()
