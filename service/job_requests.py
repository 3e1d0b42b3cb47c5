"""What may be asked of a job, and of how many tokens."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from service import token_rules
from service.access.actor import Actor
from service.access.jobs import JobKind
from service.access.selections import Selection
from service.errors import Forbidden, InvalidInput
from service.verdict import CredentialKind

IDS_MAX = 1_000
ITEMS_MAX = 100_000
DAYS_MAX = 3_650


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """What a caller wants done, and to which tokens.

    Attributes:
        expected_count: Refuse if more tokens are selected. A filter needs it, since what it finds
            can grow between the dry run and the job.
        reason: Of a revocation.
        expires_at: To when tokens are extended; or else ``by_days``.
        by_days: By how many days the expiry of each is put off.
    """

    kind: JobKind
    selection: Selection
    expected_count: int | None = None
    reason: str | None = None
    expires_at: datetime | None = None
    by_days: int | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        """What the job does beside its kind."""
        told = {
            "reason": self.reason,
            "expiresAt": self.expires_at and self.expires_at.isoformat(),
            "byDays": self.by_days,
        }
        return {name: value for name, value in told.items() if value is not None}

    def check(self, now: datetime) -> None:
        """Let through what may be looked at.

        Raises:
            InvalidInput: If it may not.
        """
        chosen = self.selection
        if (chosen.ids is None) is (chosen.only is None):
            raise InvalidInput("Select by `ids` or by `filter`, one of them.", field="selection")
        if chosen.ids is not None and not 1 <= len(chosen.ids) <= IDS_MAX:
            raise InvalidInput(f"Name 1 to {IDS_MAX:,} tokens.", field="ids")
        if self.expected_count is not None and not 0 <= self.expected_count <= ITEMS_MAX:
            raise InvalidInput(
                f"A job is about {ITEMS_MAX:,} tokens at most. Narrow the filter.",
                field="expectedCount",
            )
        if self.kind is JobKind.EXTEND:
            self._check_extension(now)

    def _check_extension(self, now: datetime) -> None:
        if (self.expires_at is None) is (self.by_days is None):
            raise InvalidInput("Name `expiresAt` or `byDays`, one of them.", field="expiresAt")
        if self.by_days is not None and not 1 <= self.by_days <= DAYS_MAX:
            raise InvalidInput(f"Extend by 1 to {DAYS_MAX:,} days.", field="byDays")
        if self.expires_at is not None:
            token_rules.clean_span(None, self.expires_at, now=now, lifetime_days_max=None)

    def check_real(self, actor: Actor, now: datetime) -> int:
        """Let through what may be done; return how many tokens it may be about.

        Raises:
            Forbidden: If a token wants to extend.
            InvalidInput: If it may not, or nobody said how many are expected of a filter.
        """
        if self.kind is JobKind.EXTEND and actor.kind is not CredentialKind.SESSION:
            raise Forbidden("Only a person who is signed in can extend tokens.")
        self.check(now)
        if self.expected_count is not None:
            return self.expected_count
        if self.selection.ids is None:
            raise InvalidInput("Do a dry run, and say how many you expect.", field="expectedCount")
        return IDS_MAX
