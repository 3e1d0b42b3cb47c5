"""Runs a campaign, tells its result, and says which promises did not hold."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from campaign import CHECKERS, Campaign
from evidence import Decision, Evidence
from fault_proxy import proxying
from stack import NAIVE, Window, opened_stack

from service.local.servers import PostgresServer

RESULTS = Path(__file__).parents[2] / "build"
SHOWN = 3
SHOWN_SECONDS = 3.0


@contextmanager
def opened_postgres(directory: Path) -> Iterator[PostgresServer]:
    """Run a PostgreSQL that keeps what it has committed; enter it outside of an event loop."""
    server = PostgresServer(directory / "postgres")
    server.start()
    try:
        yield server
    finally:
        server.delete()


async def failures_of_a_campaign(
    directory: Path,
    postgres: PostgresServer,
    *,
    seed: int,
    seconds: float,
    stop_seconds_max: float,
    is_long: bool = False,
) -> list[str]:
    """Run a campaign, tell its result, and return what was promised and did not hold."""
    with proxying() as proxies:
        async with opened_stack(directory, postgres, proxies, CHECKERS) as stack:
            campaign = Campaign(
                stack,
                seed=seed,
                seconds=seconds,
                stop_seconds_max=stop_seconds_max,
                is_long=is_long,
            )
            kinds = await campaign.run()
    failures = [
        *_broken(campaign, kinds, stack.windows),
        *_not_proved(campaign, kinds),
    ]
    told = "\n".join([f"seed {seed}", campaign.told(kinds), *failures, ""])
    print(f"\n{told}")  # noqa: T201 - the result is for people
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"campaign-{seed}.txt").write_text(told)
    return failures


def _broken(campaign: Campaign, kinds: dict[str, Evidence], windows: list[Window]) -> Iterator[str]:
    """Yield which promises of the product's did not hold."""
    for kind in sorted(kinds.keys() - set(NAIVE)):
        found = kinds[kind]
        if found.worst_seconds > campaign.bound_seconds:
            yield f"{kind}: accepted beyond the bound: {found.worst_seconds:.2f} s"
        for what, decisions in {
            "accepted beyond a lease": found.beyond_lease,
            "refused, though live": found.false_refusals,
            "slow": found.slow,
        }.items():
            if decisions:
                yield f"{kind}: {what}: {len(decisions)}, {_told(decisions, windows)}"
    if not all(campaign.crashes.values()):
        yield f"a crash left something else: {campaign.crashes}"


def _told(decisions: list[Decision], windows: list[Window]) -> str:
    """Return the first decisions with the faults of their time, and how busy the machine was."""
    told = []
    for found in decisions[:SHOWN]:
        faults = [
            f"{window.fault} (ended {window.ended_at - found.arrival:+.1f} s)"
            for window in windows
            if window.meets(found.arrival, found.answered, grace_seconds=SHOWN_SECONDS)
        ]
        took_seconds = found.answered - found.arrival
        told.append(f"{found.checker} {found.status} after {took_seconds:.2f} s during {faults}")
    load = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    return f"for instance {'; '.join(told)} ({load})"


def _not_proved(campaign: Campaign, kinds: dict[str, Evidence]) -> Iterator[str]:
    """Yield what was not tried, or was no test: whoever must break a promise has kept it."""
    if campaign.owed:
        yield f"never tried: {', '.join(sorted(campaign.owed))}"
    if kinds["naive"].worst_seconds <= campaign.bound_seconds:
        yield "the naive validator holds the bound: this proves nothing of it"
    if not kinds["timed"].beyond_lease:
        yield "the naive validator with a deadline holds the lease: this proves nothing of it"
