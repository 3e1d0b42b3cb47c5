"""``tokenward revoke``: what was taken away before a restore, is taken away again."""

from typing import TYPE_CHECKING, TextIO

import click

from service import invocation
from service.errors import InvalidInput
from service.settings import Settings

if TYPE_CHECKING:
    from service.trail_replay import Losses

_BROUGHT = click.File(encoding="utf-8", errors="surrogateescape")  # see trail_export.lines_of


@click.command()
@click.option(
    "--from-trail",
    type=_BROUGHT,
    required=True,
    help="An export in JSON Lines (`tokenward audit export --all`) that is newer than the backup.",
)
@click.option("--apply", "applied", is_flag=True, help="Do it; else it is only told.")
def revoke(from_trail: TextIO, *, applied: bool) -> None:
    """Take away again what a restore has brought back.

    It revokes, suspends and narrows as an export of the trail tells and this database has lost. Run
    it after a restore, before anybody gets in. A token that was rotated since the backup is
    suspended, and so is an account that was closed. What is left to a person is told at the end.
    It may run twice.
    """
    settings = invocation.settings_for("database_url", "redis_url")
    try:
        losses = invocation.run(_revoke(settings, from_trail, applied=applied))
    except InvalidInput as refused:
        raise click.ClickException(refused.message) from None
    for account_id in losses.accounts:
        click.echo(f"account {account_id}: suspended")
    for token_id, loss in losses.tokens.items():
        what = [f"narrowed ({', '.join(loss.narrowed)})"] if loss.narrowed else []
        what += ["revoked"] if loss.reason else ["suspended"] if loss.suspends else []
        click.echo(f"token {token_id}: {', '.join(what)}")
    done = "were changed" if applied else "would be changed; --apply does it"
    click.echo(f"{len(losses.tokens)} tokens and {len(losses.accounts)} accounts {done}.")
    for action, count in sorted(losses.by_hand.items()):
        click.echo(f"Not repeated, look yourself: {count} x {action}.", err=True)


async def _revoke(settings: Settings, file: TextIO, *, applied: bool) -> "Losses":
    from service.composition import open_service  # noqa: PLC0415 - loads Tortoise
    from service.trail_export import lines_of  # noqa: PLC0415 - as above
    from service.trail_replay import read_losses, take_away  # noqa: PLC0415 - as above

    async with open_service(settings) as service:
        losses = await read_losses(lines_of(file))
        if applied:
            await take_away(service.tokens.work, losses)
        return losses
