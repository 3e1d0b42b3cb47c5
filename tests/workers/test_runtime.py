"""One loop and one open service, however many threads call."""

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import pytest

from service.composition import Service
from workers.runtime import Runtime


class Opening:
    """Opens a service, and remembers where and how often.

    Attributes:
        broken: Whether it fails instead.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self.broken = False
        self.threads: list[int] = []
        self.open_now = 0

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[Service]:
        if self.broken:
            raise ConnectionRefusedError
        self.threads.append(threading.get_ident())
        self.open_now += 1
        try:
            yield self._service
        finally:
            self.open_now -= 1


async def thread_of(_service: Service) -> int:
    return threading.get_ident()


async def fail(_service: Service) -> None:
    raise LookupError("the action's own")


async def test_all_threads_share_one_loop_and_one_service(service: Service) -> None:
    opening = Opening(service)
    runtime = Runtime(opening)
    runtime.start()

    with ThreadPoolExecutor(4) as threads:
        ran_in = set(threads.map(runtime.run, [thread_of] * 20))
    runtime.close()

    assert ran_in == set(opening.threads)
    assert len(opening.threads) == 1


async def test_an_action_gets_the_service_and_its_failure_comes_back(service: Service) -> None:
    runtime = Runtime(Opening(service))
    runtime.start()

    async def itself(given: Service) -> Service:
        await asyncio.sleep(0)
        return given

    assert runtime.run(itself) is service
    with pytest.raises(LookupError, match="the action's own"):
        runtime.run(fail)
    runtime.close()


async def test_a_start_that_fails_is_told_and_leaves_no_thread(service: Service) -> None:
    opening = Opening(service)
    opening.broken = True
    threads_before = threading.active_count()

    with pytest.raises(ConnectionRefusedError):
        Runtime(opening).start()

    assert threading.active_count() == threads_before
    assert opening.open_now == 0


async def test_closing_closes_the_service_and_is_harmless_to_repeat(service: Service) -> None:
    opening = Opening(service)
    runtime = Runtime(opening)
    runtime.start()
    assert opening.open_now == 1

    runtime.close()
    runtime.close()

    assert opening.open_now == 0
