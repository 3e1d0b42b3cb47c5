"""``/graphql`` as a WebSocket: the same subscriptions as over server-sent events."""

import time
from contextlib import suppress

import structlog
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect
from strawberry.schema.base import BaseSchema

from schema import live_messages
from schema.live_connection import Connection
from schema.live_messages import PROTOCOL, Closed
from service.auth import is_foreign
from service.settings import Settings

POLICY_VIOLATION = 1008  # RFC 6455 §7.4.1; before the handshake's answer it becomes HTTP 403

log = structlog.get_logger("tokenward.websocket")


class LiveEndpoint:
    """Accepts WebSockets.

    Args:
        schema: The same as that of ``POST /graphql``, with its limits and caches.
        settings: The process' own.
    """

    def __init__(self, schema: BaseSchema, settings: Settings) -> None:
        self._schema = schema
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        socket = WebSocket(scope, receive, send)
        # A browser lets every page open a socket to anywhere, and sends the cookie along.
        if is_foreign(socket.headers, self._settings):
            await socket.close(POLICY_VIOLATION)
            return
        structlog.contextvars.clear_contextvars()
        began, code = time.monotonic(), 1005
        try:
            await self._serve(socket)
        except WebSocketDisconnect as gone:
            code = gone.code
        except Closed as closed:
            code = closed.code
            with suppress(WebSocketDisconnect, RuntimeError):  # it may have gone away meanwhile
                await socket.close(closed.code, closed.reason)
        finally:
            log.info(
                "websocket.ended",
                path=scope["path"],
                code=code,
                milliseconds=round((time.monotonic() - began) * 1000, 1),
            )

    async def _serve(self, socket: WebSocket) -> None:
        state = socket.app.state
        if PROTOCOL not in socket.scope["subprotocols"]:
            await socket.accept()
            raise Closed(live_messages.NO_SUCH_PROTOCOL, f"Speak {PROTOCOL}.")
        await socket.accept(subprotocol=PROTOCOL)
        await Connection(socket, self._schema, state.service, state.streams).serve()
