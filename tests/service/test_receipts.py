"""A receipt tells how far a narrowing has come, and never more than is known."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest
from conftest import FrozenClock
from factories import Platform, make_token
from pydantic import SecretStr
from redis.asyncio import Redis
from stores import begin_long_ago, eventually, one_row

from service.access.actor import Actor
from service.cache import CHANNEL, REPORTS, Drop, Revision, open_cache
from service.clock import boottime
from service.composition import Service, compose
from service.local.servers import ValkeyServer
from service.receipts import (
    LIVE_SECONDS_MAX,
    WAIT_SECONDS_MAX,
    Propagation,
    PropagationState,
    PropagationWait,
    Receipt,
)
from service.settings import Settings
from service.validator import Validator, open_validator
from service.verdict import Status

BOUND = timedelta(seconds=10)
SOON = 1.0
PENDING, CONFIRMED = PropagationState.PENDING, PropagationState.CONFIRMED
APPLIED, EFFECTIVE = PropagationState.APPLIED, PropagationState.EFFECTIVE


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
    await begin_long_ago(client)
    yield client
    await client.aclose()


@pytest.fixture
def apart(settings: Settings, valkey: ValkeyServer) -> Settings:
    return settings.model_copy(update={"redis_url": SecretStr(valkey.url)})


@pytest.fixture
async def remote(
    service: Service,
    apart: Settings,
    redis: Redis,  # noqa: ARG001 - it is empty
) -> AsyncIterator[Service]:
    """The use cases over that Valkey."""
    async with open_cache(apart) as cache:
        yield compose(apart, cache, service.clock, passwords=service.accounts.passwords)


@asynccontextmanager
async def validators(
    remote: Service, apart: Settings, count: int
) -> AsyncIterator[list[Validator]]:
    """Open so many validators, and return once each has told that it listens."""
    async with AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(open_validator(apart, clock=remote.clock))
            for _ in range(count)
        ]
        await eventually(lambda: are_counted(remote, count), seconds=5)
        yield opened


async def are_counted(remote: Service, count: int) -> bool:
    fleet = await remote.cache.fleet(silent_seconds_max=BOUND.total_seconds())
    return fleet is not None and len(fleet.reports) == count


async def revoke(service: Service, actor: Actor) -> Propagation:
    """Revoke a new token; return its receipt as the change told it."""
    created = await make_token(service, actor)
    return receipt_of(await service.tokens.revoke(actor, created.token.id))


async def waited_for(service: Service, propagation: Propagation) -> Propagation:
    return await service.receipts.wait(propagation, PropagationWait.ALL_VALIDATORS)


def receipt_of(changed: object) -> Propagation:
    propagation = getattr(changed, "propagation", None)
    assert isinstance(propagation, Propagation)
    return propagation


async def is_in(
    service: Service, actor: Actor, receipt_id: UUID, state: PropagationState
) -> Propagation:
    """Return a receipt once it is in a state."""
    found: list[Propagation] = []

    async def is_so() -> bool:
        found.append(await service.receipts.get(actor, receipt_id))
        return found[-1].state is state

    await eventually(is_so, seconds=SOON)
    return found[-1]


async def test_a_revoke_is_applied_once_every_validator_has_said_so(
    remote: Service, platform: Platform, apart: Settings, clock: FrozenClock
) -> None:
    actor = platform.customer
    async with validators(remote, apart, 3):
        told = await revoke(remote, actor)
        assert told.state in {CONFIRMED, APPLIED}

        waited = await waited_for(remote, told)

        assert (waited.state, waited.known, waited.applied, waited.vanished) == (APPLIED, 3, 3, ())
        read = await remote.receipts.get(actor, told.receipt.id)
        assert replace(read, receipt=told.receipt) == waited
        assert read.receipt == replace(told.receipt, revisions=read.receipt.revisions)
        assert read.receipt.committed_at == read.receipt.confirmed_at == clock.now()
        assert read.effective_everywhere_by == clock.now() + BOUND


async def test_what_is_applied_is_refused_by_every_validator(
    remote: Service, platform: Platform, apart: Settings
) -> None:
    async with validators(remote, apart, 3) as opened:
        for _ in range(10):
            created = await make_token(remote, platform.customer)
            for validator in opened:
                assert (await validator.check(created.secret)).is_valid

            changed = await remote.tokens.revoke(platform.customer, created.token.id)
            waited = await waited_for(remote, receipt_of(changed))

            assert waited.state is APPLIED
            statuses = {(await validator.check(created.secret)).status for validator in opened}
            assert statuses == {Status.REVOKED}


async def test_with_nobody_known_a_receipt_is_confirmed_and_effective_at_the_bound_not_before(
    remote: Service, platform: Platform, clock: FrozenClock
) -> None:
    told = await revoke(remote, platform.customer)
    assert (told.state, told.known, told.applied) == (CONFIRMED, 0, 0)
    assert told.effective_everywhere_by == told.receipt.committed_at + BOUND

    clock.advance(seconds=10, microseconds=-1)
    before = await remote.receipts.get(platform.customer, told.receipt.id)
    clock.advance(microseconds=1)
    after = await remote.receipts.get(platform.customer, told.receipt.id)

    assert (before.state, after.state) == (CONFIRMED, EFFECTIVE)
    assert before.effective_everywhere_by == after.effective_everywhere_by == clock.now()


async def test_a_change_that_waits_returns_when_all_have_applied_it_and_else_at_once(
    remote: Service, platform: Platform, apart: Settings
) -> None:
    async with validators(remote, apart, 2):
        for _ in range(5):
            created = await make_token(remote, platform.customer)
            changed = await remote.tokens.revoke(
                platform.customer, created.token.id, wait_for=PropagationWait.ALL_VALIDATORS
            )
            assert receipt_of(changed).state is APPLIED
    told = await revoke(remote, platform.customer)

    assert await remote.receipts.wait(told, None) is told


async def test_of_several_drops_each_must_be_applied(
    remote: Service, platform: Platform, clock: FrozenClock
) -> None:
    drops = [Drop.of_secret(bytes(32)), Drop.of_account(platform.customer.account_id)]
    first, second = await drops_made(remote, drops)
    receipt = Receipt(uuid4(), clock.now(), clock.now(), (first, second))

    await remote.cache.report("one", first)
    halfway = await remote.receipts.progress(receipt)
    await remote.cache.report("one", second)
    done = await remote.receipts.progress(receipt)

    assert (halfway.state, halfway.known, halfway.applied) == (CONFIRMED, 1, 0)
    assert (done.state, done.known, done.applied) == (APPLIED, 1, 1)


async def drops_made(service: Service, drops: list[Drop]) -> list[Revision]:
    revisions = await service.cache.revoke(drops)
    assert revisions is not None
    return revisions


async def test_a_receipt_stays_applied_although_the_relay_delivers_it_again(
    remote: Service, platform: Platform, owner: asyncpg.Connection, clock: FrozenClock
) -> None:
    """Also while nobody has applied the repetition yet."""
    told = await revoke(remote, platform.customer)
    assert told.receipt.revisions is not None
    await remote.cache.report("one", told.receipt.revisions[0])
    before = await remote.receipts.get(platform.customer, told.receipt.id)

    clock.advance(seconds=remote.settings.lease_seconds)
    assert await remote.relay.relay_due() == 1
    after = await remote.receipts.get(platform.customer, told.receipt.id)

    assert (before.state, after.state) == (APPLIED, APPLIED)
    assert after.receipt == before.receipt
    assert (await one_row(owner, "SELECT stage FROM outbox_event"))["stage"] == 2


async def test_after_a_flush_a_receipt_from_before_is_effective_by_time_alone(
    remote: Service, platform: Platform, apart: Settings, redis: Redis, clock: FrozenClock
) -> None:
    actor = platform.customer
    async with validators(remote, apart, 2):
        told = await waited_for(remote, await revoke(remote, actor))
        assert told.state is APPLIED

        await redis.flushall()
        nobody = await remote.receipts.get(actor, told.receipt.id)
        await eventually(lambda: are_counted(remote, 2), seconds=SOON)
        everybody = await remote.receipts.get(actor, told.receipt.id)
        again = await waited_for(remote, await revoke(remote, actor))
        later = await remote.receipts.get(actor, told.receipt.id)

    assert {nobody.state, everybody.state, later.state} == {CONFIRMED}
    assert again.receipt.revisions is not None
    clock.advance(seconds=10)
    assert (await remote.receipts.get(actor, told.receipt.id)).state is EFFECTIVE


async def test_right_after_a_flush_a_part_of_the_fleet_is_not_taken_for_all_of_it(
    remote: Service, platform: Platform, redis: Redis
) -> None:
    told = await revoke(remote, platform.customer)
    assert told.receipt.revisions is not None
    for name in ("one", "two"):
        await remote.cache.report(name, told.receipt.revisions[0])
    await redis.flushall()

    told = await revoke(remote, platform.customer)
    assert told.receipt.revisions is not None
    await remote.cache.report("one", told.receipt.revisions[0])  # "two" is about to

    assert (await remote.receipts.progress(told.receipt)).state is CONFIRMED


async def test_a_redis_that_went_back_behind_a_drop_knows_not_who_applied_it(
    remote: Service, platform: Platform, redis: Redis
) -> None:
    """As after a restart from an old dump, or a failover that lost the last writes."""
    before = await revoke(remote, platform.customer)
    assert before.receipt.revisions is not None
    await remote.cache.report("one", before.receipt.revisions[0])
    dumped = await redis.dump(CHANNEL)
    assert dumped is not None
    told = await revoke(remote, platform.customer)
    assert told.receipt.revisions is not None

    await redis.restore(CHANNEL, 0, dumped, replace=True)
    await remote.cache.report("one", told.receipt.revisions[0])
    found = await remote.receipts.get(platform.customer, told.receipt.id)

    assert (found.state, found.known, found.applied) == (CONFIRMED, 1, 1)


@pytest.mark.parametrize("kind", ["SET", "RPUSH"])
async def test_reports_that_were_tampered_with_make_nothing_applied(
    remote: Service, platform: Platform, redis: Redis, kind: str
) -> None:
    told = await revoke(remote, platform.customer)
    await redis.execute_command(kind, REPORTS, "1")  # type: ignore[no-untyped-call] # redis-py leaves it unannotated

    found = await remote.receipts.get(platform.customer, told.receipt.id)

    assert (found.state, found.known, found.applied) == (CONFIRMED, 0, 0)


async def test_while_a_validator_that_cannot_listen_says_valid_a_receipt_is_not_applied(
    remote: Service, platform: Platform, apart: Settings, redis: Redis
) -> None:
    async with validators(remote, apart, 1):
        await redis.execute_command("ACL", "SETUSER", "default", "-subscribe")  # type: ignore[no-untyped-call] # redis-py leaves it unannotated
        try:
            async with open_validator(apart, clock=remote.clock) as deaf:
                created = await make_token(remote, platform.customer)
                assert (await deaf.check(created.secret)).is_valid
                changed = await remote.tokens.revoke(platform.customer, created.token.id)
                told = await waited_for(remote, receipt_of(changed))

                is_valid = (await deaf.check(created.secret)).is_valid
                assert not (told.state is APPLIED and is_valid)
        finally:
            await redis.execute_command("ACL", "SETUSER", "default", "+subscribe")  # type: ignore[no-untyped-call] # redis-py leaves it unannotated


async def test_the_drops_of_another_deployment_on_the_same_redis_hold_up_no_receipt(
    remote: Service, platform: Platform, apart: Settings, valkey: ValkeyServer
) -> None:
    neighbour = apart.model_copy(
        update={"redis_url": SecretStr(valkey.url.rpartition("/")[0] + "/3")}
    )
    async with validators(remote, apart, 1), open_cache(neighbour) as others:
        told = await revoke(remote, platform.customer)
        await is_in(remote, platform.customer, told.receipt.id, APPLIED)

        assert await others.revoke([Drop.of_secret(bytes(32))]) is not None
        for _ in range(100):
            found = await remote.receipts.get(platform.customer, told.receipt.id)
            assert found.state is APPLIED


STOPPABLE = """
import asyncio, signal
from service.settings import read_settings
from service.validator import open_validator

