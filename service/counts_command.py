"""``tokenward counts``: the counts of tokens are checked, and counted anew."""

from typing import TYPE_CHECKING

import click

from service import invocation
from service.settings import Settings

if TYPE_CHECKING:
    from service.access.recounts import Difference


@click.group()
def counts() -> None:
    """Check the counts of tokens, or count anew."""


@counts.command(short_help="Tell each account whose counts are not right.")
def check() -> None:
    """Compare every count with the tokens and tell what differs, with exit code 1.

    It changes nothing, may run beside the service, and reads each token once.
    """
    if invocation.run(_check(invocation.settings_for("database_url"))):
        raise click.ClickException("Run `tokenward counts repair`.")
    click.echo("Every count is right.")


@counts.command(short_help="Count anew what differs.")
def repair() -> None:
    """Count anew what differs, as the database's owner.

    It may run beside the service, and twice.
    """
    repaired = invocation.run(_repair(invocation.settings_for("database_url")))
    click.echo(
        f"{repaired} accounts were counted anew, and the sums of fleets that were not right."
    )


async def _check(settings: Settings) -> int:
    """Tell what differs; return of how many accounts and fleets."""
    from service.clock import SystemClock  # noqa: PLC0415 - as below
    from service.counts import differing_accounts, differing_fleets  # noqa: PLC0415 - loads Tortoise
    from service.database import connected  # noqa: PLC0415 - as above

    differing = 0
    async with connected(settings):
        async for difference in differing_accounts(SystemClock()):
            differing += 1
            click.echo(_told(difference))
        for reseller_id in await differing_fleets():
            differing += 1
            whose = "the platform" if reseller_id is None else f"reseller {reseller_id}"
            click.echo(f"The sums of {whose} are not those of the accounts.")
    return differing


async def _repair(settings: Settings) -> int:
    from service import counts  # noqa: PLC0415 - loads Tortoise
    from service.clock import SystemClock  # noqa: PLC0415 - as above
    from service.database import connected  # noqa: PLC0415 - as above

    repaired = 0
    async with connected(settings):
        async for difference in counts.repair(settings, SystemClock()):
            repaired += 1
            click.echo(_told(difference))
    return repaired


def _told(difference: "Difference") -> str:
    told = [f"{name} {kept}, is {difference.true[name]}" for name, kept in difference.kept.items()]
    if difference.misjudged:
        told.append(f"{difference.misjudged} tokens are counted as what they are not")
    if difference.is_stale:
        told.append("its name, state or reseller is not the account's")
    return f"Account {difference.account_id}: {'; '.join(told)}."
