"""The domain's enums under their GraphQL names; imported from here, or registered twice."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

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
    "COUNTED",
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

COUNTED = {
    TokenFacet.LIVE: "Neither revoked nor expired: `PENDING`, `ACTIVE` or `SUSPENDED`.",
    TokenFacet.ACTIVE: "Those that are `ACTIVE`.",
    TokenFacet.SUSPENDED: "Those that are `SUSPENDED`.",
    TokenFacet.EXPIRED: "Tokens that time has ended, without a revoke.",
    TokenFacet.EXPIRING_WITHIN_7_DAYS: "Live, and expiring within 7 days of 24 hours.",
    TokenFacet.EXPIRING_WITHIN_30_DAYS: (
        "Live, and expiring within 30 days of 24 hours; with those within 7."
    ),
    TokenFacet.NEVER_USED: "Live, and never accepted anywhere.",
    TokenFacet.IDLE_90_DAYS: (
        "Live, and for 90 days or more not accepted anywhere; where never, since it was created."
    ),
    TokenFacet.WITHOUT_ADDRESS_LIMITS: "Live, and usable from any address.",
    TokenFacet.FULL_ACCESS: "Live, and with the scope `*`.",
}
"""What is counted under each facet; also told where the counts are."""


def _tell(
    kind: type[StrEnum], description: str, meanings: Mapping[Any, str], *, name: str | None = None
) -> None:
    """Register an enum of the domain, which knows no GraphQL, with what each member means."""
    strawberry.enum(kind, name=name, description=description)
    definition: Any = kind.__strawberry_definition__  # type: ignore[attr-defined] # just put there
    for value in definition.values:
        value.description = meanings[kind[value.name]]


_tell(
    AccountKind,
    "The three levels of tenancy.",
    {
        AccountKind.OPERATOR: "Who runs the platform; there is one, and it reaches everything.",
        AccountKind.RESELLER: "Who has customers; it reaches its own account and theirs.",
        AccountKind.CUSTOMER: "Who has tokens, and no account below.",
    },
)
_tell(
    AccountStatus,
    "What an account is.",
    {
        AccountStatus.ACTIVE: "Its tokens and people can be used, unless its reseller is not.",
        AccountStatus.SUSPENDED: "All its tokens and sessions are refused until it is resumed.",
        AccountStatus.CLOSED: "Ended for good.",
    },
)
_tell(
    TokenStatus,
    "What a token is now. Only ACTIVE opens anything; the account counts too.",
    {
        TokenStatus.PENDING: "Its `notBefore` has not come yet.",
        TokenStatus.ACTIVE: "It can be used, from where and for what it allows.",
        TokenStatus.SUSPENDED: "Refused until it is resumed.",
        TokenStatus.EXPIRED: "Time has ended it, for good.",
        TokenStatus.REVOKED: "Somebody has ended it, for good.",
    },
)
_tell(
    NoticeState,
    "How far a notice has come.",
    {
        NoticeState.PENDING: "It is being sent, and tried again for a while.",
        NoticeState.SENT: "A mail relay has taken it.",
        NoticeState.SUPPRESSED: "There was nothing to tell any more.",
        NoticeState.FAILED: "No relay would take it.",
    },
    name="ExpiryNoticeState",
)
_tell(
    TokenOrder,
    "What tokens are sorted by.",
    {
        TokenOrder.CREATED_AT: "When they were created.",
        TokenOrder.EXPIRES_AT: "When they expire; those that never do, as the latest.",
        TokenOrder.NAME: "Their names.",
        TokenOrder.LAST_USED_AT: "When they were used last; those never used, as the earliest.",
    },
    name="ApiTokenOrderField",
)
_tell(
    MemberRole,
    "What a member may do, the most first. Never more than the account itself may.",
    {
        MemberRole.OWNER: "Everything.",
        MemberRole.MANAGER: "Everything but `accounts:write` and `members:write`.",
        MemberRole.VIEWER: "Read tokens, accounts, members and the trail.",
    },
    name="MemberRole",
)
_tell(
    JobKind,
    "What a job does to each of its tokens.",
    {
        JobKind.REVOKE: "End it for good.",
        JobKind.SUSPEND: "Refuse it until it is resumed.",
        JobKind.RESUME: "Let it be used again.",
        JobKind.EXTEND: "Put its expiry off.",
    },
)
_tell(
    JobState,
    "How far a job has come. The last three are final.",
    {
        JobState.QUEUED: "No batch is done yet.",
        JobState.RUNNING: "Some batches are done.",
        JobState.DONE: "Something became of each of its tokens.",
        JobState.FAILED: "It was stopped, and what was done stays done; see `errorCode`.",
        JobState.CANCELLED: "Somebody has called it off, and what was done stays done.",
    },
)
_tell(
    JobItemState,
    "What became of one token of a job.",
    {
        JobItemState.PENDING: "Nothing yet; never, where the job is over.",
        JobItemState.SUCCEEDED: "It was changed.",
        JobItemState.SKIPPED: (
            "There was nothing to do: it has ended, is so already, or is no longer within reach."
        ),
        JobItemState.FAILED: "It might not be changed; see `errorCode`.",
    },
)
_tell(
    RevocationReason,
    "Why a token was revoked.",
    {
        RevocationReason.USER_REQUEST: "It was no longer needed.",
        RevocationReason.LEAKED: "Somebody else had seen the secret.",
        RevocationReason.POLICY: "It broke a rule, or an account or a person lost what it needs.",
        RevocationReason.SIGNED_OUT: "A person has left the session.",
    },
)
_tell(
    TokenWarning,
    "What was done although it is advised against.",
    {
        TokenWarning.NEVER_EXPIRES: "The token has no expiry: a leak of it ends by a revoke alone.",
        TokenWarning.FULL_ACCESS: "The token has the scope `*`: all that its account may grant.",
    },
)
_tell(
    PolicyLevel,
    "Who asks something, from above to below. Each only adds to what those above ask.",
    {
        PolicyLevel.PLATFORM: "The operator, of everybody.",
        PolicyLevel.RESELLER: "A reseller, of itself and its customers.",
        PolicyLevel.ACCOUNT: "A customer, of itself.",
    },
)
_tell(
    PolicyRule,
    "What a policy can ask; see the fields of `PolicyRules`.",
    {
        PolicyRule.MAX_LIFETIME_DAYS: "A token's expiry may be so many days away, and no more.",
        PolicyRule.REQUIRES_ADDRESS_LIMITS: "A token must be limited to some addresses.",
        PolicyRule.ALLOWED_IP_RANGES: "A token's addresses must lie within these.",
        PolicyRule.ALLOWED_SCOPES: "A token's scopes must be among these.",
        PolicyRule.TOKEN_CAP: "So many tokens may be live at once, and no more.",
        PolicyRule.NOTICE_THRESHOLD_DAYS: "People are told so many days before an expiry.",
        PolicyRule.ALLOWS_DELEGATION: "Whether the reseller may give the account's tokens rights.",
    },
)
_tell(
    PropagationState,
    "How far a change has come at the validators.",
    {
        PropagationState.PENDING: (
            "The shared cache has not confirmed it, and it is being repeated; or the job that "
            "makes it is not over."
        ),
        PropagationState.CONFIRMED: (
            "The shared cache has dropped what has changed, and told every listening validator."
        ),
        PropagationState.APPLIED: "Every validator that is known has said that it applied it.",
        PropagationState.EFFECTIVE: "The bound has passed: it holds, whatever they say.",
    },
)
_tell(
    PropagationWait,
    "What a mutation waits for before it answers, at the most 5 seconds.",
    {
        PropagationWait.ALL_VALIDATORS: (
            "Every validator that is alive has said that it applied the change."
        )
    },
)
_tell(TokenFacet, "What tokens are counted under; see `TokenCounts`.", COUNTED, name="TokenFacet")
_tell(
    FleetOrder,
    "What a fleet is sorted by: what an account is, or one of its `TokenCounts`.",
    {
        FleetOrder.NAME: "The accounts' names.",
        FleetOrder.CREATED_AT: "When the accounts were created.",
    }
    | {
        FleetOrder[facet.name]: f"How many tokens are counted so: {meaning[0].lower()}{meaning[1:]}"
        for facet, meaning in COUNTED.items()
    },
    name="FleetOrderField",
)
_tell(
    Status,
    "What a validator says of a secret. Only `VALID` opens anything.",
    {
        Status.VALID: "It may be used now, from there and for that.",
        Status.UNKNOWN: "It is no secret of any token.",
        Status.REVOKED: "Somebody has ended the token, for good.",
        Status.EXPIRED: "The token's time is over, or that of this secret, which was rotated.",
        Status.SUSPENDED: "The token is suspended, or its account or reseller is, or is closed.",
        Status.NOT_YET_VALID: "The token's `notBefore` has not come yet.",
        Status.AUDIENCE_NOT_ALLOWED: "The token is limited to audiences, and this is none of them.",
        Status.IP_NOT_ALLOWED: "The token is limited to addresses, and this is none of them.",
        Status.INSUFFICIENT_SCOPE: (
            "The token, or what caps it, lacks a scope that was asked for."
        ),
        Status.UNAVAILABLE: "The truth is not known now; nothing is assumed. Try again.",
    },
    name="VerdictStatus",
)
