"""The keys of the digests, as an operator writes them. Pure."""

import re

PEPPER_BYTES_MIN = 32
PEPPER_BYTES_MAX = 64  # BLAKE2b's longest key
PEPPER_ID_MAX = 32_767  # a smallint


def parse_peppers(text: str) -> dict[int, bytes]:
    """Return peppers by id, the signing one first; each 32 to 64 bytes.

    Args:
        text: ``id:secret`` pairs, comma-separated.

    Raises:
        ValueError: If a pair is malformed, an id repeats, or a secret is short.
    """
    keys: dict[int, bytes] = {}
    for pair in text.split(","):
        identifier, _, secret = pair.strip().partition(":")
        if not re.fullmatch("[0-9]{1,5}", identifier):
            raise ValueError("TOKENWARD_PEPPERS must be `id:secret` pairs with ids 1–32767")
        if not 1 <= int(identifier) <= PEPPER_ID_MAX or int(identifier) in keys:
            raise ValueError("TOKENWARD_PEPPERS needs different ids between 1 and 32767")
        if not PEPPER_BYTES_MIN <= len(secret) <= PEPPER_BYTES_MAX or not secret.isascii():
            raise ValueError("TOKENWARD_PEPPERS needs secrets of 32 to 64 ASCII characters")
        keys[int(identifier)] = secret.encode("ascii")
    return keys
