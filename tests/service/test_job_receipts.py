"""A job's receipt stands for all of its batches, and never says more than of the last of them."""

import asyncio
import os
import sys
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from conftest import FrozenClock
from factories import Platform, make_token
from job_scene import begin, ids_of, make_tokens
from stores import begin_long_ago, eventually, everything

from service.access.actor import Actor
from service.access.job_queue import Due, system_postpone_job
from service.access.jobs import Job, JobKind, JobState
from service.cache import REPORTS, Cache, hot_client
from service.composition import Service, compose
from service.errors import InsufficientScope, NotFound, Unavailable
from service.job_runs import ATTEMPTS_MAX
from service.outbox import KEPT
from service.receipts import Propagation, PropagationState
from service.settings import Settings
from service.validator import open_validator
from service.verdict import Status

pytestmark = pytest.mark.usefixtures("old_epoch")

PENDING, CONFIRMED = PropagationState.PENDING, PropagationState.CONFIRMED
APPLIED, EFFECTIVE = PropagationState.APPLIED, PropagationState.EFFECTIVE
SOON = 5.0

BLOCKED = (
    "SELECT pid FROM pg_stat_activity WHERE usename <> current_user AND wait_event_type = 'Lock'"
    " AND datname = current_database()"
)
SECOND_BATCH = (
    "SELECT FROM job_item WHERE token_id IN"
    " (SELECT token_id FROM job_item ORDER BY token_id OFFSET 2 LIMIT 2) FOR UPDATE"
)
UNDELIVERED = (
    "UPDATE outbox_event SET epoch = NULL, revision = NULL, confirmed_at = NULL"
    " WHERE id = (SELECT id FROM outbox_event ORDER BY revision OFFSET 1 LIMIT 1)"
)


@pytest.fixture
async def old_epoch(service: Service) -> None:
    """Everybody has had the time to report since Redis began to remember."""
    await begin_long_ago(service.cache.redis)


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


async def known(service: Service) -> int:
    fleet = await service.cache.fleet(silent_seconds_max=10)
    return 0 if fleet is None else len(fleet.reports)


async def are_known(service: Service, count: int) -> None:
    async def is_so() -> bool:
        return await known(service) == count

    await eventually(is_so, seconds=20)


async def revoked(service: Service, actor: Actor, count: int, *, batch: int = 2) -> Job:
    """Revoke new tokens by a job; return it as it is when it is over."""
    tokens = await make_tokens(service, actor, count)
    job = await begin(service, actor, JobKind.REVOKE, *ids_of(tokens))
    await service.job_runs.run_due(batch=batch)
    return await service.jobs.get(actor, job.id)


async def test_what_a_job_has_applied_is_refused_by_every_validator_and_no_sooner_is_that_told(
    service: Service,
    platform: Platform,
    settings: Settings,
    owner: asyncpg.Connection,
) -> None:
    actor = platform.customer
    tokens = await make_tokens(service, actor, 5)
    async with AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(open_validator(settings, clock=service.clock))
            for _ in range(3)
        ]
        await are_known(service, 3)
        for made in tokens:
            assert {(await one.check(made.secret)).status for one in opened} == {Status.VALID}
        job = await begin(service, actor, JobKind.REVOKE, *ids_of(tokens))
        queued = await service.receipts.get(actor, job.id)

        async with owner.transaction():
            await owner.execute(SECOND_BATCH)
            running = asyncio.create_task(service.job_runs.run_due(batch=2))
            await eventually(lambda: some(owner, BLOCKED), seconds=SOON)
            halfway = await service.receipts.get(actor, job.id)
            assert await some(owner, "SELECT FROM outbox_event WHERE revision IS NOT NULL")
        await running
        done = await is_in(service, actor, job.id, APPLIED)

        assert (queued.state, halfway.state) == (PENDING, PENDING)
        assert (halfway.receipt.confirmed_at, halfway.known, halfway.applied) == (None, 0, 0)
        assert (done.known, done.applied, done.vanished) == (3, 3, ())
        for made in tokens:
            assert {(await one.check(made.secret)).status for one in opened} == {Status.REVOKED}
    ended = await service.jobs.get(actor, job.id)
    assert done.effective_everywhere_by == service.jobs.effective_everywhere_by(ended)


async def some(owner: asyncpg.Connection, query: str) -> bool:
    return bool(await owner.fetch(query))


