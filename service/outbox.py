"""The relay: outbox → Redis until confirmed, and again one and two leases later.

Each change delivers its own drops right after its commit, and the relay what that left. It runs
beside the service and as a Celery task; any number may run at once. The repeats cover a Redis that
confirmed and then lost what it knew (a failover, a restart from an old dump).
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from tortoise.exceptions import BaseORMException

from service.access import system
from service.access.actor import EVERYTHING
from service.access.door import Door, as_uuid, open_door
from service.cache import Cache, Drop, Revision
from service.clock import Clock
from service.errors import Unavailable

BATCH = 500
REPEATS = 2
POLL_SECONDS = 1.0
NOTE_SECONDS_MAX = 1.0
KEPT = timedelta(days=1)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Relay:
    """Delivers drops."""

    cache: Cache
    clock: Clock
    lease_seconds: float

    async def deliver(
        self, ids: list[UUID], drops: list[Drop], now: datetime
    ) -> tuple[Revision, ...] | None:
        """Deliver drops right after the commit behind them; return what Redis made of each.

        Nothing that happens here may fail the change, which is made: what cannot be delivered, or
        not be noted, is repeated.

        Args:
            ids: The outbox row of each drop.
            drops: As many.
            now: An instant after the commit.

        Returns:
            None where Redis did not confirm.
        """
        revisions = await self.cache.revoke(drops)
        try:
            async with asyncio.timeout(NOTE_SECONDS_MAX):
                if revisions is None:
                    await system.system_note_commits(ids, now)
                else:
                    async with open_door(EVERYTHING) as door:
                        await self._note(door, [(row_id, 0) for row_id in ids], revisions, now)
        except Exception as failure:  # noqa: BLE001 - the change is made, and must be told so
            log.warning("delivery.unnoted", reason=type(failure).__name__)
        return None if revisions is None else tuple(revisions)

    async def relay_due(self) -> int:
        """Deliver what is due; return how many. Harmless to repeat: a drop only ever makes a miss.

        Rows stay claimed until their delivery is noted; a crash between the two delivers again.
        """
        total = 0
        while True:
            delivered = await self._relay_batch(self.clock.now())
            total += delivered
            if delivered < BATCH:
                break
        await system.system_forget_outbox(self.clock.now(), older_than=KEPT)
        return total

    async def _relay_batch(self, now: datetime) -> int:
        async with open_door(EVERYTHING) as door:
            rows = await system.system_claim_outbox(door, now, limit=BATCH)
            if not rows:
                return 0
            now = self.clock.now()  # after every commit that was seen
            revisions = await self.cache.revoke([Drop(row["kind"], row["subject"]) for row in rows])
            claimed = [(as_uuid(row["id"]), row["stage"]) for row in rows]
            if revisions is not None:
                await self._note(door, claimed, revisions, now)
        if revisions is None:
            log.warning("relay.unconfirmed", waiting=len(rows))
            await system.system_note_commits([row_id for row_id, _ in claimed], now)
            return 0
        return len(rows)

    async def _note(
        self, door: Door, rows: list[tuple[UUID, int]], revisions: list[Revision], now: datetime
    ) -> None:
        deliveries = [
            (row_id, stage, revision.epoch, revision.number)
            for (row_id, stage), revision in zip(rows, revisions, strict=True)
        ]
        again_at = now + timedelta(seconds=self.lease_seconds)
        await system.system_note_deliveries(
            door, deliveries, now, again_at=again_at, repeats=REPEATS
        )

    async def keep_relaying(self) -> None:
        """Deliver for ever, whatever fails meanwhile."""
        while True:
            try:
                await self.relay_due()
            except (Unavailable, BaseORMException) as failure:
                log.warning("relay.failed", reason=type(failure).__name__)
            except Exception:  # the relay must outlive what nobody foresaw
                log.exception("relay.failed")
            await asyncio.sleep(POLL_SECONDS)
