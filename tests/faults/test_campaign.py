"""No request that arrives later than the bound after a revoke is accepted, whatever breaks."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from outcome import failures_of_a_campaign, opened_postgres

from service.local.servers import PostgresServer


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[PostgresServer]:
    with opened_postgres(tmp_path) as server:
        yield server


@pytest.mark.alone
@pytest.mark.needs("gcc")
async def test_the_bound_holds_while_everything_breaks_and_a_naive_cache_breaks_it(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    failures = await failures_of_a_campaign(
        tmp_path, postgres, seed=1, seconds=16, stop_seconds_max=2
    )

    assert failures == []
