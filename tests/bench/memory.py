"""Memory of near-cache entries."""

import asyncio
import sys
from pathlib import Path

from bench_scene import Scene
from measured import Measured

ENTRIES = 100_000
GOAL_MEGABYTES = 60


async def measure_memory(scene: Scene) -> list[Measured]:
    """Measure records as they come from Redis, and as they come from the database."""
    return [
        await _measure(scene, f"memory of {ENTRIES:,} near-cache entries, from {where}", source)
        for source, where in {"redis": "Redis", "database": "the database"}.items()
    ]


async def _measure(scene: Scene, what: str, source: str) -> Measured:
    program = Path(__file__).with_name("record_memory.py")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(program), source, str(scene.sizes.records)),
        env=scene.environment(database_url=scene.owner_url),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    megabytes = int(output) / scene.sizes.records * ENTRIES / 1e6
    return Measured(
        what,
        f"{megabytes:.1f} MB",
        goal=f"≤ {GOAL_MEGABYTES} MB",
        is_reached=megabytes <= GOAL_MEGABYTES,
    )
