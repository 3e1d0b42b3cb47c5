"""Whether the counts of tokens are what the tokens are, and how they become so again.

Triggers keep them (``0006_fleet.sql``), exact with every commit. They go wrong where triggers did
not run: in a restore of some tables, in SQL by hand that switches them off. Whoever has SQL as the
application may also add to a counter through the setting that the triggers hand on; nothing but
what is displayed depends on a counter, and here it is found.
"""

from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg

from service.access.recounts import (
    Difference,
    system_judge,
    system_misjudged,
    system_wrong_accounts,
    system_wrong_fleets,
)
from service.clock import Clock
from service.settings import Settings

ACCOUNTS = 50  # of one snapshot
JUDGED = 1_000  # tokens of one transaction; nobody else changes these meanwhile
LOOKED_UP = 20 * JUDGED


async def differing_accounts(clock: Clock) -> AsyncIterator[Difference]:
    """Yield the accounts whose counts are not what their tokens are, by id.

    It reads every token once, in one snapshot for each 50 accounts, so that it may be asked while
    the service runs: a change and its counts are committed together.
    """
    after: UUID | None = None
    while True:
        after, found = await system_wrong_accounts(after, now=clock.now(), limit=ACCOUNTS)
        for difference in found:
            yield difference
        if after is None:
            return


async def differing_fleets() -> list[UUID | None]:
    """Return the resellers whose sums are not those of their accounts; None is the platform."""
    return await system_wrong_fleets()


async def repair(settings: Settings, clock: Clock) -> AsyncIterator[Difference]:
    """Count anew what differs, and yield each account that did; then the sums of the fleets.

    Harmless to repeat, and while the service runs: counters are taken under the locks that a
    commit takes, so that who changes a token meanwhile waits for it, or it for them.

    Args:
        settings: Name the database, and its owner: nobody else may write counters.
        clock: By which time changes a facet.
    """
    url = (settings.database_owner_url or settings.database_url).get_secret_value()
    owner = await asyncpg.connect(url or settings.database_url.get_secret_value())
    try:
        async for difference in differing_accounts(clock):
            await _judge(difference.account_id, clock)
            await owner.execute("SELECT recount_account($1)", difference.account_id)
            yield difference
        if await differing_fleets():
            await owner.execute("SELECT recount_fleets()")
    finally:
        await owner.close()


async def _judge(account_id: UUID, clock: Clock) -> None:
    """Count an account's tokens under what they are."""
    more = True
    while more:
        found = await system_misjudged(account_id, now=clock.now(), limit=LOOKED_UP)
        for first in range(0, len(found), JUDGED):
            await system_judge(found[first : first + JUDGED], now=clock.now())
        more = len(found) == LOOKED_UP