async def main():
    async with open_validator(read_settings()):
        print("open", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
async def stoppable(
    remote: Service, apart: Settings
) -> AsyncIterator[Callable[[signal.Signals], None]]:
    """A validator in a process of its own, counted already, to be sent signals."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", STOPPABLE),
        env={
            "PATH": os.defpath,
            "TOKENWARD_ENVIRONMENT": "test",
            "TOKENWARD_DATABASE_URL": apart.database_url.get_secret_value(),
            "TOKENWARD_REDIS_URL": apart.redis_url.get_secret_value(),
        },
        cwd=Path(__file__).parents[2],
        stdout=asyncio.subprocess.DEVNULL,
    )
    await eventually(lambda: are_counted(remote, 1), seconds=20)
    yield process.send_signal
    process.send_signal(signal.SIGCONT)
    process.kill()
    await process.wait()


async def test_a_validator_that_was_stopped_is_named_and_holds_up_nobody(
    remote: Service,
    platform: Platform,
    apart: Settings,
    stoppable: Callable[[signal.Signals], None],
    clock: FrozenClock,
) -> None:
    await eventually(lambda: are_counted(remote, 1), seconds=5)
    async with open_validator(apart, clock=clock):
        await eventually(lambda: are_counted(remote, 2), seconds=5)
        stoppable(signal.SIGSTOP)
        told = await revoke(remote, platform.customer)
        began = boottime()

        waited = await waited_for(remote, told)

        assert boottime() - began < WAIT_SECONDS_MAX
        assert (waited.state, waited.known, waited.applied) == (CONFIRMED, 2, 1)
        [vanished] = waited.vanished
        assert vanished.leases_dead_at == waited.effective_everywhere_by
        silent = clock.now() - vanished.last_heard_at
        assert LIVE_SECONDS_MAX < silent.total_seconds() < BOUND.total_seconds()
        stoppable(signal.SIGCONT)
        awake = await is_in(remote, platform.customer, told.receipt.id, APPLIED)
        assert (awake.known, awake.applied, awake.vanished) == (2, 2, ())
