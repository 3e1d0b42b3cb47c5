"""The validator for programs without an event loop: it runs on one in a thread of its own."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from functools import partial
from threading import Thread

import structlog

from service.addresses import Address, parse_address
from service.clock import Clock
from service.settings import Settings
from service.validator import Request, Validator, open_validator
from service.verdict import UNAVAILABLE, CredentialKind, Verdict

ANSWER_SECONDS_MAX = 2.0  # a validator answers, or gives up, well before
CLOSE_SECONDS_MAX = 5.0

Ask = Callable[[], Awaitable[Verdict]]

log = structlog.get_logger()


class BlockingValidator:
    """Answers as :class:`service.validator.Validator` does, to any thread of the process.

    What the process remembers is answered in the thread that asks; for the rest it waits.

    Open it with :func:`open_blocking_validator`. A thread does not survive a fork: a server that
    forks its workers opens one in each.
    """

    def __init__(
        self, validator: Validator, loop: asyncio.AbstractEventLoop, stopping: asyncio.Event
    ) -> None:
        self._validator = validator
        self._loop = loop
        self._stopping = stopping
        self._waiting: set[Future[Verdict]] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def check(
        self,
        secret: str,
        *,
        address: Address | str | None = None,
        scope: str | None = None,
        audience: str | None = None,
        kind: CredentialKind = CredentialKind.API_TOKEN,
    ) -> Verdict:
        """Return whether a secret may be used now, from an address, for a scope. Never raises.

        Waits for two seconds at the most; then, and after the end, the verdict is UNAVAILABLE.

        Args:
            secret: As the client sent it; anything at all.
            address: The client's; what is no address, or None, fails tokens that are limited to
                addresses.
            scope: ``noun:verb``, several separated by spaces; None asks for none.
            audience: Who asks; None fails tokens that are limited to audiences.
            kind: A secret of the other kind is UNKNOWN.
        """
        if isinstance(address, str):
            address = parse_address(address)
        if self._stopping.is_set():
            return UNAVAILABLE
        wanted = Request(address, scope, audience, kind)
        if (near := self._validator.check_near(secret, wanted)) is not None:
            return near
        return self._wait(
            partial(
                self._validator.check,
                secret,
                address=address,
                scope=scope,
                audience=audience,
                kind=kind,
            )
        )

    def _wait(self, ask: Ask) -> Verdict:
        """Have the loop ask, and wait for its answer."""
        answer: Future[Verdict] = Future()
        self._waiting.add(answer)
        try:
            self._loop.call_soon_threadsafe(self._begin, answer, ask)
        except RuntimeError:  # the loop is closed
            self.let_go()
        try:
            return answer.result(ANSWER_SECONDS_MAX)
        except TimeoutError:
            answer.cancel()
            return UNAVAILABLE
        finally:
            self._waiting.discard(answer)

    def end(self) -> None:
        """Have the thread end. Harmless to repeat."""
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._stopping.set)

    def let_go(self) -> None:
        """Answer those whom the loop, closed by now, has left without an answer."""
        for answer in tuple(self._waiting):
            with suppress(InvalidStateError):  # answered, or no longer waited for
                answer.set_result(UNAVAILABLE)

    def _begin(self, answer: "Future[Verdict]", ask: Ask) -> None:
        """Begin to answer, on the loop, unless whoever asked has gone."""
        if answer.set_running_or_notify_cancel():
            task = self._loop.create_task(_answer(answer, ask))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


@contextmanager
def open_blocking_validator(
    settings: Settings, *, clock: Clock | None = None
) -> Iterator[BlockingValidator]:
    """Open a validator for the threads of this process; at the end hand on its last uses.

    Example:
        ``with open_blocking_validator(read_settings()) as validator:``
        ``    verdict = validator.check(secret, scope="dns:write")``
    """
    opened: Future[BlockingValidator] = Future()
    thread = Thread(
        target=lambda: _run(settings, clock, opened), name="tokenward-validator", daemon=True
    )
    thread.start()
    validator = opened.result()
    try:
        yield validator
    finally:
        validator.end()
        thread.join(CLOSE_SECONDS_MAX)


def _run(settings: Settings, clock: Clock | None, opened: "Future[BlockingValidator]") -> None:
    """Run the validator until it is told to end; what fails before it is open is the opener's."""

    async def serve() -> None:
        stopping = asyncio.Event()
        async with open_validator(settings, clock=clock) as validator:
            loop = asyncio.get_running_loop()
            opened.set_result(BlockingValidator(validator, loop, stopping))
            await stopping.wait()

    try:
        asyncio.run(serve())
    except BaseException as failure:  # a thread has nobody above it to tell
        if not opened.done():
            opened.set_exception(failure)
            return
        log.exception("validator.ended")
    opened.result().let_go()


async def _answer(answer: "Future[Verdict]", ask: Ask) -> None:
    try:
        answer.set_result(await ask())
    except Exception as surprise:  # noqa: BLE001 - it is raised where it was asked
        answer.set_exception(surprise)
