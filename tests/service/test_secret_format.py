"""A secret is refused for any mistake in it, before anything is looked up; only digests stay."""

import re
import time
from collections import Counter
from hashlib import blake2b

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import labels, pepper_keys, secret_texts

from service.secret_format import (
    ALPHABET,
    CHECKSUM_CHARACTERS,
    RANDOM_CHARACTERS,
    SCANNER_PATTERN,
    checksum,
    digest_of,
    is_session,
    is_well_formed,
    make_secret,
)

PEPPERS = {7: b"p" * 32, 3: b"q" * 64}

PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))


@given(labels(), st.booleans())
def test_a_new_secret_is_well_formed(label: str, session: bool) -> None:  # noqa: FBT001 - drawn
    secret = make_secret(label, PEPPERS, session=session)

    prefix = f"{'tws' if session else 'tw'}_{label}_"
    assert is_well_formed(secret.text)
    assert is_session(secret.text) is session
    assert secret.text.startswith(prefix)
    assert len(secret.text) == len(prefix) + 36
    assert set(secret.text[len(prefix) :]) <= set(ALPHABET)
    assert (secret.prefix, secret.last_four) == (prefix, secret.text[-4:])


def test_a_new_secret_is_keyed_with_the_first_pepper() -> None:
    secret = make_secret("live", PEPPERS)

    assert secret.pepper_id == 7
    assert secret.digest == digest_of(secret.text, PEPPERS[7])


def test_new_secrets_differ() -> None:
    texts = {make_secret("live", PEPPERS).text for _ in range(1000)}

    assert len(texts) == 1000


def test_every_character_is_as_likely_as_any_other() -> None:
    prefix, count = len("tw_live_"), 3_000
    texts = [make_secret("live", PEPPERS).text for _ in range(count)]

    found = Counter(character for text in texts for character in text[prefix:-CHECKSUM_CHARACTERS])

    # A byte's remainder alone would favour eight characters by a fifth; chance, hardly by a sixth.
    expected = count * RANDOM_CHARACTERS / len(ALPHABET)
    assert set(found) == set(ALPHABET)
    assert all(abs(times - expected) < expected / 6 for times in found.values()), found


def test_neither_the_text_nor_its_random_part_is_in_a_repr() -> None:
    secret = make_secret("live", PEPPERS)

    assert secret.text not in repr(secret)
    assert secret.text[8:-4] not in repr(secret)


@given(secret_texts())
def test_a_built_secret_is_well_formed(text: str) -> None:
    assert is_well_formed(text)


@given(secret_texts(), st.data())
def test_one_changed_character_is_refused(text: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(text) - 1))
    character = data.draw(st.sampled_from(PRINTABLE) | st.characters())
    assume(character != text[place])

    assert not is_well_formed(text[:place] + character + text[place + 1 :])


@given(secret_texts())
def test_one_character_in_the_other_case_is_refused(text: str) -> None:
    changed = [
        text[:place] + character.swapcase() + text[place + 1 :]
        for place, character in enumerate(text)
        if character.swapcase() != character
    ]

    assert not any(map(is_well_formed, [*changed, text.upper(), text.swapcase()]))


@given(secret_texts(), st.data())
def test_one_dropped_character_is_refused(text: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(text) - 1))

    assert not is_well_formed(text[:place] + text[place + 1 :])


@given(secret_texts(), st.data())
def test_one_inserted_character_is_refused(text: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(text)))
    character = data.draw(st.sampled_from(PRINTABLE) | st.characters())

    assert not is_well_formed(text[:place] + character + text[place:])


@given(secret_texts(), st.data())
def test_two_characters_in_the_other_order_are_refused(text: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(text) - 2))
    assume(text[place] != text[place + 1])

    assert not is_well_formed(text[:place] + text[place + 1] + text[place] + text[place + 2 :])


@given(secret_texts())
def test_a_look_alike_character_is_refused(text: str) -> None:
    full_width = [
        text[:place] + chr(ord(character) + 0xFEE0) + text[place + 1 :]
        for place, character in enumerate(text)
    ]

    assert not any(map(is_well_formed, full_width))


@pytest.mark.parametrize("digit", ["\u0661", "\u06f1", "\u0967", "\U0001d7cf", "\xb2", "\u2460"])
def test_a_digit_of_another_script_is_refused(digit: str) -> None:
    text = make_secret("live", PEPPERS).text

    assert not is_well_formed(text[:-1] + digit)