KILLABLE = """
import asyncio
from service.settings import read_settings
from service.validator import open_validator

async def main():
    async with open_validator(read_settings()):
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
async def killed(service: Service, settings: Settings) -> str:
    """The name of a validator in a process of its own that was heard, killed and then silent."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", KILLABLE),
        env={
            "PATH": os.defpath,
            "TOKENWARD_ENVIRONMENT": "test",
            "TOKENWARD_DATABASE_URL": settings.database_url.get_secret_value(),
            "TOKENWARD_REDIS_URL": settings.redis_url.get_secret_value(),
        },
        cwd=Path(__file__).parents[2],
        stdout=asyncio.subprocess.DEVNULL,
    )
    await are_known(service, 1)
    process.kill()
    await process.wait()
    redis: Any = service.cache.redis
    [(name, told)] = (await redis.hgetall(REPORTS)).items()
    heard_ms, rest = told.split(b" ", 1)
    await redis.hset(REPORTS, name, b"%d %s" % (int(heard_ms) - 3_000, rest))
    return str(name, "ascii")


async def test_a_validator_that_was_killed_is_named_in_a_jobs_receipt(
    service: Service, platform: Platform, settings: Settings, killed: str
) -> None:
    async with open_validator(settings, clock=service.clock):
        await are_known(service, 2)

        job = await revoked(service, platform.customer, 3)

        async def is_counted() -> bool:
            found = await service.receipts.get(platform.customer, job.id)
            return (found.state, found.known, found.applied) == (CONFIRMED, 2, 1)

        await eventually(is_counted, seconds=SOON)
        told = await service.receipts.get(platform.customer, job.id)
    assert [one.name for one in told.vanished] == [killed]
    assert told.vanished[0].leases_dead_at == told.effective_everywhere_by


async def test_a_job_is_followed_from_before_its_first_batch_to_the_last_validator(
    service: Service, platform: Platform, settings: Settings
) -> None:
    actor = platform.customer
    tokens = await make_tokens(service, actor, 3)
    async with open_validator(settings, clock=service.clock):
        await are_known(service, 1)
        job = await begin(service, actor, JobKind.SUSPEND, *ids_of(tokens))
        watching = service.receipts.watch(actor, job.id)
        steps = [await anext(watching)]
        await service.job_runs.run_due(batch=1)

        steps += [step async for step in watching]

    assert steps[0].state is PENDING
    assert steps[-1].state is APPLIED
    assert [step.state for step in steps[1:-1]] == [CONFIRMED] * (len(steps) - 2)


async def test_time_alone_makes_no_job_effective_that_is_not_over(
    service: Service, platform: Platform, clock: FrozenClock
) -> None:
    actor = platform.customer
    token = await make_token(service, actor)
    job = await begin(service, actor, JobKind.REVOKE, token.token.id)
    watching = service.receipts.watch(actor, job.id)
    first = await anext(watching)
    next_one = asyncio.create_task(anext(watching))
    clock.advance(minutes=5)

    found = await service.receipts.get(actor, job.id)
    done, _ = await asyncio.wait([next_one], timeout=0.6)  # it has looked again by then

    assert (first.state, found.state, done) == (PENDING, PENDING, set())
    await service.job_runs.run_due()
    assert (await next_one).state is CONFIRMED
    clock.advance(seconds=10)
    assert [step.state async for step in watching] == [EFFECTIVE]


async def test_a_job_that_is_over_and_has_changed_nothing_leaves_no_receipt(
    service: Service, platform: Platform
) -> None:
    actor = platform.customer
    token = await make_token(service, actor)
    job = await begin(service, actor, JobKind.RESUME, token.token.id)
    watching = service.receipts.watch(actor, job.id)
    before = await anext(watching)

    await service.job_runs.run_due()

    assert before.state is PENDING
    assert [step async for step in watching] == []
    with pytest.raises(NotFound):
        await service.receipts.get(actor, job.id)


