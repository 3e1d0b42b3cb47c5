"""The domain's enums under their GraphQL names; imported from here, or registered twice."""

import strawberry

from service.access.accounts import AccountStatus
from service.access.fleet import Facet as TokenFacet
from service.access.fleet import FleetOrder
from service.access.jobs import JobItemState, JobKind, JobState
from service.access.notice_ledger import NoticeState
from service.access.tokens import TokenOrder, TokenStatus
from service.policy_rules import PolicyLevel, PolicyRule
from service.receipts import PropagationState, PropagationWait
from service.roles import Role as MemberRole
from service.tokens import RevocationReason, TokenWarning
from service.verdict import AccountKind, Status

__all__ = [
    "AccountKind",
    "AccountStatus",
    "FleetOrder",
    "JobItemState",
    "JobKind",
    "JobState",
    "MemberRole",
    "NoticeState",
    "PolicyLevel",
    "PolicyRule",
    "PropagationState",
    "PropagationWait",
    "RevocationReason",
    "Status",
    "TokenFacet",
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
strawberry.enum(
    NoticeState,
    name="ExpiryNoticeState",
    description="How far a notice has come. `PENDING`: it is being sent, and tried again for a "
    "while. `SUPPRESSED`: there was nothing to tell any more. `FAILED`: no relay would take it.",
)
strawberry.enum(TokenOrder, name="ApiTokenOrderField", description="What tokens are sorted by.")
strawberry.enum(
    MemberRole,
    name="MemberRole",
    description="What a member may do, the most first. `OWNER`: everything. `MANAGER`: everything "
    "but `accounts:write` and `members:write`. `VIEWER`: read tokens, accounts, members and the "
    "trail. Never more than the account itself may.",
)
strawberry.enum(JobKind, description="What a job does to each of its tokens.")
strawberry.enum(
    JobState,
    description="How far a job has come. `QUEUED`: no batch is done yet. "
    "`FAILED`: it was stopped, and what was done stays done. The last three are final.",
)
strawberry.enum(
    JobItemState,
    description="What became of one token of a job. `PENDING`: nothing yet; never, where the "
    "job is over. `SKIPPED`: there was nothing to do, because it "
    "has ended, is so already, or is no longer within reach. `FAILED`: it might not be done.",
)
strawberry.enum(RevocationReason, description="Why a token was revoked.")
strawberry.enum(TokenWarning, description="What was done although it is advised against.")
strawberry.enum(
    PolicyLevel,
    description="Who asks something, from above to below. Each only adds to what those above ask.",
)
strawberry.enum(PolicyRule, description="What a policy can ask; see the fields of `PolicyRules`.")
strawberry.enum(PropagationState, description="How far a change has come at the validators.")
strawberry.enum(
    PropagationWait,
    description="What a mutation waits for before it answers, at the most 5 seconds. "
    "`ALL_VALIDATORS`: every validator that is alive has said that it applied the change.",
)
strawberry.enum(
    TokenFacet,
    name="TokenFacet",
    description="What tokens are counted under; see `TokenCounts`.",
)
strawberry.enum(
    FleetOrder,
    name="FleetOrderField",
    description="What a fleet is sorted by: what an account is, or one of its `TokenCounts`.",
)
strawberry.enum(
    Status,
    name="VerdictStatus",
    description="What a validator says of a secret. Only `VALID` opens anything; `UNAVAILABLE` "
    "means that the truth is not known now.",
)
