"""A worker outlives whatever stands in its queue, and a lost queue costs time alone."""

import base64
import json
import pickle
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from edge_scene import fingerprint
from factories import Platform
from processes import environment
from redis.asyncio import Redis
from stores import eventually
from test_worker import make_expired, swept

from service.clock import SystemClock, boottime
from service.composition import Service
from service.heartbeat import KEY as HEARTBEAT
from service.heartbeat import seconds_since_beat
from service.local.child import spawn, stop
from service.settings import Settings

ROOT = Path(__file__).parents[2]
QUEUE = "tokenward"
SOON = 60

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
async def broker(settings: Settings) -> AsyncIterator[Redis]:
    redis = Redis.from_url(settings.celery_broker_url)
    yield redis
    await redis.aclose()


@pytest.fixture
def start(settings: Settings, tmp_path: Path) -> Iterator[Start]:
    """Start a command of ours; it ends with the test."""
    names = ("database_url", "redis_url", "broker_url")
    given = {name: getattr(settings, name).get_secret_value() for name in names}
    with ExitStack() as ending:

        def started(*words: str) -> subprocess.Popen[bytes]:
            log = ending.enter_context((tmp_path / f"{words[0]}.log").open("ab"))
            process = spawn(
                [sys.executable, "-m", "service.command", *words],
                signal.SIGKILL,
                cwd=ROOT,
                env=environment(environment="test", **given),
                stdout=log,
                stderr=log,
            )
            ending.callback(stop, process, signal.SIGTERM, 20)
            return process

        yield started


def encoded(value: object) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


def message(task: str, **changes: Any) -> dict[str, Any]:
    """Return a message as the broker holds it."""
    tag = str(uuid4())
    headers = {"lang": "py", "task": task, "id": tag, "root_id": tag} | changes.pop("headers", {})
    properties = {
        "correlation_id": tag,
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": QUEUE},
        "priority": 0,
        "body_encoding": "base64",
        "delivery_tag": tag,
    } | changes.pop("properties", {})
    body = changes.pop("body", [[], {}, {"callbacks": None, "errbacks": None}])
    return {
        "body": encoded(body),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": headers,
        "properties": properties,
    } | changes


RELAY = "workers.tasks.relay_revocations"
OPTIONS = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


class Command:
    """Runs a command where it is unpickled."""

    def __init__(self, *words: str) -> None:
        self._words = words

    def __reduce__(self) -> tuple[Any, ...]:
        return subprocess.run, (self._words,)


def without(name: str) -> dict[str, Any]:
    """Return a message that lacks a part."""
    return {part: value for part, value in message(RELAY).items() if part != name}


MESSAGES: dict[str, dict[str, Any]] = {
    "an unknown task": message("workers.tasks.of_tomorrow"),
    "a task of Celery's own": message("celery.backend_cleanup"),
    "no task": message(RELAY, headers={"task": None}),
    "an argument of yesterday": message(RELAY, body=[[1, "two"], {"batch": 3}, OPTIONS]),
    "options of tomorrow": message(RELAY, body=[[], {}, OPTIONS | {"of_tomorrow": True}]),
    "headers of tomorrow": message(RELAY, headers={"of_tomorrow": {"a": [1]}, "stamps": {}}),
    "a form of long ago": message(RELAY, headers={}, body=[])
    | {
        "headers": {},
        "body": encoded({"task": RELAY, "id": "1", "args": [], "kwargs": {}, "retries": 0}),
    },
    "an expiry that has passed": message(RELAY, headers={"expires": "2001-01-01T00:00:00+00:00"}),
    "an expiry that is none": message(RELAY, headers={"expires": "soon"}),
    "an instant that is none": message(RELAY, headers={"eta": "soon"}),
    "retries that are none": message(RELAY, headers={"retries": "many"}),
    "a callback": message(RELAY, body=[[], {}, OPTIONS | {"callbacks": [{"task": "x"}]}]),
    "a mebibyte": message(RELAY, body=[["x" * 2**20], {}, OPTIONS]),
    "a depth without end": message(RELAY) | {"body": base64.b64encode(b"[" * 100_000).decode()},
    "YAML": message(RELAY) | {"content-type": "application/x-yaml"},
    "an unknown type": message(RELAY) | {"content-type": "x/y"},
    "an unknown charset": message(RELAY) | {"content-encoding": "utf-99"},
    "no headers": without("headers"),
    "no properties": without("properties"),
    "nothing": {},
}
"""What an older or newer version, another program or an accident may leave in the queue."""

FATAL: dict[str, dict[str, Any]] = {
    "arguments that are none": message(RELAY, body="x"),
    "no type": without("content-type"),
    "an id that is none": message(RELAY, headers={"id": [1]}),
}


