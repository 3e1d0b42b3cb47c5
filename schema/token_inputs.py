"""What is asked of tokens, with the limits. An absent field changes nothing."""

from datetime import datetime
from enum import Enum

import strawberry

from schema import node_ids
from schema.enums import PropagationWait, TokenOrder, TokenStatus
from schema.propagation_types import WAIT_FOR
from schema.relay import OrderDirection
from service.access.tokens import TokenFilter
from service.explanation import Question
from service.rotation import NewRotation
from service.tokens import NewToken, TokenChanges

GRACE_SECONDS = 24 * 3600

IDEMPOTENCY_KEY: str | None = strawberry.field(
    default=None,
    description="8–100 visible ASCII characters that nobody can guess, such as a UUIDv4, new for "
    "each request. For ten minutes the same caller gets the same secret again for the same key "
    "and input; another input is refused.",
)


@strawberry.input(description="How tokens are sorted.")
class ApiTokenOrder:
    """How tokens are sorted."""

    field: TokenOrder = strawberry.field(description="By what.")
    direction: OrderDirection = strawberry.field(
        default=OrderDirection.DESC, description="Which way."
    )


@strawberry.input(description="Which tokens; each field narrows further.")
class ApiTokenFilter:
    """Which tokens."""

    status: TokenStatus | None = strawberry.field(default=None, description="Those that are this.")
    account_id: strawberry.ID | None = strawberry.field(
        default=None, description="Those of one account within reach."
    )
    name_contains: str | None = strawberry.field(
        default=None, description="Those whose name contains this, in any case; 1–50 characters."
    )

    def to_filter(self) -> TokenFilter:
        """Return the domain's filter."""
        return TokenFilter(
            status=self.status,
            account_id=node_ids.decode_optional(node_ids.ACCOUNT, self.account_id),
            name_contains=self.name_contains,
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
        )


@strawberry.input(description="A token's new name; nothing else of it changes.")
class RenameTokenInput:
    """A new name."""

    id: strawberry.ID = strawberry.field(description="The token.")
    name: str = strawberry.field(description="1–50 printable characters.")
    expected_version: int | None = strawberry.field(
        default=None, description="Refuse unless the token is at this version."
    )


@strawberry.input(description="A narrowing of a token. What is absent stays as it is.")
class UpdateTokenInput:
    """A narrowing."""

    id: strawberry.ID = strawberry.field(description="The token.")
    scopes: list[str] | None = strawberry.field(
        default=None, description="Fewer rights than it has."
    )
    allowed_ip_ranges: list[str] | None = strawberry.field(
        default=None, description="Ranges within those it has."
    )
    audiences: list[str] | None = strawberry.field(
        default=None, description="Fewer of those who may accept it, or some where all might."
    )
    expires_at: datetime | None = strawberry.field(
        default=None, description="An earlier expiry, in the future."
    )
    expected_version: int | None = strawberry.field(
        default=None, description="Refuse unless the token is at this version."
    )
    wait_for: PropagationWait | None = WAIT_FOR

    def to_changes(self) -> TokenChanges:
        """Return the domain's changes."""
        return TokenChanges(
            scopes=None if self.scopes is None else tuple(self.scopes),
            allowed_ip_ranges=(
                None if self.allowed_ip_ranges is None else tuple(self.allowed_ip_ranges)
            ),
            audiences=None if self.audiences is None else tuple(self.audiences),
            expires_at=self.expires_at,
        )


@strawberry.input(description="One token.")
class TokenIdInput:
    """One token."""

    id: strawberry.ID = strawberry.field(description="The token.")
    wait_for: PropagationWait | None = WAIT_FOR


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
