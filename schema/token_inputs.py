"""What is asked of tokens, with the limits. An absent field changes nothing."""

from datetime import datetime
from enum import Enum

import strawberry
from strawberry.scalars import JSON

from schema import node_ids
from schema.enums import PropagationWait, TokenOrder, TokenStatus
from schema.propagation_types import WAIT_FOR
from schema.relay import OrderDirection
from service.access.token_lists import TokenListing
from service.access.tokens import TokenFilter
from service.explanation import Question
from service.paging import PageRequest
from service.rotation import NewRotation
from service.tokens import NewToken

GRACE_SECONDS = 24 * 3600

IDEMPOTENCY_KEY: str | None = strawberry.field(
    default=None,
    description="8–100 visible ASCII characters that nobody can guess, such as a UUIDv4, new for "
    "each request. For ten minutes the same caller gets the same secret again for the same key "
    "and input; another input is refused.",
)

DESCRIPTION = "For people: at most 500 printable characters, in lines; empty or null is none."
METADATA = (
    "For programs: one object of at most 50 keys and 4,096 bytes as JSON. A key has 1–50 printable "
    "characters; a value is a text, a number within ±9,007,199,254,740,991, true, false or null."
)


@strawberry.input(description="How tokens are sorted.")
class ApiTokenOrder:
    """How tokens are sorted."""

    field: TokenOrder = strawberry.field(description="By what.")
    direction: OrderDirection = strawberry.field(
        default=OrderDirection.DESC, description="Which way."
    )


@strawberry.input(
    description="Which tokens; each field narrows further, and null is as absent. A rare name or "
    "scope is looked for among all tokens within reach; among many millions that can end in "
    "`UNAVAILABLE`: name an account or an instant."
)
class ApiTokenFilter:
    """Which tokens."""

    status: TokenStatus | None = strawberry.field(default=None, description="Those that are this.")
    account_id: strawberry.ID | None = strawberry.field(
        default=None, description="Those of one account within reach."
    )
    name_contains: str | None = strawberry.field(
        default=None, description="Those whose name contains this, in any case; 1–50 characters."
    )

    statuses: list[TokenStatus] | None = strawberry.field(
        default=None, description="Those that are any of these; an empty list finds none."
    )
    expires_before: datetime | None = strawberry.field(
        default=None,
        description="Those that expire, or have expired, before this instant; never those that "
        "never do.",
    )
    created_after: datetime | None = strawberry.field(
        default=None, description="Those created at this instant or later."
    )
    created_before: datetime | None = strawberry.field(
        default=None, description="Those created before this instant."
    )
    unused_since: datetime | None = strawberry.field(
        default=None,
        description="Those that are idle: neither used nor created at this instant or later.",
    )
    never_used: bool | None = strawberry.field(
        default=None, description="Those that were never used, or for false those that were."
    )
    has_address_limits: bool | None = strawberry.field(
        default=None,
        description="Those that some addresses alone may use, or for false those from anywhere.",
    )
    has_full_access: bool | None = strawberry.field(
        default=None, description="Those with the scope `*`, or for false those without."
    )
    scope: str | None = strawberry.field(
        default=None,
        description="Those that hold this scope, by itself or in a wider one: `dns:read` finds "
        "`dns:read`, `dns:*` and `*`. What the account caps is not regarded.",
    )

    def to_filter(self) -> TokenFilter:
        """Return the domain's filter."""
        return TokenFilter(
            status=self.status,
            account_id=node_ids.decode_optional(node_ids.ACCOUNT, self.account_id),
            name_contains=self.name_contains,
            statuses=None if self.statuses is None else tuple(self.statuses),
            expires_before=self.expires_before,
            created_after=self.created_after,
            created_before=self.created_before,
            unused_since=self.unused_since,
            never_used=self.never_used,
            has_address_limits=self.has_address_limits,
            has_full_access=self.has_full_access,
            scope=self.scope,
        )


def listing(
    page: PageRequest, only: ApiTokenFilter | None, order: ApiTokenOrder | None
) -> TokenListing:
    """Return which page of which list is asked for; the newest first where no order is named."""
    order = order or ApiTokenOrder(field=TokenOrder.CREATED_AT)
    return TokenListing(
        page=page,
        only=TokenFilter() if only is None else only.to_filter(),
        order=order.field,
        descending=order.direction is OrderDirection.DESC,
    )


