"""A name prints as itself on one line; an e-mail address is one address."""

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import names

from service.errors import InvalidInput
from service.names import clean_email, clean_name, clean_token_name

UNPRINTABLE = [
    *map(chr, range(0x20)),
    *map(chr, range(0x7F, 0xA1)),
    "\xad",  # soft hyphen
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",  # bidirectional
    "\u200b\u200c\u200d\u2060\ufeff\u180e",  # zero width
    "\u2028",
    "\u2029",
    "\u1680\u2000\u2003\u2007\u202f\u205f\u3000",  # spaces that are not the space
    "\ud800",
    "\ue000",
    "\ufffe",
    "\U000e0041",  # a tag
]


@given(names())
def test_a_clean_name_stays_as_it_is(name: str) -> None:
    assert clean_token_name(name) == name


@given(st.text())
def test_any_text_is_cleaned_for_good_or_refused(text: str) -> None:
    try:
        name = clean_token_name(text)
    except InvalidInput:
        return

    assert clean_token_name(name) == name
    assert unicodedata.is_normalized("NFC", name)
    assert name == name.strip()
    assert name.splitlines() == [name]
    assert 1 <= len(name) <= 50


@given(names())
def test_twins_by_normalisation_are_one_name(name: str) -> None:
    twin = unicodedata.normalize("NFD", name)

    assert clean_token_name(twin) == clean_token_name(name)


def test_an_accent_of_its_own_is_the_same_name() -> None:
    assert clean_token_name("Cafe\u0301") == "Caf\xe9"


def test_a_ligature_or_a_circled_digit_stays_what_it_is() -> None:
    assert clean_token_name("\ufb01le \u2460") == "\ufb01le \u2460"


def test_outer_spaces_are_dropped_and_inner_ones_kept() -> None:
    assert clean_token_name("  CI  runner ") == "CI  runner"


@pytest.mark.parametrize(
    "name",
    [
        "CI \U0001f680",
        "I \u2764\ufe0f DNS",
        "\U0001f1eb\U0001f1ee",
        "\U0001f44b\U0001f3fd",
        "部署",
        "شهادة",
        "Ünïcode",
        "{{7*7}}",
        "%s%n",
        "${jndi:x}",
        "<script>",
        "=cmd|x",
        "'; DROP--",
    ],
)
def test_a_name_that_prints_is_left_alone(name: str) -> None:
    assert clean_token_name(name) == name


@pytest.mark.parametrize("characters", UNPRINTABLE, ids=ascii)
def test_a_character_that_does_not_print_is_refused(characters: str) -> None:
    for character in characters:
        for text in (f"a{character}b", character, f"a{character}", f"{character}a"):
            if text.strip(" ") in {"a", "", "a b"}:
                continue  # the space itself
            with pytest.raises(InvalidInput) as refused:
                clean_token_name(text)

            assert refused.value.field == "name"


@pytest.mark.parametrize(
    "character",
    ["\u034f", "\u115f", "\u1160", "\u17b4", "\u17b5", "\u180b", "\u3164", "\uffa0", "\U000e0100"],
    ids=ascii,
)
def test_an_invisible_letter_or_mark_is_refused(character: str) -> None:
    for text in (character, f"a{character}"):
        with pytest.raises(InvalidInput):
            clean_token_name(text)


@pytest.mark.parametrize(
    "text",
    [
        "a\r\nBcc: evil@example.com",
        "a\nb",
        "a\n",
        "\na",
        "a\x0bb",
        "a\x85b",
        "a\u2028b",
        "a\0",
        "=?utf-8?q?ok=0ABcc:_evil@example.com?=",
        "a =? b",
        "=" + "?",
    ],
    ids=ascii,
)
def test_a_name_cannot_begin_a_line_or_a_header(text: str) -> None:
    with pytest.raises(InvalidInput):
        clean_token_name(text)


@pytest.mark.parametrize("length", [1, 2, 50])
def test_1_to_50_characters_are_a_token_name(length: int) -> None:
    assert clean_token_name("é" * length) == "é" * length


@pytest.mark.parametrize("text", ["", " ", " " * 60, "a" * 51, "e\u0301" * 51, "a" * 2**20])
def test_no_name_or_a_longer_one_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        clean_token_name(text)

    assert refused.value.message == "Use 1 to 50 characters."
    assert refused.value.code == "INVALID_INPUT"


def test_characters_are_counted_as_they_are_stored() -> None:
    assert clean_token_name("e\u0301" * 50) == "\xe9" * 50


