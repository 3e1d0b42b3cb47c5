"""The domain's enums under their GraphQL names; imported from here, or registered twice."""

import strawberry

from service.access.accounts import AccountStatus
from service.access.tokens import TokenOrder, TokenStatus
from service.receipts import PropagationState, PropagationWait
from service.tokens import RevocationReason, TokenWarning
from service.verdict import AccountKind, Status

__all__ = [
    "AccountKind",
    "AccountStatus",
    "PropagationState",
    "PropagationWait",
    "RevocationReason",
    "Status",
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
strawberry.enum(PropagationState, description="How far a change has come at the validators.")
strawberry.enum(
    PropagationWait,
    description="What a mutation waits for before it answers, at the most 5 seconds. "
    "`ALL_VALIDATORS`: every validator that is alive has said that it applied the change.",
)
strawberry.enum(
    Status,
    name="VerdictStatus",
    description="What a validator says of a secret. Only `VALID` opens anything; `UNAVAILABLE` "
    "means that the truth is not known now.",
)
