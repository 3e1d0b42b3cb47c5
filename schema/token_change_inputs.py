"""What is asked of changes of what a token may do. Absent is not null."""

from datetime import datetime
from typing import TypeVar

import strawberry
from strawberry.scalars import JSON

from schema.enums import PropagationWait
from schema.propagation_types import WAIT_FOR
from schema.token_inputs import DESCRIPTION, METADATA
from service.errors import WideningRefused
from service.tokens import TokenChanges, Widening

Given = TypeVar("Given")


@strawberry.input(
    description="A narrowing of a token, or other notes about it. What is absent stays as it is; "
    "null takes the notes away and is refused for all else, where it would mean no limit."
)
class UpdateTokenInput:
    """A narrowing."""

    id: strawberry.ID = strawberry.field(description="The token.")
    scopes: strawberry.Maybe[list[str] | None] = strawberry.field(
        default=None, description="Fewer rights than it has."
    )
    allowed_ip_ranges: strawberry.Maybe[list[str] | None] = strawberry.field(
        default=None, description="Ranges within those it has."
    )
    audiences: strawberry.Maybe[list[str] | None] = strawberry.field(
        default=None, description="Fewer of those who may accept it, or some where all might."
    )
    expires_at: strawberry.Maybe[datetime | None] = strawberry.field(
        default=None, description="An earlier expiry, in the future."
    )
    not_before: strawberry.Maybe[datetime | None] = strawberry.field(
        default=None, description="A later beginning, before the expiry."
    )
    description: strawberry.Maybe[str | None] = strawberry.field(
        default=None, description=DESCRIPTION
    )
    metadata: strawberry.Maybe[JSON | None] = strawberry.field(
        default=None, description=f"Takes the place of all that was there. {METADATA}"
    )
    expected_version: int | None = strawberry.field(
        default=None, description="Refuse unless the token is at this version."
    )
    wait_for: PropagationWait | None = WAIT_FOR

    def to_changes(self) -> TokenChanges:
        """Return the domain's changes.

        Raises:
            WideningRefused: If a field that limits the token is null.
        """
        notes, metadata = self.description, self.metadata
        return TokenChanges(
            scopes=_limits(self.scopes, "scopes"),
            allowed_ip_ranges=_limits(self.allowed_ip_ranges, "allowedIpRanges"),
            audiences=_limits(self.audiences, "audiences"),
            expires_at=_limit(self.expires_at, "expiresAt"),
            not_before=_limit(self.not_before, "notBefore"),
            description=None if notes is None else notes.value or "",
            metadata=None if metadata is None else _object(metadata.value),
        )


def _limit(given: strawberry.Maybe[Given | None], field: str) -> Given | None:
    """Return a limit, None where it is absent; null would mean that there is none."""
    if given is None:
        return None
    if given.value is None:
        raise WideningRefused(field=field)
    return given.value


def _limits(given: strawberry.Maybe[list[str] | None], field: str) -> tuple[str, ...] | None:
    limits = _limit(given, field)
    return None if limits is None else tuple(limits)


def _object(metadata: JSON | None) -> object:
    return {} if metadata is None else metadata


@strawberry.input(
    description="What a token is to be given. What is absent stays as it is; each field that is "
    "given must include all of what the token has, so that nothing is taken away in passing."
)
class WidenTokenInput:
    """A widening."""

    id: strawberry.ID = strawberry.field(description="The token.")
    scopes: list[str] | None = strawberry.field(
        default=None, description="1–50 scopes that include all it has; null is as absent."
    )
    allowed_ip_ranges: list[str] | None = strawberry.field(
        default=None,
        description="At most 50 ranges that include all it has; empty is anywhere, null is as "
        "absent.",
    )
    audiences: list[str] | None = strawberry.field(
        default=None,
        description="At most 20 audiences that include all it has; empty is everybody, null is as "
        "absent.",
    )
    expires_at: strawberry.Maybe[datetime | None] = strawberry.field(
        default=None, description="A later expiry; null is never, which a platform can forbid."
    )
    not_before: strawberry.Maybe[datetime | None] = strawberry.field(
        default=None, description="An earlier beginning; null is at once."
    )
    expected_version: int = strawberry.field(
        description="Refuse unless the token is at this version: the one that was looked at."
    )
    wait_for: PropagationWait | None = WAIT_FOR

    def to_widening(self) -> Widening:
        """Return the domain's wish."""
        ends, begins = self.expires_at, self.not_before
        ranges = self.allowed_ip_ranges
        return Widening(
            scopes=None if self.scopes is None else tuple(self.scopes),
            allowed_ip_ranges=None if ranges is None else tuple(ranges),
            audiences=None if self.audiences is None else tuple(self.audiences),
            expires_at=None if ends is None else ends.value,
            never_expires=ends is not None and ends.value is None,
            not_before=None if begins is None else begins.value,
            begins_at_once=begins is not None and begins.value is None,
        )
