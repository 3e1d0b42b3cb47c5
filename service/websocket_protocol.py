"""How a connection's bytes become WebSocket messages: uvicorn's way, with bounds."""

import logging
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from service.slow_readers import CutsOffSlowReaders
from service.streams import MESSAGE_BYTES_MAX

PING_SECONDS = 10.0  # and as long for its answer: who has vanished is missed within 20 s
HANDSHAKE_SECONDS_MAX = 10.0
FRAMES_MAX = 1_000  # between two of our pings; a client that works hard sends some dozens
PIECE_BYTES = 4 * 1024

# uvicorn's would tell each connection with its query string, where people put secrets.
_log = logging.getLogger("tokenward.websocket.protocol")
_log.setLevel(logging.WARNING)


class WebSocketProtocol(CutsOffSlowReaders, WebSocketsSansIOProtocol):
    """Ends floods of frames, handshakes without end, and who does not answer our pings.

    A frame may be six bytes, and costs as much as a long one. All that has arrived is worked off at
    once: a quarter of a megabyte of empty ones would keep this process from hearing of revocations
    for half a second, and empty pieces of a message that never ends would pile up.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.logger = _log
        self._frames = 0

    def connection_made(self, transport: Any) -> None:
        """Begin; a handshake that the library takes for unfinished is cut off."""
        super().connection_made(transport)
        self.loop.call_later(HANDSHAKE_SECONDS_MAX, self._check_handshake)

    def data_received(self, data: bytes) -> None:
        """Take what has arrived, in pieces, so that a flood is seen before it is worked off."""
        for start in range(0, len(data), PIECE_BYTES):
            if self.transport.is_closing():
                return
            super().data_received(data[start : start + PIECE_BYTES])

    def handle_events(self) -> None:
        """Take the frames of a piece, unless there were too many lately."""
        self._frames += len(self.conn.events)
        if self._frames > FRAMES_MAX:
            self.cut_off()
        else:
            super().handle_events()

    def send_keepalive_ping(self) -> None:
        """See whether the other end is there, and count its frames anew."""
        self._frames = 0
        super().send_keepalive_ping()

    def handle_ping(self) -> None:
        """Answer a ping, unless earlier answers are still unread."""
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()

    def keepalive_timeout(self) -> None:
        """End a connection whose other end is gone."""
        super().keepalive_timeout()
        self.cut_off()

    def _check_handshake(self) -> None:
        if not self.handshake_complete:
            self.cut_off()


def options() -> dict[str, Any]:
    """Return what uvicorn must be told for WebSockets.

    Compression is off: it takes memory for each connection, and lets who can mix their text with
    secrets guess them by the length.
    """
    return {
        "ws": WebSocketProtocol,
        "ws_max_size": MESSAGE_BYTES_MAX,
        "ws_ping_interval": PING_SECONDS,
        "ws_ping_timeout": PING_SECONDS,
        "ws_per_message_deflate": False,
    }