async def test_a_job_that_was_called_off_keeps_the_receipt_of_what_it_did(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    actor = platform.customer
    tokens = await make_tokens(service, actor, 4)
    job = await begin(service, actor, JobKind.REVOKE, *ids_of(tokens))
    async with owner.transaction():
        await owner.execute(SECOND_BATCH)
        running = asyncio.create_task(service.job_runs.run_due(batch=2))
        await eventually(lambda: some(owner, BLOCKED), seconds=SOON)
        cancelling = asyncio.create_task(service.jobs.cancel(actor, job.id))
    cancelled = await cancelling
    await running

    found = await service.receipts.get(actor, job.id)

    assert cancelled.state in {JobState.CANCELLED, JobState.DONE}
    assert cancelled.succeeded >= 2
    assert found.state is CONFIRMED
    assert found.effective_everywhere_by == service.jobs.effective_everywhere_by(cancelled)


async def test_while_one_drop_of_one_batch_is_not_confirmed_the_whole_receipt_is_pending(
    service: Service, platform: Platform, settings: Settings, owner: asyncpg.Connection
) -> None:
    """As when a worker died between the commit of a batch and its delivery."""
    actor = platform.customer
    async with open_validator(settings, clock=service.clock):
        await are_known(service, 1)
        job = await revoked(service, actor, 5)
        await is_in(service, actor, job.id, APPLIED)
        await owner.execute(UNDELIVERED)
        before = await service.receipts.get(actor, job.id)

        await owner.execute("UPDATE outbox_event SET stage = 0, due_at = created_at")
        await service.relay.relay_due()

        assert before.state is PENDING
        await is_in(service, actor, job.id, APPLIED)


@pytest.mark.parametrize("epoch", ["0", "f" * 32])
async def test_a_job_over_which_redis_lost_its_memory_is_never_told_as_applied(
    epoch: str, service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    job = await revoked(service, platform.customer, 5)
    last = (await service.receipts.get(platform.customer, job.id)).receipt.revisions
    assert last is not None
    await service.cache.report("one", max(last, key=lambda one: one.number))
    assert (await service.receipts.get(platform.customer, job.id)).state is APPLIED

    await owner.execute(
        "UPDATE outbox_event SET epoch = $1"
        " WHERE id = (SELECT id FROM outbox_event ORDER BY revision OFFSET 2 LIMIT 1)",
        epoch,
    )

    found = await service.receipts.get(platform.customer, job.id)
    assert (found.state, found.known, found.applied) == (CONFIRMED, 1, 0)


async def test_without_redis_a_job_is_pending_and_effective_by_time_alone(
    service: Service, platform: Platform, settings: Settings, clock: FrozenClock
) -> None:
    nowhere = Cache(hot_client("redis://127.0.0.1:1"), b"k" * 32, settings.lease_seconds)
    cut_off = compose(settings, nowhere, service.clock, passwords=service.accounts.passwords)
    job = await revoked(cut_off, platform.customer, 3)
    states = [(await service.receipts.get(platform.customer, job.id)).state]

    for seconds in (9, 1):
        clock.advance(seconds=seconds)
        states.append((await service.receipts.get(platform.customer, job.id)).state)

    assert states == [PENDING, PENDING, EFFECTIVE]


async def test_a_jobs_receipt_lasts_as_long_as_the_job(
    service: Service, platform: Platform, clock: FrozenClock, owner: asyncpg.Connection
) -> None:
    job = await revoked(service, platform.customer, 3)
    for seconds in (5.0, 5.0, KEPT.total_seconds() + 1):
        clock.advance(seconds=seconds)
        await service.relay.relay_due()
    assert not await some(owner, "SELECT FROM outbox_event")

    found = await service.receipts.get(platform.customer, job.id)

    assert found.state is EFFECTIVE
    assert found.effective_everywhere_by == service.jobs.effective_everywhere_by(job)


async def test_a_jobs_receipt_is_read_by_whoever_reaches_the_job_and_is_missing_to_others(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    tokens = await make_tokens(service, platform.customer, 2)
    queued = await begin(service, platform.reseller, JobKind.SUSPEND, *ids_of(tokens))
    done = await revoked(service, platform.reseller, 2)
    [foreign] = await make_tokens(service, platform.stranger, 1)
    elsewhere = await begin(service, platform.stranger, JobKind.REVOKE, foreign.token.id)
    before = await everything(owner)

    for job in (queued, done):
        for actor in (platform.reseller, platform.operator):
            assert (await service.receipts.get(actor, job.id)).receipt.id == job.id
        for actor in (platform.sibling, platform.stranger, platform.other_reseller):
            for receipt_id in (job.id, uuid4()):
                with pytest.raises(NotFound, match="There is no such receipt"):
                    await service.receipts.get(actor, receipt_id)
        narrow = replace(platform.reseller, scopes=("tokens:write",))
        with pytest.raises(InsufficientScope):
            await service.receipts.get(narrow, job.id)
    asked = [queued.id, uuid4(), elsewhere.id, done.id]
    found = await service.receipts.get_many(platform.reseller, asked)
    assert [one and one.receipt.id for one in found] == [queued.id, None, None, done.id]
    assert await everything(owner) == before


async def test_a_failure_that_is_told_late_ends_no_job_at_which_somebody_else_had_a_turn(
    service: Service, platform: Platform, clock: FrozenClock
) -> None:
    """Else its end, from which the receipt counts, could lie before the commit of a batch."""
    actor = platform.customer
    tokens = await make_tokens(service, actor, 2)
    job = await begin(service, actor, JobKind.REVOKE, *ids_of(tokens))
    failing = Due(job.id, actor.reach, ATTEMPTS_MAX - 1)

    for due in (failing, replace(failing, attempts=0)):
        code = Unavailable.code if due is failing else None
        await system_postpone_job(due, clock.now(), due_at=clock.now(), error_code=code)

    found = await service.jobs.get(actor, job.id)
    assert (found.state, found.attempts) == (JobState.QUEUED, 1)
