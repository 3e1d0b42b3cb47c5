"""The lease rule, checked in all its states, beside what must be found wrong in its place."""

import re
from pathlib import Path

import pytest
from lease_model import MODEL, search

SERVICE = MODEL.parent.parent.parent / "service"

RULE = "L=2 FILLERS=1"
STEPPED = "L=1 FILLERS=1 STEP=2"
PROMPT = "L=2 FILLERS=2 PROMPT"

HOLDS = {
    "a_token_within_one_lease": f"{RULE} BOUND=2",
    "an_account_within_one_lease": f"{RULE} BOUND=2 ACCOUNT",
    "without_epoch_and_tombstone_too": f"{RULE} BOUND=2 NO_EPOCH NO_TOMBSTONE",
    "redis_forgets_no_drop_of_a_token": PROMPT,
    "redis_forgets_no_drop_of_an_account": f"{PROMPT} ACCOUNT",
}

REFUTED = {
    "a_bound_one_tick_smaller": f"{RULE} BOUND=1",
    "a_bound_one_tick_smaller_when_the_clock_goes_back": f"{STEPPED} BOUND=1",
    "a_clock_that_goes_back_and_begins_no_epoch": f"{STEPPED} BOUND=2 STEP_UNSEEN",
    "a_clock_that_goes_back_while_nobody_reports": f"{STEPPED} BOUND=2 SILENCE=1",
    "a_restore_from_before_the_clock_went_back": f"{STEPPED} BOUND=2 RESTORE_ACROSS_STEP",
    "delete_and_a_time_to_live": f"{RULE} BOUND=4 DELETE_AND_TTL",
    "tombstones_and_a_time_to_live": f"{RULE} BOUND=4 TOMBSTONE_AND_TTL",
    "a_near_cache_that_restarts_the_lease": f"{RULE} BOUND=2 NEAR_RESTARTS",
    "a_landing_that_does_not_look_at_the_deadline": f"{RULE} BOUND=4 LANDING_UNCHECKED",
    "prompt_without_epoch": f"{PROMPT} NO_EPOCH",
    "prompt_without_epoch_for_an_account": f"{PROMPT} ACCOUNT NO_EPOCH",
    "prompt_without_tombstone": f"{PROMPT} NO_TOMBSTONE",
}


@pytest.mark.needs("spin")
@pytest.mark.needs("gcc")
@pytest.mark.parametrize("definitions", HOLDS.values(), ids=HOLDS)
def test_the_rule_holds(definitions: str, tmp_path: Path) -> None:
    found = search(tmp_path, definitions)

    assert found.holds, found.report


@pytest.mark.needs("spin")
@pytest.mark.needs("gcc")
@pytest.mark.parametrize("definitions", REFUTED.values(), ids=REFUTED)
def test_a_rule_that_is_less_is_refuted(definitions: str, tmp_path: Path) -> None:
    found = search(tmp_path, definitions)

    assert found.refuted, found.report


@pytest.mark.needs("spin")
@pytest.mark.needs("gcc")
def test_a_clock_that_goes_back_by_two_leases_costs_one_tick(tmp_path: Path) -> None:
    found = search(tmp_path, f"{STEPPED} BOUND=2")

    assert found.holds, found.report
    assert found.unreached == []  # no step of the model is there in vain


def test_every_line_that_the_model_stands_for_is_in_the_code() -> None:
    named = re.findall(r"(\w+\.(?:lua|py)) `([^`]+)`", MODEL.read_text(encoding="utf-8"))

    gone = [
        (file, line)
        for file, line in named
        if line not in (SERVICE / file).read_text(encoding="utf-8")
    ]

    assert len(named) > 20
    assert gone == []
