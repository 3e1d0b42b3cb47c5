"""Use cases of jobs: change many tokens at once, look first at what that would do, call it off.

A job freezes which tokens it is about when it is made, and workers do it (service.job_runs); what a
person sees meanwhile is the job.
"""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from service.access.accounts import Account, lock_account
from service.access.actor import Actor
from service.access.door import open_door
from service.access.job_queue import system_forget_jobs
from service.access.jobs import (
    Job,
    JobItem,
    JobItemState,
    JobKind,
    JobState,
    change_job,
    count_unfinished_jobs,
    find_job,
    find_jobs,
    find_requested_job,
    insert_job,
    list_items_of_jobs,
    list_jobs,
    lock_job,
)
from service.access.selections import (
    Preview,
    find_selected_ids,
    insert_items,
    preview_selection,
)
from service.access.tokens import Token, find_tokens
from service.clock import Clock, new_id
from service.errors import (
    IdempotencyConflict,
    NotFound,
    SelectionChanged,
    TooManyJobs,
)
from service.job_requests import NewJob
from service.paging import Page, PageRequest
from service.replays import Request, clean_key
from service.step_up import require_recent_password
from service.token_changes import READ, WRITE
from service.work import Unit, Work, encode_json

COUNTED_MAX = 10_000
SAMPLE_SIZE = 20
UNFINISHED_MAX = 10
KEPT = timedelta(days=30)

# A read by its key. A hint at each batch would wake every watcher thirty times a second.
WATCH_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Previewed:
    """What a job would be about.

    Attributes:
        sample: Some of the tokens, those used last first.
        missing_ids: Those that were named and are not within reach.
    """

    preview: Preview
    sample: list[Token]
    missing_ids: frozenset[UUID]


@dataclass(frozen=True, slots=True)
class Made:
    """A job that was made, now or before under the same idempotency key."""

    job: Job
    missing_ids: frozenset[UUID]


