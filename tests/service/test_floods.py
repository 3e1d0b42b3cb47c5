"""Who floods a connection, or sends nothing whole over it, is cut off before others notice."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from starlette.types import Message, Receive, Scope, Send
from web_scene import served

from service import http_protocol, websocket_protocol
from service.websocket_protocol import FRAMES_MAX

HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"
HANDSHAKE = (
    HEAD + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
WAIT_SECONDS = 5.0

TEXT, PIECE, PING, PONG = 0x81, 0x00, 0x89, 0x8A
BEGUN = struct.pack("=BBI", 0x01, 0x80, 0)


def frames(kind: int, count: int, said: bytes = b"") -> bytes:
    """Return frames as a client sends them, masked with zeros."""
    return (struct.pack("=BBI", kind, 0x80 | len(said), 0) + said) * count


class Counting:
    """Accepts a WebSocket, or answers a request, and counts what arrives."""

    def __init__(self) -> None:
        self.heard = 0
        self.asked = 0
        self.ended = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
        else:
            self.asked += 1
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})
        while not (message := await receive())["type"].endswith(".disconnect"):
            self.heard += is_said(message)
        self.ended.set()


def is_said(message: Message) -> bool:
    return bool(message["type"] == "websocket.receive")


@asynccontextmanager
async def connected(
    url: str, begun: bytes
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(begun)
    try:
        yield reader, writer
    finally:
        writer.close()


@pytest.mark.parametrize(
    "flood",
    [
        BEGUN + frames(PIECE, 50_000),
        frames(PING, 50_000),
        frames(PONG, 50_000),
        frames(TEXT, 50_000, b"{}"),
    ],
    ids=["pieces of a message without end", "pings", "pongs", "messages"],
)
async def test_a_flood_of_frames_is_cut_off_before_it_is_worked_off(flood: bytes) -> None:
    app = Counting()

    async with served(app) as url, connected(url, HANDSHAKE + b"\r\n") as (reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(flood)
        await asyncio.wait_for(app.ended.wait(), WAIT_SECONDS)

    assert app.heard <= FRAMES_MAX


async def test_a_flood_of_requests_is_cut_off_before_it_is_worked_off() -> None:
    app = Counting()

    async with served(app) as url, connected(url, (HEAD + b"\r\n") * 20_000) as (reader, _):
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(read_all(reader), WAIT_SECONDS)

    assert app.asked < 1_000


async def test_some_requests_at_once_are_answered_one_after_the_other() -> None:
    app = Counting()
    last = HEAD + b"Connection: close\r\n\r\n"

    async with served(app) as url, connected(url, (HEAD + b"\r\n") * 99 + last) as (reader, _):
        answers = await asyncio.wait_for(reader.read(-1), WAIT_SECONDS)

    assert answers.count(b"HTTP/1.1 204") == app.asked == 100


async def test_as_many_frames_as_anybody_needs_are_heard() -> None:
    app = Counting()

    async with served(app) as url, connected(url, HANDSHAKE + b"\r\n") as (reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(frames(TEXT, FRAMES_MAX - 2, b"{}") + frames(0x88, 1))
        await asyncio.wait_for(app.ended.wait(), WAIT_SECONDS)

    assert app.heard == FRAMES_MAX - 2  # the handshake and the end count, too


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        HEAD,
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nx",
        HANDSHAKE + b"Content-Length: 2\r\n\r\nxx",
        HANDSHAKE + b"Sec-WebSocket-Protocol: " + b"a," * 5_000 + b"a\r\n\r\n",
    ],
    ids=["nothing", "head", "body", "handshake with a body", "handshake too long"],
)
async def test_who_sends_nothing_whole_is_cut_off(
    begun: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_protocol, "REQUEST_SECONDS_MAX", 0.05)
    monkeypatch.setattr(websocket_protocol, "HANDSHAKE_SECONDS_MAX", 0.05)

    async with served(Counting()) as url, connected(url, begun) as (reader, _):
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(read_all(reader), WAIT_SECONDS)


async def read_all(reader: asyncio.StreamReader) -> None:
    while await reader.read(65536):
        pass


async def test_who_has_sent_all_of_it_is_not_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "REQUEST_SECONDS_MAX", 0.05)
    monkeypatch.setattr(websocket_protocol, "HANDSHAKE_SECONDS_MAX", 0.05)
    app = Counting()

    async with served(app) as url, connected(url, HANDSHAKE + b"\r\n") as (reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.2)
        writer.write(frames(TEXT, 1, b"{}") + frames(0x88, 1))
        await asyncio.wait_for(app.ended.wait(), WAIT_SECONDS)

    assert app.heard == 1
