"""``tokenward run``: all of it starts, all of it stops, and obstacles are told plainly."""

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from service.local.child import LOOPBACK, CannotRun, free_port, hold, spawn, stop
from service.local.servers import PostgresServer

SUPERVISE = """
import sys
from pathlib import Path
from service.local.supervisor import run

sys.exit(run(Path(sys.argv[1]), [sys.executable, sys.argv[2]]))
"""

# Stands for `python -m service.command`.
COMMAND = """
import json, os, pathlib, signal, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Ready(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/readyz" else 404)
        self.end_headers()

name, directory = sys.argv[1], pathlib.Path(__file__).parent
with open(directory / "calls", "a") as calls:
    print(name, os.getpid(), file=calls)
if name == "demo":
    assert "--migrate" in sys.argv
    if (directory / "broken").exists():
        sys.exit("the table is gone")
    secret = None if (directory / "told").exists() else "tw_live_example"
    (directory / "told").touch()
    sign_in = {"who": "Owner", "email": "ada@example.com", "password": "a-password"}
    print(json.dumps({"signIns": [sign_in], "secret": secret}))
elif name == "web":
    port = int(os.environ["TOKENWARD_BIND_PORT"])
    HTTPServer(("127.0.0.1", port), Ready).serve_forever()
else:
    addresses = ("TOKENWARD_DATABASE_URL", "TOKENWARD_DATABASE_OWNER_URL", "TOKENWARD_REDIS_URL")
    assert all(os.environ[address] for address in addresses)
    assert int(os.environ["TOKENWARD_SMTP_PORT"])
    signal.pause()
"""


class Place:
    """A directory to run in, and what happened there."""

    def __init__(self, directory: Path) -> None:
        self.run_directory = directory / "run here"
        self.command = directory / "command.py"
        self.command.write_text(COMMAND)
        self.port = free_port()

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        inherited = os.environ.items()  # noqa: TID251 - the child needs the PATH of the tests
        environment = {key: text for key, text in inherited if not key.startswith("TOKENWARD_")}
        environment["TOKENWARD_BIND_PORT"] = str(self.port)
        process = spawn(
            [sys.executable, "-c", SUPERVISE, self.run_directory, self.command],
            signal.SIGTERM,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        with process:
            yield process
            stop(process, signal.SIGTERM, 30)

    def calls(self) -> list[tuple[str, int]]:
        lines = (self.command.parent / "calls").read_text().splitlines()
        return [(name, int(pid)) for name, pid in (line.split() for line in lines)]

    def everything_ended(self) -> bool:
        locks = [self.run_directory / "lock", self.run_directory / "children.lock"]
        locks += [self.run_directory / name / "lock" for name in ("postgres", "valkey")]
        try:
            for lock in locks:
                hold(lock).close()
        except CannotRun:
            return False
        return True


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    PostgresServer(place.run_directory / "postgres").delete()


def eventually(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.02)


def read_summary(process: subprocess.Popen[bytes]) -> str:
    """Return what is told until the line that tries the secret."""
    assert process.stdout
    lines = []
    for line in process.stdout:
        lines.append(line.decode())
        if "curl" in lines[-1]:
            break
    return "".join(lines)


def answers(port: int) -> bool:
    connection = HTTPConnection(LOOPBACK, port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def test_everything_starts_in_order_and_is_told_also_to_other_shells(place: Place) -> None:
    with place.running() as process:
        first = read_summary(process)
        eventually(lambda: len(place.calls()) == 4)
        names = [name for name, _ in place.calls()]

    assert process.returncode == 0
    assert place.everything_ended()
    assert names[:2] == ["demo", "web"]
    assert sorted(names[2:]) == ["beat", "worker"]
    for told in (f"http://127.0.0.1:{place.port}/graphql", "ada@example.com", "a-password"):
        assert told in first
    assert "Bearer tw_live_example" in first

    settings = place.run_directory / "environment"
    with place.running() as process:
        second = read_summary(process)
        words = shlex.split(settings.read_text())
        mode = settings.stat().st_mode

    assert "Bearer tw_live_example" in second
    assert (place.run_directory / "demo.json").stat().st_mode & 0o777 == 0o600
    assert f"TOKENWARD_BIND_PORT={place.port}" in words
    assert any(word.startswith("TOKENWARD_DATABASE_OWNER_URL=postgres://") for word in words)
    assert mode & 0o777 == 0o600
    assert not settings.exists()


def test_killing_the_supervisor_stops_every_child_and_a_dead_child_is_replaced(
    place: Place,
) -> None:
    with place.running() as process:
        read_summary(process)
        os.kill(dict(place.calls())["web"], signal.SIGKILL)
        eventually(lambda: [name for name, _ in place.calls()].count("web") == 2)
        eventually(lambda: answers(place.port))

        process.kill()

        eventually(place.everything_ended)
        assert not answers(place.port)

    with place.running() as process:
        assert "is ready" in read_summary(process)


def test_a_port_in_use_is_one_clear_sentence(place: Place) -> None:
    with socket.create_server((LOOPBACK, place.port)), place.running() as process:
        _, errors = process.communicate(timeout=20)

    assert process.returncode == 1
    assert errors.decode() == (
        f"Port {place.port} of 127.0.0.1 cannot be used (Address already in use). "
        "Set TOKENWARD_BIND_PORT to another one.\n"
    )


def test_a_second_run_in_the_same_directory_is_one_clear_sentence(place: Place) -> None:
    place.run_directory.mkdir()
    with hold(place.run_directory / "lock"), place.running() as process:
        _, errors = process.communicate(timeout=20)

    assert process.returncode == 1
    assert errors.decode() == f"Another process is already using {place.run_directory}.\n"


def test_a_failed_migration_is_told_and_stops_everything(place: Place) -> None:
    (place.command.parent / "broken").touch()

    with place.running() as process:
        _, errors = process.communicate(timeout=20)

    assert process.returncode == 1
    assert "`tokenward demo` failed" in errors.decode()
    assert "the table is gone" in errors.decode()
    assert place.everything_ended()
