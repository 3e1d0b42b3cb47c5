"""Ending what runs beside the requests."""

import asyncio

import pytest

from service.background import end


async def test_a_task_that_swallows_a_cancellation_is_ended_all_the_same() -> None:
    cancelled = 0

    async def stubborn() -> None:
        nonlocal cancelled
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled += 1
                if cancelled == 2:
                    raise

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)

    async with asyncio.timeout(10):
        await end(task)

    assert cancelled == 2
    assert task.cancelled()


async def test_a_task_that_failed_long_ago_is_told_at_its_end() -> None:
    async def broken() -> None:
        raise RuntimeError("of its own")

    task = asyncio.create_task(broken())
    await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="of its own"):
        await end(task)


async def test_a_task_that_is_done_is_left_alone() -> None:
    task = asyncio.create_task(asyncio.sleep(0, "value"))
    await task

    await end(task)

    assert task.result() == "value"