@given(st.text() | st.text(st.characters()) | st.text("tws_live01AZ", max_size=60))
def test_junk_is_refused(text: str) -> None:
    assert not is_well_formed(text)


@pytest.mark.parametrize(
    "around",
    [
        "\n",
        "\r\n",
        "\r",
        " ",
        "\t",
        "\0",
        "%20",
        "%00",
        "\u200b",
        "\u2028",
        "\x85",
        "\xa0",
        "\ufeff",
        "\ud800",
        ",",
        '"',
        "=",
    ],
)
def test_anything_before_or_behind_a_secret_is_refused(around: str) -> None:
    text = make_secret("live", PEPPERS).text

    assert not is_well_formed(text + around)
    assert not is_well_formed(around + text)


@pytest.mark.parametrize(
    "prefix",
    ["", "tw_", "tw__", "tw_live", "TW_live_", "tw_Live_", "tw_l1ve_", "twx_live_", "ghp_"],
)
def test_another_prefix_is_refused_even_with_the_right_checksum(prefix: str) -> None:
    body = prefix + "A" * 30

    assert not is_well_formed(body + checksum(body))


@pytest.mark.parametrize("random", ["A" * 29, "A" * 31, "A" * 29 + "_", "A" * 36 + "\n", "A" * 42])
def test_another_length_is_refused_even_with_the_right_checksum(random: str) -> None:
    body = "tw_live_" + random

    assert not is_well_formed(body + checksum(body))


@pytest.mark.parametrize(("letters", "allowed"), [(0, False), (1, True), (12, True), (13, False)])
def test_a_label_has_1_to_12_letters(letters: int, allowed: bool) -> None:  # noqa: FBT001 - a table
    body = f"tw_{'a' * letters}_{'A' * 30}"

    assert is_well_formed(body + checksum(body)) is allowed


@pytest.mark.parametrize("unit", ["a", "tw_live_", "\0", "tws_", "_", "\u0301", "0"])
def test_a_mebibyte_is_refused_at_once(unit: str) -> None:
    text = unit * (2**20 // len(unit))
    began = time.thread_time()

    refused = not is_well_formed(text)

    assert refused
    assert time.thread_time() - began < 0.05


def test_the_checksum_is_the_crc_32_in_six_digits() -> None:
    digits = [ALPHABET.index(digit) for digit in checksum("123456789")]

    # The check value that every description of CRC-32 gives for this text.
    assert sum(digit * 62**power for power, digit in enumerate(reversed(digits))) == 0xCBF43926
    assert len(digits) == 6
    assert checksum("") == "000000"


@given(secret_texts(("tws",)), secret_texts(("tw",)))
def test_the_prefix_tells_a_session_from_a_token(session: str, token: str) -> None:
    assert is_session(session)
    assert not is_session(token)


@pytest.mark.parametrize(
    ("before", "behind"),
    [
        ("", ""),
        ("Authorization: Bearer ", "\r\n"),
        ('{"secret":"', '"}'),
        ("curl -H 'Authorization: Bearer ", "' https://example.com"),
        ("TOKEN=", " # staging"),
        ("https://example.com/?token=", "&page=2"),
        ("(", ")."),
        ("first line\n", "\nlast line"),
    ],
)
def test_a_scanner_finds_a_secret_inside_text(before: str, behind: str) -> None:
    texts = [make_secret("live", PEPPERS, session=session).text for session in (False, True)]

    for text in texts:
        assert re.findall(f"({SCANNER_PATTERN})", before + text + behind) == [text]


@given(secret_texts())
def test_a_scanner_finds_every_secret(text: str) -> None:
    found = re.search(SCANNER_PATTERN, f"leaked: {text};")

    assert found is not None
    assert found.group() == text


@given(secret_texts(), pepper_keys(), pepper_keys())
def test_a_digest_depends_on_the_pepper(text: str, pepper: bytes, other: bytes) -> None:
    assume(pepper != other)

    assert digest_of(text, pepper) != digest_of(text, other)


@given(secret_texts(), secret_texts(), pepper_keys())
def test_a_digest_depends_on_the_text(text: str, other: str, pepper: bytes) -> None:
    assume(text != other)

    assert digest_of(text, pepper) != digest_of(other, pepper)


@given(secret_texts(), pepper_keys())
def test_a_digest_is_32_bytes_of_this_purpose_alone(text: str, pepper: bytes) -> None:
    digest = digest_of(text, pepper)

    assert digest == digest_of(text, pepper)
    assert len(digest) == 32
    assert digest != blake2b(text.encode(), key=pepper, digest_size=32).digest()
