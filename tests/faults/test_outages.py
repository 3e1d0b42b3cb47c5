"""One thing at a time stands still or refuses, and what a validator says meanwhile."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import uvloop
from factories import Platform, make_token
from fault_proxy import CUT, FORGET, PASS, REFUSE, STALL, Behaviour, proxying
from processes import environment
from pydantic import SecretStr
from redis_node import RedisNode
from stack import run_command, signal_postgres, through
from stores import eventually

from service.cache import Failed, open_cache
from service.clock import boottime
from service.composition import Service, compose
from service.local.child import free_port
from service.local.servers import PostgresServer
from service.settings import Settings
from service.validator import Validator, open_validator
from service.verdict import Status

LEASE_SECONDS = 1.0
ANSWER_SECONDS_MAX = 1.0
PAUSE_SECONDS = 0.01
LONG_SECONDS = 10.0
RECOVERY_SECONDS = 3.0
CONNECTIONS = 8

Outage = Callable[[RedisNode], AbstractAsyncContextManager[None]]


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[RedisNode]:
    """A Redis of this test's own."""
    node = RedisNode(tmp_path)
    await node.start()
    yield node
    await node.close()


@pytest.fixture
def apart(settings: Settings, node: RedisNode) -> Settings:
    """Settings with that Redis and a short lease."""
    changes = {"redis_url": SecretStr(node.url()), "lease_seconds": LEASE_SECONDS}
    return settings.model_copy(update=changes)


@pytest.fixture
async def remote(service: Service, apart: Settings) -> AsyncIterator[Service]:
    """The use cases over that Redis."""
    async with open_cache(apart) as cache:
        yield compose(apart, cache, service.clock, passwords=service.accounts.passwords)


@pytest.fixture
async def warm(remote: Service, apart: Settings) -> AsyncIterator[Validator]:
    """A validator over that Redis."""
    async with open_validator(apart, clock=remote.clock) as validator:
        yield validator


async def answered(validator: Validator, secret: str) -> Status:
    """Return a status, which must not be long in coming."""
    arrival = boottime()
    verdict = await validator.check(secret)
    assert boottime() - arrival <= ANSWER_SECONDS_MAX
    return verdict.status


@asynccontextmanager
async def read_only(node: RedisNode) -> AsyncIterator[None]:
    """A replica whose primary is gone: it reads, and refuses to write."""
    await node.command("REPLICAOF", "127.0.0.1", free_port())
    yield
    await node.command("REPLICAOF", "NO", "ONE")


@asynccontextmanager
async def full(node: RedisNode) -> AsyncIterator[None]:
    """Not a byte is left, and nothing may be evicted."""
    await node.command("CONFIG", "SET", "maxmemory", "1")
    yield
    await node.command("CONFIG", "SET", "maxmemory", "0")


async def is_out(node: RedisNode) -> bool:
    """Return whether a server answers nothing but an error."""
    return not await node.is_ready()


@asynccontextmanager
async def busy(node: RedisNode) -> AsyncIterator[None]:
    """A script that never ends."""
    await node.command("CONFIG", "SET", "busy-reply-threshold", "50")
    script = asyncio.create_task(node.command("EVAL", "while true do end", 0))
    await eventually(partial(is_out, node), seconds=5)
    yield
    await node.command("SCRIPT", "KILL")
    with suppress(*Failed):
        await script


@asynccontextmanager
async def loading(node: RedisNode) -> AsyncIterator[None]:
    """Reading a dump back takes its time."""
    for setting in (("key-load-delay", "10000"), ("loading-process-events-interval-bytes", "1024")):
        await node.command("CONFIG", "SET", *setting)
    for number in range(40):
        await node.command("SET", f"filler:{number}", "x" * 1024)
    reload = asyncio.create_task(node.command("DEBUG", "RELOAD"))
    await eventually(partial(is_out, node), seconds=5)
    yield
    with suppress(*Failed):
        await reload
    await eventually(node.is_ready, seconds=10)


@asynccontextmanager
async def frozen(node: RedisNode) -> AsyncIterator[None]:
    """Stopped where it stands."""
    node.freeze()
    try:
        yield
    finally:
        node.thaw()


@asynccontextmanager
async def without_scripts(node: RedisNode) -> AsyncIterator[None]:
    """Every script is forgotten."""
    await node.command("SCRIPT", "FLUSH")
    yield


@asynccontextmanager
async def dead(node: RedisNode) -> AsyncIterator[None]:
    """Nobody listens."""
    node.kill()
    yield
    await node.start()


@pytest.mark.parametrize("outage", [read_only, full, busy, loading, frozen, without_scripts, dead])
async def test_live_tokens_work_and_a_revoke_holds_while_redis_is_of_no_use(
    outage: Outage, node: RedisNode, remote: Service, platform: Platform, warm: Validator
) -> None:
    live, doomed = [await make_token(remote, platform.customer) for _ in range(2)]
    for created in (live, doomed):
        assert await answered(warm, created.secret) is Status.VALID

    async with outage(node):
        await remote.tokens.revoke(platform.customer, doomed.token.id)
        revoked_at = boottime()
        status, accepted_at = Status.VALID, revoked_at
        while status is Status.VALID or boottime() < revoked_at + LEASE_SECONDS:
            arrival = boottime()
            status = await answered(warm, doomed.secret)
            if status is Status.VALID:
                accepted_at = arrival
            assert await answered(warm, live.secret) is Status.VALID
            await asyncio.sleep(PAUSE_SECONDS)

    assert status is Status.REVOKED
    # Nobody has stepped a clock, so that one lease is the longest.
    assert accepted_at - revoked_at <= LEASE_SECONDS
    assert await answered(warm, live.secret) is Status.VALID
    assert await answered(warm, doomed.secret) is Status.REVOKED


