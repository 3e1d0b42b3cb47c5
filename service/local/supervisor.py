"""Everything that Tokenward needs, on one machine, until Ctrl-C: ``tokenward run``."""

import http.client
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any

from service.errors import SettingsRefused
from service.local.child import LOOPBACK, CannotRun, free_port, hold, spawn, stop, tail
from service.local.program import Program
from service.local.servers import PostgresServer, ValkeyServer, write_privately
from service.local.summary import Summary
from service.preflight import check_port
from service.settings import Settings, read_settings

COMMAND = (sys.executable, "-m", "service.command")
MAIL_SINK = (sys.executable, "-m", "service.local.mail_sink")

READY_SECONDS = 60.0
READY_DEATHS = 3
LEFTOVERS_SECONDS = 15.0
POLL_SECONDS = 0.1

STOPPING_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run(directory: Path, command: Sequence[str] = COMMAND) -> int:
    """Run the whole service until SIGINT or SIGTERM; call it from the main thread.

    Args:
        directory: Where the data, the logs and the passwords are kept; made where missing.
        command: What runs ``demo``, ``web``, ``worker`` and ``beat``.

    Returns:
        The exit code: 0 after a signal; 1 where something is in the way, which is told on stderr.
    """
    _at_signals(signal.default_int_handler)
    try:
        with ExitStack() as stack:
            try:
                Supervisor(directory.resolve(), read_settings(), command, stack).run()
            finally:
                _at_signals(signal.SIG_IGN)  # a second Ctrl-C must not cut the stop short
    except KeyboardInterrupt:
        return 0
    except (CannotRun, SettingsRefused) as refused:
        sys.stderr.write(f"{refused}\n")
    except PermissionError as refused:
        sys.stderr.write(f"{refused.filename} cannot be used: does it belong to another user?\n")
    return 1


def _at_signals(handler: Callable[[int, FrameType | None], Any] | signal.Handlers) -> None:
    for number in STOPPING_SIGNALS:
        signal.signal(number, handler)


