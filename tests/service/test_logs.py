"""No secret passes the formatter, whoever logs it, and every line tells its request."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path

import pytest
import structlog

from service.logs import configure_logs, redact
from service.secret_format import make_secret
from service.settings import read_settings

ROOT = Path(__file__).parents[2]
PEPPERS = {1: b"0" * 32}

Lines = Callable[[], list[str]]

SERVE = """
import asyncio, logging, sys
import structlog
from service.app import RequestContext
from service.logs import configure_logs
from service.settings import read_settings

async def app(scope, receive, send):
    structlog.get_logger("inside").info("of structlog", path=scope["path"])
    logging.getLogger("library").warning("of a library at %s", scope["path"])
    await asyncio.sleep(0)
    if scope["path"] == "/broken":
        raise RuntimeError("surprise")
    await send({"type": "http.response.start", "status": 200, "headers": []})

async def main():
    async def send(message):
        headers = dict(message["headers"])
        print(scopes[0]["path"], headers[b"x-request-id"].decode())
    scopes = [{"type": "http", "method": "GET", "path": path} for path in sys.argv[1:]]
    serve = RequestContext(app)
    while scopes:
        try:
            await serve(scopes[0], None, send)
        except RuntimeError:
            pass
        scopes.pop(0)
    two = [{"type": "http", "method": "GET", "path": f"/{name}"} for name in "ab"]
    async def ignore(message): pass
    await asyncio.gather(*(serve(scope, None, ignore) for scope in two))

configure_logs(read_settings(log_format="json"))
asyncio.run(main())
"""


@pytest.fixture(params=["console", "json"])
def lines(request: pytest.FixtureRequest) -> Iterator[Lines]:
    """Configure the logs as a process does, and return what reads what was written."""
    written = StringIO()
    with redirect_stderr(written), configured(log_format=request.param, log_level="DEBUG"):
        yield lambda: written.getvalue().splitlines()


@contextmanager
def configured(**settings: str) -> Iterator[None]:
    root = logging.getLogger()
    kept = root.handlers, root.level
    configure_logs(read_settings(**settings))
    yield
    root.handlers, root.level = kept
    structlog.reset_defaults()


def new_secret(*, session: bool = False) -> str:
    return make_secret("live", PEPPERS, session=session).text


@pytest.mark.parametrize("session", [False, True])
def test_a_secret_never_passes_whoever_logs_it(lines: Lines, *, session: bool) -> None:
    secret = new_secret(session=session)
    ours, theirs = structlog.get_logger("ours"), logging.getLogger("theirs")

    ours.info(secret)
    ours.info("as a value", secret=secret)
    ours.info("inside", headers=[(b"authorization", f"Bearer {secret}".encode())])
    ours.info("between letters", text=f"\n{secret}\nn{secret}n %20{secret}")
    theirs.debug("as an argument %s", secret)
    theirs.warning("inside %r", {"secret": [secret]})
    theirs.warning("extra", extra={"secret": secret})

    written = "\n".join(lines())
    assert written.count("tw_…") == 8
    assert secret not in written
    assert secret[-36:] not in written


def test_a_secret_never_passes_in_a_traceback(lines: Lines) -> None:
    secret = new_secret()

    try:
        try:
            raise KeyError(secret)
        except KeyError as cause:
            raise ValueError(f"a line\n{secret}") from cause
    except ValueError:
        structlog.get_logger("ours").exception("caught")
        logging.getLogger("theirs").exception("caught")

    written = "\n".join(lines())
    assert written.count("tw_…") == 4
    assert "Traceback" in written
    assert "test_logs.py" in written
    assert secret not in written


def test_a_password_of_an_address_never_passes(lines: Lines) -> None:
    for url in (
        "postgres://app:hunter2@db.example/tokenward",
        "redis://:hunter2@[::1]:6379/0",
        "amqp://app:hunter@hunter2@broker.example",
    ):
        structlog.get_logger("ours").info("connects", url=url)
        logging.getLogger("theirs").error("cannot reach %r", url)

    written = "\n".join(lines())
    assert written.count(":…@") == 6
    assert "hunter" not in written
    assert written.count("db.example/tokenward") == 2


def test_what_is_no_secret_is_left_alone() -> None:
    harmless = "https://example.com:8000/a@b tw_live_ tw_live_tooShort 2026-01-01T00:00:00Z"

    assert redact(harmless) == harmless


@pytest.mark.parametrize("lines", ["json"], indirect=True)
def test_json_is_one_object_a_line(lines: Lines) -> None:
    structlog.get_logger("ours").info("two\nlines", name='a "quoted" … name', number=3)
    logging.getLogger("theirs").warning("two\r\nlines of %s", "a library")
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("theirs").exception("caught")

    first, second, third = [json.loads(line) for line in lines()]

    assert first.pop("timestamp").endswith("Z")
    assert first == {
        "event": "two\nlines",
        "level": "info",
        "logger": "ours",
        "name": 'a "quoted" … name',
        "number": 3,
    }
    assert second["event"] == "two\r\nlines of a library"
    assert third["exception"].endswith("ValueError: two\nlines")


def test_what_is_below_the_level_is_not_written() -> None:
    written = StringIO()
    with redirect_stderr(written), configured(log_level="WARNING"):
        structlog.get_logger("ours").info("quiet")
        for name in ("theirs", "asyncpg", "tortoise"):
            logging.getLogger(name).info("quiet")
        structlog.get_logger("ours").warning("loud")

    [line] = written.getvalue().splitlines()
    assert "loud" in line


def test_statements_and_their_values_are_not_written_at_any_level(lines: Lines) -> None:
    for name in ("tortoise", "tortoise.db_client", "asyncpg"):
        logging.getLogger(name).debug("SELECT $1 ['a value']")

    assert lines() == []


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_a_line_that_cannot_be_written_is_told_without_its_values(log_format: str) -> None:
    secret, written = new_secret(), StringIO()

    with redirect_stderr(written), configured(log_format=log_format):
        logging.getLogger("theirs").error("%d tokens", secret)
        logging.getLogger("theirs").error("%d tokens", "a value")

    lines = written.getvalue().splitlines()
    assert len(lines) == 2
    assert all("log.line_lost at " in line and "test_logs.py:" in line for line in lines)
    assert not any(secret in line or "a value" in line for line in lines)


def test_every_line_of_a_request_tells_its_id_and_no_other_request_s() -> None:
    # A process of its own, because loggers that have spoken keep their configuration.
    ran = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-c", SERVE, "/first", "/broken", "/third"],
        cwd=ROOT,
        env={"PATH": os.defpath},
        capture_output=True,
        text=True,
        check=True,
    )

    told = dict(line.split() for line in ran.stdout.splitlines())
    logged: dict[str, list[tuple[str, str]]] = {}
    for line in ran.stderr.splitlines():
        entry = json.loads(line)
        path = entry.get("path") or entry["event"].rpartition(" ")[2]
        logged.setdefault(path, []).append((entry["event"], entry["request_id"]))
    assert {path: len(entries) for path, entries in logged.items()} == dict.fromkeys(
        ("/first", "/broken", "/third", "/a", "/b"), 3
    )
    ids = {path: {request_id for _, request_id in entries} for path, entries in logged.items()}
    assert [len(of_path) for of_path in ids.values()] == [1] * 5
    assert len(set.union(*ids.values())) == 5
    assert {path: ids[path] for path in told} == {path: {told[path]} for path in told}
    assert set(told) == {"/first", "/third"}
    statuses = [
        json.loads(line).get("status") for line in ran.stderr.splitlines() if "http.request" in line
    ]
    assert statuses == [200, 500, 200, 200, 200]
