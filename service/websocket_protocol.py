"""How a connection's bytes become WebSocket messages: uvicorn's way, with bounds."""

import logging
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from service.slow_readers import CutsOffSlowReaders
from service.streams import MESSAGE_BYTES_MAX

PING_SECONDS = 10.0  # and as long for its answer: who has vanished is missed within 20 s

# uvicorn's would tell each connection with its query string, where people put secrets.
_log = logging.getLogger("tokenward.websocket.protocol")
_log.setLevel(logging.WARNING)


class WebSocketProtocol(CutsOffSlowReaders, WebSocketsSansIOProtocol):
    """Answers no flood of pings that nobody reads, and ends who does not answer ours."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.logger = _log

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
