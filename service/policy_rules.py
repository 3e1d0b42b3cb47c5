"""What policies ask of tokens, and how those of several levels make one: only ever stricter. Pure.

The strictest of two sets of rules is their meet: whatever it lets pass, each of the two lets pass.
So a level can add limits and never take one away, in whatever order the levels are looked at.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import reduce
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from typing import Any

from service import addresses, scopes, token_rules
from service.errors import InvalidInput, PolicyViolation
from service.verdict import AccountKind

LIFETIME_DAYS_MAX = 3_650
TOKEN_CAP_MAX = 10_000
THRESHOLDS_MAX = 10
THRESHOLD_DAYS_MAX = 365
NAMED_MAX = 5


class PolicyLevel(StrEnum):
    """Whose rules they are, from above to below."""

    PLATFORM = "PLATFORM"
    RESELLER = "RESELLER"
    ACCOUNT = "ACCOUNT"


_LEVELS = {
    AccountKind.OPERATOR: PolicyLevel.PLATFORM,
    AccountKind.RESELLER: PolicyLevel.RESELLER,
    AccountKind.CUSTOMER: PolicyLevel.ACCOUNT,
}


def level_of(kind: AccountKind) -> PolicyLevel:
    """Return the level for which an account of a kind speaks."""
    return _LEVELS[kind]


class PolicyRule(StrEnum):
    """What a policy can rule; the value is the field of :class:`Rules`."""

    MAX_LIFETIME_DAYS = "max_lifetime_days"
    REQUIRES_ADDRESS_LIMITS = "requires_address_limits"
    ALLOWED_IP_RANGES = "allowed_ip_ranges"
    ALLOWED_SCOPES = "allowed_scopes"
    TOKEN_CAP = "token_cap"  # noqa: S105 - a rule
    NOTICE_THRESHOLD_DAYS = "notice_threshold_days"
    ALLOWS_DELEGATION = "allows_delegation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The rules of one level, or of several together; as it is made, it asks nothing.

    Attributes:
        max_lifetime_days: From now to a token's expiry, which it then must have; None is no limit.
        requires_address_limits: Whether a token must be limited to some addresses.
        allowed_ip_ranges: CIDR ranges within which a token's own must lie; None is anywhere,
            nothing is nowhere.
        allowed_scopes: What covers every scope of a token; None is any, nothing is none.
        token_cap: How many live API tokens the account may have; None is no limit.
        notice_threshold_days: Days before an expiry at which people are told as well.
        allows_delegation: Whether the reseller may create, rotate and widen the account's tokens.
    """

    max_lifetime_days: int | None = None
    requires_address_limits: bool = False
    allowed_ip_ranges: tuple[str, ...] | None = None
    allowed_scopes: tuple[str, ...] | None = None
    token_cap: int | None = None
    notice_threshold_days: tuple[int, ...] | None = None
    allows_delegation: bool = True