class Supervisor:
    """One run: what it starts, it stops in reverse order when the stack is left."""

    def __init__(
        self, directory: Path, settings: Settings, command: Sequence[str], stack: ExitStack
    ) -> None:
        self._directory = directory
        self._settings = settings
        self._command = command
        self._stack = stack
        self._programs: list[Program] = []
        self._environment: dict[str, str] = {}
        self._lock = -1
        self._port = settings.bind_port or free_port()
        self._mail_address: str | None = None
        self._environment_file = directory / "environment"

    def run(self) -> None:
        """Start everything, tell the summary and watch over it; ends by an exception only.

        Raises:
            CannotRun: If something is in the way.
            KeyboardInterrupt: At a signal.
        """
        started_at = time.monotonic()
        self._claim()
        self._start_servers()
        self._start_mail_sink()
        self._tell_environment()
        demo = self._demo()
        # One after the other: what a person waits for gets the processors to itself.
        self._keep("web", [*self._command, "web"])
        self._wait_until_ready()
        for name in ("worker", "beat"):
            self._keep(name, [*self._command, name])
        summary = Summary(
            address=self._address,
            mail_address=self._mail_address,
            seconds=time.monotonic() - started_at,
            sign_ins=demo.get("signIns", []),
            secret=demo.get("secret"),
            environment=self._environment_file,
        )
        sys.stdout.write(f"{summary}\n")
        sys.stdout.flush()
        while True:
            self._watch()

    def _claim(self) -> None:
        """Make sure that nobody else runs here and that the port is free."""
        if self._settings.environment == "production":
            raise CannotRun(
                "`tokenward run` is for development. In production start `tokenward web`, "
                "`tokenward worker` and `tokenward beat`."
            )
        self._directory.mkdir(parents=True, exist_ok=True)
        (self._directory / "log").mkdir(exist_ok=True)
        self._stack.enter_context(hold(self._directory / "lock"))
        # Children of a run that was killed may need a moment to end; they hold this one.
        leftovers = hold(self._directory / "children.lock", timeout_seconds=LEFTOVERS_SECONDS)
        self._lock = self._stack.enter_context(leftovers).fileno()
        check_port(self._settings.bind_host, self._port)

    def _start_servers(self) -> None:
        settings = self._settings
        self._environment = {
            **os.environ,  # noqa: TID251 - what a child inherits is passed on, not read
            "PYTHONUNBUFFERED": "1",
            "TOKENWARD_BIND_PORT": str(self._port),
        }
        if "public_url" not in settings.model_fields_set:
            self._environment["TOKENWARD_PUBLIC_URL"] = self._address
        if not settings.database_url.get_secret_value():
            postgres = PostgresServer(self._directory / "postgres")
            self._stack.callback(postgres.stop)
            postgres.start()
            self._environment["TOKENWARD_DATABASE_URL"] = postgres.app_url()
            self._environment["TOKENWARD_DATABASE_OWNER_URL"] = postgres.owner_url()
        if not settings.redis_url.get_secret_value():
            valkey = ValkeyServer(self._directory / "valkey")
            self._stack.callback(valkey.stop)
            valkey.start()
            self._environment["TOKENWARD_REDIS_URL"] = valkey.url

    def _start_mail_sink(self) -> None:
        if "smtp_host" in self._settings.model_fields_set:
            return
        smtp_port, http_port = str(free_port()), str(free_port())
        self._environment["TOKENWARD_SMTP_HOST"] = LOOPBACK
        self._environment["TOKENWARD_SMTP_PORT"] = smtp_port
        self._mail_address = f"http://{LOOPBACK}:{http_port}"
        options = ["--smtp-port", smtp_port, "--http-port", http_port]
        self._keep("mail", [*MAIL_SINK, *options, "--directory", str(self._directory / "mail")])

    def _tell_environment(self) -> None:
        """Write what the other commands need to work on this run; shells read it."""
        lines = (
            f"export {name}={shlex.quote(value)}\n"
            for name, value in sorted(self._environment.items())
            if name.startswith("TOKENWARD_")
        )
        write_privately(self._environment_file, "".join(lines))
        self._stack.callback(self._environment_file.unlink, missing_ok=True)

    def _keep(self, name: str, command: Sequence[str]) -> None:
        log = self._directory / "log" / f"{name}.log"
        environment = self._environment
        program = Program(name, command, environment=environment, log=log, lock=self._lock)
        self._stack.callback(program.stop)
        self._programs.append(program)
        program.start()

    def _finish(self, name: str, *options: str) -> bytes:
        """Run a command to its end and return what it wrote to stdout.

        Raises:
            CannotRun: If it fails; the text holds the tail of what it wrote to stderr.
        """
        log = self._directory / "log" / f"{name}.log"
        with log.open("wb") as errors:
            process = spawn(
                [*self._command, name, *options],
                signal.SIGTERM,
                env=self._environment,
                stdout=subprocess.PIPE,
                stderr=errors,
                pass_fds=(self._lock,),
            )
        try:
            output, _ = process.communicate()
        except BaseException:
            stop(process, signal.SIGTERM, POLL_SECONDS)
            raise
        if process.returncode != 0:
            raise CannotRun(f"`tokenward {name}` failed. Its log ends with:\n{tail(log)}")
        return output

    def _demo(self) -> dict[str, Any]:
        """Migrate, and return the demo's sign-ins; a secret is told once, so the last is kept."""
        kept = self._directory / "demo.json"
        demo: dict[str, Any] = json.loads(self._finish("demo", "--migrate", "--json"))
        if not demo.get("secret") and kept.exists():
            demo["secret"] = json.loads(kept.read_text()).get("secret")
        write_privately(kept, json.dumps(demo))
        return demo

    def _wait_until_ready(self) -> None:
        web = next(program for program in self._programs if program.name == "web")
        deadline = time.monotonic() + READY_SECONDS
        while not self._is_ready():
            if time.monotonic() > deadline or web.deaths >= READY_DEATHS:
                raise CannotRun(
                    f"The service did not become ready. {web.log} ends with:\n{tail(web.log)}"
                )
            self._watch()

    def _is_ready(self) -> bool:
        host = self._settings.bind_host
        anywhere = {"0.0.0.0": LOOPBACK, "::": "::1"}  # noqa: S104 - compared, not bound
        connection = http.client.HTTPConnection(anywhere.get(host, host), self._port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _watch(self) -> None:
        time.sleep(POLL_SECONDS)
        for program in self._programs:
            program.keep_running()

    @property
    def _address(self) -> str:
        if "public_url" in self._settings.model_fields_set:
            return self._settings.public_url
        return f"http://{LOOPBACK}:{self._port}"
