"""Which right includes which; and that two caps together never allow more than either."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import CATALOGUE, scope_sets, scope_texts

from service.scopes import (
    EVERYTHING,
    covers,
    covers_all,
    covers_one,
    intersect,
    is_known,
    is_scope,
)


def allowed(scopes: frozenset[str]) -> set[str]:
    """Return the rights of the catalogue that scopes stand for, by their spelling alone."""
    return {
        right for right in CATALOGUE if {right, right.partition(":")[0] + ":*", EVERYTHING} & scopes
    }


@pytest.mark.parametrize(
    "text", ["*", "dns:*", "dns:read", "dns_zone:write_all", "a" * 32 + ":" + "b" * 32]
)
def test_a_scope_is_noun_and_verb_or_a_star(text: str) -> None:
    assert is_scope(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "dns",
        "dns:",
        ":read",
        "*:read",
        "*:*",
        "**",
        "dns:**",
        "dns:r*",
        "dns:read:write",
        "dns:read\n",
        "*\n",
        " dns:read",
        "dns: read",
        "DNS:read",
        "dns:read\0",
        "dns:reaԁ",
        "dn\u017f:read",
        "a" * 33 + ":read",
        "dns:" + "b" * 33,
        "dns,mail:read",
        "dns:read mail:read",
        "dns2:read",
    ],
)
def test_anything_else_is_no_scope(text: str) -> None:
    assert not is_scope(text)
    assert not is_known(text, CATALOGUE)


@given(st.text())
def test_junk_is_covered_by_a_star_alone(text: str) -> None:
    granted = {scope for scope in ("*", "dns:read", "mail:write") if covers_one(scope, text)}

    assert granted - {text} == {"*"} - {text}


@pytest.mark.parametrize(
    ("granted", "wanted", "included"),
    [
        ("*", "dns:read", True),
        ("*", "dns:*", True),
        ("dns:*", "dns:read", True),
        ("dns:read", "dns:read", True),
        ("dns:read", "dns:*", False),
        ("dns:read", "dns:write", False),
        ("dns:*", "*", False),
        ("dns:*", "dns_zone:read", False),
        ("dns_zone:*", "dns:read", False),
        ("dns:read", "dns:read_all", False),
    ],
)
def test_a_star_includes_a_noun_and_a_noun_its_verbs(
    granted: str,
    wanted: str,
    included: bool,  # noqa: FBT001 - a table
) -> None:
    assert covers_one(granted, wanted) is included
    assert covers([granted], wanted) is included
    assert covers_all([granted], [wanted]) is included


@given(scope_texts())
def test_a_scope_covers_itself(scope: str) -> None:
    assert covers_one(scope, scope)


@given(scope_texts(), scope_texts(), scope_texts())
def test_covering_is_transitive(first: str, second: str, third: str) -> None:
    if covers_one(first, second) and covers_one(second, third):
        assert covers_one(first, third)


@given(scope_texts(), scope_texts())
def test_only_a_scope_itself_covers_and_is_covered(left: str, right: str) -> None:
    assert (covers_one(left, right) and covers_one(right, left)) is (left == right)


@given(scope_sets())
def test_scopes_cover_exactly_what_they_stand_for(granted: frozenset[str]) -> None:
    assert {right for right in CATALOGUE if covers(granted, right)} == allowed(granted)


@given(scope_sets(), scope_sets())
def test_what_is_covered_whole_widens_nothing(
    granted: frozenset[str], wanted: frozenset[str]
) -> None:
    if covers_all(granted, wanted):
        assert allowed(wanted) <= allowed(granted)


def test_nothing_is_covered_by_anything_and_covers_nothing() -> None:
    assert covers_all([], [])
    assert covers_all(["dns:read"], [])
    assert not covers([], "dns:read")
    assert not covers_all([], ["dns:read"])


def test_scopes_may_come_as_an_iterator() -> None:
    assert covers_all(iter(["dns:read", "mail:read"]), iter(["mail:read", "dns:read"]))
    assert intersect(iter(["dns:*"]), iter(["dns:read"])) == {"dns:read"}


@given(scope_sets(), scope_sets())
def test_two_caps_allow_exactly_what_both_allow(
    left: frozenset[str], right: frozenset[str]
) -> None:
    both = intersect(left, right)

    assert allowed(both) == allowed(left) & allowed(right)
    assert covers_all(left, both)
    assert covers_all(right, both)


@given(scope_sets(), scope_sets(), scope_sets())
def test_the_order_of_caps_does_not_matter(
    first: frozenset[str], second: frozenset[str], third: frozenset[str]
) -> None:
    assert intersect(first, second) == intersect(second, first)
    assert intersect(intersect(first, second), third) == intersect(first, intersect(second, third))


@given(scope_sets(), scope_sets())
def test_capping_twice_changes_nothing(left: frozenset[str], right: frozenset[str]) -> None:
    once = intersect(left, right)

    assert intersect(once, right) == once
    assert intersect(once, once) == once


@given(scope_sets(), scope_sets())
def test_a_cap_leaves_no_redundant_scope(left: frozenset[str], right: frozenset[str]) -> None:
    both = intersect(left, right)

    assert not [
        (wide, narrow)
        for wide in both
        for narrow in both
        if wide != narrow and covers_one(wide, narrow)
    ]


@pytest.mark.parametrize(
    ("scope", "known"),
    [
        ("*", True),
        ("dns:*", True),
        ("dns:read", True),
        ("dns:delete", False),
        ("billing:*", False),
        ("billing:read", False),
    ],
)
def test_a_scope_is_known_where_it_means_a_right_of_the_catalogue(
    scope: str,
    known: bool,  # noqa: FBT001 - a table
) -> None:
    assert is_known(scope, CATALOGUE) is known


def test_nothing_is_known_of_an_empty_catalogue() -> None:
    assert not is_known("*", [])
