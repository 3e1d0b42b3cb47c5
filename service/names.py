"""What may be called what: names of tokens and accounts, and e-mail addresses. Pure."""

import re
import unicodedata

from service.errors import InvalidInput

TOKEN_NAME_CHARACTERS_MAX = 50  # cPanel's rule
ACCOUNT_NAME_CHARACTERS_MAX = 100
CHARACTERS_BEFORE_NFC_FACTOR = 4
EMAIL_CHARACTERS_MAX = 254  # RFC 5321 §4.5.3.1.3, less the angle brackets

# Control, format (bidirectional overrides, zero-width joiners), surrogate, private and unassigned
# characters, and separators other than the plain space: they forge lines, logs and look-alikes.
_REFUSED_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})

# Letters, marks and symbols that print nothing; the variation selector of emoji (U+FE0F) may stay.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\uffa0\U000e0100-\U000e01ef]"
)

# Deliberately narrower than RFC 5322: no quoting, comments or lists, so that one address can never
# be read as two.
_EMAIL = re.compile(
    r"[a-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}",
    re.ASCII,
)


def clean_name(text: str, *, characters_max: int, field: str = "name") -> str:
    """Return a name as it is stored: NFC, no outer spaces, printable.

    Raises:
        InvalidInput: If it is empty, too long, or holds a character that does not print.
    """
    # Normalising a flood of accents takes time that grows with its square.
    if len(text) > CHARACTERS_BEFORE_NFC_FACTOR * characters_max:
        raise InvalidInput(f"Use 1 to {characters_max} characters.", field=field)
    name = unicodedata.normalize("NFC", text.strip(" "))
    if not 1 <= len(name) <= characters_max:
        raise InvalidInput(f"Use 1 to {characters_max} characters.", field=field)
    for character in name:
        category = unicodedata.category(character)
        if (
            category in _REFUSED_CATEGORIES
            or (category == "Zs" and character != " ")
            or _INVISIBLE.match(character)
        ):
            raise InvalidInput("Use printable characters and plain spaces only.", field=field)
    # An encoded word (RFC 2047) turns into a header line in some mail software.
    if "=?" in name:
        raise InvalidInput("The characters =? may not stand together.", field=field)
    return name


def clean_token_name(text: str) -> str:
    """Return a token's name as it is stored; 1–50 characters."""
    return clean_name(text, characters_max=TOKEN_NAME_CHARACTERS_MAX)


def clean_email(text: str, *, field: str = "email") -> str:
    """Return an e-mail address in lower case.

    Raises:
        InvalidInput: If it is not one plain ``local@domain``.
    """
    # Before lower(): it turns some letters of other scripts into ASCII ones.
    if not text.isascii() or len(text) > 2 * EMAIL_CHARACTERS_MAX:
        raise InvalidInput("Write one plain e-mail address.", field=field)
    email = text.strip(" ").lower()
    if len(email) > EMAIL_CHARACTERS_MAX or not _EMAIL.fullmatch(email) or ".." in email:
        raise InvalidInput("Write one plain e-mail address.", field=field)
    return email


def check_search(text: str, *, field: str) -> None:
    """Let a text to search names for pass.

    Raises:
        InvalidInput: If it is longer than a name, or holds what no name holds.
    """
    if len(text) > TOKEN_NAME_CHARACTERS_MAX or "\0" in text:
        raise InvalidInput(
            f"Search for at most {TOKEN_NAME_CHARACTERS_MAX} characters.", field=field
        )
