"""The form of a secret, and the keyed digest that stands for it everywhere else. Pure.

A secret is ``tw_<label>_<30 characters><6 characters>``: 30 random base62 characters (178 bits)
and the CRC-32 of everything before it. A session's begins with ``tws_``. The checksum refuses
junk with no look-up and spares secret scanners false alarms; it protects nothing. A secret of
this entropy needs no slow hash (OWASP ASVS 5.0, 6.5.2).
"""

import os
import re
import string
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
RANDOM_CHARACTERS = 30
CHECKSUM_CHARACTERS = 6
_EVEN = 256 // len(ALPHABET) * len(ALPHABET)  # bytes below it fall on each character as often
_PAIRS = tuple(high + low for high in ALPHABET for low in ALPHABET)  # two digits at a time

SCANNER_PATTERN = r"\btws?_[a-z]{1,12}_[0-9A-Za-z]{36}\b"
"""Published, so that repositories and logs can be searched for leaked secrets."""

_WHOLE = re.compile(SCANNER_PATTERN.replace(r"\b", ""), re.ASCII)
LENGTH_MAX = len("tws_") + 12 + 1 + RANDOM_CHARACTERS + CHECKSUM_CHARACTERS


@dataclass(frozen=True, slots=True)
class NewSecret:
    """A secret at the one moment when it is known.

    Attributes:
        text: The plaintext; never in a repr, a log or a row.
        digest: 32 bytes, the only form that is stored.
        pepper_id: Which pepper keyed the digest.
        prefix: What people may see of its beginning, ``tw_live_``.
        last_four: What people may see of its end.
    """

    text: str = field(repr=False)
    digest: bytes
    pepper_id: int
    prefix: str
    last_four: str


def make_secret(label: str, peppers: Mapping[int, bytes], *, session: bool = False) -> NewSecret:
    """Return a new secret, keyed with the first pepper.

    Args:
        label: The environment part, 1–12 lower-case letters.
        peppers: Keys by id, the signing one first.
        session: Whether it opens a session of a person rather than an API.
    """
    prefix = f"{'tws' if session else 'tw'}_{label}_"
    body = prefix + _random_characters()
    text = body + checksum(body)
    pepper_id, pepper = next(iter(peppers.items()))
    return NewSecret(text, digest_of(text, pepper), pepper_id, prefix, text[-4:])


def _random_characters() -> str:
    """Return base62 characters, all equally likely, for mostly one question to the kernel."""
    found = ""
    while len(found) < RANDOM_CHARACTERS:
        chance = os.urandom(2 * RANDOM_CHARACTERS)
        found += "".join(ALPHABET[byte % len(ALPHABET)] for byte in chance if byte < _EVEN)
    return found[:RANDOM_CHARACTERS]


def is_well_formed(text: str) -> bool:
    """Return whether the text has the form and the checksum of a secret. Costs no look-up."""
    if len(text) > LENGTH_MAX or not _WHOLE.fullmatch(text):
        return False
    return checksum(text[:-CHECKSUM_CHARACTERS]) == text[-CHECKSUM_CHARACTERS:]


def is_session(text: str) -> bool:
    """Return whether a well-formed secret opens a session of a person."""
    return text.startswith("tws_")


def checksum(body: str) -> str:
    """Return the CRC-32 of the body as six base62 digits, the most significant first."""
    value = zlib.crc32(body.encode())
    rest, low = divmod(value, len(_PAIRS))
    high, middle = divmod(rest, len(_PAIRS))
    return _PAIRS[high] + _PAIRS[middle] + _PAIRS[low]


def digest_of(text: str, pepper: bytes) -> bytes:
    """Return the only form of a secret that is ever stored: 32 bytes.

    Args:
        text: The secret, ASCII.
        pepper: 32 to 64 bytes that the database does not know.

    Source:
        RFC 7693 (BLAKE2b in its keyed mode).
    """
    hasher = _keyed(pepper).copy()
    hasher.update(text.encode())
    return hasher.digest()


@lru_cache(maxsize=32)
def _keyed(pepper: bytes) -> blake2b:
    """Return a hasher that has taken in its key: half of the work of hashing a secret."""
    return blake2b(key=pepper, digest_size=32, person=b"tokenward-secret")