def test_a_flood_of_accents_is_limited_by_length() -> None:
    assert len(clean_token_name("x" + "\u0323" * 49)) == 50
    with pytest.raises(InvalidInput):
        clean_token_name("x" + "\u0323" * 50)


def test_a_flood_of_accents_of_a_whole_request_is_refused_at_once() -> None:
    flood = "a" + "\u0301" * 16_000 + "\u0323" * 16_000  # to be sorted by Unicode's rules
    began = time.thread_time()

    with pytest.raises(InvalidInput):
        clean_token_name(flood)

    assert time.thread_time() - began < 0.1


def test_another_name_has_its_own_length_and_field() -> None:
    assert clean_name("a" * 100, characters_max=100) == "a" * 100
    with pytest.raises(InvalidInput) as refused:
        clean_name("a" * 101, characters_max=100, field="accountName")

    assert (refused.value.message, refused.value.field) == (
        "Use 1 to 100 characters.",
        "accountName",
    )


@pytest.mark.parametrize(
    ("text", "email"),
    [
        ("ada@example.com", "ada@example.com"),
        ("  Ada.Lovelace+CI@Example.COM ", "ada.lovelace+ci@example.com"),
        ("o'neil_1@mail.sub-domain.example", "o'neil_1@mail.sub-domain.example"),
        ("a@b.io", "a@b.io"),
    ],
)
def test_a_plain_address_is_kept_in_lower_case(text: str, email: str) -> None:
    assert clean_email(text) == email
    assert clean_email(email) == email


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "ada",
        "ada@",
        "@example.com",
        "ada@localhost",
        "ada@127.0.0.1",
        "ada@[127.0.0.1]",
        "ada@example.com\n",
        "ada@example.com\r\nBcc: evil@example.com",
        "ada\n@example.com",
        "ada@example.com\0",
        "ada@example.com, evil@example.com",
        "ada@example.com,evil@example.com",
        "ada@example.com;evil@example.com",
        "ada@example.com evil@example.com",
        "ada@evil.example@example.com",
        '"ada@example.com, " <evil@example.com>',
        "Ada <ada@example.com>",
        "<ada@example.com>",
        "ada@example.com (comment)",
        "ada(comment)@example.com",
        '"ada"@example.com',
        '"a b"@example.com',
        "ada\\@example.com",
        "a..da@example.com",
        "ada@example..com",
        "ada@.example.com",
        "ada@example.com.",
        "ada@-example.com",
        "ada@example-.com",
        "ada@exam_ple.com",
        "ada@b\xfccher.example",
        "\xe4da@example.com",
        "ada@example.\u0440\u0444",
        "ada@ex\u0430mple.com",  # a Cyrillic letter
        "ada\uff20example.com",
        "ada@example\u3002com",
        "ada@example.com\u200b",
        "\ufeffada@example.com",
        "\xa0ada@example.com",
        "\ud800@example.com",
        f"{'a' * 65}@example.com",
        f"a@{'b' * 64}.com",
    ],
    ids=ascii,
)
def test_anything_but_one_plain_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        clean_email(text, field="ownerEmail")

    assert refused.value.message == "Write one plain e-mail address."
    assert refused.value.field == "ownerEmail"


def test_a_letter_that_only_lower_case_makes_plain_is_refused() -> None:
    with pytest.raises(InvalidInput):
        clean_email("\u212aim@example.com")  # KELVIN SIGN, whose lower case is k


@pytest.mark.parametrize(("length", "allowed"), [(254, True), (255, False), (320, False)])
def test_an_address_has_at_most_254_characters(length: int, allowed: bool) -> None:  # noqa: FBT001 - a table
    text = f"{'a' * 64}@{'b' * 63}.{'c' * 63}.".ljust(length - 4, "d") + ".com"

    assert len(text) == length
    if allowed:
        assert clean_email(text) == text
    else:
        with pytest.raises(InvalidInput):
            clean_email(text)


@pytest.mark.parametrize("unit", ["a", "a.", "a@", "a-", "@a.", "\u0301"])
def test_a_mebibyte_is_no_address_and_refused_at_once(unit: str) -> None:
    text = "a@a." + unit * (2**20 // len(unit))
    began = time.thread_time()

    with pytest.raises(InvalidInput):
        clean_email(text)

    assert time.thread_time() - began < 0.5


@given(st.text() | st.from_regex(r"[a-z.]+@[a-z.-]+", fullmatch=True))
def test_an_accepted_address_holds_one_at_and_no_space(text: str) -> None:
    try:
        email = clean_email(text)
    except InvalidInput:
        return

    assert email.count("@") == 1
    assert email.isascii()
    assert not set(email) & set(' \t\r\n,;<>()[]"\\:')
