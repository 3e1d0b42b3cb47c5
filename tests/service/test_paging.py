"""A list goes on where it stopped, and only from a place that it handed out itself."""

import base64
import json
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import names

from service.errors import InvalidInput
from service.paging import Cursor, PageRequest

ID = UUID(int=7)


def cursor_of(value: object) -> str:
    """Return any JSON in the clothes of a cursor."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@given(st.sampled_from(["name", "created_at"]), names() | st.text(), st.uuids())
def test_a_cursor_comes_back_as_it_was_handed_out(order: str, key: str, identifier: UUID) -> None:
    cursor = Cursor(order, key.replace("\0", ""), identifier)

    assert Cursor.decode(cursor.encode(), order) == cursor


@pytest.mark.parametrize("key", ["Ä", "部署", "\U0001f680", '","', "'; DROP", "\\", "", "infinity"])
def test_a_cursor_of_any_name_is_safe_in_an_address(key: str) -> None:
    text = Cursor("name", key, ID).encode()

    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    assert Cursor.decode(text, "name") == Cursor("name", key, ID)


@pytest.mark.parametrize("order", ["created_at", "Name", "name ", "", "accounts"])
def test_a_cursor_of_another_order_is_refused(order: str) -> None:
    text = Cursor("name", "CI", ID).encode()

    with pytest.raises(InvalidInput) as refused:
        Cursor.decode(text, order)

    assert refused.value.message == "This cursor is not from a list in this order."
    assert refused.value.field == "after"


@pytest.mark.parametrize(
    "value",
    [
        None,
        7,
        "abc",
        [],
        {},
        ["name", "CI"],
        ["name", "CI", str(ID), "more"],
        [None, "CI", str(ID)],
        ["name", None, str(ID)],
        ["name", 7, str(ID)],
        ["name", ["CI"], str(ID)],
        ["name", "C\0I", str(ID)],
        ["name", "CI", None],
        ["name", "CI", 7],
        ["name", "CI", ""],
        ["name", "CI", "7"],
        ["name", "CI", str(ID)[:-1]],
        ["name", "CI", [str(ID)]],
        [["name"], "CI", str(ID)],
    ],
    ids=str,
)
def test_a_forged_cursor_is_refused(value: object) -> None:
    with pytest.raises(InvalidInput):
        Cursor.decode(cursor_of(value), "name")


def test_a_cursor_with_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(InvalidInput):
        Cursor.decode(cursor_of(["name", "\ud800", str(ID)]), "name")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A",
        "=",
        "====",
        "null",
        "\0",
        "\n",
        "%00",
        "W10",
        "\ud800",
        "é",
        "\u0661",
        "/w",
        "_w",
        base64.urlsafe_b64encode(b"[" * 50_000).decode(),
        base64.urlsafe_b64encode(b"9" * 9999).decode(),
        "A" * 2**20,
        cursor_of(["name", "CI", str(ID)])[:-4],
        cursor_of(["name", "CI", str(ID)])[4:],
    ],
    ids=lambda text: ascii(text)[:30],
)
def test_garbage_is_no_cursor(text: str) -> None:
    with pytest.raises(InvalidInput):
        Cursor.decode(text, "name")


@given(st.text() | st.text(st.characters()))
def test_any_text_is_refused_as_invalid_input(text: str) -> None:
    with pytest.raises(InvalidInput):
        Cursor.decode(text, "name")


@given(st.data())
def test_a_changed_cursor_is_refused_or_still_of_this_order(data: st.DataObject) -> None:
    text = Cursor("name", "CI \xfc", ID).encode()
    place = data.draw(st.integers(0, len(text) - 1))
    changed = text[:place] + data.draw(st.characters()) + text[place + 1 :]

    try:
        cursor = Cursor.decode(changed, "name")
    except InvalidInput:
        return

    assert cursor.order == "name"
    assert "\0" not in cursor.key
    assert isinstance(cursor.id, UUID)


@pytest.mark.parametrize("first", [1, 2, 99, 100])
def test_a_page_has_1_to_100_items(first: int) -> None:
    assert PageRequest(first).first == first
    assert PageRequest(first).after is None


@pytest.mark.parametrize("first", [0, -1, -100, 101, 2**31 - 1, 2**31, 2**63, -(2**31)])
def test_another_size_is_refused(first: int) -> None:
    with pytest.raises(InvalidInput) as refused:
        PageRequest(first)

    assert refused.value.message == "Ask for 1 to 100 items."
    assert refused.value.field == "first"
