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

DRY_RUN: bool = strawberry.field(
    default=False, description="Tell in `preview` what would be changed, and change nothing."
)

EXPECTED_COUNT: int | None = strawberry.field(
    default=None,
    description="Refuse with `SELECTION_CHANGED` if more tokens are selected by now; at most "
    "100,000. Needed with a filter, unless it is a dry run: take the `count` of one.",
)

JOB_IDEMPOTENCY_KEY: str | None = strawberry.field(
    default=None,
    description="8–100 visible ASCII characters, such as a UUIDv4, new for each request. The same "
    "account gets the same job again for the same key and input, for as long as the job is kept; "
    "another input is refused.",
)


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


@strawberry.input(description="Tokens to suspend, or to resume.")
class TokensInput:
    """Many tokens."""

    selection: TokenSelection = strawberry.field(description="Which.")
    dry_run: bool = DRY_RUN
    expected_count: int | None = EXPECTED_COUNT
    idempotency_key: str | None = JOB_IDEMPOTENCY_KEY

    def to_job(self, kind: JobKind) -> NewJob:
        """Return the domain's wish."""
        return _job(self, kind)


@strawberry.input(description="Tokens to end for good.")
class RevokeTokensInput:
    """Many tokens to end."""

    selection: TokenSelection = strawberry.field(description="Which.")
    reason: RevokeTokenReason = strawberry.field(
        default=RevokeTokenReason.USER_REQUEST, description="Why."
    )
    dry_run: bool = DRY_RUN
    expected_count: int | None = EXPECTED_COUNT
    idempotency_key: str | None = JOB_IDEMPOTENCY_KEY

    def to_job(self) -> NewJob:
        """Return the domain's wish."""
        return _job(self, JobKind.REVOKE, reason=self.reason.value)


@strawberry.input(description="Tokens that are to live longer: `expiresAt` or `byDays`.")
class ExtendTokensInput:
    """Many tokens to extend."""

    selection: TokenSelection = strawberry.field(description="Which.")
    expires_at: datetime | None = strawberry.field(
        default=None,
        description="To when, an instant with its time zone in the future; tokens that live as "
        "long already are skipped.",
    )
    by_days: int | None = strawberry.field(
        default=None, description="By how many days after each token's own expiry; 1–3,650."
    )
    dry_run: bool = DRY_RUN
    expected_count: int | None = EXPECTED_COUNT
    idempotency_key: str | None = JOB_IDEMPOTENCY_KEY

    def to_job(self) -> NewJob:
        """Return the domain's wish."""
        return _job(self, JobKind.EXTEND, expires_at=self.expires_at, by_days=self.by_days)


BulkInput = TokensInput | RevokeTokensInput | ExtendTokensInput


def _job(asked: BulkInput, kind: JobKind, **fields: Any) -> NewJob:
    return NewJob(
        kind=kind,
        selection=asked.selection.to_selection(),
        expected_count=asked.expected_count,
        **fields,
    )


@strawberry.input(description="One job.")
class JobIdInput:
    """One job."""

    id: strawberry.ID = strawberry.field(description="The job.")
