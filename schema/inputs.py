"""Input types, with their limits in their descriptions. An absent field changes nothing."""

from datetime import datetime
from enum import Enum, StrEnum

import strawberry

from schema import node_ids
from schema.enums import AccountKind, TokenOrder, TokenStatus
from service.access.tokens import TokenFilter
from service.accounts import NewAccount
from service.tokens import NewToken, TokenChanges


@strawberry.enum(description="Where a new session's secret goes.")
class SessionTransport(Enum):
    """Where a new session's secret goes."""

    COOKIE = strawberry.enum_value(
        "COOKIE", description="Into an HttpOnly cookie, out of reach of scripts; for browsers."
    )
    BEARER = strawberry.enum_value(
        "BEARER", description="Into the payload, to be sent as `Authorization: Bearer`."
    )


@strawberry.enum(description="Which way a list runs.")
class OrderDirection(StrEnum):
    """Which way a list runs."""

    ASC = "ASC"
    DESC = "DESC"


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


@strawberry.input(description="A person's address and password.")
class SignInInput:
    """Credentials of a person."""

    email: str = strawberry.field(description="The e-mail address.")
    password: str = strawberry.field(description="The password; at most 200 characters.")
    transport: SessionTransport = strawberry.field(
        default=SessionTransport.COOKIE, description="Where the session's secret goes."
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

    def to_new_token(self) -> NewToken:
        """Return the domain's wish."""
        return NewToken(
            name=self.name,
            scopes=tuple(self.scopes),
            account_id=node_ids.decode_optional(node_ids.ACCOUNT, self.account_id),
            expires_at=self.expires_at,
            not_before=self.not_before,
            allowed_ip_ranges=tuple(self.allowed_ip_ranges),
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
    expires_at: datetime | None = strawberry.field(
        default=None, description="An earlier expiry, in the future."
    )
    expected_version: int | None = strawberry.field(
        default=None, description="Refuse unless the token is at this version."
    )

    def to_changes(self) -> TokenChanges:
        """Return the domain's changes."""
        return TokenChanges(
            scopes=None if self.scopes is None else tuple(self.scopes),
            allowed_ip_ranges=(
                None if self.allowed_ip_ranges is None else tuple(self.allowed_ip_ranges)
            ),
            expires_at=self.expires_at,
        )


@strawberry.input(description="One token.")
class TokenIdInput:
    """One token."""

    id: strawberry.ID = strawberry.field(description="The token.")


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


@strawberry.input(description="A new account and the first person who signs in for it.")
class CreateAccountInput:
    """A new account."""

    name: str = strawberry.field(description="1–100 printable characters.")
    email: str = strawberry.field(description="The person's address, unique on the platform.")
    password: str = strawberry.field(description="12–200 characters.")
    kind: AccountKind = strawberry.field(
        default=AccountKind.CUSTOMER,
        description="A reseller creates customers; the operator also resellers.",
    )
    reseller_id: strawberry.ID | None = strawberry.field(
        default=None,
        description="For the operator: whose customer it shall be; absent is its own.",
    )
    grantable_scopes: list[str] | None = strawberry.field(
        default=None,
        description="What its tokens may be given; absent is all that the account above may give.",
    )

    def to_new_account(self) -> NewAccount:
        """Return the domain's wish."""
        return NewAccount(
            name=self.name,
            kind=self.kind,
            email=self.email,
            password=self.password,
            reseller_id=node_ids.decode_optional(node_ids.ACCOUNT, self.reseller_id),
            grantable_scopes=(
                None if self.grantable_scopes is None else tuple(self.grantable_scopes)
            ),
        )
