"""The trail, or a piece of it, taken elsewhere: streamed in batches, and checked there or here.

A line of JSON Lines is an event in its canonical form (:mod:`service.chain`) and beside that
``previous_hash``, ``hash`` and ``redacted``, so that whoever has the file can check it without us.
CSV is for spreadsheets.
"""

import csv
import io
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import Any, TextIO
from uuid import UUID

from service.access.actor import EVERYTHING, Actor, Reach
from service.access.door import open_door
from service.access.trail import POSITION_MAX, list_sealed, span_of
from service.chain import COLUMNS, Break, Head, Walk
from service.errors import InvalidInput
from service.token_rules import clean_instant

READ = "audit:read"
BATCH = 500
LINE_CHARACTERS_MAX = 1_000_000

CELLS = (*COLUMNS, "previous_hash", "hash", "redacted")

# What a spreadsheet would run instead of showing it (OWASP, CSV Injection).
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")

Exported = dict[str, Any]
"""An event's columns as JSON holds them, ``previous_hash``, ``hash`` and ``redacted``."""


class Format(StrEnum):
    """What an export is written in."""

    JSONL = "jsonl"
    CSV = "csv"


@dataclass(frozen=True, slots=True)
class Extract:
    """Which events are exported.

    Attributes:
        account_id: Of one account; None is every one within reach.
        since: From the first event at this instant or later; None is from the beginning.
        until: To the last one before this instant; None is to the end.
    """

    account_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None


async def export_for(actor: Actor, extract: Extract) -> AsyncIterator[list[Exported]]:
    """Yield the sealed events within an actor's reach, in batches, in order of position.

    What is committed and not sealed yet, a matter of milliseconds, is in the next export.

    Raises:
        InsufficientScope: Without ``audit:read``.
        InvalidInput: If an instant is senseless.
    """
    actor.require(READ)
    async for batch in _batches(actor.reach, extract):
        yield batch


async def export_everything(extract: Extract) -> AsyncIterator[list[Exported]]:
    """Yield the same to whoever runs commands on the service's machine: nothing is withheld."""
    async for batch in _batches(EVERYTHING, extract):
        yield batch


async def verify(account_id: UUID | None, kept: Mapping[str, Head]) -> tuple[Walk, Break | None]:
    """Walk the chain of an account, or of all; return how far it went, and the first break.

    Args:
        account_id: None is the whole trail, in which no position may be missing either.
        kept: Heads of another day, which the chains must pass through.
    """
    walk = Walk(is_dense=account_id is None, kept=kept)
    async for batch in _batches(EVERYTHING, Extract(account_id)):
        for event in batch:
            if broken := _step(walk, event):
                return walk, broken
    return walk, walk.end()


def verify_lines(lines: Iterable[str], kept: Mapping[str, Head]) -> tuple[Walk, Break | None]:
    """Walk an export in JSON Lines, which may begin anywhere; return as :func:`verify`.

    Raises:
        InvalidInput: If a line is not one of an export.
    """
    walk = Walk(is_whole=False, kept=kept)
    for number, line in enumerate(lines, 1):
        try:
            broken = _step(walk, read_line(line))
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
            raise InvalidInput(f"Line {number} is not one of an export.") from None
        if broken:
            return walk, broken
    return walk, walk.end()


def lines_of(file: TextIO) -> Iterator[str]:
    """Yield the lines of a file that somebody brought; one too long comes in parts, which are none.

    Args:
        file: Opened with ``surrogateescape``, so that what is not UTF-8 is refused with its line.
    """
    return iter(partial(file.readline, LINE_CHARACTERS_MAX), "")


def write_heads(heads: Mapping[str, Head]) -> Iterable[str]:
    """Return a line per account: its id, the sequence of its newest event, and that one's hash."""
    for account_id, head in sorted(heads.items()):
        yield f"{account_id} {head.sequence} {head.hash.hex()}"


def read_heads(lines: Iterable[str]) -> dict[str, Head]:
    """Read what :func:`write_heads` wrote.

    Raises:
        InvalidInput: If a line is anything else.
    """
    heads = {}
    for number, line in enumerate(lines, 1):
        try:
            account_id, sequence, digest = line.split()
            heads[str(UUID(account_id))] = Head(int(sequence), bytes.fromhex(digest))
        except ValueError:
            raise InvalidInput(f"Line {number} is no head of a chain.") from None
    return heads


def first_line(form: Format) -> str:
    """Return what stands before the first event."""
    return _csv([dict(zip(CELLS, CELLS, strict=True))]) if form is Format.CSV else ""


def write(events: list[Exported], form: Format) -> str:
    """Return events as lines, each with its end."""
    if form is Format.CSV:
        return _csv(events)
    return "".join(
        json.dumps(event, ensure_ascii=False, separators=(",", ":"), sort_keys=True) + "\n"
        for event in events
    )


def _csv(events: list[Exported]) -> str:
    """Return events as RFC 4180 has it; no cell is a formula."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerows([_cell(event[name]) for name in CELLS] for event in events)
    return text.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, dict | bool):
        told = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
        # Where a comma is for decimals, a spreadsheet splits at the semicolons inside.
        return told.replace(";", r"\u003b")
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


async def _batches(reach: Reach, extract: Extract) -> AsyncIterator[list[Exported]]:
    position, last = 0, POSITION_MAX
    since, until = extract.since, extract.until
    if since is not None or until is not None:
        since = since and clean_instant(since, field="since")
        until = until and clean_instant(until, field="until")
        async with open_door(reach) as door:
            first, last = await span_of(
                door, account_id=extract.account_id, since=since, until=until
            )
        position = first - 1
    while True:
        # A transaction per batch: none is held open for as long as somebody takes to read.
        async with open_door(reach) as door:
            events = await list_sealed(
                door, position, account_id=extract.account_id, last=last, limit=BATCH
            )
        if events:
            yield events
        if len(events) < BATCH:
            return
        position = events[-1]["position"]


def read_line(line: str) -> Exported:
    """Return the event of a line; what another reader would take for something else is refused."""
    event: Exported = json.loads(line, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    # They are shown, so that they must be what they should be.
    if str(UUID(event["account_id"])) != event["account_id"] or type(event["sequence"]) is not int:
        raise ValueError("that is no event's place")
    return event


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key comes twice")
    return value


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _step(walk: Walk, event: Exported) -> Break | None:
    previous = event["previous_hash"]
    return walk.step(
        event,
        None if previous is None else bytes.fromhex(previous),
        bytes.fromhex(event["hash"]),
    )
