"""A real worker process on a real broker: it does the work, and its death loses none."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest
from celery import Celery
from factories import Platform, make_token
from job_scene import job_of
from people_scene import invite
from processes import environment
from redis.asyncio import Redis
from rotation_scene import rotate

from service.access.jobs import JobKind
from service.clock import SystemClock, boottime
from service.composition import Service, compose
from service.heartbeat import seconds_since_beat
from service.local.child import spawn, stop
from service.roles import Role
from service.settings import Settings
from workers.app import VISIBILITY_TIMEOUT_SECONDS

ROOT = Path(__file__).parents[2]
WAIT_SECONDS = 60


async def eventually(condition: Callable[[], Awaitable[object]]) -> None:
    """Wait for another process."""
    deadline = boottime() + WAIT_SECONDS
    while not await condition():
        assert boottime() < deadline, "the condition never came true"
        await asyncio.sleep(0.05)


@asynccontextmanager
async def worker(settings: Settings, name: str) -> AsyncIterator[subprocess.Popen[bytes]]:
    addresses = ("database_url", "redis_url", "broker_url")
    given = {name: getattr(settings, name).get_secret_value() for name in addresses}
    command = [sys.executable, "-m", "celery", "--app", "workers.app", "worker"]
    process = spawn(
        [*command, "--hostname", f"{name}@%h", "--loglevel", "WARNING"],
        signal.SIGKILL,
        cwd=ROOT,
        env=environment(environment="test", **given),
    )
    try:
        yield process
    finally:
        stop(process, signal.SIGTERM, 20)


def send(settings: Settings, task: str) -> None:
    with Celery(broker=settings.celery_broker_url) as client:
        client.send_task(f"workers.tasks.{task}", queue="tokenward")


@pytest.fixture
async def broker(settings: Settings) -> AsyncIterator[Redis]:
    redis = Redis.from_url(settings.celery_broker_url)
    yield redis
    await redis.aclose()


async def make_expired(service: Service, platform: Platform, owner: asyncpg.Connection) -> None:
    """Create a token that has expired by the worker's clock, which is the machine's."""
    await make_token(service, platform.customer, name="old")
    await owner.execute("UPDATE api_token SET expires_at = $1 WHERE name = 'old'", an_hour_ago())


async def make_overdue_rotation(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> object:
    """Rotate a token, so that the grace is over by the worker's clock; return the old secret."""
    made = await make_token(service, platform.customer, name="rotated")
    await rotate(service, platform.customer, made.token.id)
    query = "UPDATE secret SET retires_at = $2 WHERE token_id = $1 AND retires_at > $2 RETURNING id"
    return await owner.fetchval(query, made.token.id, an_hour_ago())


def an_hour_ago() -> object:
    return SystemClock().now() - timedelta(hours=1)


def swept(owner: asyncpg.Connection) -> Callable[[], Awaitable[object]]:
    return lambda: owner.fetchval("SELECT swept_at FROM api_token WHERE name = 'old'")


async def test_a_worker_runs_each_task_and_ends_in_order(
    service: Service, platform: Platform, owner: asyncpg.Connection, settings: Settings
) -> None:
    await make_expired(service, platform, owner)
    secret = await owner.fetchval(
        "SELECT s.id FROM secret s JOIN api_token t ON t.id = s.token_id WHERE t.name = 'old'"
    )
    await service.cache.redis.hset("usage", str(secret), "1700000000000 192.0.2.1")
    retiring = await make_overdue_rotation(service, platform, owner)
    await invite(service, platform.customer, Role.VIEWER)
    await owner.execute("UPDATE password_reset SET due_at = now()")
    wanted = job_of(JobKind.SUSPEND, (await make_token(service, platform.customer)).token.id)
    now = compose(settings, service.cache, SystemClock())  # a job is due by the worker's clock
    job_id = (await now.jobs.begin(platform.customer, wanted)).job.id
    for task in (
        "sweep_expired_tokens",
        "complete_rotations",
        "flush_usage",
        "send_expiry_notices",
        "relay_revocations",
        "probe_revocation",
        "run_jobs",
        "seal_trail",
        "send_account_mail",
    ):
        send(settings, task)

    async with worker(settings, "only") as process:
        await eventually(swept(owner))
        await eventually(
            lambda: owner.fetchval("SELECT last_used_at FROM secret WHERE id = $1", secret)
        )
        await eventually(
            lambda: owner.fetchval("SELECT retired_at FROM secret WHERE id = $1", retiring)
        )
        await eventually(lambda: owner.fetchval("SELECT max(position) FROM audit_event"))
        # No relay listens: it is put off, and due again.
        await eventually(lambda: owner.fetchval("SELECT max(attempts) FROM password_reset"))
        await eventually(
            lambda: owner.fetchval("SELECT finished_at FROM job WHERE id = $1", job_id)
        )
        redis, clock = service.cache.redis, SystemClock()
        await eventually(lambda: seconds_since_beat(redis, clock))
        await eventually(lambda: redis.hget("canary", "held"))
        assert await redis.hget("canary", "held") == b"True"
        stop(process, signal.SIGTERM, 30)

    assert process.returncode == 0


async def test_what_a_killed_worker_held_is_done_by_another(
    service: Service,
    platform: Platform,
    owner: asyncpg.Connection,
    settings: Settings,
    broker: Redis,
) -> None:
    await make_expired(service, platform, owner)
    async with worker(settings, "first") as first, owner.transaction():
        await owner.execute("LOCK TABLE api_token IN ACCESS EXCLUSIVE MODE")
        send(settings, "sweep_expired_tokens")
        await eventually(
            lambda: owner.fetchval(
                "SELECT count(*) FROM pg_locks WHERE NOT granted"
                " AND relation = 'api_token'::regclass"
            )
        )
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert await swept(owner)() is None
    [held] = await broker.zrange("unacked_index", 0, -1)
    # As if the time had passed after which the broker takes a worker for dead.
    assert isinstance(held, bytes)
    await broker.zincrby("unacked_index", -VISIBILITY_TIMEOUT_SECONDS, held.decode())

    async with worker(settings, "second"):
        await eventually(swept(owner))

    events = await owner.fetchval("SELECT count(*) FROM audit_event WHERE action = 'token.expired'")
    assert events == 1
