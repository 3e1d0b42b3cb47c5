"""Counts of tokens as they are told."""

from typing import Any, Self

import strawberry

from schema.enums import COUNTED, TokenFacet
from service.access.fleet import Counts


def _counted(facet: TokenFacet) -> Any:
    return strawberry.field(description=COUNTED[facet])


@strawberry.type(
    description="How many API tokens an account, or a fleet, has. What acts change is exact at "
    "once; what time alone changes is up to about a minute late. All but `expired` count tokens "
    "that have neither been revoked nor expired."
)
class TokenCounts:
    """Counts of tokens."""

    live: int = _counted(TokenFacet.LIVE)
    active: int = _counted(TokenFacet.ACTIVE)
    suspended: int = _counted(TokenFacet.SUSPENDED)
    expired: int = _counted(TokenFacet.EXPIRED)
    expiring_within_7_days: int = _counted(TokenFacet.EXPIRING_WITHIN_7_DAYS)
    expiring_within_30_days: int = _counted(TokenFacet.EXPIRING_WITHIN_30_DAYS)
    never_used: int = _counted(TokenFacet.NEVER_USED)
    idle_90_days: int = _counted(TokenFacet.IDLE_90_DAYS)
    without_address_limits: int = _counted(TokenFacet.WITHOUT_ADDRESS_LIMITS)
    full_access: int = _counted(TokenFacet.FULL_ACCESS)

    @classmethod
    def of(cls, row: Counts) -> Self:
        """Build one."""
        return cls(**{name: getattr(row, name) for name in row.__dataclass_fields__})
