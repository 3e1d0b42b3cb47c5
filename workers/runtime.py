"""One event loop and one open service per process, for tasks that are not coroutines."""

import asyncio
import concurrent.futures
import os
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from threading import Lock, Thread
from typing import Any, TypeVar

from celery.signals import worker_process_shutdown, worker_shutdown

from service.composition import Service, open_service
from service.settings import read_settings

RUN_SECONDS_MAX = 240.0  # below the broker's visibility timeout, so that no task runs beside itself
START_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 10.0

Result = TypeVar("Result")


class Runtime:
    """A thread with an event loop, in which a service is open."""

    def __init__(self, opening: Callable[[], AbstractAsyncContextManager[Service]]) -> None:
        self._opening = opening
        self._opened: concurrent.futures.Future[Service] = concurrent.futures.Future()
        self._loop = asyncio.new_event_loop()
        self._closing = asyncio.Event()
        self._thread = Thread(target=self._live, name="service", daemon=True)

    def start(self) -> None:
        """Open the service.

        Raises:
            Exception: Whatever kept it from opening.
        """
        self._thread.start()
        try:
            self._opened.result(START_SECONDS_MAX)
        except BaseException:
            self.close()
            raise

    def run(self, action: Callable[[Service], Awaitable[Result]]) -> Result:
        """Run an action in the loop and return its result; safe from any thread.

        Raises:
            TimeoutError: If it takes longer than 240 seconds; it is cancelled then.
        """
        running = asyncio.run_coroutine_threadsafe(
            _within_time(action, self._opened.result()), self._loop
        )
        return running.result()

    def close(self) -> None:
        """Close the service and end the thread; harmless to repeat."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._closing.set)
            self._thread.join(STOP_SECONDS_MAX)

    def _live(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._hold_open())

    async def _hold_open(self) -> None:
        try:
            async with self._opening() as service:
                self._opened.set_result(service)
                await self._closing.wait()
        except Exception as failure:
            if self._opened.done():
                raise
            self._opened.set_exception(failure)


async def _within_time(action: Callable[[Service], Awaitable[Result]], service: Service) -> Result:
    async with asyncio.timeout(RUN_SECONDS_MAX):
        return await action(service)


_lock = Lock()
_runtimes: dict[int, Runtime] = {}


def run(action: Callable[[Service], Awaitable[Result]]) -> Result:
    """Run an action on this process's service, opened at the first call.

    Connections never cross a fork: they are kept by process id. A service that did not open is
    tried again at the next call.

    Raises:
        TimeoutError: If the action takes longer than 240 seconds.
        Exception: Whatever the action raises, or kept the service from opening.
    """
    with _lock:
        runtime = _runtimes.get(os.getpid())
        if runtime is None:
            runtime = Runtime(lambda: open_service(read_settings()))
            runtime.start()
            _runtimes[os.getpid()] = runtime
    return runtime.run(action)


@worker_process_shutdown.connect
@worker_shutdown.connect
def close(**_: Any) -> None:
    """Close this process's service, if it was opened."""
    with _lock:
        runtime = _runtimes.pop(os.getpid(), None)
    if runtime is not None:
        runtime.close()
