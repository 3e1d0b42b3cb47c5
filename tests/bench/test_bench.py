"""The bench runs: each measurement, at a size that says nothing."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest
from bench_scene import SMALL, Scene, make_scene
from measured import HEAD, Measured, table
from run import MEASUREMENTS

from service.composition import Service


@pytest.fixture
async def scene(service: Service, owner: asyncpg.Connection, tmp_path: Path) -> Scene:
    return await make_scene(service, owner, tmp_path, SMALL)


@pytest.mark.parametrize("measure", MEASUREMENTS.values(), ids=MEASUREMENTS)
async def test_each_measurement_yields_numbers(
    scene: Scene, measure: Callable[[Scene], Awaitable[list[Measured]]]
) -> None:
    lines = await measure(scene)

    assert lines
    assert all(any(letter.isdigit() for letter in line.value) for line in lines)
    assert all(line.ratio is None or line.ratio > 0 for line in lines)
    assert table(lines).count("\n") == len(lines) + 1


def test_a_table_tells_what_was_reached() -> None:
    told = table([Measured("a", "1/s", "b: 2/s", 0.5, "≥ 1", is_reached=False)])

    assert [cell.strip() for cell in told.splitlines()[0].strip("|").split("|")] == list(HEAD)
    assert told.splitlines()[2].split() == [
        "|",
        "a",
        "|",
        "1/s",
        "|",
        "b:",
        "2/s",
        "|",
        "0.50",
        "|",
        "≥",
        "1",
        "|",
        "NO",
        "|",
    ]
