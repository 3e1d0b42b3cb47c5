"""The time of day, passed in wherever it decides something; and ids that sort by it."""

import os
import time
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID


class Clock(Protocol):
    """Tells the time of day. Tests bring their own."""

    def now(self) -> datetime:
        """Return this instant, aware, in UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return this instant, aware, in UTC."""
        return datetime.now(UTC)  # noqa: TID251 - the one caller that the rule leaves


def boottime() -> float:
    """Return seconds since boot, counting sleep; leases are measured with nothing else.

    ``CLOCK_BOOTTIME`` cannot be stepped, and goes on while a laptop or a paused virtual machine
    sleeps, where ``CLOCK_MONOTONIC`` stands still and would lengthen a lease.
    """
    return time.clock_gettime(_LEASE_CLOCK)


_LEASE_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def new_id() -> UUID:
    """Return a UUIDv7 (RFC 9562 §5.7): milliseconds first, so that new rows lie together."""
    milliseconds = time.time_ns() // 1_000_000
    # All in one question to the kernel, of which the version and the variant take six bits.
    chance = int.from_bytes(os.urandom(10)) & ~(0xF << 76 | 0b11 << 62)
    return UUID(int=milliseconds << 80 | 0x7 << 76 | 0b10 << 62 | chance)
