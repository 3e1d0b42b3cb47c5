"""What validators ask of the database while they check many hot tokens."""

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from bench_scene import Scene
from measured import Measured
from web_process import CPU_SECONDS_MIN, children_of, cpu_seconds, parent_of

from service.clock import boottime

PROGRAM = Path(__file__).with_name("checking_process.py")
VALIDATORS = 2
BARE_CONNECTIONS = 8
FLUSH_SECONDS = 1.5  # PostgreSQL counts what a connection did a second later


@dataclass(frozen=True, slots=True)
class Found:
    """What happened while the hot tokens were checked.

    Attributes:
        reads: Statements of the database.
        cpu_seconds: Of the database.
        unavailable: Checks that nobody could answer in time.
    """

    seconds: float
    reads: int
    cpu_seconds: float
    checks: int
    unavailable: int


async def measure_database(scene: Scene) -> list[Measured]:
    """Measure the database while every hot token is checked again and again."""
    owner = await asyncpg.connect(scene.owner_url)
    try:
        bare_micros = await _bare_cpu_micros(scene, owner)
        found = await _check_hot_tokens(scene, owner)
    finally:
        await owner.close()
    hot = scene.sizes.hot_tokens
    most = hot / scene.settings.lease_seconds
    reads, cpu_micros = found.reads / found.seconds, found.cpu_seconds / found.reads * 1e6
    return [
        Measured(
            f"database reads at {hot:,} hot tokens, {VALIDATORS} validators",
            f"{reads:,.0f}/s for {found.checks / found.seconds:,.0f} checks/s"
            f" ({found.unavailable:,} unanswered)",
            f"hot tokens / L: {most:,.0f}/s",
            reads / most,
            "≤ 1",
            reads <= most,
        ),
        Measured(
            "CPU of the database meanwhile",
            f"{found.cpu_seconds / found.seconds:.2f} cores, {cpu_micros:.0f} µs a read",
            f"SELECT 1: {bare_micros:.0f} µs",
            cpu_micros / bare_micros,
        ),
    ]


async def _check_hot_tokens(scene: Scene, owner: asyncpg.Connection) -> Found:
    secrets = scene.directory / "checked"
    secrets.write_text("".join(f"{secret}\n" for secret in scene.secrets))
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, str(PROGRAM), str(secrets), str(scene.sizes.database_seconds)),
            env=scene.environment(),
            stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(VALIDATORS)
    ]
    outputs = [process.stdout for process in processes if process.stdout is not None]
    for output in outputs:
        assert await output.readline() == b"ready\n"
    began, reads, cpu_seconds = boottime(), await _statements(owner), await _cpu_seconds(owner)
    answers = [list(map(int, (await output.readline()).split())) for output in outputs]
    cpu_seconds = max(CPU_SECONDS_MIN, await _cpu_seconds(owner) - cpu_seconds)
    seconds = boottime() - began
    for process in processes:
        await process.wait()
    await asyncio.sleep(FLUSH_SECONDS)
    reads = await _statements(owner) - reads
    checks, unavailable = map(sum, zip(*answers, strict=True))
    return Found(seconds, reads, cpu_seconds, checks, unavailable)


async def _bare_cpu_micros(scene: Scene, owner: asyncpg.Connection) -> float:
    """Return what the least statement takes of the database's CPU, in microseconds."""
    pool = await asyncpg.create_pool(
        scene.settings.database_url.get_secret_value(),
        min_size=BARE_CONNECTIONS,
        max_size=BARE_CONNECTIONS,
    )
    before = await _cpu_seconds(owner)

    async def ask(_: int) -> None:
        await pool.fetchrow("SELECT 1")

    statements = scene.sizes.hot_tokens
    for first in range(0, statements, BARE_CONNECTIONS):
        await asyncio.gather(*map(ask, range(first, first + BARE_CONNECTIONS)))
    micros = max(CPU_SECONDS_MIN, await _cpu_seconds(owner) - before) / statements * 1e6
    await pool.close()
    return micros


async def _statements(owner: asyncpg.Connection) -> int:
    """Return how many statements the database has answered; a read is a transaction of its own."""
    return int(
        await owner.fetchval(
            "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
        )
    )


async def _cpu_seconds(owner: asyncpg.Connection) -> float:
    """Return what all processes of the database have used of the CPUs, those gone included."""
    backend = await owner.fetchval("SELECT pg_backend_pid()")
    parent = parent_of(backend)
    return cpu_seconds(parent, gone_children=True) + sum(map(cpu_seconds, children_of(parent)))
