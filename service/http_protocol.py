"""How a connection's bytes become requests: uvicorn's way, with a bound on what comes first."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.slow_readers import CutsOffSlowReaders

HEAD_BYTES_MAX = 256 * 1024  # a first piece may hold the beginning of the body, too


class HttpProtocol(CutsOffSlowReaders, HttpToolsProtocol):
    """Refuses a head without end, and takes no trailer for a header.

    httptools reads a head of any size, on the event loop, before anybody is asked who they are. And
    it tells trailers as headers, so that an ``Authorization`` behind the body would count (RFC 9110
    §6.5.1).
    """

    _in_head = True
    _head_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Take the next piece."""
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                self.send_400_response("The head is too long.")
                return
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
        super().on_message_complete()
