"""Whether the database answers at all, so that nobody waits for one that does not.

A statement may take its time; a server may not. Whoever has waited for a while asks the server for
a new connection. Where none comes, the old one is given up, and others are told so at once until
the server answers again.
"""

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
import structlog

from service.clock import boottime

SUSPECT_SECONDS = 1.5
ASK_SECONDS_MAX = 2.0
BREAK_SECONDS = 5.0  # more than a question takes, so that the next has its answer before the end
AGAIN_SECONDS = 0.25

log = structlog.get_logger()


class NotAnswering(ConnectionError):
    """The server does not answer, and was not asked."""


class Liveness:
    """What is known of a server.

    Args:
        connect: Makes a connection, and closes it.
    """

    def __init__(self, connect: Callable[[], Awaitable[None]]) -> None:
        self._connect = connect
        self._asking: asyncio.Task[bool] | None = None
        self._asked_at = self._broken_until = 0.0

    def require(self) -> None:
        """Let pass, unless the server did not answer lately.

        While somebody calls this it is asked again and again; with the first answer all pass.

        Raises:
            NotAnswering: At once.
        """
        if boottime() < self._broken_until:
            if boottime() - self._asked_at > AGAIN_SECONDS:
                self._ask()
            raise NotAnswering

    async def answers(self) -> bool:
        """Ask the server, or join who is asking."""
        return await asyncio.shield(self._ask())

    def watch(self, give_up: Callable[[], object]) -> "Watch":
        """Have somebody give up as soon as the server does not answer, until the watch ends."""
        return Watch(self, give_up)

    def _ask(self) -> "asyncio.Task[bool]":
        if self._asking is None or self._asking.done():
            self._asked_at = boottime()
            self._asking = asyncio.create_task(self._answers())
        return self._asking

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(ASK_SECONDS_MAX):
                await self._connect()
        except asyncpg.PostgresError:
            pass  # it refuses, and so it answers
        except (OSError, asyncpg.InterfaceError) as failure:
            self._broken_until = boottime() + BREAK_SECONDS
            log.warning("database.not_answering", reason=type(failure).__name__)
            return False
        self._broken_until = 0.0
        return True


class Watch:
    """Looks after one who waits for the server, or uses a connection of it.

    Attributes:
        give_up: What ends that; another thing once a connection was had.
    """

    def __init__(self, liveness: Liveness, give_up: Callable[[], object]) -> None:
        self._liveness = liveness
        self.give_up = give_up
        self._looking: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._handle = self._loop.call_later(SUSPECT_SECONDS, self._suspect)

    def end(self) -> None:
        """Leave it alone: a connection may be somebody else's from here on."""
        self._handle.cancel()
        if self._looking is not None:
            self._looking.cancel()

    def _suspect(self) -> None:
        self._looking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        if await self._liveness.answers():
            self._handle = self._loop.call_later(SUSPECT_SECONDS, self._suspect)
        else:
            self.give_up()
