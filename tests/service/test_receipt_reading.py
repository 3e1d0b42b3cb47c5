"""Receipts are read, waited for and watched by whoever reaches the account, Redis or not."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest
from conftest import FrozenClock
from factories import Platform, make_token
from stores import begin_long_ago, everything

from service.access.actor import Actor
from service.cache import Cache, hot_client
from service.clock import boottime
from service.composition import Service, compose
from service.errors import InsufficientScope, NotFound
from service.outbox import KEPT
from service.receipts import Propagation, PropagationState, PropagationWait
from service.settings import Settings

pytestmark = pytest.mark.usefixtures("old_epoch")

BOUND = timedelta(seconds=10)
SOON = 1.0
PENDING, CONFIRMED = PropagationState.PENDING, PropagationState.CONFIRMED
APPLIED, EFFECTIVE = PropagationState.APPLIED, PropagationState.EFFECTIVE


@pytest.fixture
async def old_epoch(service: Service) -> None:
    """Everybody has had the time to report since Redis began to remember."""
    await begin_long_ago(service.cache.redis)


@pytest.fixture
def cut_off(service: Service, settings: Settings) -> Service:
    """The use cases of a process whose Redis is not there."""
    nowhere = Cache(hot_client("redis://127.0.0.1:1"), b"k" * 32, settings.lease_seconds)
    return compose(settings, nowhere, service.clock, passwords=service.accounts.passwords)


async def revoke(service: Service, actor: Actor) -> Propagation:
    """Revoke a new token; return its receipt as the change told it."""
    created = await make_token(service, actor)
    propagation = (await service.tokens.revoke(actor, created.token.id)).propagation
    assert propagation is not None
    return propagation


async def waited_for(service: Service, propagation: Propagation) -> Propagation:
    return await service.receipts.wait(propagation, PropagationWait.ALL_VALIDATORS)


async def test_without_redis_a_receipt_is_pending_then_confirmed_by_the_relay_then_effective(
    service: Service, cut_off: Service, platform: Platform, clock: FrozenClock
) -> None:
    actor, began = platform.customer, clock.now()
    told = await revoke(cut_off, actor)
    assert (told.state, told.receipt.committed_at) == (PENDING, began)
    assert (told.receipt.confirmed_at, told.receipt.revisions) == (None, None)

    clock.advance(seconds=3)
    pending = await service.receipts.get(actor, told.receipt.id)
    assert pending == told
    assert await service.relay.relay_due() == 1
    confirmed = await service.receipts.get(actor, told.receipt.id)
    away = await cut_off.receipts.get(actor, told.receipt.id)
    clock.advance(seconds=7, microseconds=-1)
    before = await service.receipts.get(actor, told.receipt.id)
    clock.advance(microseconds=1)
    after = await cut_off.receipts.get(actor, told.receipt.id)

    assert [one.state for one in (confirmed, away, before, after)] == [
        *[CONFIRMED] * 3,
        EFFECTIVE,
    ]
    for found in (confirmed, away, before, after):
        assert found.receipt.committed_at == began
        assert found.receipt.confirmed_at == began + timedelta(seconds=3)
        assert found.effective_everywhere_by == began + BOUND


async def test_a_pending_receipt_is_effective_at_the_bound_without_anybody(
    cut_off: Service, platform: Platform, clock: FrozenClock
) -> None:
    told = await revoke(cut_off, platform.customer)

    clock.advance(seconds=10, microseconds=-1)
    before = await cut_off.receipts.get(platform.customer, told.receipt.id)
    clock.advance(microseconds=1)
    after = await cut_off.receipts.get(platform.customer, told.receipt.id)

    assert (before.state, after.state) == (PENDING, EFFECTIVE)


async def test_a_commit_that_nobody_noted_makes_no_receipt_effective_early(
    cut_off: Service, platform: Platform, owner: asyncpg.Connection, clock: FrozenClock
) -> None:
    """As when the process died right after its commit."""
    told = await revoke(cut_off, platform.customer)
    await owner.execute("UPDATE outbox_event SET committed_at = NULL")
    clock.advance(minutes=1)

    found = await cut_off.receipts.get(platform.customer, told.receipt.id)

    assert found.state is PENDING
    assert found.effective_everywhere_by == clock.now() + BOUND


async def test_waiting_ends_as_soon_as_the_last_one_has_applied_it(
    service: Service, platform: Platform
) -> None:
    told = await revoke(service, platform.customer)
    assert told.receipt.revisions is not None
    [revision] = told.receipt.revisions
    await service.cache.report("quick", revision)
    await service.cache.report("slow", replace(revision, number=revision.number - 1))

    waiting = asyncio.create_task(waited_for(service, told))
    done, _ = await asyncio.wait([waiting], timeout=0.1)
    assert not done
    await service.cache.report("slow", revision)
    began = boottime()

    waited = await waiting
    assert (waited.state, waited.known, waited.applied) == (APPLIED, 2, 2)
    assert boottime() - began < SOON


async def watched(service: Service, actor: Actor, receipt_id: UUID) -> list[Propagation]:
    return [told async for told in service.receipts.watch(actor, receipt_id)]


async def test_watching_tells_each_step_once_and_ends_when_all_have_applied_it(
    service: Service, cut_off: Service, platform: Platform
) -> None:
    told = await revoke(cut_off, platform.customer)
    watching = service.receipts.watch(platform.customer, told.receipt.id)
    steps = [await anext(watching)]

    await service.relay.relay_due()
    steps.append(await anext(watching))
    revisions = steps[-1].receipt.revisions
    assert revisions is not None
    await service.cache.report("one", replace(revisions[0], number=0))
    steps.append(await anext(watching))
    await service.cache.report("one", revisions[0])
    steps.extend([step async for step in watching])

    assert [(one.state, one.known, one.applied) for one in steps] == [
        (PENDING, 0, 0),
        (CONFIRMED, 0, 0),
        (CONFIRMED, 1, 0),
        (APPLIED, 1, 1),
    ]


async def test_watching_ends_at_the_bound_whoever_is_silent(
    service: Service, platform: Platform, clock: FrozenClock
) -> None:
    told = await revoke(service, platform.customer)
    watching = service.receipts.watch(platform.customer, told.receipt.id)
    assert (await anext(watching)).state is CONFIRMED

    clock.advance(seconds=10)

    assert [one.state async for one in watching] == [EFFECTIVE]


async def test_watching_ends_at_the_bound_also_where_nobody_noted_the_commit(
    cut_off: Service, platform: Platform, owner: asyncpg.Connection, clock: FrozenClock
) -> None:
    told = await revoke(cut_off, platform.customer)
    await owner.execute("UPDATE outbox_event SET committed_at = NULL")
    watching = cut_off.receipts.watch(platform.customer, told.receipt.id)
    assert (await anext(watching)).state is PENDING

    clock.advance(seconds=10)

    async with asyncio.timeout(SOON):
        assert [one.state async for one in watching] == [EFFECTIVE]


async def test_a_receipt_is_read_by_whoever_reaches_its_account_and_is_missing_to_others(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    told = await revoke(service, platform.customer)
    before = await everything(owner)

    for actor in (platform.customer, platform.reseller, platform.operator):
        found = await service.receipts.get(actor, told.receipt.id)
        assert found.receipt.id == told.receipt.id

    refusals = set()
    for actor in (platform.sibling, platform.stranger, platform.other_reseller):
        for receipt_id in (told.receipt.id, uuid4()):
            with pytest.raises(NotFound) as refused:
                await service.receipts.get(actor, receipt_id)
            with pytest.raises(NotFound):
                await watched(service, actor, receipt_id)
            refusals.add((refused.value.code, refused.value.message, refused.value.field))
    assert len(refusals) == 1
    assert await everything(owner) == before


async def test_without_the_scope_no_receipt_is_looked_up(
    service: Service, platform: Platform
) -> None:
    told = await revoke(service, platform.customer)
    writer = replace(platform.customer, scopes=("tokens:write", "dns:read"))

    for receipt_id in (told.receipt.id, uuid4()):
        with pytest.raises(InsufficientScope):
            await service.receipts.get(writer, receipt_id)
        with pytest.raises(InsufficientScope):
            await watched(service, writer, receipt_id)


async def test_each_change_has_a_receipt_of_its_own_and_keeps_it_for_a_day(
    service: Service, platform: Platform, owner: asyncpg.Connection, clock: FrozenClock
) -> None:
    told = [await revoke(service, platform.customer) for _ in range(3)]
    assert len({one.receipt.id for one in told}) == 3
    assert await owner.fetchval("SELECT count(*) FROM outbox_event") == 3
    for _ in range(2):
        clock.advance(seconds=service.settings.lease_seconds)
        await service.relay.relay_due()

    clock.advance(seconds=KEPT.total_seconds())
    await service.relay.relay_due()
    found = [await service.receipts.get(platform.customer, one.receipt.id) for one in told]
    clock.advance(microseconds=1)
    await service.relay.relay_due()

    assert {one.state for one in found} == {EFFECTIVE}
    for one in told:
        with pytest.raises(NotFound):
            await service.receipts.get(platform.customer, one.receipt.id)
