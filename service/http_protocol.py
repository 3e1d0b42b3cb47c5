"""How a connection's bytes become requests: uvicorn's way, with a bound on what comes first."""

import asyncio
from typing import Any

from httptools import parse_url
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.edge import Edge, Reply
from service.slow_readers import CutsOffSlowReaders

HEAD_BYTES_MAX = 256 * 1024  # a first piece may hold the beginning of the body, too
PIPELINED_MAX = 100  # requests that wait for the answer before them; hardly any client sends two
PIECE_BYTES = 4 * 1024
VALIDATE = b"/validate"
BEYOND_HEAD = {b"transfer-encoding", b"expect"}
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
    _edge: Edge | None = None
    _is_first = False
    _reply: Reply | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin; a connection that says nothing at all is cut off, too."""
        super().connection_made(transport)
        self._wait()
        # What uvicorn does beyond answering is not done twice: who wants it goes its way.
        if isinstance(self.app, Edge) and not (
            self.config.access_log or self.root_path or self.limit_concurrency is not None
        ):
            self._edge = self.app

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what has arrived, in pieces, so that a flood is seen before it is worked off."""
        self._is_first = True
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
        """Begin the request, unless it is answered as soon as it is whole."""
        self._in_head = False
        if self._edge is not None and self._is_plain():
            self._reply = self._reply_at_once(self._edge)
        self._is_first = False
        if self._reply is None:
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Be ready for the next head."""
        self._in_head, self._head_bytes = True, 0
        # A handshake that has a body is never answered, and httptools does not say so.
        if not self.parser.should_upgrade():
            self._stop_waiting()
        if self._reply is None:
            super().on_message_complete()
        else:
            reply, self._reply = self._reply, None
            self._send(reply)

    def _is_plain(self) -> bool:
        """Return whether the request is one that may be answered at once.

        Of those that arrive together only the first: the others wait in uvicorn's queue, which is
        what a flood of them is told by.
        """
        return (
            self._is_first
            and (self.url == VALIDATE or self.url.startswith(VALIDATE + b"?"))
            # uvicorn's annotation leaves out that there is no cycle before the first.
            and (not self.cycle or self.cycle.response_complete)
            and not self.flow.write_paused
            and self.parser.get_method() == b"GET"
            and self.parser.get_http_version() == "1.1"
            and self.parser.should_keep_alive()
            and not self.parser.should_upgrade()
            and self._is_head_alone()
        )

    def _is_head_alone(self) -> bool:
        headers = dict(self.headers)
        return headers.get(b"content-length", b"0") == b"0" and BEYOND_HEAD.isdisjoint(headers)

    def _reply_at_once(self, edge: Edge) -> Reply | None:
        self.scope["query_string"] = parse_url(self.url).query or b""
        try:
            return edge.reply_at_once(self.scope)  # type: ignore[arg-type] # uvicorn's name for a scope
        except Exception:  # noqa: BLE001 - it comes again on uvicorn's way, which tells it
            return None

    def _send(self, reply: Reply) -> None:
        """Write an answer as uvicorn would, and go on as it does behind one."""
        content = [STATUS_LINE[reply.status]]
        for name, value in (*self.server_state.default_headers, *reply.headers):
            content += (name, b": ", value, b"\r\n")
        content += (b"\r\n", reply.body)
        self.transport.write(b"".join(content))
        self.on_response_complete()

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
