"""Runs jobs: batch by batch, each one transaction in its actor's name and reach.

A batch is the changes, an audit event for each token, the drops, what became of each item, and the
job's progress; all of it or nothing, so that each item is done once whatever is killed meanwhile.
The job's row is held for the batch: two workers never do the same job at once, and whoever cancels
it waits for the batch, and no longer.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog

from service import scopes
from service.access.accounts import find_account, find_accounts
from service.access.actor import Actor
from service.access.door import Door
from service.access.job_queue import Due, system_find_due_jobs, system_postpone_job
from service.access.jobs import (
    Job,
    JobItemState,
    JobKind,
    JobState,
    change_job,
    claim_job,
    find_authority,
    settle_items,
)
from service.access.policies import find_policies
from service.access.selections import (
    Target,
    change_tokens,
    digests_of_tokens,
    extend_tokens,
    lock_targets,
    pending_tokens,
)
from service.cache import Drop
from service.clock import Clock, boottime
from service.errors import AccountInactive, ServiceError, Unauthenticated, Unavailable
from service.job_steps import ENDED, SUCCEEDED, Extension, Outcome, judge
from service.roles import scopes_of
from service.settings import Settings
from service.token_changes import WRITE
from service.verdict import CredentialKind
from service.work import Unit, Work

BATCH = 100
CANDIDATES = 20
ATTEMPTS_MAX = 5
RUN_SECONDS_MAX = 200.0  # below the 300 after which a broker hands the task to somebody else

_ACTIONS = {
    JobKind.REVOKE: "token.revoked",
    JobKind.SUSPEND: "token.suspended",
    JobKind.RESUME: "token.resumed",
    JobKind.EXTEND: "token.widened",
}

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class JobRuns:
    """Runs jobs, one run of a process at a time.

    A job may take long, and the threads of a worker are few: were each beat's run to begin beside
    the last one, revocations would wait for a thread.
    """

    work: Work
    clock: Clock
    settings: Settings
    running: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run_due(self, *, batch: int = BATCH) -> int:
        """Run what is due, in turns of a batch, for 200 seconds at the most; return how many turns.

        A second run, or a hundred, is harmless: one in the same process leaves at once, one
        elsewhere takes another job. A crash takes back the batch that was under way and no more.

        Args:
            batch: Tokens changed in one transaction, at the most.
        """
        if self.running.locked():
            return 0
        turns = 0
        async with self.running:
            deadline = boottime() + RUN_SECONDS_MAX
            while boottime() < deadline and await self._run_turn(batch):
                turns += 1
        return turns

    async def _run_turn(self, batch: int) -> bool:
        """Run a batch of the first job that nobody else holds; return whether there was one."""
        for due in await system_find_due_jobs(self.clock.now(), limit=CANDIDATES):
            try:
                if await self._run_batch(due, batch):
                    return True
            # One job that cannot be done must not keep the others from their turn.
            except Unavailable as failure:
                log.warning("job.batch_failed", job=str(due.id), reason=failure.code)
                await self._postpone(due)
            except Exception:
                log.exception("job.batch_failed", job=str(due.id))
                await self._postpone(due)
        return False

    async def _postpone(self, due: Due) -> None:
        now = self.clock.now()
        await system_postpone_job(
            due,
            now,
            due_at=now + timedelta(seconds=2 ** (due.attempts + 1)),
            error_code=Unavailable.code if due.attempts + 1 >= ATTEMPTS_MAX else None,
        )

    async def _run_batch(self, due: Due, size: int) -> bool:
        """Run one batch; return False where somebody else holds the job, or it is over."""
        async with self.work.begin(due.reach, None) as unit:
            job = await claim_job(unit.door, due.id)
            if job is None:
                return False
            unit.receipt_id = job.id  # one receipt of all batches
            try:
                unit.actor = await self._actor_of(unit.door, job)
            except ServiceError as refused:
                await self._end(unit, job, JobState.FAILED, error_code=refused.code)
                return True
            token_ids = await pending_tokens(unit.door, job.id, limit=size)
            if not token_ids:
                # By a turn of its own: every batch was committed before the end of the job.
                await self._end(unit, job, JobState.DONE)
                return True
            outcomes = await self._change(unit, unit.actor, job, token_ids)
            await settle_items(
                unit.door, job.id, [(token_id, *found) for token_id, found in outcomes.items()]
            )
            await self._note_progress(unit, job, outcomes)
        return True

    async def _actor_of(self, door: Door, job: Job) -> Actor:
        """Return in whose name a job goes on, if it still may.

        Asked of the database before each batch. A session that its person has left, or that time
        has ended, does not stop what was begun with it.

        Raises:
            Unauthenticated: If the token was revoked or suspended, or the person was removed.
            AccountInactive: If the account, or its reseller, is suspended or closed.
            InsufficientScope: If ``tokens:write`` was taken away.
        """
        account = await find_account(door, job.account_id)
        if not account.is_usable:
            raise AccountInactive
        authority = await find_authority(door, job)
        if authority is None or authority.is_withdrawn or authority.is_disabled:
            raise Unauthenticated
        kept = scopes.CONSOLE if authority.kind is CredentialKind.SESSION else ()
        granted = scopes.intersect(authority.scopes, (*account.grantable_scopes, *kept))
        if authority.role is not None:
            granted = scopes.intersect(
                granted, scopes_of(authority.role, self.settings.scope_catalogue)
            )
        actor = Actor(
            account_id=account.id,
            account_kind=account.kind,
            reseller_id=account.reseller_id,
            token_id=job.actor_token_id,
            secret_id=None,  # asked for its authority above, and by nobody else
            kind=authority.kind,
            member_id=job.actor_member_id,
            scopes=tuple(sorted(granted)),
            address=job.address,
            request_id=job.request_id,
        )
        actor.require(WRITE)
        return actor

    async def _change(
        self, unit: Unit, actor: Actor, job: Job, token_ids: list[UUID]
    ) -> dict[UUID, Outcome]:
        """Change the tokens of a batch; return what became of each."""
        targets = await lock_targets(unit.door, token_ids)
        outcomes = {token: judge(job, targets.get(token), unit.now) for token in token_ids}
        chosen = [targets[token] for token, found in outcomes.items() if found == SUCCEEDED]
        if not chosen:
            return outcomes
        if job.kind is JobKind.EXTEND:
            changed = await self._extend(unit, actor, job, chosen, outcomes)
        else:
            columns = _columns(job, unit.now)
            found = await change_tokens(unit.door, [target.id for target in chosen], columns)
            changed = {token: _told(job) for token in found}
        for target in chosen:
            if target.id not in changed and outcomes[target.id] == SUCCEEDED:
                outcomes[target.id] = ENDED  # swept by a clock that is ahead of ours
        for token, details in changed.items():
            unit.audit(_ACTIONS[job.kind], token, targets[token].owner, job_id=job.id, **details)
        for token, digest in await digests_of_tokens(unit.door, list(changed)):
            unit.drop(Drop.of_secret(digest), targets[token].owner)
        return outcomes

    async def _extend(
        self,
        unit: Unit,
        actor: Actor,
        job: Job,
        chosen: list[Target],
        outcomes: dict[UUID, Outcome],
    ) -> dict[UUID, dict[str, Any]]:
        """Extend what may be; note what may not, and return what is told of the rest."""
        owners = list({target.account_id for target in chosen})
        extension = Extension(
            job,
            actor,
            await find_accounts(unit.door, owners),
            await find_policies(unit.door, owners),
            self.settings.max_lifetime_days,
        )
        expiries: dict[UUID, datetime] = {}
        for target in chosen:
            found = extension.of(target, unit.now)
            if isinstance(found, datetime):
                expiries[target.id] = found
            else:
                outcomes[target.id] = found
        extended = await extend_tokens(unit.door, expiries) if expiries else set()
        return {
            target.id: {
                "expires_at": expiries[target.id],
                "previous": {"expires_at": target.expires_at},
            }
            for target in chosen
            if target.id in extended
        }

    async def _note_progress(self, unit: Unit, job: Job, outcomes: Mapping[UUID, Outcome]) -> None:
        counts = Counter(state for state, _ in outcomes.values())
        progress = {
            "state": JobState.RUNNING.value,
            "started_at": job.started_at or unit.now,
            "succeeded": job.succeeded + counts[JobItemState.SUCCEEDED],
            "failed": job.failed + counts[JobItemState.FAILED],
            "skipped": job.skipped + counts[JobItemState.SKIPPED],
            "attempts": 0,
            "due_at": self.clock.now(),  # behind those who wait
        }
        await change_job(unit.door, job.id, progress)

    async def _end(
        self, unit: Unit, job: Job, state: JobState, *, error_code: str | None = None
    ) -> None:
        """End a job: everything is done, or may no longer be."""
        ended: dict[str, Any] = {
            "state": state.value,
            "error_code": error_code,
            "finished_at": self.clock.now(),
        }
        if state is JobState.DONE:
            # What an account's move has put beyond reach has no outcome of its own.
            ended |= {
                "started_at": job.started_at or unit.now,
                "skipped": job.total - job.succeeded - job.failed,
            }
        await change_job(unit.door, job.id, ended)
        unit.audit(
            "job.finished" if state is JobState.DONE else "job.stopped",
            job.id,
            job.owner,
            succeeded=job.succeeded,
            failed=job.failed,
            total=job.total,
            **({} if error_code is None else {"code": error_code}),
        )


def _columns(job: Job, now: datetime) -> dict[str, Any]:
    """Return what is set of each token; of an extension that differs from one to the next."""
    if job.kind is JobKind.REVOKE:
        return {"revoked_at": now, "revocation_reason": job.parameters["reason"]}
    return {"suspended_at": now if job.kind is JobKind.SUSPEND else None}


def _told(job: Job) -> dict[str, Any]:
    """Return what the trail tells of each change, as of a single one."""
    return {"reason": job.parameters["reason"]} if job.kind is JobKind.REVOKE else {}
