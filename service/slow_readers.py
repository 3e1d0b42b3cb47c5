"""Connections whose other end does not read: cut off, whatever waits to be sent.

Nothing piles up meanwhile: whoever sends waits until there is room, and a stream that waits asks
for nothing new.
"""

import asyncio
import socket
import struct
from typing import Any

READ_NOTHING_SECONDS_MAX = 10.0
UNACKNOWLEDGED_SECONDS_MAX = 30

_RESET = struct.pack("ii", 1, 0)  # linger for no second (POSIX, SO_LINGER)


class CutsOffSlowReaders(asyncio.Protocol):
    """For a protocol of uvicorn's, before it: ends a connection that reads nothing for 10 s.

    uvicorn would close it, which waits until everything has been read: for ever, if that is what
    the other end wants. A machine that has vanished is cut off by the kernel.
    """

    transport: Any = None
    _unread_bytes = 0
    _cutting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        super().connection_made(transport)
        connected = transport.get_extra_info("socket")
        if hasattr(socket, "TCP_USER_TIMEOUT") and connected.family != socket.AF_UNIX:
            connected.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_SECONDS_MAX * 1000
            )

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._keep()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Begin to wait: there is more to be read than is held."""
        super().pause_writing()
        self._keep()
        self._watch(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """Wait no longer."""
        self._keep()
        super().resume_writing()

    def _watch(self, unread_bytes: int) -> None:
        self._unread_bytes = unread_bytes
        self._cutting = asyncio.get_running_loop().call_later(
            READ_NOTHING_SECONDS_MAX, self._look_again
        )

    def _look_again(self) -> None:
        unread_bytes = self.transport.get_write_buffer_size()
        if unread_bytes >= self._unread_bytes:
            self.cut_off()
        else:
            self._watch(unread_bytes)

    def cut_off(self) -> None:
        """End the connection at once, and have the kernel forget what it still holds to send."""
        connected = self.transport.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()

    def _keep(self) -> None:
        if self._cutting is not None:
            self._cutting.cancel()
            self._cutting = None
