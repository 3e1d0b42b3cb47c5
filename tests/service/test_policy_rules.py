"""Rules of several levels: the strictest counts, and no level ever loosens another."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import CATALOGUE, scope_sets

from service.errors import InvalidInput, PolicyViolation, ScopeNotGrantable
from service.policy_rules import (
    NO_RULES,
    Grant,
    Policy,
    PolicyLevel,
    PolicyRule,
    Rules,
    clean_rules,
    columns_of,
    loosens,
    rules_from,
    strictest,
)

NOW = datetime(2030, 1, 15, tzinfo=UTC)
PLATFORM, RESELLER, ACCOUNT = PolicyLevel
NOWHERE = "192.0.2.0/24"
BOTH = "By the policy of the platform and the reseller, "

# Few ranges that often lie within one another, in two families.
RANGES = ("10.0.0.0/8", "10.0.0.0/9", "10.128.0.0/9", "10.1.0.0/16", "2001:db8::/32", "::/0")


def ranges() -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(RANGES), min_size=1, max_size=3, unique=True).map(tuple)


def all_rules() -> st.SearchStrategy[Rules]:
    scopes = scope_sets().filter(bool).map(lambda found: tuple(sorted(found)))
    days = st.lists(st.integers(1, 60), min_size=1, max_size=3).map(tuple)
    rules = st.builds(
        Rules,
        max_lifetime_days=st.none() | st.integers(1, 5),
        requires_address_limits=st.booleans(),
        allowed_ip_ranges=st.none() | ranges(),
        allowed_scopes=st.none() | scopes,
        token_cap=st.none() | st.integers(0, 5),
        notice_threshold_days=st.none() | days,
        allows_delegation=st.booleans(),
    )
    return rules.map(lambda found: clean_rules(found, catalogue=CATALOGUE))


@st.composite
def grants(draw: st.DrawFn) -> Grant:
    """What a token is given, as often within a rule as beyond it."""
    lifetime = draw(st.none() | st.integers(1, 6 * 24))
    return Grant(
        scopes=sorted(draw(scope_sets())),
        allowed_ip_ranges=draw(st.just(()) | ranges()),
        expires_at=None if lifetime is None else NOW + timedelta(hours=lifetime),
    )


def breaks(rules: Rules, grant: Grant) -> set[PolicyRule]:
    return {found.rule for found in Policy.of([(PLATFORM, rules)]).violations(grant, now=NOW)}


@given(all_rules(), all_rules(), grants())
def test_what_two_levels_let_pass_each_of_them_lets_pass_and_nothing_else_is_lost(
    left: Rules, right: Rules, grant: Grant
) -> None:
    both = strictest(left, right)

    assert bool(breaks(both, grant)) is bool(breaks(left, grant) or breaks(right, grant))
    caps = [cap for cap in (left.token_cap, right.token_cap) if cap is not None]
    assert both.token_cap == min(caps, default=None)
    days = {*(left.notice_threshold_days or ()), *(right.notice_threshold_days or ())}
    assert set(both.notice_threshold_days or ()) == days
    assert both.allows_delegation is (left.allows_delegation and right.allows_delegation)


@given(all_rules(), all_rules(), all_rules())
def test_levels_count_in_any_order_and_once(one: Rules, two: Rules, three: Rules) -> None:
    assert strictest(one, two) == strictest(two, one)
    assert strictest(strictest(one, two), three) == strictest(one, strictest(two, three))
    assert strictest(one, one) == one
    assert strictest(one, NO_RULES) == one


@given(all_rules(), all_rules(), grants())
def test_a_change_that_does_not_loosen_lets_nothing_pass_that_was_refused(
    previous: Rules, wanted: Rules, grant: Grant
) -> None:
    if not loosens(previous, wanted):
        assert not breaks(previous, grant) or breaks(wanted, grant)
    assert not loosens(previous, strictest(previous, wanted))
    assert not loosens(NO_RULES, wanted)


@pytest.mark.parametrize(
    ("previous", "wanted"),
    [
        (Rules(max_lifetime_days=30), Rules(max_lifetime_days=31)),
        (Rules(max_lifetime_days=30), NO_RULES),
        (Rules(requires_address_limits=True), NO_RULES),
        (Rules(allowed_ip_ranges=("10.0.0.0/9",)), Rules(allowed_ip_ranges=("10.0.0.0/8",))),
        (Rules(allowed_ip_ranges=("10.0.0.0/9",)), Rules(allowed_ip_ranges=(NOWHERE,))),
        (Rules(allowed_scopes=("dns:read",)), Rules(allowed_scopes=("dns:*",))),
        (Rules(token_cap=0), Rules(token_cap=1)),
        (Rules(notice_threshold_days=(30, 7)), Rules(notice_threshold_days=(30,))),
        (Rules(allows_delegation=False), NO_RULES),
        # Stricter in one rule does not pay for another.
        (Rules(token_cap=5, max_lifetime_days=5), Rules(token_cap=6, max_lifetime_days=1)),
    ],
)
def test_every_way_to_loosen_is_seen(previous: Rules, wanted: Rules) -> None:
    assert loosens(previous, wanted)


def test_a_refusal_names_whose_rule_it_is_and_the_limit() -> None:
    strict = Rules(max_lifetime_days=9, allowed_scopes=("dns:read",))
    policy = Policy.of(
        [
            (ACCOUNT, Rules(max_lifetime_days=90)),
            (RESELLER, strict),
            (PLATFORM, Rules(max_lifetime_days=9, allowed_ip_ranges=(NOWHERE,), token_cap=3)),
        ]
    )

    told = policy.violations(Grant(["*"], [], None), now=NOW)

    assert [(violation.field, violation.message) for violation in told] == [
        (
            "expiresAt",
            BOTH + "a token needs an expiry within 9 days.",
        ),
        (
            "allowedIpRanges",
            "By the policy of the platform, a token needs IP ranges, all within 192.0.2.0/24.",
        ),
        ("scopes", "By the policy of the reseller, a token's scopes must lie within dns:read."),
    ]
    assert policy.over_cap().message == (
        "By the policy of the platform, an account may have 3 live tokens at most."
    )
    with pytest.raises(PolicyViolation) as refused:
        policy.check(Grant(["*"], [], None), now=NOW)
    assert (refused.value.field, refused.value.message) == (told[0].field, told[0].message)


def test_a_lifetime_is_counted_to_the_second() -> None:
    policy = Policy.of([(ACCOUNT, Rules(max_lifetime_days=1))])
    day = timedelta(days=1)

    assert policy.violations(Grant([], [], NOW + day), now=NOW) == []
    [broken] = policy.violations(Grant([], [], NOW + day + timedelta(microseconds=1)), now=NOW)
    assert broken.rule is PolicyRule.MAX_LIFETIME_DAYS


def test_levels_with_nothing_in_common_let_nothing_pass() -> None:
    policy = Policy.of(
        [
            (PLATFORM, Rules(allowed_ip_ranges=(NOWHERE,), allowed_scopes=("dns:*",))),
            (RESELLER, Rules(allowed_ip_ranges=("10.0.0.0/8",), allowed_scopes=("mail:*",))),
        ]
    )

    told = policy.violations(Grant(["dns:read"], [NOWHERE], None), now=NOW)

    assert [violation.rule for violation in told] == [
        PolicyRule.ALLOWED_IP_RANGES,
        PolicyRule.ALLOWED_SCOPES,
    ]
    assert all("none at all" in violation.message for violation in told)


def test_halves_of_a_range_are_the_range() -> None:
    rules = clean_rules(
        Rules(allowed_ip_ranges=("10.128.0.0/9", "10.0.0.0/9", "10.1.0.0/16")), catalogue=CATALOGUE
    )

    assert rules.allowed_ip_ranges == ("10.0.0.0/8",)


def test_as_many_ranges_as_two_levels_may_have_in_common_are_all_kept() -> None:
    wide = [str(network) for network in ip_network("10.0.0.0/10").subnets(new_prefix=20)][::32]
    deep = [f"{network.removesuffix('/20')}/24" for network in wide]
    left = Rules(allowed_ip_ranges=(*wide[:25], *deep[25:]))
    right = Rules(allowed_ip_ranges=(*deep[:25], *wide[25:]))

    assert strictest(left, right).allowed_ip_ranges == tuple(sorted(deep))


@pytest.mark.parametrize(
    ("rules", "field"),
    [
        (Rules(max_lifetime_days=0), "maxLifetimeDays"),
        (Rules(max_lifetime_days=3_651), "maxLifetimeDays"),
        (Rules(token_cap=-1), "tokenCap"),
        (Rules(token_cap=10_001), "tokenCap"),
        (Rules(allowed_ip_ranges=()), "allowedIpRanges"),
        (Rules(allowed_ip_ranges=("10.0.0.1/8",)), "allowedIpRanges"),
        (Rules(allowed_ip_ranges=("192.0.2.1",) * 51), "allowedIpRanges"),
        (Rules(allowed_scopes=()), "allowedScopes"),
        (Rules(allowed_scopes=("dns:read",) * 51), "allowedScopes"),
        (Rules(notice_threshold_days=()), "noticeThresholdDays"),
        (Rules(notice_threshold_days=(0,)), "noticeThresholdDays"),
        (Rules(notice_threshold_days=(366,)), "noticeThresholdDays"),
        (Rules(notice_threshold_days=tuple(range(1, 12))), "noticeThresholdDays"),
    ],
)
def test_rules_out_of_range_are_refused_by_their_field(rules: Rules, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        clean_rules(rules, catalogue=CATALOGUE)

    assert refused.value.field == field


def test_a_scope_that_the_platform_does_not_know_is_refused() -> None:
    with pytest.raises(ScopeNotGrantable):
        clean_rules(Rules(allowed_scopes=("moon:land",)), catalogue=CATALOGUE)


@given(all_rules())
def test_rules_survive_their_row(rules: Rules) -> None:
    assert rules_from(columns_of(rules)) == rules
