"""The relay: outbox → Redis until confirmed, and again one and two leases later.

It runs beside the service and as a Celery task; any number may run at once. The repeats cover a
Redis that confirmed and then lost what it knew (a failover, a restart from an old dump).
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from tortoise.exceptions import BaseORMException

from service.access import system
from service.access.actor import EVERYTHING
from service.access.door import as_uuid, open_door
from service.cache import Cache, Drop
from service.clock import Clock
from service.errors import Unavailable

BATCH = 500
REPEATS = 2
POLL_SECONDS = 1.0
KEPT = timedelta(days=1)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Relay:
    """Delivers drops."""

    cache: Cache
    clock: Clock
    lease_seconds: float

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
            drops = [Drop(row["kind"], row["subject"]) for row in rows]
            if not await self.cache.revoke(drops):
                log.warning("relay.unconfirmed", waiting=len(rows))
                return 0
            for stage in {row["stage"] for row in rows}:
                ids = [as_uuid(row["id"]) for row in rows if row["stage"] == stage]
                again = now + timedelta(seconds=self.lease_seconds)
                due_at = again if stage < REPEATS else None
                await system.system_advance_outbox(door, ids, now, due_at=due_at)
            return len(rows)

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
