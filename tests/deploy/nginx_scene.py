"""A real nginx with the template of ``deploy/``, and the two programs behind it."""

import asyncio
import re
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import uvicorn

DEPLOY = Path(__file__).parents[2] / "deploy"

NGINX = shutil.which("nginx") or "/usr/sbin/nginx"

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

IDENTITY = {
    "X-Tokenward-Account": "account-1",
    "X-Tokenward-Token": "token-1",
    "X-Tokenward-Scopes": "dns:read",
}

INVALID = 'Bearer error="invalid_token"'
NARROW = 'Bearer error="insufficient_scope", scope="dns:read"'

VERDICTS: dict[str, tuple[int, dict[str, str]]] = {
    "": (401, {"WWW-Authenticate": "Bearer"}),
    "Bearer good": (200, IDENTITY),
    "Bearer bare": (200, {}),
    "Bearer unknown": (401, {"WWW-Authenticate": INVALID}),
    "Bearer narrow": (403, {"WWW-Authenticate": NARROW}),
    "Bearer broken": (500, {}),
    "Bearer lost": (302, {"Location": "/elsewhere"}),
    "Bearer unavailable": (503, {"Retry-After": "9"}),
}


@dataclass(frozen=True)
class Request:
    """What one of the two programs behind the edge saw."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Edge:
    """A running nginx, and everything that came through it."""

    client: httpx2.AsyncClient
    asked: list[Request] = field(default_factory=list)
    arrived: list[Request] = field(default_factory=list)

    async def tokenward(self, scope: Message, receive: Receive, send: Send) -> None:
        """Stand for the web process: a validator that says what the bearer asks for."""
        request = await read(scope, receive)
        self.asked.append(request)
        bearer = request.headers.get("authorization", "")
        if scope["path"] != "/validate":
            await answer(send, 200, {"X-Page": scope["path"]})
        elif bearer == "Bearer hanging":
            while (await receive())["type"] != "http.disconnect":
                pass
        else:
            await answer(send, *VERDICTS[bearer])

    async def application(self, scope: Message, receive: Receive, send: Send) -> None:
        """Stand for what is protected; it fails where its path ends with a status."""
        self.arrived.append(await read(scope, receive))
        status = re.search(r"/(\d{3})$", scope["path"])
        await answer(send, int(status[1]) if status else 200, {"X-Application": "yes"})


async def read(scope: Message, receive: Receive) -> Request:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    query = scope["query_string"].decode()
    headers = {name.decode(): value.decode() for name, value in scope["headers"]}
    target = f"{scope['path']}?{query}" if query else scope["path"]
    return Request(scope["method"], target, headers, body)


async def answer(send: Send, status: int, headers: dict[str, str] | None = None) -> None:
    pairs = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    length = (b"content-length", b"0")
    await send({"type": "http.response.start", "status": status, "headers": [*pairs, length]})
    await send({"type": "http.response.body"})


@asynccontextmanager
async def serving(app: Any, listener: socket.socket) -> AsyncIterator[None]:
    """Serve an application on a socket that already listens: who connects early waits there."""
    config = uvicorn.Config(
        app, interface="asgi3", lifespan="off", ws="none", proxy_headers=False, log_level="error"
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield
    finally:
        server.should_exit = True
        await task


def listen() -> socket.socket:
    """Return a socket that listens on a port of its own."""
    return socket.create_server(("127.0.0.1", 0))


def address_of(listener: socket.socket) -> str:
    return "{}:{}".format(*listener.getsockname())


def render(directory: Path, *, without: str = "", instead: str = "", **values: str) -> Path:
    """Do what envsubst does, for the template's own names only; forget a line where asked to.

    Args:
        directory: Where the file is written.
        without: A text of the template to forget.
        instead: What stands in its place.
        values: What the template's names stand for.
    """
    text = (DEPLOY / "nginx.conf.template").read_text()
    assert without in text
    text = text.replace(without, instead) if without else text
    for name, value in values.items():
        text = text.replace(f"${{{name}}}", value)
    assert "${" not in text
    path = directory / "nginx.conf"
    path.write_text(text)
    return path


@asynccontextmanager
async def running_nginx(
    directory: Path, web: str, upstream: socket.socket, *, without: str = "", instead: str = ""
) -> AsyncIterator[str]:
    """Run nginx on a socket that it inherits, as at its own upgrade: no port is raced for."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        configuration = render(
            directory,
            without=without,
            instead=instead,
            TOKENWARD_WEB=web,
            UPSTREAM=address_of(upstream),
            LISTEN=address_of(listener),
        )
        with (directory / "log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *(NGINX, "-p", str(directory), "-c", str(configuration)),
                env={"NGINX": f"{listener.fileno()};"},
                pass_fds=[listener.fileno()],
                stdout=log,
                stderr=log,
            )
        try:
            yield f"http://{address_of(listener)}"
        finally:
            with suppress(ProcessLookupError):  # it has ended by itself: its log is told below
                process.terminate()
            ended = await process.wait()
        assert ended == 0, (directory / "log").read_text()


@asynccontextmanager
async def opened_edge(directory: Path) -> AsyncIterator[Edge]:
    """Run nginx between the two that it stands between, both played by us."""
    web, upstream = listen(), listen()
    async with (
        running_nginx(directory, address_of(web), upstream) as url,
        httpx2.AsyncClient(base_url=url) as client,
    ):
        edge = Edge(client)
        async with serving(edge.tokenward, web), serving(edge.application, upstream):
            yield edge
