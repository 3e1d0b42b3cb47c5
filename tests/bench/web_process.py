"""A web process of the bench: the product's own, or a bare one under the same server."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench_scene import Scene
from stores import eventually

from service.local.child import LOOPBACK, free_port, spawn, stop

BARE = Path(__file__).with_name("bare_web.py")
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
CPU_SECONDS_MIN = 1 / TICKS_PER_SECOND
START_SECONDS = 30.0
STOP_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class WebProcess:
    """One process that serves."""

    port: int
    process: subprocess.Popen[bytes]

    def url(self, path: str) -> str:
        """Return an address."""
        return f"http://{LOOPBACK}:{self.port}{path}"

    async def starts(self) -> None:
        """Return once it answers."""
        await eventually(self._answers, seconds=START_SECONDS)

    async def _answers(self) -> bool:
        assert self.process.poll() is None, "it ended"
        try:
            _, writer = await asyncio.open_connection(LOOPBACK, self.port)
        except OSError:
            return False
        writer.close()
        return True

    def cpu_seconds(self) -> float:
        """Return what it has used of the machine so far."""
        return cpu_seconds(self.process.pid)


def cpu_seconds(pid: int, *, gone_children: bool = False) -> float:
    """Return what a process has used of the CPUs, in user and system mode; in hundredths.

    One that has just ended counts nothing: its parent counts it among those gone.
    """
    try:
        fields = _stat(pid)
    except FileNotFoundError:
        return 0.0
    # utime, stime, cutime and cstime of proc(5).
    return sum(map(int, fields[11 : 15 if gone_children else 13])) / TICKS_PER_SECOND


def parent_of(pid: int) -> int:
    """Return the process that started another."""
    return int(_stat(pid)[1])


def children_of(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def _stat(pid: int) -> list[str]:
    """Return the fields behind the name, which may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


@contextmanager
def serving(scene: Scene, *, bare: bool = False, **settings: object) -> Iterator[WebProcess]:
    """Start a web process, the product's own unless a bare one is wanted; stop it at the end."""
    port = free_port()
    program = [BARE] if bare else ["-m", "service.command"]
    with (scene.directory / f"web-{port}.log").open("wb") as log:
        process = spawn(
            [sys.executable, *program, "web"],
            signal.SIGTERM,
            env=scene.environment(bind_port=port, **settings),
            stdout=log,
            stderr=log,
        )

    try:
        yield WebProcess(port, process)
    finally:
        stop(process, signal.SIGTERM, STOP_SECONDS)
