"""Load over HTTP: by wrk where it is installed, else by a generator of our own."""

import asyncio
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from urllib.parse import urlsplit

SCRIPT = Path(__file__).with_name("secrets.lua")

_REQUESTS = re.compile(r"(\d+) requests in ([\d.]+)(m?s)")
_REFUSED = re.compile(r"Non-2xx or 3xx responses: (\d+)")


@dataclass(frozen=True, slots=True)
class Load:
    """What came of a round.

    Attributes:
        refused: Answers that were not of success.
    """

    answers: int
    refused: int
    seconds: float


def generator() -> str:
    """Return what makes the load."""
    return "wrk" if shutil.which("wrk") else "a generator of our own"


async def load(url: str, secrets_file: Path, *, connections: int, seconds: float) -> Load:
    """Ask with each secret of a file in turn, over some connections, one request at a time each."""
    if generator() == "wrk" and seconds >= 1:
        return await _load_by_wrk(url, secrets_file, connections, int(seconds))
    return await _load_by_ourselves(url, secrets_file, connections=connections, seconds=seconds)


async def _load_by_wrk(url: str, secrets_file: Path, connections: int, seconds: int) -> Load:
    process = await asyncio.create_subprocess_exec(
        *("wrk", "-t", "1", "-c", str(connections), "-d", f"{seconds}s", "-s", str(SCRIPT)),
        *(url, "--", str(secrets_file)),
        stdout=asyncio.subprocess.PIPE,
    )
    output = (await process.communicate())[0].decode()
    found, refused = _REQUESTS.search(output), _REFUSED.search(output)
    assert found, output
    assert "Socket errors" not in output, output
    took_seconds = float(found[2]) / (1000 if found[3] == "ms" else 1)
    return Load(int(found[1]), int(refused[1]) if refused else 0, took_seconds)


async def _load_by_ourselves(
    url: str, secrets_file: Path, *, connections: int, seconds: float
) -> Load:
    """Do the same without wrk; it takes several times as much of the machine."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 80
    requests = cycle(_requests(parts.path, host, secrets_file))
    loop = asyncio.get_running_loop()
    clients = [_Client(requests) for _ in range(connections)]
    for client in clients:
        await loop.create_connection(partial(_same, client), host, port)
    began = time.perf_counter()
    await asyncio.sleep(seconds)
    took_seconds = time.perf_counter() - began
    for client in clients:
        client.close()
    return Load(
        sum(client.answers for client in clients),
        sum(client.refused for client in clients),
        took_seconds,
    )


def _requests(path: str, host: str, secrets_file: Path) -> list[bytes]:
    return [
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {secret}\r\n\r\n".encode()
        for secret in secrets_file.read_text().split()
    ]


def _same(client: "_Client") -> "_Client":
    return client


class _Client(asyncio.Protocol):
    """One connection; the answers have no body, so that each ends with its head."""

    def __init__(self, requests: Iterator[bytes]) -> None:
        self._requests = requests
        self._transport: asyncio.Transport
        self._received = b""
        self.answers = 0
        self.refused = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._received.endswith(b"\r\n\r\n"):
            self.answers += 1
            self.refused += not self._received.startswith(b"HTTP/1.1 2")
            self._received = b""
            self._transport.write(next(self._requests))

    def close(self) -> None:
        self._transport.abort()
