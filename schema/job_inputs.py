"""What is asked of jobs, with the limits."""

from datetime import datetime
from typing import Any
from uuid import UUID

import strawberry

from schema import node_ids
from schema.enums import JobKind
from schema.token_inputs import ApiTokenFilter, RevokeTokenReason
from service.access.selections import Selection
from service.job_requests import NewJob


@strawberry.input(
    description="Which tokens: those named, ended or not, or those that a filter finds and that "
    "have not ended. Never any beyond the caller's reach."
)
class TokenSelection:
    """Which tokens."""

    ids: list[strawberry.ID] | None = strawberry.field(
        default=None,
        description="1–1,000 tokens, by a variable; or else `filter`. What is not found is told "
        "in `missingIds`.",
    )
    filter: ApiTokenFilter | None = strawberry.field(
        default=None, description="Those that this finds; an empty one finds all within reach."
    )
    account_id: strawberry.ID | None = strawberry.field(
        default=None, description="Only those of one account within reach."
    )

    def to_selection(self) -> Selection:
        """Return the domain's selection."""
        return Selection(
            # As many as were named, so that the limit counts what cannot be found, too.
            ids=None if self.ids is None else tuple(map(_token_id, self.ids)),
            only=None if self.filter is None else self.filter.to_filter(),
            account_id=node_ids.decode_optional(node_ids.ACCOUNT, self.account_id),
        )

    def missing(self, found_missing: frozenset[UUID]) -> list[strawberry.ID]:
        """Return the global ids behind which nothing was found, each once, as they were sent."""
        return [
            strawberry.ID(text)
            for text in dict.fromkeys(self.ids or ())
            if _token_id(text) in found_missing
        ]


def _token_id(text: str) -> UUID:
    return node_ids.decode(node_ids.TOKEN, text)


@strawberry.input
class _Bulk:
    """What every change of many tokens is asked with; each mutation has an input of its own."""

    selection: TokenSelection = strawberry.field(description="Which.")
    dry_run: bool = strawberry.field(
        default=False, description="Tell in `preview` what would be changed, and change nothing."
    )
    expected_count: int | None = strawberry.field(
        default=None,
        description="Refuse with `SELECTION_CHANGED` if more tokens are selected by now; at most "
        "100,000. Needed with a filter, unless it is a dry run: take the `count` of one.",
    )
    idempotency_key: str | None = strawberry.field(
        default=None,
        description="8–100 visible ASCII characters, such as a UUIDv4, new for each request. The "
        "same account gets the same job again for the same key and input, for as long as the job "
        "is kept; another input is refused.",
    )

    def _job(self, kind: JobKind, **fields: Any) -> NewJob:
        return NewJob(
            kind=kind,
            selection=self.selection.to_selection(),
            expected_count=self.expected_count,
            **fields,
        )


@strawberry.input(description="Tokens to refuse until they are resumed.")
class SuspendTokensInput(_Bulk):
    """Many tokens to suspend."""

    def to_job(self) -> NewJob:
        """Return the domain's wish."""
        return self._job(JobKind.SUSPEND)


@strawberry.input(description="Suspended tokens.")
class ResumeTokensInput(_Bulk):
    """Many tokens to resume."""

    def to_job(self) -> NewJob:
        """Return the domain's wish."""
        return self._job(JobKind.RESUME)


@strawberry.input(description="Tokens to end for good.")
class RevokeTokensInput(_Bulk):
    """Many tokens to end."""

    reason: RevokeTokenReason = strawberry.field(
        default=RevokeTokenReason.USER_REQUEST, description="Why."
    )

    def to_job(self) -> NewJob:
        """Return the domain's wish."""
        return self._job(JobKind.REVOKE, reason=self.reason.value)


@strawberry.input(description="Tokens that are to live longer: `expiresAt` or `byDays`.")
class ExtendTokensInput(_Bulk):
    """Many tokens to extend."""

    expires_at: datetime | None = strawberry.field(
        default=None,
        description="To when, an instant with its time zone in the future; tokens that live as "
        "long already are skipped.",
    )
    by_days: int | None = strawberry.field(
        default=None, description="By how many days after each token's own expiry; 1–3,650."
    )

    def to_job(self) -> NewJob:
        """Return the domain's wish."""
        return self._job(JobKind.EXTEND, expires_at=self.expires_at, by_days=self.by_days)


BulkInput = RevokeTokensInput | SuspendTokensInput | ResumeTokensInput | ExtendTokensInput


@strawberry.input(description="A job to call off.")
class CancelJobInput:
    """A job to call off."""

    id: strawberry.ID = strawberry.field(description="The job.")
