"""The sweep: mark what time has ended, so that names become free and lists tell the truth."""

from service.access.system import system_sweep
from service.clock import Clock

BATCH = 500


async def sweep_expired(clock: Clock, *, batch: int = BATCH) -> int:
    """Mark every credential that has expired, with its audit event; return how many.

    Nothing is dropped at the validators: they enforce expiry themselves, from the record, to the
    instant. A second run, or two at once, is harmless: a row is marked once, and one that somebody
    else holds is skipped and left to the next run. Each batch is a transaction of its own, so that
    a crash loses nothing that was done.

    Args:
        clock: Decides what has expired.
        batch: Rows marked in one transaction, at the most.
    """
    total = 0
    while True:
        swept = len(await system_sweep(clock.now(), limit=batch))
        total += swept
        if swept < batch:
            return total