@pytest.mark.faults
async def test_ten_seconds_of_a_frozen_redis_refuse_nobody_and_delay_nobody(
    node: RedisNode, remote: Service, platform: Platform, warm: Validator
) -> None:
    secrets = [(await make_token(remote, platform.customer)).secret for _ in range(CONNECTIONS)]
    assert await all_answered(warm, secrets) == {Status.VALID}

    async with frozen(node):
        until = boottime() + LONG_SECONDS
        while boottime() < until:
            assert await all_answered(warm, secrets) == {Status.VALID}
            await asyncio.sleep(PAUSE_SECONDS)


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A PostgreSQL that nobody else uses."""
    server = PostgresServer(tmp_path_factory.mktemp("outages") / "postgres", durable=False)
    server.start()
    try:
        yield server
    finally:
        signal_postgres(server, signal.SIGCONT)
        server.delete()


async def test_a_frozen_database_makes_leases_end_and_nothing_unknown(
    postgres: PostgresServer, apart: Settings
) -> None:
    settings = apart.model_copy(update={"database_url": SecretStr(postgres.app_url())})
    given = environment(
        database_url=postgres.app_url(),
        database_owner_url=postgres.owner_url(),
        redis_url=apart.redis_url.get_secret_value(),
    )
    secret = json.loads(await run_command(given, "demo", "--json", "--migrate"))["secret"]
    async with open_validator(settings) as validator:
        assert await answered(validator, secret) is Status.VALID

        signal_postgres(postgres, signal.SIGSTOP)
        frozen_at = boottime()
        statuses = []
        try:
            while boottime() < frozen_at + 2 * LEASE_SECONDS:
                statuses.append((boottime() - frozen_at, await answered(validator, secret)))
                await asyncio.sleep(PAUSE_SECONDS)
        finally:
            signal_postgres(postgres, signal.SIGCONT)

        assert {status for _, status in statuses} == {Status.VALID, Status.UNAVAILABLE}
        assert max(after for after, status in statuses if status is Status.VALID) <= LEASE_SECONDS
        await works_again(validator, secret)


@pytest.mark.parametrize("behaviour", [STALL, FORGET], ids=["stalled", "half-open"])
async def test_a_validator_recovers_from_a_database_that_could_not_be_reached(
    behaviour: Behaviour, apart: Settings, remote: Service, platform: Platform
) -> None:
    secrets = [(await make_token(remote, platform.customer)).secret for _ in range(CONNECTIONS)]
    url = apart.database_url.get_secret_value()
    with proxying() as proxies:
        link = proxies.open(urlsplit(url).port or 5432)
        behind = apart.model_copy(update={"database_url": SecretStr(through(url, link.port))})
        async with open_validator(behind, clock=remote.clock) as validator:
            # All at once, so that every connection of the validator's is open.
            assert await all_answered(validator, secrets) == {Status.VALID}

            link.behave(behaviour)
            began_at = boottime()
            seen = set[Status]()
            while boottime() < began_at + 3 * LEASE_SECONDS:
                seen |= await all_answered(validator, secrets)
                await asyncio.sleep(PAUSE_SECONDS)
            link.behave(PASS)

            assert seen == {Status.VALID, Status.UNAVAILABLE}
            for secret in secrets:
                await works_again(validator, secret)


RESETS = 30


def test_a_redis_that_resets_its_connections_is_an_outage_like_any_other_under_uvloop(
    tmp_path: Path, settings: Settings
) -> None:
    """Web processes run it; its own error for a connection that has just gone is no OSError."""

    async def told_while_connections_are_reset() -> set[type[BaseException]]:
        told = set[type[BaseException]]()
        node = RedisNode(tmp_path)
        await node.start()
        with proxying() as proxies:
            link = proxies.open(node.port)
            behind = settings.model_copy(update={"redis_url": SecretStr(node.url(link.port))})
            async with open_cache(behind) as cache:
                for number in range(RESETS):
                    link.behave((PASS, REFUSE, CUT)[number % 3])
                    for _ in range(CONNECTIONS):
                        asked = [cache.last_revision() for _ in range(CONNECTIONS)]
                        answers = await asyncio.gather(*asked, return_exceptions=True)
                        told |= {type(told) for told in answers if isinstance(told, BaseException)}
        await node.close()
        return told

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        told = runner.run(told_while_connections_are_reset())

    assert RuntimeError in told, "nothing was met"
    assert all(issubclass(kind, Failed) for kind in told), told


async def all_answered(validator: Validator, secrets: list[str]) -> set[Status]:
    """Ask for several secrets at once, and return what was said."""
    return set(await asyncio.gather(*(answered(validator, secret) for secret in secrets)))


async def works_again(validator: Validator, secret: str) -> None:
    """Wait until a live token is accepted."""

    async def works() -> bool:
        return await answered(validator, secret) is Status.VALID

    await eventually(works, seconds=RECOVERY_SECONDS)
