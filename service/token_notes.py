"""What people and programs write about a token: a description and metadata. Pure."""

import json
from typing import Any

from service.errors import InvalidInput
from service.names import CHARACTERS_BEFORE_NFC_FACTOR, clean_name

DESCRIPTION_CHARACTERS_MAX = 500
METADATA_BYTES_MAX = 4_096
METADATA_KEYS_MAX = 50
METADATA_KEY_CHARACTERS_MAX = 50
NUMBER_MAX = 2**53 - 1  # what every JSON reader, JavaScript's among them, holds exactly


def clean_description(text: str) -> str | None:
    """Return a description as it is stored: lines of printable text; None where nothing is left.

    Raises:
        InvalidInput: If it is longer than 500 characters or holds one that does not print.
    """
    too_long = InvalidInput(
        f"Use at most {DESCRIPTION_CHARACTERS_MAX} characters.", field="description"
    )
    if len(text) > CHARACTERS_BEFORE_NFC_FACTOR * DESCRIPTION_CHARACTERS_MAX:
        raise too_long
    lines = text.replace("\r\n", "\n").replace("\t", " ").split("\n")
    cleaned = "\n".join(_clean_line(line) for line in lines).strip("\n")
    if len(cleaned) > DESCRIPTION_CHARACTERS_MAX:
        raise too_long
    return cleaned or None


def _clean_line(line: str) -> str:
    if not line.strip(" "):
        return ""
    return clean_name(line, characters_max=DESCRIPTION_CHARACTERS_MAX, field="description")


def clean_metadata(value: object) -> dict[str, Any]:
    """Return metadata as it is stored: one flat JSON object.

    Raises:
        InvalidInput: If it is nothing like that, or too large.
    """
    if not isinstance(value, dict):
        raise InvalidInput("Metadata is one JSON object.", field="metadata")
    if len(value) > METADATA_KEYS_MAX:
        raise InvalidInput(f"Use at most {METADATA_KEYS_MAX} keys.", field="metadata")
    for key, item in value.items():
        _check_key(key)
        _check_value(item)
    if len(json.dumps(value, ensure_ascii=False).encode()) > METADATA_BYTES_MAX:
        raise InvalidInput(f"Use at most {METADATA_BYTES_MAX} bytes of JSON.", field="metadata")
    return value


def _check_key(key: object) -> None:
    if (
        not isinstance(key, str)
        or clean_name(key, characters_max=METADATA_KEY_CHARACTERS_MAX, field="metadata") != key
    ):
        raise InvalidInput("A key has no outer spaces and is in NFC.", field="metadata")


def _check_value(value: object) -> None:
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, str):
        # PostgreSQL's text holds no NUL; half of a surrogate pair is no character.
        if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
            raise InvalidInput("A text holds a character that is none.", field="metadata")
        return
    if not isinstance(value, int | float):
        raise InvalidInput("A value is a text, a number, true, false or null.", field="metadata")
    if not abs(value) <= NUMBER_MAX:  # said this way, it refuses "not a number" too
        raise InvalidInput(f"A number lies within ±{NUMBER_MAX}.", field="metadata")
