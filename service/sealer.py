"""The sealer: committed events → their place in the trail and their hash, in milliseconds.

Not inside each transaction, for three reasons. A chain has one end, so that all writers of an
account would queue for it from their first event to their commit. A batch over many accounts would
hold many ends at once, and two of them deadlock. And a place that is taken before the commit is no
order to follow: whoever reads by place would pass by an event that commits after a later one.

So an event is first a row of its transaction, and gets its place afterwards, from one writer at a
time (an advisory lock) who sees only what is committed. Sealers run in each web process and as a
task of the workers; any number may run at once. A sealer that dies leaves rows without a seal to
the next one, and nothing is lost: the row was in the trail from its commit on.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import structlog
from redis.asyncio import Redis
from tortoise.exceptions import BaseORMException

from service import chain
from service.access import seals
from service.access.actor import EVERYTHING
from service.access.door import as_uuid, open_door
from service.access.seals import Seal
from service.cache import Failed
from service.chain import Head
from service.errors import Unavailable

BATCH = 500
PAUSE_SECONDS = 0.02  # a pass costs as much for twenty events as for one
POLL_SECONDS = 1.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Sealer:
    """Seals the trail.

    Attributes:
        redis: Where followers are told that there is news.
    """

    redis: Redis
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        """Have this process's sealer look at once; nothing happens where none is running."""
        self._news.set()

    async def seal(self) -> int:
        """Seal what is committed; return how many events. Harmless to repeat, and beside others."""
        total = 0
        while True:
            count = await self._seal_batch()
            total += count
            if count < BATCH:
                return total

    async def keep_sealing(self) -> None:
        """Seal for ever, whatever fails meanwhile: when woken, else every second.

        At once after a quiet moment; else as often as the pause lets it, and all that came in it.
        """
        while True:
            self._news.clear()
            try:
                await self.seal()
                await asyncio.sleep(PAUSE_SECONDS)
            except (Unavailable, BaseORMException) as failure:
                log.warning("sealer.failed", reason=type(failure).__name__)
                await asyncio.sleep(POLL_SECONDS)
            except Exception:  # the sealer must outlive what nobody foresaw
                log.exception("sealer.failed")
                await asyncio.sleep(POLL_SECONDS)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), POLL_SECONDS)

    async def _seal_batch(self) -> int:
        async with open_door(EVERYTHING) as door:
            if not await seals.system_wait_to_seal(door):
                return 0
            rows = await seals.system_unsealed_events(door, limit=BATCH)
            if not rows:
                return 0
            accounts = {as_uuid(row["account_id"]) for row in rows}
            heads = await seals.system_chain_heads(door, accounts)
            newest = await seals.system_newest_position(door)
            await seals.system_write_seals(door, _sealed(rows, heads, newest))
        await self._tell(newest + len(rows))
        return len(rows)

    async def _tell(self, position: int) -> None:
        """Tell followers that there is news; without Redis they look by themselves."""
        try:
            await self.redis.publish(channel_of(self.redis), position)
        except Failed:
            log.warning("trail.untold")


def channel_of(redis: Redis) -> str:
    """Return the channel of news; a server shares its channels among all its databases."""
    return f"trail@{redis.connection_pool.connection_kwargs.get('db') or 0}"


def _sealed(rows: list[dict[str, Any]], heads: dict[UUID, Head], newest: int) -> list[Seal]:
    """Return the seal of each event; each goes behind its account's head, which it then is."""
    sealed = []
    for position, row in enumerate(rows, newest + 1):
        account_id = as_uuid(row["account_id"])
        head = heads.get(account_id, Head())
        place = {"position": position, "sequence": head.sequence + 1}
        digest = chain.seal(head.hash, chain.plain(row | place))
        heads[account_id] = Head(head.sequence + 1, digest)
        sealed.append((as_uuid(row["id"]), position, head.sequence + 1, digest))
    return sealed
