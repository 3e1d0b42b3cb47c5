"""The real stack, each process behind proxies of its own, and a note of what was done to it."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
from fault_clock import FaultClock
from fault_proxy import FaultProxy, Proxies
from processes import environment
from redis_node import Pair
from stores import eventually

from service.clock import boottime
from service.local.child import LOOPBACK, free_port, spawn, stop
from service.local.servers import PostgresServer
from service.settings import Settings, read_settings

HERE = Path(__file__).parent
COMMAND = (sys.executable, "-m", "service.command")
LEASE_SECONDS = 1.5  # a quarter is the deadline of a read: less is too little on a busy machine
READY_SECONDS = 30.0
OUTAGE_SECONDS_MAX = 120.0
STOP_SECONDS = 15.0
RETRY_SECONDS = 0.05

UNANSWERED = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)

WEBS = ("web", "crashing", "edge")
WORKERS = ("worker", "beat")
NAIVE = ("naive", "timed")
BEHIND_THE_EDGE = ("edge", "upstream")
"""Kinds of checkers that ask the web process ``edge``."""


@dataclass(frozen=True, slots=True)
class Window:
    """A span in which something was done.

    Attributes:
        fault: What, for the result.
        kind: ``database`` where it keeps checkers from the database, ``stopped`` where it keeps
            them from running, ``clock`` where it changes Redis' time, otherwise empty.
        names: Whom it concerns.
    """

    fault: str
    kind: str
    names: frozenset[str]
    began_at: float
    ended_at: float

    def meets(self, began_at: float, ended_at: float, *, grace_seconds: float) -> bool:
        """Return whether a span overlaps it, or began soon after its end."""
        return began_at < self.ended_at + grace_seconds and ended_at > self.began_at


@dataclass
class Stack:
    """Servers, proxies and processes.

    Attributes:
        checkers: The processes that ask: each is named by its kind and a number.
        service_secret: By which a validator without the database asks the service.
        armed: The failpoint file of the crashing web process.
        tokens: The file that tells the checkers what to watch.
    """

    directory: Path
    postgres: PostgresServer
    redis: Pair
    clock: FaultClock
    proxies: Proxies
    checkers: tuple[str, ...]
    redis_links: dict[str, FaultProxy] = field(default_factory=dict)
    database_links: dict[str, FaultProxy] = field(default_factory=dict)
    service_secret: str = ""
    windows: list[Window] = field(default_factory=list)
    ports: dict[str, int] = field(default_factory=dict)
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.armed = self.directory / "failpoint"
        self.tokens = self.directory / "tokens"
        self.tokens.touch()
        self.ports = {name: free_port() for name in WEBS}
        self.service_link = self.proxies.open(self.ports["edge"])
        for name in (*WEBS, "worker", *self.checkers):
            if kind_of(name) != "edge" or name in WEBS:
                self.redis_links[name] = self.proxies.open(self.redis.primary.port)
            if kind_of(name) not in BEHIND_THE_EDGE or name in WEBS:
                self.database_links[name] = self.proxies.open(self.postgres.port)

    @property
    def ours(self) -> tuple[str, ...]:
        """The checkers that ask the product."""
        return tuple(name for name in self.checkers if kind_of(name) not in NAIVE)

    @property
    def naive(self) -> tuple[str, ...]:
        """The checkers that must break what the product promises."""
        return tuple(name for name in self.checkers if kind_of(name) in NAIVE)

    def of_kind(self, kind: str) -> tuple[str, ...]:
        """Return the checkers that ask one kind of validator."""
        return tuple(name for name in self.checkers if kind_of(name) == kind)

    def concerned(self, *names: str) -> tuple[str, ...]:
        """Return processes, and the checkers that ask one of them."""
        behind = [name for name in self.checkers if kind_of(name) in BEHIND_THE_EDGE]
        return (*names, *behind) if "edge" in names else names

    @property
    def settings(self) -> Settings:
        """The settings of every process, without addresses."""
        return read_settings(environment="test", lease_seconds=LEASE_SECONDS)

    def record(self, name: str) -> Path:
        """Return where a checker tells its decisions."""
        return self.directory / f"{name}.record"

    def record_bytes(self, name: str) -> int:
        """Return how much a checker has told."""
        record = self.record(name)
        record.touch()
        return record.stat().st_size

    def url(self, name: str) -> str:
        """Return where a web process answers."""
        return f"http://{LOOPBACK}:{self.ports[name]}"

    def start(self, name: str) -> None:
        """Start a process; one that runs is left alone."""
        if self.is_alive(name):
            return
        with (self.directory / f"{name}.log").open("ab") as log:
            self._processes[name] = spawn(
                self._command(name),
                signal.SIGKILL,
                cwd=HERE.parents[1],
                env=self.environment(name),
                stdout=log,
                stderr=log,
            )

    def start_all(self) -> None:
        """Start every process, but those that need a secret of the service's."""
        for name in (*WEBS, *WORKERS, *self.checkers):
            if kind_of(name) != "upstream":
                self.start(name)

    def is_alive(self, name: str) -> bool:
        """Return whether a process runs, or is stopped."""
        process = self._processes.get(name)
        return process is not None and process.poll() is None

    def exit_code(self, name: str) -> int | None:
        """Return how a process ended; None while it has not."""
        return self._processes[name].poll()

    def kill(self, name: str) -> None:
        """End a process with SIGKILL."""
        stop(self._processes[name], signal.SIGKILL, STOP_SECONDS)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal, such as SIGSTOP."""
        self._processes[name].send_signal(number)

    def stop_all(self) -> None:
        """End every process."""
        for name, process in self._processes.items():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                self.kill(name)

    def point_at_primary(self) -> None:
        """Lead everybody to where the primary is now."""
        for link in self.redis_links.values():
            link.point_at(self.redis.primary.port)

    def point_at_database(self) -> None:
        """Lead everybody to where the database is now."""
        for link in self.database_links.values():
            link.point_at(self.postgres.port)

    @contextmanager
    def during(self, fault: str, kind: str = "", *names: str) -> Iterator[None]:
        """Note a fault from here to the end of the context."""
        began_at = boottime()
        try:
            yield
        finally:
            self.windows.append(Window(fault, kind, frozenset(names), began_at, boottime()))

    async def is_listening(self, web: str) -> bool:
        """Return whether a web process takes connections, which it does once it is ready."""
        try:
            _, writer = await asyncio.open_connection(LOOPBACK, self.ports[web])
        except OSError:
            return False
        writer.transport.abort()
        return True

    async def owner(self) -> asyncpg.Connection:
        """Return a connection of the tables' owner, around every proxy."""
        return await asyncpg.connect(self.postgres.owner_url(), timeout=2, command_timeout=2)

    async def owner_says(self, query: str, *values: object) -> object:
        """Return one value from the database as soon as it answers."""
        until = boottime() + OUTAGE_SECONDS_MAX
        while True:
            try:
                connection = await self.owner()
                try:
                    return await connection.fetchval(query, *values)
                finally:
                    connection.terminate()
            except UNANSWERED:
                assert boottime() < until, "the database never came back"
                await asyncio.sleep(RETRY_SECONDS)

    def environment(self, name: str) -> dict[str, str]:
        """Return what a process is given."""
        link = "worker" if name in WORKERS else name
        given = environment(
            environment="test",
            bind_port=str(self.ports.get(name, 0)),
            lease_seconds=str(LEASE_SECONDS),
            log_level="WARNING",
            **self._addresses(link),
        )
        # Coverage would slow down what is measured, and SIGKILL loses its counts.
        kept = {key: value for key, value in given.items() if not key.startswith("COVERAGE_")}
        return kept | {"PYTHONUNBUFFERED": "1", "PYTHONPATH": str(HERE.parents[1])}

    def _addresses(self, name: str) -> dict[str, str]:
        """Return whom a process may ask, through its own proxies."""
        found = {}
        if link := self.redis_links.get(name):
            found["redis_url"] = self.redis.primary.url(link.port)
            found["broker_url"] = self.redis.primary.url(link.port, 1)
        if link := self.database_links.get(name):
            found["database_url"] = through(self.postgres.app_url(), link.port)
        if name not in WEBS and kind_of(name) == "edge":
            found["public_url"] = self.url("edge")
        if kind_of(name) == "upstream":
            found["service_url"] = f"http://{LOOPBACK}:{self.service_link.port}"
            found["service_token"] = self.service_secret
        return found

    def _command(self, name: str) -> list[str | Path]:
        if name == "crashing":
            return [sys.executable, HERE / "crashing_web.py", self.armed]
        if name == "beat":
            return [*COMMAND, "beat", "--schedule", str(self.directory / "beat-schedule")]
        if name in self.checkers:
            checker = HERE / "checker.py"
            return [sys.executable, checker, kind_of(name), self.tokens, self.record(name)]
        return [*COMMAND, "web" if name in WEBS else name]


