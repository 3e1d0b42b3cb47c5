"""Every expected refusal has a code of its own, a public sentence and an HTTP status."""

import re

import pytest

from service import errors
from service.errors import InvalidInput, NotFound, ServiceError

KINDS = sorted(
    (
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, ServiceError)
    ),
    key=lambda kind: kind.__name__,
)


@pytest.mark.parametrize("kind", KINDS)
def test_a_refusal_is_whole_without_a_word_of_its_own(kind: type[ServiceError]) -> None:
    refusal = kind()

    assert re.fullmatch(r"[A-Z]+(_[A-Z]+)*", refusal.code)
    assert refusal.message == str(refusal) == kind.sentence
    assert refusal.message.endswith(".")
    assert refusal.field is None
    assert 400 <= refusal.status <= 599


def test_clients_can_tell_every_refusal_by_its_code() -> None:
    codes = [kind.code for kind in KINDS]

    assert len(set(codes)) == len(KINDS)


def test_a_refusal_may_say_it_in_its_own_words_and_name_the_field() -> None:
    refusal = InvalidInput("Use 1 to 50 characters.", field="name")

    assert str(refusal) == refusal.message == "Use 1 to 50 characters."
    assert refusal.field == "name"


def test_one_refusal_does_not_change_the_next() -> None:
    NotFound("There is no such token.")

    assert NotFound().message == "There is no such object."
