"""A change that breaks clients is declared, and what goes has been deprecated long enough."""

from datetime import date

import pytest
from click.testing import CliRunner

from schema.compatibility import CHANGES, RELEASED, complaints, main
from schema.export import SDL

OLD = """
type Query { token(id: ID!, old: Int): Token  tokens: [Token!]!  size: Int }
type Token { name: String!  label: String  state: State! }
enum State { ON OFF }
input Filter { name: String }
"""
TODAY = date(2030, 6, 1)
REASON = '@deprecated(reason: "Use `name`. Gone after {}.")'


def told(present: str, changes: str = "", *, released: str = OLD) -> list[str]:
    return complaints(released, present, changes, TODAY)


def test_the_committed_schema_keeps_the_policy() -> None:
    ran = CliRunner().invoke(main)

    assert ran.exit_code == 0, ran.output


def test_the_policy_is_written_where_it_is_checked() -> None:
    text = CHANGES.read_text(encoding="utf-8")

    assert "at least 90 days" in text
    assert RELEASED.exists()
    present = SDL.read_text(encoding="utf-8")
    assert complaints(present, present, text, TODAY) == []


@pytest.mark.parametrize(
    "present",
    [
        OLD,
        OLD.replace("label: String", "label: String!"),
        OLD.replace("ON OFF", "ON OFF DIM"),
        OLD.replace("tokens:", "more: Int  tokens:"),
        OLD.replace("tokens:", "tokens(first: Int):"),
    ],
)
def test_what_breaks_nobody_may_come_at_any_time(present: str) -> None:
    assert told(present) == []


BREAKING = {
    "a field is gone": (OLD.replace("label: String", ""), "Field Token.label was removed."),
    "an argument is gone": (OLD.replace(", old: Int", ""), "was removed."),
    "a value is gone": (OLD.replace("ON OFF", "ON"), "Enum value State.OFF was removed."),
    "a type is another": (OLD.replace("name: String!", "name: Int!"), "changed type"),
    "a field may be null": (OLD.replace("name: String!", "name: String"), "changed type"),
    "an argument is required": (OLD.replace("old: Int", "old: Int!"), "changed type"),
    "an argument is new and required": (
        OLD.replace("tokens:", "tokens(first: Int!):"),
        "was added",
    ),
}


@pytest.mark.parametrize(("present", "said"), BREAKING.values(), ids=BREAKING.keys())
def test_a_breaking_change_that_is_not_declared_fails(present: str, said: str) -> None:
    [complaint] = told(present)

    assert said in complaint
    assert complaint.endswith(" CHANGES.md does not say so.")


def test_a_breaking_change_that_is_declared_passes() -> None:
    present = OLD.replace("name: String!", "name: String")
    change = "- 2030-05-01 broken: `Field Token.name changed type from String! to String.`"

    assert told(present, f"## Unreleased\n\n{change}\n") == []


GONE = OLD.replace("label: String", "")
DECLARED = "- 2030-05-01 broken: `Field Token.label was removed.`"


def deprecated(until: str) -> str:
    return OLD.replace("label: String", f"label: String {REASON.format(until)}")


def test_a_field_goes_once_its_time_has_come_and_not_before() -> None:
    assert told(GONE, DECLARED, released=deprecated("2030-05-31")) == []

    for released in (OLD, deprecated("2030-06-01"), deprecated("2031-01-01")):
        [complaint] = told(GONE, DECLARED, released=released)
        assert complaint.endswith("It was not deprecated until its time had come.")


def test_what_puts_tokens_at_risk_goes_at_once_if_that_is_said() -> None:
    assert told(GONE, f"{DECLARED}, at once: it told secrets") == []
    assert told(GONE, f"{DECLARED}, at once: ") != []


@pytest.mark.parametrize(
    ("reason", "changes", "complaint"),
    [
        ("No longer supported", "", "must read"),
        ("Use `name`.", "", "must read"),
        ("Use `name`. Gone after soon.", "", "must read"),
        ("Gone after 2030-09-01.", "", "must read"),
        ("Use `name`. Gone after 2030-09-01.", "", "CHANGES.md does not say so"),
        (
            "Use `name`. Gone after 2030-09-01.",
            "- 2030-06-04 deprecated `Token.label`",
            "less than 90 days",
        ),
        ("Use `name`. Gone after 2030-09-01.", "- 2030-06-03 deprecated `Token.label`", None),
    ],
)
def test_a_deprecation_says_what_to_use_and_gives_ninety_days(
    reason: str, changes: str, complaint: str | None
) -> None:
    present = OLD.replace("label: String", f'label: String @deprecated(reason: "{reason}")')

    found = told(present, changes)

    assert len(found) == (complaint is not None)
    assert all(str(complaint) in sentence for sentence in found)


def test_arguments_values_and_input_fields_are_deprecated_in_the_same_form() -> None:
    bad = '@deprecated(reason: "old")'
    present = (
        OLD.replace("old: Int", f"old: Int {bad}")
        .replace("OFF", f"OFF {bad}")
        .replace("{ name: String }", f"{{ name: String {bad} }}")
    )

    names = {sentence.partition(":")[0] for sentence in told(present)}

    assert names == {"Query.token(old)", "State.OFF", "Filter.name"}
