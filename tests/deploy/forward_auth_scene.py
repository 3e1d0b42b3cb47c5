"""Another edge than nginx, run with its file of ``deploy/``, and the two programs behind it."""

import asyncio
import os
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from pathlib import Path

import httpx2
from nginx_scene import (
    DEPLOY,
    IDENTITY,
    Edge,
    Message,
    Receive,
    Request,
    Send,
    answer,
    listen,
    serving,
)
from stores import eventually

RunEdge = Callable[..., AbstractAsyncContextManager[str]]
"""``run_edge(directory, web, upstream, without="")`` runs one and gives its address."""

SCOPES = {f"scope={noun}:{verb}".encode() for noun in ("dns", "mail") for verb in ("read", "write")}
TRUE_IDENTITY = {name.lower(): value for name, value in IDENTITY.items()}

GOOD = {"Authorization": "Bearer good"}


def find_program(name: str) -> str:
    """Return where a program is: in the tests' own environment, or where Debian puts it."""
    own = Path(sys.executable).parent
    return shutil.which(name, path=f"{own}:{os.defpath}:/usr/sbin:/usr/local/bin") or name


@contextmanager
def held_port() -> Iterator[int]:
    """Give a port that nobody else is given: it is shared with who asks for that, as edges do."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        yield int(holder.getsockname()[1])


def fill(template: str, directory: Path, *, without: str = "", **values: str) -> Path:
    """Do what envsubst does, for the template's own names only; forget a text where asked to."""
    text = (DEPLOY / template).read_text()
    assert without in text
    text = text.replace(without, "")
    for name, value in values.items():
        assert f"${{{name}}}" in text
        text = text.replace(f"${{{name}}}", value)
    assert "${" not in text
    path = directory / template.removesuffix(".template")
    path.write_text(text)
    return path


@asynccontextmanager
async def running(command: Sequence[str | Path], directory: Path, port: int) -> AsyncIterator[str]:
    """Run an edge and give its address once it knows the protected places; no secret is logged."""
    url = f"http://127.0.0.1:{port}"
    with (directory / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=directory,
            env={"PATH": os.defpath, "HOME": str(directory)},
            stdout=log,
            stderr=log,
        )

    async def serves() -> bool:
        assert process.returncode is None, (directory / "log").read_text()
        with suppress(httpx2.TransportError):
            return (await client.get(f"{url}/dns/")).status_code != 404
        return False

    try:
        async with httpx2.AsyncClient() as client:
            await eventually(serves, seconds=20)
        yield url
    finally:
        with suppress(ProcessLookupError):  # it has ended by itself: its log is told above
            process.kill()  # it holds nothing, and Traefik takes seconds to end in an orderly way
        await process.wait()
    assert "Bearer" not in (directory / "log").read_text()


class ForwardAuth(Edge):
    """As nginx's scene has it, and a question without a scope is refused, as Tokenward does."""

    async def tokenward(self, scope: Message, receive: Receive, send: Send) -> None:
        """Stand for the web process."""
        asked = scope["path"] == "/validate"
        if asked and scope["query_string"] not in SCOPES:
            await answer(send, 400)
        else:
            await super().tokenward(scope, receive, send)


async def say_yes(_: Message, receive: Receive, send: Send) -> None:
    """Stand for a web process that can be stopped: it runs as a child."""
    await receive()
    await answer(send, 200, IDENTITY)


@asynccontextmanager
async def running_child(listener: socket.socket) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run ``say_yes`` on a socket that already listens."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uvicorn", f"{__name__}:say_yes"),
        *("--fd", str(listener.fileno()), "--lifespan", "off", "--log-level", "error"),
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        pass_fds=[listener.fileno()],
    )
    try:
        yield process
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def opened(
    run_edge: RunEdge, directory: Path, *, without: str = ""
) -> AsyncIterator[ForwardAuth]:
    """Give an edge between a client and the two programs behind it."""
    web, upstream = listen(), listen()
    edge = ForwardAuth(httpx2.AsyncClient())
    async with (
        serving(edge.tokenward, web),
        serving(edge.application, upstream),
        run_edge(directory, web, upstream, without=without) as url,
        edge.client as client,
    ):
        client.base_url = url
        yield edge


def identity_in(request: Request) -> dict[str, str]:
    """Return what a request tells of who sends it, in whatever writing."""
    return {name: value for name, value in request.headers.items() if "tokenward" in name}
