"""Jobs are run once, by one worker at a time, for as long as whoever asked may; whatever dies."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from conftest import FrozenClock
from factories import Platform, make_token
from job_scene import EVERY, begin, ids_of, job_of, make_tokens, outcomes, told
from stores import eventually

from service.access.jobs import JobKind, JobState
from service.clock import SystemClock
from service.composition import Service, compose
from service.metrics import exposition
from service.paging import PageRequest

# Batches that wait for a row that the owner holds.
BLOCKED = (
    "SELECT pid FROM pg_stat_activity WHERE usename <> current_user AND wait_event_type = 'Lock'"
    " AND datname = current_database()"
)


def other_worker(service: Service) -> Service:
    """Return the same use cases as another process would have them."""
    return compose(service.settings, service.cache, service.clock)


async def blocked(owner: asyncpg.Connection) -> bool:
    """Return whether somebody waits for a lock."""
    return bool(await owner.fetch(BLOCKED))


async def hold(owner: asyncpg.Connection, table: str, condition: str) -> None:
    """Lock rows until the owner's transaction ends."""
    await owner.execute(f"SELECT FROM {table} WHERE {condition} FOR UPDATE")


async def revoked(owner: asyncpg.Connection) -> int:
    """Return how many tokens are revoked, read behind the door."""
    query = "SELECT count(*) FROM api_token WHERE revoked_at IS NOT NULL AND kind = 'API_TOKEN'"
    return int(await owner.fetchval(query))


async def test_a_batch_that_is_killed_is_taken_back_whole_and_each_item_is_done_once(
    service: Service, platform: Platform, owner: asyncpg.Connection, clock: FrozenClock
) -> None:
    tokens = await make_tokens(service, platform.customer, 5)
    job = await begin(service, platform.customer, JobKind.REVOKE, *ids_of(tokens))
    second_batch = "token_id IN (SELECT token_id FROM job_item ORDER BY token_id OFFSET 2 LIMIT 2)"

    async with owner.transaction():
        await hold(owner, "job_item", second_batch)
        running = asyncio.create_task(service.job_runs.run_due(batch=2))
        # Its tokens are changed by now, and the end of its items is not.
        await eventually(lambda: blocked(owner), seconds=5)
        await owner.execute(f"SELECT pg_terminate_backend(pid) FROM ({BLOCKED}) waiting")  # noqa: S608 - from this file
        await running
    assert await revoked(owner) == 2
    assert await outcomes(owner, job.id) == {("SUCCEEDED", None): 2, ("PENDING", None): 3}
    assert len(await told(owner, "token.revoked")) == 2
    clock.advance(seconds=2)
    await service.job_runs.run_due(batch=2)

    assert await revoked(owner) == 5
    assert await outcomes(owner, job.id) == {("SUCCEEDED", None): 5}
    events = await told(owner, "token.revoked")
    assert len(events) == len({event["subject_id"] for event in events}) == 5
    done = await service.jobs.get(platform.customer, job.id)
    assert (done.state, done.attempts, done.succeeded) == (JobState.DONE, 0, 5)


