"""Minutes of everything that breaks, by hand: ``pytest -m faults``."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from outcome import failures_of_a_campaign, opened_postgres

from service.local.servers import PostgresServer


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[PostgresServer]:
    with opened_postgres(tmp_path) as server:
        yield server


@pytest.mark.faults
@pytest.mark.needs("gcc")
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("seed", "seconds", "stop_seconds_max"),
    [(11, 120, 10), (12, 120, 10), (13, 180, 60)],
    ids=lambda number: f"{number}",
)
async def test_the_bound_holds_for_minutes(
    tmp_path: Path, postgres: PostgresServer, seed: int, seconds: float, stop_seconds_max: float
) -> None:
    failures = await failures_of_a_campaign(
        tmp_path,
        postgres,
        seed=seed,
        seconds=seconds,
        stop_seconds_max=stop_seconds_max,
        is_long=True,
    )

    assert failures == []
