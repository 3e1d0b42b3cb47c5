"""Descriptions and metadata: what is stored is small, prints, and reads back as it was."""

import json
import math
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import names

from service.errors import InvalidInput
from service.token_notes import NUMBER_MAX, clean_description, clean_metadata

numbers = st.integers(-NUMBER_MAX, NUMBER_MAX) | st.floats(
    -NUMBER_MAX, NUMBER_MAX, allow_subnormal=False
)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
metadata = st.dictionaries(
    names(), st.none() | st.booleans() | numbers | texts, max_size=10
).filter(lambda value: len(json.dumps(value, ensure_ascii=False).encode()) <= 4_096)


@given(metadata)
def test_metadata_that_is_allowed_stays_as_it_is(value: dict[str, Any]) -> None:
    assert clean_metadata(value) == value


@given(st.text(max_size=600))
def test_a_cleaned_description_stays_as_it_is(text: str) -> None:
    try:
        cleaned = clean_description(text)
    except InvalidInput:
        return

    assert cleaned is None or (1 <= len(cleaned) <= 500 and clean_description(cleaned) == cleaned)


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, -math.inf, 10**5_000, "\ud800", "a\udfff", b"bytes", object()],
    ids=lambda value: type(value).__name__,
)
def test_what_json_or_the_database_cannot_hold_is_refused(value: object) -> None:
    with pytest.raises(InvalidInput) as refused:
        clean_metadata({"key": value})

    assert refused.value.field == "metadata"


@pytest.mark.parametrize("key", [1, None, "\ud800", "a\u202e", "x" * 51])
def test_a_key_is_printable_text(key: object) -> None:
    with pytest.raises(InvalidInput):
        clean_metadata({key: 1})


async def test_the_largest_and_smallest_numbers_come_back_from_the_database(
    owner: asyncpg.Connection,
) -> None:
    value = clean_metadata({"most": NUMBER_MAX, "least": 5e-324, "tenth": 0.1, "big": 1e15})

    stored = await owner.fetchval("SELECT $1::jsonb", json.dumps(value))

    assert json.loads(stored) == value