NO_RULES = Rules()


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token is, or will be, as far as rules look at it.

    Attributes:
        allowed_ip_ranges: In canonical CIDR form; empty is anywhere.
        expires_at: Its end; None is never.
    """

    scopes: Sequence[str]
    allowed_ip_ranges: Sequence[str]
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that a token breaks.

    Attributes:
        field: The input field that breaks it, in GraphQL spelling.
        message: One sentence that names whose rule it is, and the limit.
    """

    rule: PolicyRule
    field: str
    message: str


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules that bind an account, and the levels each comes from; unset ones are missing."""

    rules: Rules
    sources: Mapping[PolicyRule, tuple[PolicyLevel, ...]]
    levels: tuple[tuple[PolicyLevel, Rules], ...]

    @classmethod
    def of(cls, levels: Iterable[tuple[PolicyLevel, Rules]]) -> "Policy":
        """Return the strictest of some levels' rules; of none, a policy that asks nothing."""
        levels = sorted(levels, key=lambda pair: list(PolicyLevel).index(pair[0]))
        rules = reduce(strictest, (rules for _, rules in levels), NO_RULES)
        sources = {}
        for rule in PolicyRule:
            decided = [level for level, own in levels if _decides(own, rules, rule)]
            if decided:
                sources[rule] = tuple(dict.fromkeys(decided))
        return cls(rules, sources, tuple(levels))

    def also(self, level: PolicyLevel, rules: Rules) -> "Policy":
        """Return this policy with more rules."""
        return Policy.of([*self.levels, (level, rules)])

    def violations(self, grant: Grant, *, now: datetime) -> list[Violation]:
        """Return the rules that a token would break which were given all it has now.

        Args:
            grant: All it has.
            now: From when its lifetime counts.
        """
        broken = (
            self._expiry(grant.expires_at, now),
            self._limits(grant.allowed_ip_ranges),
            self._ranges(grant.allowed_ip_ranges),
            self._scopes(grant.scopes),
        )
        return [violation for violation in broken if violation is not None]

    def check(self, grant: Grant, *, now: datetime) -> None:
        """Let a token pass that breaks no rule; see :meth:`violations`.

        Raises:
            PolicyViolation: If it breaks one; the first is told.
        """
        for violation in self.violations(grant, now=now):
            raise PolicyViolation(violation.message, field=violation.field)

    def over_cap(self) -> PolicyViolation:
        """Return the refusal of one token too many."""
        told = f"an account may have {self.rules.token_cap} live tokens at most."
        return PolicyViolation(self._told(PolicyRule.TOKEN_CAP, "", told).message)

    def _expiry(self, expires_at: datetime | None, now: datetime) -> Violation | None:
        days = self.rules.max_lifetime_days
        if days is None:
            return None
        if expires_at is None:
            told = f"a token needs an expiry within {days} days."
        elif expires_at - now > timedelta(days=days):
            told = f"a token's expiry may be {days} days away at most."
        else:
            return None
        return self._told(PolicyRule.MAX_LIFETIME_DAYS, "expiresAt", told)

    def _limits(self, ranges: Sequence[str]) -> Violation | None:
        # Ranges that all must lie in say so better.
        if not self.rules.requires_address_limits or ranges or self.rules.allowed_ip_ranges:
            return None
        return self._told(
            PolicyRule.REQUIRES_ADDRESS_LIMITS, "allowedIpRanges", "a token needs IP ranges."
        )

    def _ranges(self, ranges: Sequence[str]) -> Violation | None:
        allowed = self.rules.allowed_ip_ranges
        if allowed is None or (allowed and ranges and addresses.narrows(ranges, allowed)):
            return None
        told = f"a token needs IP ranges, all within {_some(allowed)}."
        return self._told(PolicyRule.ALLOWED_IP_RANGES, "allowedIpRanges", told)

    def _scopes(self, wanted: Sequence[str]) -> Violation | None:
        allowed = self.rules.allowed_scopes
        if allowed is None or scopes.covers_all(allowed, wanted):
            return None
        told = f"a token's scopes must lie within {_some(allowed)}."
        return self._told(PolicyRule.ALLOWED_SCOPES, "scopes", told)

    def _told(self, rule: PolicyRule, field: str, told: str) -> Violation:
        levels = self.sources.get(rule, ())
        whose = " and ".join(f"the {level.value.lower()}" for level in levels)
        return Violation(rule, field, f"By the policy of {whose}, {told}")


def strictest(left: Rules, right: Rules) -> Rules:
    """Return rules that let pass what both let pass, and ask for what either asks."""
    return Rules(
        max_lifetime_days=_smaller(left.max_lifetime_days, right.max_lifetime_days),
        requires_address_limits=left.requires_address_limits or right.requires_address_limits,
        allowed_ip_ranges=_common_ranges(left.allowed_ip_ranges, right.allowed_ip_ranges),
        allowed_scopes=_common_scopes(left.allowed_scopes, right.allowed_scopes),
        token_cap=_smaller(left.token_cap, right.token_cap),
        notice_threshold_days=_all_days(left.notice_threshold_days, right.notice_threshold_days),
        allows_delegation=left.allows_delegation and right.allows_delegation,
    )


def loosens(previous: Rules, wanted: Rules) -> bool:
    """Return whether rules let anything pass, or leave anything out, that the previous did not."""
    return strictest(previous, wanted) != strictest(wanted, wanted)


