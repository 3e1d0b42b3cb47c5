"""Ending what runs beside the requests."""

import asyncio
from typing import Any

AGAIN_SECONDS = 0.1


async def end(task: "asyncio.Task[Any]") -> None:
    """Cancel a task until it has ended, and raise what it failed with, if it did.

    Once is not enough: redis-py 8.1 now and then swallows a cancellation that meets one of its own
    timeouts, and a process that waits for such a task never stops.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=AGAIN_SECONDS)
    if not task.cancelled():
        task.result()
