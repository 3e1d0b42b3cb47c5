"""What is asked of policies. A rule that is absent stays as it is, null takes it away."""

from typing import Any

import strawberry

from service.policies import Changes
from service.policy_rules import NO_RULES, PolicyRule


@strawberry.input(
    description="What the caller's level is to ask. A rule that is absent stays as it is; null "
    "takes it away."
)
class PolicyRulesInput:
    """New rules."""

    max_lifetime_days: strawberry.Maybe[int | None] = strawberry.field(
        default=None,
        description="1–3,650: how far away a token's expiry may be, from now; it then needs one.",
    )
    requires_address_limits: strawberry.Maybe[bool | None] = strawberry.field(
        default=None, description="Whether a token must be limited to some addresses."
    )
    allowed_ip_ranges: strawberry.Maybe[list[str] | None] = strawberry.field(
        default=None,
        description="1–50 addresses or CIDR ranges, within which all those of a token must lie.",
    )
    allowed_scopes: strawberry.Maybe[list[str] | None] = strawberry.field(
        default=None,
        description="1–50 rights of the platform, or `noun:*`, or `*`: what must include every "
        "scope of a token.",
    )
    token_cap: strawberry.Maybe[int | None] = strawberry.field(
        default=None,
        description="0–10,000: how many tokens of the account, and of each below it, may be live "
        "at once before no more are created.",
    )
    notice_threshold_days: strawberry.Maybe[list[int] | None] = strawberry.field(
        default=None,
        description="1–10 numbers from 1 to 365: days before an expiry at which people are told, "
        "besides those that the levels above name.",
    )
    allows_delegation: strawberry.Maybe[bool | None] = strawberry.field(
        default=None,
        description="For a customer alone: false keeps its reseller from creating, rotating and "
        "widening its tokens.",
    )

    def to_changes(self) -> Changes:
        """Return the domain's changes."""
        given = {rule: getattr(self, rule.value) for rule in PolicyRule}
        return {rule: _value(rule, some.value) for rule, some in given.items() if some is not None}


def _value(rule: PolicyRule, value: Any) -> Any:
    if value is None:
        return getattr(NO_RULES, rule.value)
    return tuple(value) if isinstance(value, list) else value


@strawberry.input(description="What the caller's level is to ask of an account's tokens.")
class SetPolicyInput:
    """A change of a policy."""

    rules: PolicyRulesInput = strawberry.field(description="At least one rule.")
    account_id: strawberry.ID | None = strawberry.field(
        default=None,
        description="The account, within reach; absent is the caller's own. The rules are the "
        "platform's, the reseller's or the account's by who sets them, and bind all below it.",
    )
    expected_version: int | None = strawberry.field(
        default=None,
        description="Refuse unless the level's rules are at this version; 0 where there are none.",
    )
