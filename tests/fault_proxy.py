"""A TCP proxy that misbehaves when it is told to, one per client and server."""

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum

from service.local.child import LOOPBACK

CHUNK_BYTES = 65_536
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Direction(Enum):
    """Which way bytes go."""

    REQUESTS = "requests"
    REPLIES = "replies"


BOTH = frozenset(Direction)


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a proxy does with connections and bytes.

    Attributes:
        name: How the result tells it.
        refuses: Resets every connection, old and new.
        stalls: Directions whose bytes wait, and arrive late, all of them, when this ends.
        forgets: Swallows what arrives; a connection that lost bytes stays silent for good, as
            behind a firewall that has forgotten it.
        delay_seconds: How much later each piece of either direction arrives.
        cut_after_bytes: Resets a connection after so many bytes of replies.
    """

    name: str
    refuses: bool = False
    stalls: frozenset[Direction] = frozenset()
    forgets: bool = False
    delay_seconds: float = 0.0
    cut_after_bytes: int | None = None


PASS = Behaviour("pass")
REFUSE = Behaviour("refuse", refuses=True)
STALL = Behaviour("stall", stalls=BOTH)
STALL_REQUESTS = Behaviour("stall requests", stalls=frozenset({Direction.REQUESTS}))
STALL_REPLIES = Behaviour("stall replies", stalls=frozenset({Direction.REPLIES}))
FORGET = Behaviour("forget", forgets=True)
SLOW = Behaviour("slow", delay_seconds=0.1)
CUT = Behaviour("cut in a reply", cut_after_bytes=3)


@dataclass(eq=False)
class _Link:
    """One connection: the client's side and the server's."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    is_forgotten: bool = False
    replied_bytes: int = 0

    def abort(self) -> None:
        _reset(self.client)
        _reset(self.server)


class FaultProxy:
    """Listens on a port of its own; its methods are safe from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, target_port: int) -> None:
        self.port = 0
        self._loop = loop
        self._target_port = target_port
        self._behaviour = PASS
        self._changed = asyncio.Event()
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None

    def behave(self, behaviour: Behaviour) -> None:
        """Change what it does, also with connections that are open."""
        self._loop.call_soon_threadsafe(self._switch, behaviour)

    def point_at(self, target_port: int) -> None:
        """Lead new connections elsewhere and reset the old ones."""
        self._target_port = target_port
        self._loop.call_soon_threadsafe(self._abort_all)

    async def listen(self) -> None:
        """Open the port."""
        self._server = await asyncio.start_server(self._serve, LOOPBACK, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Close the port and every connection."""
        if self._server is not None:
            self._server.close()
        self._abort_all()

    def _switch(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        for link in self._links:
            link.replied_bytes = 0
        if behaviour.refuses:
            self._abort_all()
        self._changed.set()
        self._changed = asyncio.Event()

    def _abort_all(self) -> None:
        for link in self._links:
            link.abort()

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        if self._behaviour.refuses:
            _reset(client)
            return
        try:
            answers, server = await asyncio.open_connection(LOOPBACK, self._target_port)
        except OSError:
            _reset(client)
            return
        link = _Link(client, server)
        self._links.add(link)
        pumps = [
            asyncio.create_task(self._pump(Direction.REQUESTS, reader, server, link)),
            asyncio.create_task(self._pump(Direction.REPLIES, answers, client, link)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._links.discard(link)
            link.abort()
            for pump in pumps:
                pump.cancel()

    async def _pump(
        self,
        direction: Direction,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        link: _Link,
    ) -> None:
        try:
            while data := await reader.read(CHUNK_BYTES):
                await self._forward(direction, data, writer, link)
        except OSError:
            return

    async def _forward(
        self, direction: Direction, data: bytes, writer: asyncio.StreamWriter, link: _Link
    ) -> None:
        if self._behaviour.delay_seconds:
            await asyncio.sleep(self._behaviour.delay_seconds)
        while direction in self._behaviour.stalls:
            await self._changed.wait()
        link.is_forgotten |= self._behaviour.forgets
        if link.is_forgotten:
            return
        cut_after = self._behaviour.cut_after_bytes
        if cut_after is not None and direction is Direction.REPLIES:
            data = data[: cut_after - link.replied_bytes]
        writer.write(data)
        await writer.drain()
        if direction is Direction.REPLIES:
            link.replied_bytes += len(data)
            if cut_after is not None and link.replied_bytes >= cut_after:
                raise ConnectionResetError


class Proxies:
    """Proxies in a thread of their own, so that a busy test delays nobody's bytes."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._opened: list[FaultProxy] = []

    def open(self, target_port: int) -> FaultProxy:
        """Return a proxy that leads to a port of this machine."""
        proxy = FaultProxy(self._loop, target_port)
        self._run(proxy.listen())
        self._opened.append(proxy)
        return proxy

    def close(self) -> None:
        """Close every proxy."""
        for proxy in self._opened:
            self._run(proxy.close())

    def _run(self, action: Coroutine[None, None, None]) -> None:
        asyncio.run_coroutine_threadsafe(action, self._loop).result(5)


@contextmanager
def proxying() -> Iterator[Proxies]:
    """Run proxies while the context lasts."""
    opened: Future[asyncio.AbstractEventLoop] = Future()
    ended = asyncio.Event()

    async def live() -> None:
        opened.set_result(asyncio.get_running_loop())
        await ended.wait()

    thread = threading.Thread(target=asyncio.run, args=(live(),), name="proxies")
    thread.start()
    loop = opened.result()
    proxies = Proxies(loop)
    try:
        yield proxies
    finally:
        proxies.close()
        loop.call_soon_threadsafe(ended.set)
        thread.join()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close at once, with a RST and not with a FIN."""
    connection = writer.get_extra_info("socket")
    if connection is not None and connection.fileno() >= 0:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    writer.transport.abort()
