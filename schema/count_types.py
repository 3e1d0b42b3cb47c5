"""Counts of tokens as they are told."""

from typing import Self

import strawberry

from service.access.fleet import Counts


@strawberry.type(
    description="How many API tokens an account, or a fleet, has. What acts change is exact at "
    "once; what time alone changes is up to about a minute late. All but `expired` count tokens "
    "that have neither been revoked nor expired."
)
class TokenCounts:
    """Counts of tokens."""

    live: int = strawberry.field(
        description="Neither revoked nor expired: `PENDING`, `ACTIVE` or `SUSPENDED`."
    )
    active: int = strawberry.field(description="Those that are `ACTIVE`.")
    suspended: int = strawberry.field(description="Those that are `SUSPENDED`.")
    expired: int = strawberry.field(description="Tokens that time has ended, without a revoke.")
    expiring_within_7_days: int = strawberry.field(
        description="Live, and expiring within 7 days of 24 hours."
    )
    expiring_within_30_days: int = strawberry.field(
        description="Live, and expiring within 30 days of 24 hours; with those within 7."
    )
    never_used: int = strawberry.field(description="Live, and never accepted anywhere.")
    idle_90_days: int = strawberry.field(
        description="Live, and for 90 days or more not accepted anywhere; where never, since it "
        "was created."
    )
    without_address_limits: int = strawberry.field(description="Live, and usable from any address.")
    full_access: int = strawberry.field(description="Live, and with the scope `*`.")

    @classmethod
    def of(cls, row: Counts) -> Self:
        """Build one."""
        return cls(**{name: getattr(row, name) for name in row.__dataclass_fields__})