def clean_rules(rules: Rules, *, catalogue: Sequence[str]) -> Rules:
    """Return one level's rules in the one form in which they are stored.

    Args:
        rules: As somebody wants them.
        catalogue: Every right the platform knows.

    Raises:
        InvalidInput: If a number is out of range, or a list empty, too long or not of its form.
        ScopeNotGrantable: If a scope is unknown.
    """
    _check_number(rules.max_lifetime_days, 1, LIFETIME_DAYS_MAX, "maxLifetimeDays")
    _check_number(rules.token_cap, 0, TOKEN_CAP_MAX, "tokenCap")
    _check_list(rules.allowed_ip_ranges, addresses.RANGES_MAX, "allowedIpRanges")
    _check_list(rules.allowed_scopes, token_rules.SCOPES_MAX, "allowedScopes")
    _check_list(rules.notice_threshold_days, THRESHOLDS_MAX, "noticeThresholdDays")
    for days in rules.notice_threshold_days or ():
        _check_number(days, 1, THRESHOLD_DAYS_MAX, "noticeThresholdDays")
    if rules.allowed_ip_ranges is not None:
        cleaned = addresses.clean_ranges(rules.allowed_ip_ranges)
        rules = replace(rules, allowed_ip_ranges=cleaned)
    if rules.allowed_scopes is not None:
        token_rules.clean_scopes(
            rules.allowed_scopes, catalogue=catalogue, caps=(), field="allowedScopes"
        )
    return strictest(rules, rules)


def rules_from(row: dict[str, object]) -> Rules:
    """Return the rules in a row that has a column for each."""
    values = {field.name: row[field.name] for field in fields(Rules)}
    return Rules(
        **{  # type: ignore[arg-type] # the columns have the fields' types
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
    )


def columns_of(rules: Rules) -> dict[str, Any]:
    """Return rules as a row's columns, lists as lists."""
    values = {field.name: getattr(rules, field.name) for field in fields(Rules)}
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in values.items()
    }


def _decides(own: Rules, all_rules: Rules, rule: PolicyRule) -> bool:
    value = getattr(own, rule.value)
    if value == getattr(NO_RULES, rule.value):
        return False
    # To a list, each level adds its own; of numbers, the smallest one rules.
    return isinstance(value, tuple) or value == getattr(all_rules, rule.value)


def _smaller(left: int | None, right: int | None) -> int | None:
    return min((value for value in (left, right) if value is not None), default=None)


def _common_ranges(
    left: tuple[str, ...] | None, right: tuple[str, ...] | None
) -> tuple[str, ...] | None:
    if left is None or right is None:
        left = right = left if right is None else right
    if left is None or right is None:
        return None
    ours, theirs = addresses.parse_networks(left), addresses.parse_networks(right)
    found = {_overlap(one, other) for one in ours for other in theirs} - {None}
    # Adjacent ranges become one, so that a range lies within all of them only if within one.
    v4 = collapse_addresses([one for one in found if isinstance(one, IPv4Network)])
    v6 = collapse_addresses([one for one in found if isinstance(one, IPv6Network)])
    return tuple(sorted(str(network) for network in (*v4, *v6)))


def _overlap(one: addresses.Network, other: addresses.Network) -> addresses.Network | None:
    """Return what two ranges have in common: of two that overlap, one lies within the other."""
    if one.version != other.version or not one.overlaps(other):
        return None
    return one if one.prefixlen >= other.prefixlen else other


def _common_scopes(
    left: tuple[str, ...] | None, right: tuple[str, ...] | None
) -> tuple[str, ...] | None:
    if left is None or right is None:
        left = right = left if right is None else right
    if left is None or right is None:
        return None
    return tuple(sorted(scopes.intersect(left, right)))


def _all_days(
    left: tuple[int, ...] | None, right: tuple[int, ...] | None
) -> tuple[int, ...] | None:
    return tuple(sorted({*(left or ()), *(right or ())}, reverse=True)) or None


def _check_number(value: int | None, least: int, most: int, field: str) -> None:
    if value is not None and not least <= value <= most:
        raise InvalidInput(f"Use a number from {least:,} to {most:,}.", field=field)


def _check_list(values: Sequence[object] | None, most: int, field: str) -> None:
    if values is not None and not 1 <= len(values) <= most:
        raise InvalidInput(f"Name 1 to {most}, or null for no limit.", field=field)


def _some(values: Sequence[str]) -> str:
    shown = ", ".join(values[:NAMED_MAX]) or "none at all"
    more = len(values) - NAMED_MAX
    return f"{shown} and {more} more" if more > 0 else shown
