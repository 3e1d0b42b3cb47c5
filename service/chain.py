"""The chain of hashes that a trail is sealed with, and how it is checked. Pure.

Each account has a chain of its own. With ``‖`` for "followed by"::

    hash = SHA-256(hash of the account's event before it, or 32 zero bytes ‖ canonical form)

The canonical form is one JSON object of every column but the hash, in UTF-8, its keys sorted by
code point at every level, without spaces between, and with no escape that JSON does not ask for.
Ids are in lower case, instants in UTC with six digits behind the second
(``2030-01-15T12:00:00.000000Z``), and what is not known is null.

An altered, missing or displaced event therefore breaks the chain. Whoever may write to the database
at will could make a whole new one, or cut the newest events off: only a head that was kept
somewhere else tells these.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

FIRST_PREVIOUS = bytes(32)

COLUMNS = (
    "account_id",
    "action",
    "actor_account_id",
    "actor_member_id",
    "actor_token_id",
    "address",
    "details",
    "id",
    "occurred_at",
    "position",
    "request_id",
    "reseller_id",
    "sequence",
    "subject_id",
)
"""What is hashed of an event."""

REDACTED = ("actor_member_id", "actor_token_id", "address")
"""What is withheld of an act by somebody beyond the reader's reach."""


@dataclass(frozen=True, slots=True)
class Head:
    """The newest event of an account's chain."""

    sequence: int = 0
    hash: bytes = FIRST_PREVIOUS


@dataclass(frozen=True, slots=True)
class Break:
    """Where a trail is not what was sealed.

    Attributes:
        sequence: The place in the account's chain.
        what: One sentence.
    """

    account_id: str
    sequence: int
    what: str


def plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event's columns as JSON holds them.

    Args:
        row: A row of ``audit_event``; ``details`` as text.
    """
    values = {name: _plain(row[name]) for name in COLUMNS}
    values["details"] = json.loads(row["details"])
    return values


def canonical(event: Mapping[str, Any]) -> bytes:
    """Return the bytes that are hashed of an event.

    Args:
        event: Its columns as JSON holds them; anything else in it is left out.
    """
    told = {name: event[name] for name in COLUMNS}
    text = json.dumps(told, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return text.encode()


def seal(previous: bytes, event: Mapping[str, Any]) -> bytes:
    """Return the hash of an event.

    Args:
        previous: The hash of the account's event before it.
        event: Its columns as JSON holds them.
    """
    return hashlib.sha256(previous + canonical(event)).digest()


@dataclass
class Walk:
    """Goes along a trail, in order of position, and looks for breaks.

    Attributes:
        is_whole: The walk begins at the first event of each chain. An extract may begin anywhere:
            what comes before it is not looked for.
        is_dense: Every event of the platform is expected, so that no position may be missing.
        kept: Heads of another day, which the chains must pass through.
        heads: The newest event of each account that was seen.
        unproven: How many events were taken by their hash: parts of them are withheld, or an
            extract begins with them and does not tell what came before.
    """

    is_whole: bool = True
    is_dense: bool = False
    kept: Mapping[str, Head] = field(default_factory=dict)
    heads: dict[str, Head] = field(default_factory=dict)
    position: int = 0
    count: int = 0
    unproven: int = 0

    def step(self, event: Mapping[str, Any], previous: bytes | None, told: bytes) -> Break | None:
        """Look at the next event; return what is wrong with it, or None.

        Args:
            event: Its columns as JSON holds them.
            previous: The hash before it as it was found; None where that is not told.
            told: Its own hash as it was found.
        """
        account_id, sequence = event["account_id"], event["sequence"]
        head = self.heads.get(account_id)
        begins = head is None and not self.is_whole and sequence > 1
        if head is None:
            head = Head(sequence - 1, previous or FIRST_PREVIOUS) if begins else Head()
        is_proven = not event.get("redacted") and not (begins and previous is None)
        wrong = (
            self._misplaced(head, sequence, event["position"])
            or _unlinked(head, event, previous, told, is_proven=is_proven)
            or self._differs(account_id, sequence, told)
        )
        if wrong is not None:
            return Break(account_id, sequence, wrong)
        self.heads[account_id] = Head(sequence, told)
        self.position = event["position"]
        self.count += 1
        self.unproven += not is_proven
        return None

    def end(self) -> Break | None:
        """Return where a chain ends before the head that was kept of it, or None."""
        for account_id, head in sorted(self.kept.items()):
            sequence = self.heads.get(account_id, Head()).sequence
            if sequence < head.sequence:
                what = f"The newest events, {sequence + 1} to {head.sequence}, are missing."
                return Break(account_id, sequence + 1, what)
        return None

    def _differs(self, account_id: str, sequence: int, told: bytes) -> str | None:
        kept = self.kept.get(account_id)
        if kept is not None and kept.sequence == sequence and kept.hash != told:
            return "The event is another than the head that was kept."
        return None

    def _misplaced(self, head: Head, sequence: int, position: int) -> str | None:
        if sequence != head.sequence + 1:
            return f"The event {head.sequence + 1} of the chain is missing, or out of its place."
        if self.is_dense and position != self.position + 1:
            return f"The event at position {self.position + 1} of the trail is missing."
        if position <= self.position:
            return "The event is out of its place in the trail."
        return None


def _unlinked(
    head: Head, event: Mapping[str, Any], previous: bytes | None, told: bytes, *, is_proven: bool
) -> str | None:
    if previous is not None and previous != head.hash:
        return "It does not follow from the event before it."
    if is_proven and seal(head.hash, event) != told:
        return "The event, or its hash, was altered."
    return None


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        told = value.astimezone(UTC).isoformat(timespec="microseconds")
        return told.replace("+00:00", "Z")
    if isinstance(value, str | int | None):
        return value
    return str(UUID(str(value)))
