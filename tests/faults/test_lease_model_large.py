"""The lease rule's model with longer leases, larger steps of the clock and more validators."""

from pathlib import Path

import pytest
from lease_model import search

HOLDS = {
    "a_longer_lease": "L=3 FILLERS=1 BOUND=3",
    "a_longer_lease_of_an_account": "L=3 FILLERS=1 BOUND=3 ACCOUNT",
    "three_validators": "L=2 FILLERS=2 BOUND=2",
    "a_clock_that_goes_back_by_more_than_a_lease": "L=2 FILLERS=1 STEP=3 BOUND=3",
    "a_clock_that_goes_back_by_four_leases": "L=1 FILLERS=1 STEP=4 BOUND=2",
    "a_clock_that_goes_back_and_an_account": "L=1 FILLERS=1 STEP=2 BOUND=2 ACCOUNT",
    "a_clock_that_goes_back_twice": "L=1 FILLERS=1 STEP=2 STEPS=2 BOUND=3",
    "a_clock_that_goes_back_while_nobody_reports": "L=1 FILLERS=1 STEP=3 SILENCE=2 BOUND=4",
    "drops_that_count_in_any_epoch": "L=1 FILLERS=1 STEP=2 BOUND=2 DROPS_OF_ANY_EPOCH",
    "a_long_lease_of_many_validators_in_redis": "L=4 FILLERS=3 PROMPT",
}

REFUTED = {
    "one_tick_less_of_a_longer_lease": "L=3 FILLERS=1 BOUND=2",
    "one_tick_less_when_the_clock_goes_back": "L=2 FILLERS=1 STEP=3 BOUND=2",
    "one_tick_less_when_it_goes_back_twice": "L=1 FILLERS=1 STEP=2 STEPS=2 BOUND=2",
    "one_tick_less_when_nobody_reports": "L=1 FILLERS=1 STEP=3 SILENCE=2 BOUND=3",
    "a_clock_that_goes_back_and_begins_no_epoch": "L=1 FILLERS=1 STEP=4 BOUND=4 STEP_UNSEEN",
}

MEMORY_MEBIBYTES_MAX = 6000

pytestmark = [
    pytest.mark.faults,
    pytest.mark.needs("spin"),
    pytest.mark.needs("gcc"),
    pytest.mark.timeout(1200),
]


@pytest.mark.parametrize("definitions", HOLDS.values(), ids=HOLDS)
def test_the_rule_holds_at_large(definitions: str, tmp_path: Path) -> None:
    found = search(tmp_path, definitions, memory_mebibytes_max=MEMORY_MEBIBYTES_MAX)

    assert found.holds, found.report


@pytest.mark.parametrize("definitions", REFUTED.values(), ids=REFUTED)
def test_a_rule_that_is_less_is_refuted_at_large(definitions: str, tmp_path: Path) -> None:
    found = search(tmp_path, definitions, memory_mebibytes_max=MEMORY_MEBIBYTES_MAX)

    assert found.refuted, found.report