async def push(broker: Redis, *messages: Any) -> None:
    """Put messages into the queue, the first to be taken first."""
    for each in messages:
        await broker.lpush(QUEUE, each if isinstance(each, bytes) else json.dumps(each))


async def is_drained(broker: Redis) -> bool:
    """Return whether no message waits, and none is held."""
    return not await broker.llen(QUEUE) and not await broker.hlen("unacked")


async def test_a_worker_outlives_every_message_that_makes_no_sense(
    start: Start,
    service: Service,
    platform: Platform,
    owner: asyncpg.Connection,
    broker: Redis,
    tmp_path: Path,
) -> None:
    await make_expired(service, platform, owner)
    rows, marker = await fingerprint(owner), tmp_path / "executed"
    executed = pickle.dumps(Command("touch", str(marker)))
    poison = message(RELAY) | {
        "body": base64.b64encode(executed).decode(),
        "content-type": "application/x-python-serialize",
        "content-encoding": "binary",
    }
    worker = start("worker")

    await push(broker, *MESSAGES.values(), poison)
    await eventually(partial(is_drained, broker), seconds=SOON)

    assert await fingerprint(owner) == rows
    assert not marker.exists()
    await push(broker, message("workers.tasks.sweep_expired_tokens"))
    await eventually(swept_by(owner), seconds=SOON)
    assert worker.poll() is None


def swept_by(owner: asyncpg.Connection) -> Callable[[], Awaitable[bool]]:
    """Return what tells whether the expired token is marked."""

    async def is_swept() -> bool:
        return await swept(owner)() is not None

    return is_swept


async def test_a_message_that_celery_cannot_read_is_put_away_and_not_handed_out_for_ever(
    start: Start,
    service: Service,
    platform: Platform,
    owner: asyncpg.Connection,
    broker: Redis,
) -> None:
    await make_expired(service, platform, owner)
    worker = start("worker")

    await push(broker, *FATAL.values(), message("workers.tasks.sweep_expired_tokens"))

    is_swept = swept_by(owner)

    async def is_over() -> bool:
        return worker.poll() is not None or await is_swept()

    await eventually(is_over, seconds=SOON)
    assert worker.poll() is None
    await eventually(partial(is_drained, broker), seconds=SOON)


async def test_what_is_no_message_at_all_costs_one_start_at_the_most(
    start: Start,
    service: Service,
    platform: Platform,
    owner: asyncpg.Connection,
    broker: Redis,
) -> None:
    """A supervisor starts a worker again; what ended it is gone then."""
    await make_expired(service, platform, owner)
    worker = start("worker")

    await push(broker, b"\xff\xfe\0", message("workers.tasks.sweep_expired_tokens"))

    is_swept = swept_by(owner)

    async def is_over() -> bool:
        return worker.poll() is not None or await is_swept()

    await eventually(is_over, seconds=SOON)
    if worker.poll() is not None:
        start("worker")
    await eventually(is_swept, seconds=SOON)


async def test_a_broker_that_loses_everything_costs_a_beat_or_two(
    start: Start, service: Service, broker: Redis, tmp_path: Path
) -> None:
    redis, clock = service.cache.redis, SystemClock()
    worker, beat = start("worker"), start("beat", "--schedule", str(tmp_path / "schedule"))

    async def beats() -> bool:
        return await seconds_since_beat(redis, clock) is not None

    for _ in range(2):
        await eventually(beats, seconds=SOON)
        await broker.flushdb()  # the queue, what is held, and where messages are routed
        await redis.delete(HEARTBEAT)

    await eventually(beats, seconds=SOON)
    assert (worker.poll(), beat.poll()) == (None, None)


@pytest.mark.faults
@pytest.mark.parametrize("expired", [True, False], ids=["old", "new"])
async def test_work_behind_a_hundred_thousand_hints_is_done(
    expired: bool,  # noqa: FBT001 - a table
    start: Start,
    service: Service,
    platform: Platform,
    owner: asyncpg.Connection,
    broker: Redis,
    record_property: Callable[[str, object], None],
) -> None:
    await make_expired(service, platform, owner)
    headers = {"expires": "2001-01-01T00:00:00+00:00"} if expired else {}
    for _ in range(100):
        hints = [json.dumps(message(RELAY, headers=dict(headers))) for _ in range(1_000)]
        await broker.lpush(QUEUE, *hints)
    await push(broker, message("workers.tasks.sweep_expired_tokens"))
    began_at = boottime()
    worker = start("worker")

    await eventually(swept_by(owner), seconds=1800)

    record_property("seconds", round(boottime() - began_at, 1))
    await eventually(partial(is_drained, broker), seconds=SOON)
    assert worker.poll() is None