def kind_of(checker: str) -> str:
    """Return which kind of validator a checker asks."""
    return checker.partition("-")[0]


def postgres_pids(server: PostgresServer) -> list[int]:
    """Return the process of a PostgreSQL and of each of its children."""
    assert server.pid is not None
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text()
    return [server.pid, *map(int, children.split())]


def signal_postgres(server: PostgresServer, number: signal.Signals) -> None:
    """Send a signal to all of a PostgreSQL; the first process is the last to go on."""
    for pid in postgres_pids(server):
        with suppress(ProcessLookupError):
            os.kill(pid, number)


@asynccontextmanager
async def opened_stack(
    directory: Path, postgres: PostgresServer, proxies: Proxies, checkers: tuple[str, ...]
) -> AsyncIterator[Stack]:
    """Give a stack whose servers run and whose processes do not yet; at the end all of it stops."""
    clock = FaultClock(directory)
    redis = Pair(directory, clock.environment)
    try:
        await redis.start()
        stack = Stack(directory, postgres, redis, clock, proxies, checkers)
        try:
            yield stack
        finally:
            stack.stop_all()
            signal_postgres(postgres, signal.SIGCONT)
    finally:
        await redis.close()


async def run_command(given: dict[str, str], *words: str) -> str:
    """Run one of the product's commands to its end, in an environment, and return what it says."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *words,
        cwd=HERE.parents[1],
        env=given,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode()


async def wait_until(condition: Callable[[], bool], *, seconds: float = READY_SECONDS) -> None:
    """Wait for something that can be looked at here."""

    async def holds() -> bool:
        return condition()

    await eventually(holds, seconds=seconds)


def through(url: str, port: int) -> str:
    """Return the address of a database with the port of a proxy."""
    parts = urlsplit(url)
    return parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{port}").geturl()
