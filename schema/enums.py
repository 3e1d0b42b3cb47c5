"""The domain's enums under their GraphQL names; imported from here, or registered twice."""

import strawberry

from service.access.accounts import AccountStatus
from service.access.tokens import TokenOrder, TokenStatus
from service.tokens import RevocationReason, TokenWarning
from service.verdict import AccountKind
from service.work import PropagationState

__all__ = [
    "AccountKind",
    "AccountStatus",
    "PropagationState",
    "RevocationReason",
    "TokenOrder",
    "TokenStatus",
    "TokenWarning",
]

strawberry.enum(AccountKind, description="The three levels of tenancy.")
strawberry.enum(AccountStatus, description="What an account is.")
strawberry.enum(
    TokenStatus,
    description="What a token is now. Only ACTIVE opens anything; the account counts too.",
)
strawberry.enum(TokenOrder, name="ApiTokenOrderField", description="What tokens are sorted by.")
strawberry.enum(RevocationReason, description="Why a token was revoked.")
strawberry.enum(TokenWarning, description="What was done although it is advised against.")
strawberry.enum(PropagationState, description="Whether the validators were told of a change.")
