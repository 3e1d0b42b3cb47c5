"""The whole system as processes of their own: web, worker, beat, mail sink, nginx."""

import asyncio
import json
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import IO, Any

import asyncpg
import httpx2
from celery import Celery
from gql import Client, gql
from gql.transport.aiohttp import AIOHTTPTransport
from processes import environment

from service.clock import boottime
from service.local.child import LOOPBACK, free_port, spawn, stop
from service.local.servers import ValkeyServer

ROOT = Path(__file__).parents[2]
TEMPLATE = "tokenward_template"
NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
COMMAND = (sys.executable, "-m", "service.command")

PASSWORD = "correct horse battery"

WAIT_SECONDS = 20.0

_numbers = count(1)


async def eventually(
    condition: Callable[[], Awaitable[object]], seconds: float = WAIT_SECONDS
) -> None:
    """Wait for another process."""
    deadline = boottime() + seconds
    while not await condition():
        assert boottime() < deadline, "the condition never came true"
        await asyncio.sleep(0.02)


class SteadyValkey(ValkeyServer):
    """A Valkey that keeps its port when it is started again."""

    _kept_port = 0

    def _launch(self, lock: IO[bytes], log: IO[bytes]) -> subprocess.Popen[bytes]:
        self._kept_port = self.port = self._kept_port or self.port
        return super()._launch(lock, log)


class Person:
    """Somebody, or a program, who speaks GraphQL over HTTP."""

    def __init__(self, url: str, secret: str | None = None) -> None:
        self._url = url
        self.secret = secret

    async def run(self, query: str, **variables: Any) -> dict[str, Any]:
        """Run an operation and return its data; a refusal fails the test."""
        headers = {} if self.secret is None else {"Authorization": f"Bearer {self.secret}"}
        transport = AIOHTTPTransport(url=self._url, headers=headers)
        request = gql(query)
        request.variable_values = variables
        async with Client(transport=transport) as session:
            answer: dict[str, Any] = await session.execute(request)
        [payload] = answer.values()
        assert not (payload or {}).get("userErrors"), payload
        return dict(payload)

    async def sign_in(self, email: str) -> "Person":
        """Sign in, and return who acts with the session."""
        payload = await self.run(
            "mutation ($input: SignInInput!) {"
            " signIn(input: $input) { sessionSecret userErrors { code } } }",
            input={"email": email, "password": PASSWORD, "transport": "BEARER"},
        )
        return Person(self._url, payload["sessionSecret"])

    async def create_account(self, kind: str, email: str) -> "Person":
        """Create an account, and return its person, signed in."""
        await self.run(
            "mutation ($input: CreateAccountInput!) {"
            " createAccount(input: $input) { account { id } userErrors { code } } }",
            input={"name": f"{kind} {email}", "email": email, "password": PASSWORD, "kind": kind},
        )
        return await Person(self._url).sign_in(email)

    async def create_token(self, expires_at: datetime, *scopes: str) -> tuple[str, str]:
        """Create a token, and return its id and its secret."""
        payload = await self.run(
            "mutation ($input: CreateTokenInput!) {"
            " createToken(input: $input) { token { id } secret userErrors { code } } }",
            input={
                "name": f"token {next(_numbers)}",
                "scopes": scopes or ["dns:read"],
                "expiresAt": expires_at.isoformat(),
            },
        )
        return payload["token"]["id"], payload["secret"]

    async def change(self, mutation: str, token_id: str) -> dict[str, Any]:
        """Revoke, suspend or resume a token, and return the receipt."""
        kind = f"{mutation[0].upper()}{mutation[1:]}Input"
        payload = await self.run(
            f"mutation ($input: {kind}!) {{ {mutation}(input: $input)"
            " { propagation { state } userErrors { code } } }",
            input={"id": token_id},
        )
        return payload["propagation"] or {}

    async def token(self, token_id: str) -> dict[str, Any]:
        """Return what is told of a token."""
        return await self.run(
            "query ($id: ID!) { token(id: $id) { name status lastUsedAt lastUsedAddress } }",
            id=token_id,
        )