async def test_workers_side_by_side_do_each_item_once(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    tokens = await make_tokens(service, platform.customer, 6)
    jobs = [
        await begin(service, platform.customer, JobKind.SUSPEND, *ids_of(tokens)),
        await begin(service, platform.reseller, JobKind.SUSPEND, *ids_of(tokens)),
        await begin(service, platform.reseller, JobKind.SUSPEND, *ids_of(tokens)),
    ]

    workers = [service, other_worker(service), other_worker(service)]
    await asyncio.gather(*(worker.job_runs.run_due(batch=1) for worker in workers))
    await service.job_runs.run_due()

    events = await told(owner, "token.suspended")
    assert len(events) == len({event["subject_id"] for event in events}) == 6
    found = [await service.jobs.get(platform.reseller, job.id) for job in jobs]
    assert {job.state for job in found} == {JobState.DONE}
    assert sum(job.succeeded for job in found) == 6
    assert sum(job.skipped for job in found) == 12


async def test_a_process_runs_jobs_one_run_at_a_time_and_another_process_takes_another_job(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    held = await make_token(service, platform.customer)
    free = await make_token(service, platform.customer)
    await begin(service, platform.customer, JobKind.SUSPEND, held.token.id)
    other = await begin(service, platform.customer, JobKind.SUSPEND, free.token.id)

    async with owner.transaction():
        await owner.execute("SELECT FROM api_token WHERE id = $1 FOR UPDATE", held.token.id)
        running = asyncio.create_task(service.job_runs.run_due())
        await eventually(lambda: blocked(owner), seconds=5)
        assert await service.job_runs.run_due() == 0
        assert not running.done()
        await other_worker(service).job_runs.run_due()
        assert (await service.jobs.get(platform.customer, other.id)).state is JobState.DONE
    await running


async def test_jobs_take_turns_so_that_a_long_one_holds_no_short_one_up(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    now = compose(service.settings, service.cache, SystemClock())
    tokens = await make_tokens(service, platform.customer, 5)
    long = await begin(now, platform.customer, JobKind.SUSPEND, *ids_of(tokens[:4]))
    short = await begin(now, platform.customer, JobKind.SUSPEND, *ids_of(tokens[4:]))

    await now.job_runs.run_due(batch=1)

    events = await owner.fetch(
        "SELECT details->>'job_id' AS job FROM audit_event WHERE action = 'token.suspended'"
        " ORDER BY occurred_at"
    )
    assert [UUID(row["job"]) for row in events] == [long.id, short.id, long.id, long.id, long.id]


async def test_a_cancelled_job_changes_nothing_more(
    service: Service, platform: Platform, owner: asyncpg.Connection, clock: FrozenClock
) -> None:
    tokens = await make_tokens(service, platform.customer, 6)
    job = await begin(service, platform.customer, JobKind.REVOKE, *ids_of(tokens))

    async with owner.transaction():
        third = (
            "id = (SELECT id FROM api_token WHERE kind = 'API_TOKEN' ORDER BY id OFFSET 2 LIMIT 1)"
        )
        await hold(owner, "api_token", third)
        running = asyncio.create_task(service.job_runs.run_due(batch=1))
        await eventually(lambda: blocked(owner), seconds=5)
        cancelling = asyncio.create_task(service.jobs.cancel(platform.reseller, job.id))
    cancelled = await cancelling
    done = await revoked(owner)
    await running
    clock.advance(hours=1)
    await service.job_runs.run_due()

    assert cancelled.state is JobState.CANCELLED
    assert 3 <= cancelled.succeeded == done == await revoked(owner) < 6
    again = await service.jobs.cancel(platform.customer, job.id)
    assert again == cancelled
    assert len(await told(owner, "job.cancelled")) == 1
    left = await outcomes(owner, job.id)
    assert left == {("SUCCEEDED", None): done, ("PENDING", None): 6 - done}


async def test_a_job_that_cannot_be_done_waits_and_gives_up_and_keeps_no_other_from_its_turn(
    service: Service,
    platform: Platform,
    owner: asyncpg.Connection,
    clock: FrozenClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.job_runs.ATTEMPTS_MAX", 2)  # each is logged with its story
    token = await make_token(service, platform.customer)
    broken = await begin(service, platform.customer, JobKind.REVOKE, token.token.id, reason=None)
    other = await begin(service, platform.customer, JobKind.SUSPEND, token.token.id)

    await service.job_runs.run_due()
    waiting = await service.jobs.get(platform.customer, broken.id)
    assert (waiting.state, waiting.attempts) == (JobState.QUEUED, 1)
    assert (await service.jobs.get(platform.customer, other.id)).state is JobState.DONE
    clock.advance(seconds=1)
    assert await service.job_runs.run_due() == 0
    clock.advance(seconds=1)
    await service.job_runs.run_due()

    failed = await service.jobs.get(platform.customer, broken.id)
    assert (failed.state, failed.error_code) == (JobState.FAILED, "UNAVAILABLE")
    assert failed.attempts == 2
    assert await revoked(owner) == 0


async def test_a_token_that_moves_away_is_out_of_reach_and_the_job_still_ends(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    stays = await make_token(service, platform.sibling)
    moves = await make_token(service, platform.customer)
    theirs = await begin(service, platform.reseller, JobKind.REVOKE, stays.token.id, moves.token.id)
    own = await begin(service, platform.customer, JobKind.SUSPEND, moves.token.id)

    new = platform.other_reseller.account_id
    await service.account_moves.move(platform.operator, platform.customer.account_id, new)
    await service.job_runs.run_due()

    done = await service.jobs.get(platform.reseller, theirs.id)
    assert (done.state, done.succeeded, done.skipped) == (JobState.DONE, 1, 1)
    assert await revoked(owner) == 1
    assert await service.jobs.get_many(platform.reseller, [own.id]) == [None]
    followed = await service.jobs.get(platform.other_reseller, own.id)
    assert (followed.state, followed.succeeded) == (JobState.DONE, 1)
    [page] = await service.jobs.pages_of_items(platform.reseller, [theirs.id], PageRequest(9))
    assert [item.token_id for item in page.items] == [stays.token.id]


async def test_a_token_that_is_gone_or_foreign_by_now_is_skipped(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    token = await make_token(service, platform.customer)
    job = await begin(service, platform.customer, JobKind.REVOKE, token.token.id)
    await owner.execute("DELETE FROM api_token WHERE id = $1", token.token.id)

    await service.job_runs.run_due()

    assert await outcomes(owner, job.id) == {("SKIPPED", "NOT_FOUND"): 1}


@pytest.mark.parametrize("kind", [JobKind.REVOKE, JobKind.SUSPEND])
async def test_what_a_sweep_has_ended_whose_clock_is_ahead_stays_as_it_is(
    kind: JobKind, service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    token = await make_token(service, platform.customer)
    job = await begin(service, platform.customer, kind, token.token.id)
    await owner.execute("UPDATE api_token SET swept_at = expires_at WHERE kind = 'API_TOKEN'")

    await service.job_runs.run_due()

    assert await outcomes(owner, job.id) == {("SKIPPED", "TOKEN_ENDED"): 1}
    assert await revoked(owner) == 0
    assert await told(owner, "token.suspended") == []


@pytest.mark.parametrize("count", [1, 4])
async def test_an_empty_job_and_a_full_batch_end(
    count: int, service: Service, platform: Platform
) -> None:
    wanted: dict[str, Any] = {"only": EVERY, "expected_count": 4}
    if count > 1:
        await make_tokens(service, platform.customer, count)
    job = (await service.jobs.begin(platform.customer, job_of(JobKind.SUSPEND, **wanted))).job

    await service.job_runs.run_due(batch=4)

    done = await service.jobs.get(platform.customer, job.id)
    assert (done.state, done.succeeded) == (JobState.DONE, 0 if count == 1 else 4)
    assert service.jobs.effective_everywhere_by(job) is None
    assert done.finished_at is not None
    bound = timedelta(seconds=service.settings.staleness_bound_seconds)
    assert service.jobs.effective_everywhere_by(done) == done.finished_at + bound


async def test_monitoring_hears_of_a_job_that_nobody_runs(
    service: Service, platform: Platform, clock: FrozenClock
) -> None:
    token = await make_token(service, platform.customer)
    await begin(service, platform.customer, JobKind.SUSPEND, token.token.id)

    clock.advance(seconds=61)

    assert "\ntokenward_jobs_lag_seconds 61.0\n" in await exposition(service)
    await service.job_runs.run_due()
    assert "\ntokenward_jobs_lag_seconds 0.0\n" in await exposition(service)
