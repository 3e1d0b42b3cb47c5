"""A validator process's own memory of records. Bounded; every entry dies by itself."""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from service.cache import Drop
from service.clock import boottime
from service.verdict import Record

UNKNOWN_ENTRIES = 10_000
REFRESH_SHARE = 0.6


@dataclass(slots=True)
class Entry:
    """A record, or the knowledge that there is none, and until when it may be used.

    Attributes:
        deadline: Seconds since boot; checked at use, so that a process that was stopped wakes to
            dead entries.
        refresh_at: From when a use also looks ahead for a fresh one.
    """

    record: Record | None
    deadline: float
    refresh_at: float


class NearCache:
    """Records by digest. A fill that began before a clear or a drop is not stored."""

    def __init__(self, capacity: int, *, now: Callable[[], float] = boottime) -> None:
        self._now = now
        self._capacity = capacity
        self._entries: dict[bytes, Entry] = {}
        # Apart, so that unknown secrets cannot push out known ones.
        self._unknown: dict[bytes, Entry] = {}
        self._dropped_at: dict[bytes, float] = {}
        self._cleared_at = float("-inf")

    def find(self, digest: bytes) -> Entry | None:
        """Return the entry of a digest, if it may still be used."""
        entry = self._entries.get(digest) or self._unknown.get(digest)
        if entry is None or self._now() >= entry.deadline:
            return None
        return entry

    def fresh(self, digest: bytes) -> Entry | None:
        """Return the entry of a digest, if nobody need look ahead for a fresh one yet."""
        entry = self._entries.get(digest) or self._unknown.get(digest)
        if entry is None or self._now() >= entry.refresh_at:
            return None
        return entry

    def store(self, digest: bytes, record: Record | None, *, asked_at: float, lease: float) -> None:
        """Remember an answer, unless it was overtaken while it was fetched.

        Args:
            digest: 32 bytes.
            record: None where the digest is unknown.
            asked_at: Seconds since boot when the question was sent.
            lease: Seconds from then in which the answer may be used.
        """
        dropped_at = self._dropped_at.get(digest, float("-inf"))
        if asked_at <= self._cleared_at or asked_at <= dropped_at:
            return
        entries = self._unknown if record is None else self._entries
        capacity = UNKNOWN_ENTRIES if record is None else self._capacity
        self._entries.pop(digest, None)
        self._unknown.pop(digest, None)
        while len(entries) >= capacity:
            del entries[next(iter(entries))]
        entries[digest] = Entry(record, asked_at + lease, asked_at + lease * REFRESH_SHARE)

    def drop(self, drop: Drop) -> None:
        """Forget what a drop names, and refuse answers to questions sent before it."""
        if drop.kind == "TOKEN":
            digest = bytes.fromhex(drop.subject)
            self._entries.pop(digest, None)
            self._unknown.pop(digest, None)
            self._remember_drop(digest)
        else:
            self._drop_account(UUID(drop.subject))

    def clear(self) -> None:
        """Forget everything, and refuse answers to questions sent before now."""
        self._cleared_at = self._now()
        self._entries.clear()
        self._unknown.clear()
        self._dropped_at.clear()

    def __len__(self) -> int:
        return len(self._entries) + len(self._unknown)

    def _remember_drop(self, digest: bytes) -> None:
        # Only as many as are plausibly being fetched; beyond that, forgetting all is as safe.
        if len(self._dropped_at) >= UNKNOWN_ENTRIES:
            self.clear()
        self._dropped_at[digest] = self._now()

    def _drop_account(self, account_id: UUID) -> None:
        # One pass over the entries is milliseconds, and rarer than any other event here. The
        # answers under way may be of this account, so none of them is stored.
        self._cleared_at = self._now()
        gone = [
            digest
            for digest, entry in self._entries.items()
            if entry.record is not None and account_id in entry.record.chain
        ]
        for digest in gone:
            del self._entries[digest]