class System:
    """The processes, and what a test looks at.

    Attributes:
        database: A connection of the tables' owner.
        valkey: The cache and the broker, of this system alone.
        edge: Where nginx answers, or None.
    """

    def __init__(
        self,
        directory: Path,
        settings: dict[str, str],
        database: asyncpg.Connection,
        valkey: SteadyValkey,
    ) -> None:
        self.directory = directory
        self.database = database
        self.valkey = valkey
        self.http = httpx2.AsyncClient(timeout=10)
        web, smtp, mail, edge = (free_port() for _ in range(4))
        self.web = f"http://{LOOPBACK}:{web}"
        self.mail = f"http://{LOOPBACK}:{mail}"
        self.edge = f"http://{LOOPBACK}:{edge}"
        self._ports = {"web": web, "smtp": smtp, "mail": mail, "edge": edge}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.broker_url = valkey.url.removesuffix("/0") + "/1"
        given = {
            "environment": "test",
            "redis_url": valkey.url,
            "broker_url": self.broker_url,
            "bind_port": str(web),
            "public_url": self.web,
            "smtp_port": str(smtp),
        }
        self.environment = environment(**(given | settings)) | {"PYTHONUNBUFFERED": "1"}

    @property
    def anybody(self) -> Person:
        """Somebody who is not signed in."""
        return Person(f"{self.web}/graphql")

    def log(self, name: str) -> Path:
        """Return where a process writes what it says."""
        return self.directory / f"{name}.log"

    def start(self, name: str, *command: str | Path) -> None:
        """Start one of our commands, or another one."""
        with self.log(name).open("ab") as log:
            self._processes[name] = spawn(
                command or [*COMMAND, name],
                signal.SIGKILL,
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=log,
            )

    def start_all(self) -> None:
        """Start everything but nginx."""
        ports = ("--smtp-port", str(self._ports["smtp"]), "--http-port", str(self._ports["mail"]))
        mails = self.directory / "mails"
        self.start("web")
        self.start("worker")
        self.start("beat", *COMMAND, "beat", "--schedule", self.directory / "beat-schedule")
        sink = (sys.executable, "-m", "service.local.mail_sink")
        self.start("mail", *sink, *ports, "--directory", mails)

    def start_nginx(self, upstream: int) -> None:
        """Put nginx in front, as deploy/ configures it, and an application behind it."""
        text = (ROOT / "deploy" / "nginx.conf.template").read_text()
        for name, port in {
            "LISTEN": self._ports["edge"],
            "TOKENWARD_WEB": self._ports["web"],
            "UPSTREAM": upstream,
        }.items():
            text = text.replace(f"${{{name}}}", f"{LOOPBACK}:{port}")
        home = self.directory / "nginx"
        home.mkdir()
        (home / "nginx.conf").write_text(text)
        self.start("nginx", NGINX, "-p", home, "-c", home / "nginx.conf")

    def stop(self, name: str, ending: signal.Signals = signal.SIGTERM) -> None:
        """End a process."""
        stop(self._processes.pop(name), ending, 15)

    def stop_all(self) -> None:
        """End every process that still runs."""
        for name in list(self._processes):
            self.stop(name, signal.SIGQUIT if name == "nginx" else signal.SIGTERM)

    async def readiness(self) -> dict[str, Any]:
        """Return what /readyz tells; empty where the process does not answer."""
        try:
            answer = await self.http.get(f"{self.web}/readyz")
        except httpx2.HTTPError:
            return {}
        return dict(answer.json())

    async def is_ready(self) -> bool:
        """Return whether the web process serves requests."""
        return bool((await self.readiness()).get("ready"))

    async def is_whole(self) -> bool:
        """Return whether every process answers and all is well."""
        parts = await self.readiness()
        try:
            await self.http.get(self.mail)
        except httpx2.HTTPError:
            return False
        return [parts.get(name, {}).get("state") for name in ("database", "redis", "worker")] == [
            "ok"
        ] * 3

    async def call(self, secret: str, path: str = "/dns/zones") -> httpx2.Response:
        """Call the application behind nginx."""
        return await self.http.get(
            f"{self.edge}{path}", headers={"Authorization": f"Bearer {secret}"}
        )

    async def is_refused(self, secret: str) -> bool:
        """Return whether nginx says 401."""
        return (await self.call(secret)).status_code == 401

    def send(self, *tasks: str, task_id: str | None = None) -> None:
        """Hand tasks to the workers through the broker."""
        with Celery(broker=self.broker_url) as client:
            for task in tasks:
                client.send_task(f"workers.tasks.{task}", queue="tokenward", task_id=task_id)

    def finished(self, task: str) -> int:
        """Return how often the worker has finished a task, as it says."""
        lines = self.log("worker").read_text().splitlines()
        return sum(f"tasks.{task}[" in line and "succeeded" in line for line in lines)

    async def mails(self) -> list[dict[str, Any]]:
        """Return the e-mails that arrived."""
        answer = await self.http.get(f"{self.mail}/messages.json")
        return list(answer.json())

    async def create_operator(self, email: str) -> Person:
        """Create the operator by the command line, and return who signed in for it."""
        command = [*COMMAND, "create-operator", "--email", email, "--password", PASSWORD]
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=ROOT,
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
        assert output.decode() == f"{email} may sign in now.\n"
        return await self.anybody.sign_in(email)


@asynccontextmanager
async def opened_system(
    addresses: list[str], directory: Path, name: str, **settings: str
) -> AsyncIterator[System]:
    """Give a system on a database of its own, not started yet; at the end all of it stops."""
    owner_url, app_url, _, _ = addresses
    admin = await asyncpg.connect(owner_url.format(database="postgres"))
    try:
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    finally:
        await admin.close()
    valkey = SteadyValkey(directory / "valkey")
    valkey.start()
    database = await asyncpg.connect(owner_url.format(database=name))
    settings["database_url"] = app_url.format(database=name)
    system = System(directory, settings, database, valkey)
    try:
        yield system
    finally:
        system.stop_all()
        await system.http.aclose()
        await database.close()
        valkey.delete()


class Echo(BaseHTTPRequestHandler):
    """Stands for the application that is protected: it answers with the headers it got."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = json.dumps({key.lower(): value for key, value in self.headers.items()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def echoing() -> Iterator[int]:
    """Serve the application while the context lasts; gives its port."""
    with ThreadingHTTPServer((LOOPBACK, 0), Echo) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
