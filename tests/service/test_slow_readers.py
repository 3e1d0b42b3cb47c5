"""Who reads nothing is cut off, and who reads slowly is not."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from starlette.types import Receive, Scope, Send
from stores import eventually
from uvicorn import Config
from uvicorn.server import ServerState
from web_scene import served

from service import slow_readers
from service.slow_readers import UNACKNOWLEDGED_SECONDS_MAX
from service.websocket_protocol import WebSocketProtocol

PIECE = b"x" * 500_000
HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"
UPGRADE = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)


class Talker:
    """Sends without end, over whatever asks, until that ends."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        listening = asyncio.create_task(self._listen(receive))
        piece: dict[str, Any]
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
            piece = {"type": "websocket.send", "bytes": PIECE}
        else:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            piece = {"type": "http.response.body", "body": PIECE, "more_body": True}
        while not self.ended.is_set():
            await send(piece)
            await asyncio.sleep(0)
        await listening

    async def _listen(self, receive: Receive) -> None:
        while not (await receive())["type"].endswith(".disconnect"):
            pass
        self.ended.set()


@asynccontextmanager
async def asked(url: str, head: bytes) -> AsyncIterator[socket.socket]:
    """Ask, and read nothing by itself."""
    parts = urlsplit(url)
    assert parts.port is not None
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(0)
    loop = asyncio.get_running_loop()
    with client:
        await loop.sock_connect(client, ("127.0.0.1", parts.port))
        await loop.sock_sendall(client, head + b"\r\n")
        yield client


@pytest.mark.parametrize("head", [HEAD, HEAD + UPGRADE], ids=["http", "websocket"])
async def test_who_reads_nothing_is_cut_off(head: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_readers, "READ_NOTHING_SECONDS_MAX", 0.1)
    app = Talker()

    async with served(app) as url, asked(url, head) as client:
        await asyncio.wait_for(app.ended.wait(), 5)

        with pytest.raises(ConnectionResetError):
            read_all(client)


def read_all(client: socket.socket) -> None:
    while client.recv(65536):
        pass


async def test_who_reads_slowly_goes_on_until_nothing_is_read() -> None:
    """Looked at by hand, since both ends share a loop here, and a pause of it is no silence."""
    protocol: Any = WebSocketProtocol.__new__(WebSocketProtocol)
    protocol.writable = asyncio.Event()
    protocol.transport = transport = Taking(unread=[500, 499, 7, 7])

    protocol.pause_writing()
    for _ in range(2):
        protocol._look_again()  # noqa: SLF001 - the timer's
        assert not transport.is_cut
    protocol._look_again()  # noqa: SLF001 - as above

    assert transport.is_cut
    protocol.resume_writing()


async def test_a_flood_of_pings_that_nobody_reads_the_answers_of_takes_no_memory() -> None:
    protocol: Any = WebSocketProtocol.__new__(WebSocketProtocol)
    protocol.writable = asyncio.Event()
    protocol.conn = Answers()
    protocol.transport = transport = Taking(unread=[])

    protocol.handle_ping()
    assert protocol.conn.kept == []
    assert transport.taken == b""
    protocol.conn.kept = [b"pong"]
    protocol.writable.set()
    protocol.handle_ping()

    assert transport.taken == b"pong"


class Answers:
    """The frames that wait to be sent."""

    def __init__(self) -> None:
        self.kept = [b"pong"]

    def data_to_send(self) -> list[bytes]:
        kept, self.kept = self.kept, []
        return kept


class Taking:
    """A transport that takes all, and says how much of it is unread."""

    def __init__(self, unread: list[int]) -> None:
        self._unread = unread
        self.taken = bytearray()
        self.is_cut = False
        self._socket: socket.socket | None = None

    def write(self, data: bytes) -> None:
        self.taken += data

    def get_write_buffer_size(self) -> int:
        return self._unread.pop(0)

    def get_extra_info(self, _: str) -> socket.socket:
        self._socket = socket.socket()
        return self._socket

    def abort(self) -> None:
        assert self._socket is not None
        self._socket.close()
        self.is_cut = True


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="the kernel offers none")
async def test_the_kernel_gives_up_a_machine_that_has_vanished() -> None:
    class Looking(WebSocketProtocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            connected = transport.get_extra_info("socket")
            told.append(connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))

    told: list[int] = []
    loop = asyncio.get_running_loop()
    config = Config(Talker(), log_config=None)
    server = await loop.create_server(lambda: Looking(config, ServerState(), {}), "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    await eventually(lambda: heard(told), seconds=5)
    writer.close()
    server.close()

    assert told == [UNACKNOWLEDGED_SECONDS_MAX * 1000]


async def heard(told: list[int]) -> bool:
    return bool(told)
