"""An application behind a real socket, and one that answers as it is told to."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.clock import boottime
from service.http_protocol import HttpProtocol
from service.websocket_protocol import options


@dataclass
class Recorder:
    """Passes requests on, and keeps what of each went over the wire."""

    app: ASGIApp
    bodies: list[bytes] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = bytearray()
        path = f"{scope['path']}?{scope['query_string'].decode()}"
        self.heads.append(f"{scope['method']} {path} {scope['headers']!r}")

        async def receiving() -> Message:
            message = await receive()
            body.extend(message.get("body", b""))
            return message

        await self.app(scope, receiving, send)
        self.bodies.append(bytes(body))


@dataclass
class Liar:
    """Stands for a service that answers anything.

    Attributes:
        parts: The body, sent part by part.
        delay_seconds: Before the head, and before each part of the body.
        asked_at: When each question arrived, in seconds since boot.
    """

    parts: Iterable[bytes] = ()
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay_seconds: float = 0.0
    asked_at: list[float] = field(default_factory=list)

    def says(self, value: object) -> None:
        """Have it answer a value as JSON; NaN and Infinity as Python spells them."""
        self.parts = [json.dumps(value).encode()]

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        self.asked_at.append(boottime())
        while (await receive()).get("more_body"):
            pass
        await asyncio.sleep(self.delay_seconds)
        headers = [(name.encode(), value.encode()) for name, value in self.headers.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        for part in self.parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
            await asyncio.sleep(self.delay_seconds)
        await send({"type": "http.response.body"})


@asynccontextmanager
async def served(app: Any) -> AsyncIterator[str]:
    """Serve an application on a port of its own; give its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app,
        interface="asgi3",
        http=HttpProtocol,
        lifespan="off",
        **options(),
        proxy_headers=False,
        access_log=False,
        log_level="critical",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield "http://{}:{}".format(*listener.getsockname())
    finally:
        server.should_exit = True
        await task