@strawberry.input(description="What a new token shall be.")
class CreateTokenInput:
    """A new token."""

    name: str = strawberry.field(
        description="1–50 printable characters, unique among tokens that have not ended."
    )
    scopes: list[str] = strawberry.field(
        description="1–50 of `availableScopes`, or `noun:*`, or `*` for full access."
    )
    account_id: strawberry.ID | None = strawberry.field(
        default=None, description="Whose it shall be; absent is the caller's own account."
    )
    expires_at: datetime | None = strawberry.field(
        default=None,
        description="An instant with its time zone, in the future, at most in the year 9999. "
        "Absent is never: that brings the warning `NEVER_EXPIRES`, and a platform can forbid it.",
    )
    not_before: datetime | None = strawberry.field(
        default=None, description="From when it is valid; absent is at once."
    )
    allowed_ip_ranges: list[str] = strawberry.field(
        default_factory=list,
        description="At most 50 addresses or CIDR ranges, IPv4 or IPv6; empty is anywhere.",
    )
    audiences: list[str] = strawberry.field(
        default_factory=list,
        description="At most 20 names or URIs of those who may accept it, of 1–100 visible ASCII "
        "characters; empty is everybody.",
    )
    description: str | None = strawberry.field(default=None, description=DESCRIPTION)
    metadata: JSON | None = strawberry.field(default=None, description=METADATA)
    idempotency_key: str | None = IDEMPOTENCY_KEY

    def to_new_token(self) -> NewToken:
        """Return the domain's wish."""
        return NewToken(
            name=self.name,
            scopes=tuple(self.scopes),
            account_id=node_ids.decode_optional(node_ids.ACCOUNT, self.account_id),
            expires_at=self.expires_at,
            not_before=self.not_before,
            allowed_ip_ranges=tuple(self.allowed_ip_ranges),
            audiences=tuple(self.audiences),
            description=self.description,
            metadata=self.metadata,
        )


@strawberry.input(description="A token's new name; nothing else of it changes.")
class RenameTokenInput:
    """A new name."""

    id: strawberry.ID = strawberry.field(description="The token.")
    name: str = strawberry.field(description="1–50 printable characters.")
    expected_version: int | None = strawberry.field(
        default=None, description="Refuse unless the token is at this version."
    )


@strawberry.input
class _OneToken:
    """What names a token; each mutation has an input of its own, to grow alone."""

    id: strawberry.ID = strawberry.field(description="The token.")
    wait_for: PropagationWait | None = WAIT_FOR


@strawberry.input(description="A token to refuse until it is resumed.")
class SuspendTokenInput(_OneToken):
    """A token to suspend."""


@strawberry.input(description="A suspended token.")
class ResumeTokenInput(_OneToken):
    """A token to resume."""


@strawberry.input(description="A token whose old secret is to end now.")
class CompleteTokenRotationInput(_OneToken):
    """A rotation to complete."""


@strawberry.input(description="A token whose new secret is to end now.")
class CancelTokenRotationInput(_OneToken):
    """A rotation to call off."""


@strawberry.enum(description="Why a caller revokes a token.")
class RevokeTokenReason(Enum):
    """The reasons a caller may give."""

    USER_REQUEST = strawberry.enum_value("USER_REQUEST", description="It is no longer needed.")
    LEAKED = strawberry.enum_value("LEAKED", description="Somebody else has seen the secret.")
    POLICY = strawberry.enum_value("POLICY", description="It breaks a rule of the platform.")


@strawberry.input(description="A token to end for good.")
class RevokeTokenInput:
    """A token to end."""

    id: strawberry.ID = strawberry.field(description="The token.")
    reason: RevokeTokenReason = strawberry.field(
        default=RevokeTokenReason.USER_REQUEST, description="Why."
    )
    wait_for: PropagationWait | None = WAIT_FOR


@strawberry.input(description="Why the token that calls ends itself.")
class RevokeViewerTokenInput:
    """An end by oneself."""

    reason: RevokeTokenReason = strawberry.field(
        default=RevokeTokenReason.USER_REQUEST, description="Why."
    )
    wait_for: PropagationWait | None = WAIT_FOR


@strawberry.input(
    description="A token, by its id or by one of its secrets, and what it is asked for."
)
class ExplainTokenInput:
    """A question about a token."""

    id: strawberry.ID | None = strawberry.field(
        default=None, description="The token, by its current secret; or else `secret`."
    )
    secret: str | None = strawberry.field(
        default=None, description="A secret of the token; it is neither stored nor told to anybody."
    )
    address: str | None = strawberry.field(
        default=None, description="From which address; absent is unknown."
    )
    scope: str | None = strawberry.field(
        default=None, description="For which scopes, with spaces between; absent asks for none."
    )
    audience: str | None = strawberry.field(
        default=None, description="By whom it is to be accepted; absent is nobody in particular."
    )

    def to_question(self) -> Question:
        """Return the domain's question."""
        return Question(
            token_id=node_ids.decode_optional(node_ids.TOKEN, self.id),
            secret=self.secret,
            address=self.address,
            scope=self.scope,
            audience=self.audience,
        )


@strawberry.input(description="A token that is to have a new secret.")
class RotateTokenInput:
    """A token to rotate."""

    id: strawberry.ID = strawberry.field(description="The token.")
    grace_period_seconds: int = strawberry.field(
        default=GRACE_SECONDS,
        description="How long the old secret stays valid, at most 2,592,000 (30 days) and never "
        "beyond the token's expiry. 0 ends it now: after a leak. A token that rotates itself "
        "should allow some, or it cannot ask again for an answer that was lost.",
    )
    expected_version: int | None = strawberry.field(
        default=None, description="Refuse unless the token is at this version."
    )
    idempotency_key: str | None = IDEMPOTENCY_KEY
    wait_for: PropagationWait | None = WAIT_FOR

    def to_rotation(self) -> NewRotation:
        """Return the domain's wish."""
        return NewRotation(
            token_id=node_ids.decode(node_ids.TOKEN, self.id),
            grace_period_seconds=self.grace_period_seconds,
            expected_version=self.expected_version,
        )
