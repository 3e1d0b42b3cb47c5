"""Receipts: how far a narrowing has come, from its commit to the last validator.

A receipt never makes anything safer; it tells what is so. The bound holds without it.
"""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from service.access.actor import Actor
from service.access.door import open_door
from service.access.outbox import find_drops
from service.bound import staleness_bound_seconds
from service.cache import Cache, Fleet, Report, Revision
from service.clock import Clock, boottime
from service.errors import NotFound

READ = "tokens:read"

LIVE_SECONDS_MAX = 2.0  # eight reports missed
WAIT_SECONDS_MAX = 5.0
POLL_SECONDS_MIN = 0.002
POLL_SECONDS_MAX = 0.1
OPEN_POLL_SECONDS = 0.5


class PropagationState(StrEnum):
    """How far a narrowing has come."""

    PENDING = "PENDING"
    CONFIRMED = "CONFIRMED"
    APPLIED = "APPLIED"
    EFFECTIVE = "EFFECTIVE"


class PropagationWait(StrEnum):
    """What a narrowing may wait for before it returns."""

    ALL_VALIDATORS = "ALL_VALIDATORS"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a narrowing left behind.

    Attributes:
        committed_at: An instant by which it was committed.
        revisions: What Redis made of its drops; None while one is not confirmed.
        is_open: Whether more may come: it is a job's, and the job is not over.
    """

    id: UUID
    committed_at: datetime
    confirmed_at: datetime | None
    revisions: tuple[Revision, ...] | None
    is_open: bool = False


@dataclass(frozen=True, slots=True)
class Vanished:
    """A validator that was heard before and has not said that it applied the narrowing.

    Attributes:
        leases_dead_at: From when it accepts nothing that was taken away, whatever became of it.
    """

    name: str
    last_heard_at: datetime
    leases_dead_at: datetime


@dataclass(frozen=True, slots=True)
class Propagation:
    """A receipt, and how far it has come at one moment.

    Attributes:
        effective_everywhere_by: From when no validator accepts what was taken away, whatever fails.
        known: Validators heard within the bound.
        applied: Those of them that have applied the narrowing.
        vanished: Those that have not, and are silent.
    """

    receipt: Receipt
    state: PropagationState
    effective_everywhere_by: datetime
    known: int = 0
    applied: int = 0
    vanished: tuple[Vanished, ...] = ()

    @property
    def is_settled(self) -> bool:
        """Whether nothing remains to be waited for but validators that have vanished."""
        return self.state in _FINAL or (
            bool(self.vanished) and self.known == self.applied + len(self.vanished)
        )


_FINAL = {PropagationState.APPLIED, PropagationState.EFFECTIVE}


@dataclass(frozen=True, slots=True)
class Receipts:
    """Tells how far narrowings have come.

    Attributes:
        bound_seconds: The published staleness bound. A validator that has told of a longer lease
            has applied nothing, and the receipt waits for its bound.
    """

    cache: Cache
    clock: Clock
    bound_seconds: float

    async def get(self, actor: Actor, receipt_id: UUID) -> Propagation:
        """Return how far a narrowing has come; receipts are kept for a day, a job's with the job.

        Raises:
            InsufficientScope: Without ``tokens:read``.
            NotFound: If it is not within reach.
        """
        actor.require(READ)
        return await self.find(actor, receipt_id)

    async def get_many(self, actor: Actor, receipt_ids: list[UUID]) -> list[Propagation | None]:
        """Return how far some narrowings have come, in the order of their ids; None beyond reach.

        Raises:
            InsufficientScope: Without ``tokens:read``.
        """
        actor.require(READ)
        found = await self._find(actor, receipt_ids)
        fleet = await self._fleet() if found else None
        receipts = map(found.get, receipt_ids)
        return [None if receipt is None else self._progress(receipt, fleet) for receipt in receipts]

    async def find(self, actor: Actor, receipt_id: UUID) -> Propagation:
        """Return the same to another use case, which has asked for its own scope.

        Raises:
            NotFound: As :meth:`get`.
        """
        return await self.progress(await self._find_one(actor, receipt_id))

    async def watch(self, actor: Actor, receipt_id: UUID) -> AsyncGenerator[Propagation, None]:
        """Yield how far a narrowing has come, whenever that changes, until every validator is done.

        Ends at the bound at the latest; that of a job which turns out to change nothing, with it.

        Raises:
            InsufficientScope, NotFound: As :meth:`get`.
        """
        actor.require(READ)
        receipt = await self._find_one(actor, receipt_id)
        told: Propagation | None = None
        poll_seconds = POLL_SECONDS_MIN
        while told is None or told.state not in _FINAL:
            if receipt.revisions is None:
                found = (await self._find(actor, [receipt_id])).get(receipt_id)
                if found is None:
                    return
                if not receipt.is_open:
                    committed_at = min(receipt.committed_at, found.committed_at)
                    found = replace(found, committed_at=committed_at)
                receipt = found
            propagation = await self.progress(receipt)
            if told is None or _differ(told, propagation):
                told = propagation
                yield propagation
            await asyncio.sleep(OPEN_POLL_SECONDS if receipt.is_open else poll_seconds)
            poll_seconds = min(POLL_SECONDS_MAX, poll_seconds * 2)

    async def wait(self, propagation: Propagation, wait_for: PropagationWait | None) -> Propagation:
        """Return as soon as every live validator has applied a narrowing, or after 5 seconds.

        At once where Redis has not confirmed it: nobody has heard of it then.

        Args:
            propagation: How far it has come.
            wait_for: None does not wait.
        """
        if wait_for is None:
            return propagation
        until = boottime() + WAIT_SECONDS_MAX
        poll_seconds = POLL_SECONDS_MIN
        while (
            propagation.receipt.revisions is not None
            and not propagation.is_settled
            and boottime() < until
        ):
            await asyncio.sleep(poll_seconds)
            poll_seconds = min(POLL_SECONDS_MAX, poll_seconds * 2)
            propagation = await self.progress(propagation.receipt)
        return propagation

    async def progress(self, receipt: Receipt) -> Propagation:
        """Return how far a narrowing has come, as the validators told last."""
        return self._progress(receipt, await self._fleet())

    async def _fleet(self) -> Fleet | None:
        return await self.cache.fleet(silent_seconds_max=self.bound_seconds)

    def _progress(self, receipt: Receipt, fleet: Fleet | None) -> Propagation:
        reports = () if fleet is None else fleet.reports
        bounds = [_bound_seconds(report) for report in reports]
        now = self.clock.now()
        by = receipt.committed_at + timedelta(seconds=max([self.bound_seconds, *bounds]))
        if fleet is None or receipt.revisions is None:
            state = PropagationState.CONFIRMED if receipt.revisions else PropagationState.PENDING
            return Propagation(receipt, PropagationState.EFFECTIVE if now >= by else state, by)
        applied = [
            report
            for report in reports
            if _covers(report.applied, receipt.revisions)
            and _bound_seconds(report) <= self.bound_seconds
        ]
        vanished = [
            _vanished(report, now, by)
            for report in reports
            if report.silent_seconds > LIVE_SECONDS_MAX and report not in applied
        ]
        # A Redis that has lost, or gone back behind, the drop knows not of every validator either.
        is_applied = (
            0 < len(reports) == len(applied)
            and fleet.age_seconds > LIVE_SECONDS_MAX
            and _covers(fleet.last, receipt.revisions)
        )
        state = PropagationState.APPLIED if is_applied else PropagationState.CONFIRMED
        return Propagation(
            receipt,
            PropagationState.EFFECTIVE if now >= by else state,
            by,
            len(reports),
            len(applied),
            tuple(vanished),
        )

    async def _find_one(self, actor: Actor, receipt_id: UUID) -> Receipt:
        found = await self._find(actor, [receipt_id])
        if receipt_id not in found:
            raise NotFound("There is no such receipt.")
        return found[receipt_id]

    async def _find(self, actor: Actor, receipt_ids: list[UUID]) -> dict[UUID, Receipt]:
        async with open_door(actor.reach) as door:
            found = await find_drops(door, receipt_ids)
        return {receipt_id: self._receipt(receipt_id, rows) for receipt_id, rows in found.items()}

    def _receipt(self, receipt_id: UUID, rows: list[dict[str, Any]]) -> Receipt:
        now = self.clock.now()
        finished_at: datetime | None = rows[0]["finished_at"]
        if rows[0]["is_job"] and finished_at is None:
            # What its batches have told so far says nothing of those that are to come.
            return Receipt(receipt_id, now, None, None, is_open=True)
        drops = [row for row in rows if row["drop_id"] is not None]
        # Every batch was committed by the end of its job. Where nobody has noted another commit
        # yet, it is no later than now.
        committed_at = finished_at or max(row["committed_at"] or now for row in drops)
        if not drops or any(row["revision"] is None for row in drops):
            return Receipt(receipt_id, committed_at, None, None)
        revisions = [Revision(row["epoch"], row["revision"]) for row in drops]
        confirmed_at = max(row["confirmed_at"] for row in drops)
        return Receipt(receipt_id, committed_at, confirmed_at, tuple(dict.fromkeys(revisions)))


def _covers(applied: Revision, revisions: tuple[Revision, ...]) -> bool:
    return all(applied.covers(revision) for revision in revisions)


def _bound_seconds(report: Report) -> float:
    return staleness_bound_seconds(report.lease_seconds)


def _vanished(report: Report, now: datetime, by: datetime) -> Vanished:
    return Vanished(report.name, now - timedelta(seconds=report.silent_seconds), by)


def _differ(told: Propagation, now: Propagation) -> bool:
    """Return whether there is news beside the moving instants."""
    return (told.state, told.known, told.applied, [one.name for one in told.vanished]) != (
        now.state,
        now.known,
        now.applied,
        [one.name for one in now.vanished],
    )
