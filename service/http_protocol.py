"""How a connection's bytes become requests: uvicorn's way, with a bound on what comes first."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.slow_readers import CutsOffSlowReaders

HEAD_BYTES_MAX = 256 * 1024  # a first piece may hold the beginning of the body, too
PIPELINED_MAX = 100  # requests that wait for the answer before them; hardly any client sends two
PIECE_BYTES = 4 * 1024
REQUEST_SECONDS_MAX = 30.0  # for all of one, so that nobody holds a connection by a byte a minute


class HttpProtocol(CutsOffSlowReaders, HttpToolsProtocol):
    """Refuses a head without end, cuts off who sends no whole request, or far too many at once.

    httptools reads a head of any size, on the event loop, before anybody is asked who they are, and
    all requests that arrived together: a second and more of them. And it tells trailers as headers,
    so that an ``Authorization`` behind the body would count (RFC 9110 §6.5.1).
    """

    _in_head = True
    _head_bytes = 0
    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin; a connection that says nothing at all is cut off, too."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what has arrived, in pieces, so that a flood is seen before it is worked off."""
        for start in range(0, len(data), PIECE_BYTES):
            if self.transport.is_closing() or self.transport.get_protocol() is not self:
                return
            if len(self.pipeline) > PIPELINED_MAX:
                self.cut_off()
                return
            self._take(data[start : start + PIECE_BYTES])

    def _take(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                self.send_400_response("The head is too long.")
                return
            self._wait()
        super().data_received(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin the request."""
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Be ready for the next head."""
        self._in_head, self._head_bytes = True, 0
        # A handshake that has a body is never answered, and httptools does not say so.
        if not self.parser.should_upgrade():
            self._stop_waiting()
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        """Leave the connection to the other protocol, which waits for itself."""
        self._stop_waiting()
        super().handle_websocket_upgrade()

    def _wait(self) -> None:
        if self._waiting is None:
            loop = asyncio.get_running_loop()
            self._waiting = loop.call_later(REQUEST_SECONDS_MAX, self.cut_off)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
