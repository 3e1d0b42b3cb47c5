"""``tokenward audit``: the trail is checked, and taken elsewhere."""

import base64
import os
import sys
from contextlib import suppress
from datetime import datetime
from typing import Any, TextIO
from uuid import UUID

import click

from service import invocation
from service.chain import Break, Head, Walk
from service.errors import InvalidInput
from service.settings import Settings

_BROUGHT = click.File(encoding="utf-8", errors="surrogateescape")  # see trail_export.lines_of


def account_id(text: str) -> UUID:
    """Read an account's id, as the API tells it or as the database holds it.

    Raises:
        click.BadParameter: If it is neither.
    """
    for read in (str, _global):
        with suppress(ValueError):
            return UUID(read(text))
    raise click.BadParameter("That is no account's id.")


def instant(text: str) -> datetime:
    """Read an instant (ISO 8601).

    Raises:
        click.BadParameter: If it is none, or has no time zone.
    """
    with suppress(ValueError):
        read = datetime.fromisoformat(text)
        if read.tzinfo is not None:
            return read
    raise click.BadParameter("Write an instant with its time zone, as in 2030-01-31T12:00:00Z.")


@click.group()
def audit() -> None:
    """Check the audit trail, or take it elsewhere."""


@audit.command(short_help="Walk the chains and tell the first break.")
@click.option(
    "--account", type=account_id, metavar="ID", help="Of one account; else the whole trail."
)
@click.option("--from-file", type=_BROUGHT, help="An export in JSON Lines.")
@click.option("--heads", type=_BROUGHT, help="Heads that were kept elsewhere.")
@click.option("--print-heads", is_flag=True, help="Print the head of each chain, to be kept.")
def verify(
    account: UUID | None, from_file: TextIO | None, heads: TextIO | None, *, print_heads: bool
) -> None:
    """Walk the chains of the trail and tell the first break, with exit code 1.

    Alterations, gaps and events out of their place are found in the trail itself. That its newest
    events were cut off, or that all of it was made anew, is found only by heads that were kept
    elsewhere: print them now and then, and compare.
    """
    from service import trail_export  # noqa: PLC0415 - loads Tortoise

    if account is not None and from_file is not None:
        raise click.UsageError("An export is checked as a whole: leave --account out.")
    try:
        kept = trail_export.read_heads(trail_export.lines_of(heads)) if heads else {}
        if account is not None:
            kept = {name: head for name, head in kept.items() if name == str(account)}
        if from_file is None:
            settings = invocation.settings_for("database_url")
            walk, broken = invocation.run(_verify(settings, account, kept))
        else:
            walk, broken = trail_export.verify_lines(trail_export.lines_of(from_file), kept)
    except InvalidInput as refused:
        raise click.ClickException(refused.message) from None
    if broken is not None:
        raise click.ClickException(
            f"Account {broken.account_id}, event {broken.sequence}: {broken.what}"
        )
    click.echo(_told(walk), err=print_heads)
    if print_heads:
        for line in trail_export.write_heads(walk.heads):
            click.echo(line)


@audit.command(short_help="Write the events to the standard output.")
@click.option("--account", type=account_id, metavar="ID", help="Of one account.")
@click.option("--all", "everything", is_flag=True, help="Of every account.")
@click.option(
    "--format",
    "written",
    type=click.Choice(["jsonl", "csv"]),
    default="jsonl",
    show_default=True,
    help="JSON Lines can be verified anywhere; CSV is for spreadsheets.",
)
@click.option(
    "--since",
    type=instant,
    metavar="INSTANT",
    help="From the first event at this instant or later.",
)
@click.option(
    "--until", type=instant, metavar="INSTANT", help="To the last event before this instant."
)
def export(
    account: UUID | None,
    written: str,
    since: datetime | None,
    until: datetime | None,
    *,
    everything: bool,
) -> None:
    """Write the sealed events to the standard output, oldest first, nothing withheld.

    A span is a whole piece of each chain: what was sealed between two of its events is in it.
    """
    if everything is (account is not None):
        raise click.UsageError("Name one account, or --all.")
    settings = invocation.settings_for("database_url")
    invocation.run(_export(settings, written, account_id=account, since=since, until=until))


async def _verify(
    settings: Settings, account: UUID | None, kept: dict[str, Head]
) -> tuple[Walk, Break | None]:
    from service import trail_export  # noqa: PLC0415 - loads Tortoise
    from service.database import connected  # noqa: PLC0415 - as above

    async with connected(settings):
        return await trail_export.verify(account, kept)


async def _export(settings: Settings, written: str, **extract: Any) -> None:
    from service import trail_export  # noqa: PLC0415 - as above
    from service.database import connected  # noqa: PLC0415 - as above

    form = trail_export.Format(written)
    async with connected(settings):
        try:
            sys.stdout.write(trail_export.first_line(form))
            async for events in trail_export.export_everything(trail_export.Extract(**extract)):
                sys.stdout.write(trail_export.write(events, form))
            sys.stdout.flush()
        except BrokenPipeError:
            # Whoever reads has enough; nor may Python complain of it when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _told(walk: Walk) -> str:
    told = f"{walk.count} events of {len(walk.heads)} accounts are as they were sealed."
    if walk.unproven:
        told += f" {walk.unproven} of them were taken by their hash: the export withholds a part."
    return told


def _global(text: str) -> str:
    """Return what a global id of an account holds (Relay); ids of the API look like that."""
    padded = text.encode() + b"=" * (-len(text) % 4)
    return base64.urlsafe_b64decode(padded).removeprefix(b"Account:").decode()