@dataclass(frozen=True, slots=True)
class Jobs:
    """Jobs within an actor's reach; beyond it, everything reads as missing.

    Attributes:
        bound_seconds: The published staleness bound.
    """

    work: Work
    clock: Clock
    bound_seconds: float

    async def preview(self, actor: Actor, wanted: NewJob) -> Previewed:
        """Return what a job would be about, changing nothing; the same cost however many there are.

        Raises:
            InsufficientScope: Without ``tokens:write``.
            InvalidInput: If a value is not allowed.
            NotFound: If none of the tokens that are named is within reach.
        """
        actor.require(WRITE)
        now = self.clock.now()
        wanted.check(now)
        async with open_door(actor.reach) as door:
            preview = await preview_selection(
                door, wanted.selection, now=now, counted_max=COUNTED_MAX, sample_size=SAMPLE_SIZE
            )
            missing: frozenset[UUID] = frozenset()
            if wanted.selection.ids is not None:
                found = await find_selected_ids(door, wanted.selection, now=now)
                missing = _missing(wanted.selection.ids, found)
            sample = await find_tokens(door, list(preview.sample_ids))
        chosen = [sample[token_id] for token_id in preview.sample_ids if token_id in sample]
        return Previewed(preview, chosen, missing)

    async def begin(
        self,
        actor: Actor,
        wanted: NewJob,
        *,
        idempotency_key: str | None = None,
    ) -> Made:
        """Make a job of the tokens that are selected now; workers begin it within seconds.

        Args:
            actor: In whose name, and within whose reach, it runs.
            wanted: What is to be done.
            idempotency_key: Under which the same account gets the same job again, while it is kept.

        Raises:
            InsufficientScope: Without ``tokens:write``.
            InvalidInput: If a value is not allowed.
            Forbidden: To extend, where a token asks.
            PasswordRequired: To extend, where the password was not entered lately.
            NotFound: If none of the tokens that are named is within reach.
            SelectionChanged: If more are selected than expected.
            TooManyJobs: If ten of the account's are not finished.
            IdempotencyConflict: If the key was used for something else.
        """
        actor.require(WRITE)
        most = wanted.check_real(actor, self.clock.now())
        key = None if idempotency_key is None else clean_key(idempotency_key)
        request = Request(key or "", "job", wanted)
        async with self.work.begin(actor.reach, actor) as unit:
            # One at a time for each account, so that ten are ten, and one key is one job.
            account = await lock_account(unit.door, actor.account_id)
            missing: frozenset[UUID] = frozenset()
            if wanted.selection.ids is not None:
                found = await find_selected_ids(unit.door, wanted.selection, now=unit.now)
                missing = _missing(wanted.selection.ids, found)
            job = await _made_before(unit, account, request)
            if job is None:
                job = await self._make(unit, actor, account, request, most)
        return Made(job, missing)

    async def _make(
        self,
        unit: Unit,
        actor: Actor,
        account: Account,
        request: Request,
        most: int,
    ) -> Job:
        wanted: NewJob = request.wanted
        if wanted.kind is JobKind.EXTEND:
            await require_recent_password(unit.door, actor, unit.now)
        if await count_unfinished_jobs(unit.door, account.id) >= UNFINISHED_MAX:
            raise TooManyJobs
        job_id = new_id()
        total = await insert_items(unit.door, job_id, wanted.selection, now=unit.now, most=most)
        if total > most:
            raise SelectionChanged(field="expectedCount")
        row = {
            "id": job_id,
            "idempotency_key": request.key or None,
            "request_digest": request.digest(),
            "account_id": account.id,
            "reseller_id": account.reseller_id,
            "kind": wanted.kind.value,
            "state": JobState.QUEUED.value,
            "parameters": encode_json(wanted.parameters),
            "total": total,
            "succeeded": 0,
            "failed": 0,
            "skipped": 0,
            "attempts": 0,
            "created_at": unit.now,
            "due_at": unit.now,
            "actor_member_id": actor.member_id,
            "actor_token_id": actor.token_id,
            "address": actor.address,
            "request_id": actor.request_id,
        }
        job = await insert_job(unit.door, row)
        unit.audit("job.created", job.id, job.owner, kind=job.kind, total=total, **job.parameters)
        return job

    async def cancel(self, actor: Actor, job_id: UUID) -> Job:
        """Stop a job: once this returns no token is changed by it any more.

        What it has changed stays so. A job that is over stays as it is; harmless to repeat.

        Raises:
            InsufficientScope: Without ``tokens:write``.
            NotFound: If it is not within reach.
        """
        actor.require(WRITE)
        async with self.work.begin(actor.reach, actor) as unit:
            job = await lock_job(unit.door, job_id)
            if not job.is_finished:
                # After the batch that the lock has waited for.
                ended = {"state": JobState.CANCELLED.value, "finished_at": self.clock.now()}
                job = await change_job(unit.door, job_id, ended)
                unit.audit(
                    "job.cancelled", job.id, job.owner, succeeded=job.succeeded, total=job.total
                )
        return job

    async def get(self, actor: Actor, job_id: UUID) -> Job:
        """Return a job; jobs are kept for 30 days after their end.

        Raises:
            InsufficientScope: Without ``tokens:read``.
            NotFound: If it is not within reach.
        """
        actor.require(READ)
        async with open_door(actor.reach) as door:
            return await find_job(door, job_id)

    async def get_many(self, actor: Actor, ids: list[UUID]) -> list[Job | None]:
        """Return jobs in the order of their ids; None for what is not within reach.

        Raises:
            InsufficientScope: Without ``tokens:read``.
        """
        actor.require(READ)
        async with open_door(actor.reach) as door:
            found = await find_jobs(door, ids)
        return [found.get(job_id) for job_id in ids]

    async def page(self, actor: Actor, request: PageRequest) -> Page[Job]:
        """Return one page of jobs, the newest first.

        Raises:
            InsufficientScope: Without ``tokens:read``.
            InvalidInput: If the cursor is not usable.
        """
        actor.require(READ)
        async with open_door(actor.reach) as door:
            return await list_jobs(door, request)

    async def pages_of_items(
        self,
        actor: Actor,
        job_ids: list[UUID],
        request: PageRequest,
        *,
        state: JobItemState | None = None,
    ) -> list[Page[JobItem]]:
        """Return the same page of the items of each of some jobs, by token.

        Raises:
            InsufficientScope: Without ``tokens:read``.
            InvalidInput: If the cursor is not usable.
        """
        actor.require(READ)
        async with open_door(actor.reach) as door:
            found = await list_items_of_jobs(door, job_ids, request, state=state)
        return [found[job_id] for job_id in job_ids]

    async def watch(self, actor: Actor, job_id: UUID) -> AsyncGenerator[Job, None]:
        """Yield a job now, and at each news until it is over.

        Raises:
            InsufficientScope, NotFound: As :meth:`get`.
        """
        told: Job | None = None
        while told is None or not told.is_finished:
            job = await self.get(actor, job_id)
            if job != told:
                told = job
                yield job
            if not job.is_finished:
                await asyncio.sleep(WATCH_SECONDS)

    def effective_everywhere_by(self, job: Job) -> datetime | None:
        """Return from when every validator knows all that a job did; None while it is not over.

        Every batch of it was committed by its end.
        """
        return job.finished_at and job.finished_at + timedelta(seconds=self.bound_seconds)

    async def forget_ended(self, now: datetime) -> None:
        """Delete jobs that have been over for 30 days, with their items. Harmless to repeat."""
        while await system_forget_jobs(now - KEPT):
            pass


async def _made_before(unit: Unit, account: Account, request: Request) -> Job | None:
    """Return the job that an account has made under a key.

    Raises:
        IdempotencyConflict: If it was made of something else.
    """
    if not request.key:
        return None
    job = await find_requested_job(unit.door, account.id, request.key)
    if job is not None and job.request_digest != request.digest():
        raise IdempotencyConflict(field="idempotencyKey")
    return job


def _missing(wanted: tuple[UUID, ...], found: set[UUID]) -> frozenset[UUID]:
    """Return which of some tokens were not found.

    Raises:
        NotFound: If that is all of them.
    """
    if not found:
        raise NotFound("There is no such token.")
    return frozenset(wanted) - found
