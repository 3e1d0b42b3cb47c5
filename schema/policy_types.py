"""A policy as it is told: each level's rules, what binds, and what would break."""

from datetime import datetime
from typing import Any, Self

import strawberry

from schema.enums import PolicyLevel, PolicyRule
from schema.relay import Edge, PageInfo
from schema.token_types import ApiToken
from service.access.policies import PolicyRow
from service.policies import AccountPolicy as AccountPolicyRow
from service.policies import Break, Preview
from service.policy_rules import Policy as PolicyOfLevels
from service.policy_rules import Rules, Violation, columns_of


@strawberry.type(description="What alone is allowed. Where there is no such list, all is.")
class AllowList:
    """What alone is allowed."""

    items: list[str] = strawberry.field(
        description="CIDR ranges or scopes; empty is nothing at all, where levels have nothing in "
        "common."
    )


def _alone(items: tuple[str, ...] | None) -> AllowList | None:
    return None if items is None else AllowList(items=list(items))


@strawberry.interface(
    description="What tokens are asked for when they get rights or time: on creation and on "
    "widening. A token that was there before goes on as it is."
)
class PolicyRules:
    """Rules."""

    max_lifetime_days: int | None = strawberry.field(
        description="How far away a token's expiry may be, from now, in days; a token then needs "
        "one. Null is no limit."
    )
    requires_address_limits: bool = strawberry.field(
        description="Whether a token must be limited to some addresses."
    )
    allowed_ip_ranges: AllowList | None = strawberry.field(
        description="CIDR ranges within which all those of a token must lie, which then needs "
        "some; null is anywhere."
    )
    allowed_scopes: AllowList | None = strawberry.field(
        description="What must include every scope of a token; null is any scope."
    )
    token_cap: int | None = strawberry.field(
        description="How many tokens of the account may be live at once before no more are "
        "created; null is no limit."
    )
    notice_threshold_days: list[int] = strawberry.field(
        description="Days before an expiry at which people are told; each level adds some, or none."
    )
    allows_delegation: bool = strawberry.field(
        description="Whether the reseller may create, rotate and widen the account's tokens. It "
        "may always read, suspend and revoke them."
    )


def told(rules: Rules) -> dict[str, Any]:
    """Return the fields of rules."""
    return columns_of(rules) | {
        "allowed_ip_ranges": _alone(rules.allowed_ip_ranges),
        "allowed_scopes": _alone(rules.allowed_scopes),
        "notice_threshold_days": list(rules.notice_threshold_days or ()),
    }


@strawberry.type(description="What one level asks of an account and of all below it.")
class Policy(PolicyRules):
    """One level's rules."""

    level: PolicyLevel = strawberry.field(description="Whose rules they are.")
    changed_at: datetime = strawberry.field(description="When they were last changed.")
    version: int = strawberry.field(description="Grows with each change; for `expectedVersion`.")

    @classmethod
    def of(cls, row: PolicyRow) -> Self:
        """Build one."""
        return cls(
            level=row.level, changed_at=row.changed_at, version=row.version, **told(row.rules)
        )


@strawberry.type(description="Whose a rule is that binds an account.")
class PolicySource:
    """Where a rule comes from."""

    rule: PolicyRule = strawberry.field(description="The rule.")
    levels: list[PolicyLevel] = strawberry.field(
        description="Those who ask for exactly this; of a list, all who had a part in it."
    )


@strawberry.type(description="The strictest of what all levels ask, which binds an account.")
class EffectivePolicy(PolicyRules):
    """What binds."""

    sources: list[PolicySource] = strawberry.field(
        description="Where each rule comes from; one that nobody has set is missing."
    )

    @classmethod
    def of(cls, policy: PolicyOfLevels) -> Self:
        """Build one."""
        sources = [
            PolicySource(rule=rule, levels=list(levels)) for rule, levels in policy.sources.items()
        ]
        return cls(sources=sources, **told(policy.rules))


@strawberry.type(description="What is asked of an account's tokens.")
class AccountPolicy:
    """An account's policy."""

    levels: list[Policy] = strawberry.field(
        description="What each level asks of this account in particular, at most one of each; what "
        "the reseller and the platform ask of all is told by `effective` alone."
    )
    effective: EffectivePolicy = strawberry.field(description="What binds.")

    @classmethod
    def of(cls, row: AccountPolicyRow) -> Self:
        """Build one."""
        return cls(
            levels=[Policy.of(level) for level in row.rows],
            effective=EffectivePolicy.of(row.effective),
        )


@strawberry.type(description="A rule that a token would break.")
class PolicyViolation:
    """A broken rule."""

    rule: PolicyRule = strawberry.field(description="The rule.")
    message: str = strawberry.field(description="One sentence for a person, with the limit.")

    @classmethod
    def of(cls, row: Violation) -> Self:
        """Build one."""
        return cls(rule=row.rule, message=row.message)


@strawberry.type(description="A token that would break a policy, and why.")
class PolicyBreak:
    """A token that would break a policy."""

    token: ApiToken = strawberry.field(description="The token.")
    violations: list[PolicyViolation] = strawberry.field(description="Every rule it would break.")

    @classmethod
    def of(cls, row: Break) -> Self:
        """Build one."""
        return cls(
            token=ApiToken.of(row.token),
            violations=[PolicyViolation.of(violation) for violation in row.violations],
        )


@strawberry.type(name="PolicyBreakConnection", description="One page of tokens (Relay).")
class PolicyBreakConnection:
    """A page of tokens that would break a policy."""

    edges: list[Edge[PolicyBreak]] = strawberry.field(description="The items with their cursors.")
    page_info: PageInfo = strawberry.field(description="Where the page stands.")


@strawberry.type(description="What a policy would break, were it set. Nothing is ended by it.")
class PolicyPreview:
    """What a policy would break."""

    count: int = strawberry.field(
        description="How many live tokens could not be created today as they are; at most 1,000."
    )
    is_exact: bool = strawberry.field(
        description="Whether that is all: false beyond 1,000, or where there are more than 20,000 "
        "tokens to look at. Those that live longest are looked at first."
    )
    tokens: PolicyBreakConnection = strawberry.field(
        description="Those tokens, what lives longest first; a page looks at 20,000 tokens."
    )

    @classmethod
    def of(cls, preview: Preview) -> Self:
        """Build one."""
        items = zip(preview.page.items, preview.page.cursors, strict=True)
        return cls(
            count=preview.count,
            is_exact=preview.is_exact,
            tokens=PolicyBreakConnection(
                edges=[Edge(node=PolicyBreak.of(row), cursor=cursor) for row, cursor in items],
                page_info=PageInfo.of(preview.page),
            ),
        )
