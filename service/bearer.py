"""What RFC 6750 says of a bearer secret: how it is sent, and how its refusal is told. Pure."""

from collections.abc import Iterable

from service.verdict import Status

CHARACTERS_MAX = 512
RETRY_AFTER_SECONDS = 1

Header = tuple[bytes, bytes]

_DESCRIPTIONS = {
    Status.UNKNOWN: "the token is not known",
    Status.REVOKED: "the token is revoked",
    Status.EXPIRED: "the token has expired",
    Status.SUSPENDED: "the token is suspended",
    Status.NOT_YET_VALID: "the token is not valid yet",
    Status.AUDIENCE_NOT_ALLOWED: "the token is meant for another audience",
    Status.IP_NOT_ALLOWED: "the token may not be used from this address",
    Status.INSUFFICIENT_SCOPE: "the token lacks a scope",
}

# The secret is live; it is this request that it does not allow.
_FORBIDDEN = {Status.AUDIENCE_NOT_ALLOWED, Status.IP_NOT_ALLOWED, Status.INSUFFICIENT_SCOPE}


def bearer_secret(headers: Iterable[Header]) -> str | None:
    """Return the secret of the one ``Authorization: Bearer`` header (RFC 6750 §2.1), or None.

    Two such headers, another scheme, or anything but one word of visible ASCII are no credential:
    never guess which of two was meant.
    """
    values = [value for name, value in headers if name.lower() == b"authorization"]
    if len(values) != 1 or len(values[0]) > CHARACTERS_MAX:
        return None
    scheme, _, secret = values[0].partition(b" ")
    if scheme.lower() != b"bearer" or not secret.isascii():
        return None
    text = secret.decode("ascii")
    return text if text.isprintable() and " " not in text and text else None


def refusal(status: Status | None, wanted: str | None = None) -> tuple[int, list[Header]]:
    """Return the HTTP status and headers that refuse a request (RFC 6750 §3).

    Args:
        status: A verdict's, but VALID; None where no credential was sent. Where the truth is not
            known the answer is 503: such a client may try again, and must not sign in anew.
        wanted: The scopes that were asked for, separated by spaces; well-formed.
    """
    if status is Status.UNAVAILABLE:
        return 503, [(b"retry-after", b"%d" % RETRY_AFTER_SECONDS)]
    return 403 if status in _FORBIDDEN else 401, [challenge(status, wanted)]


def challenge(status: Status | None, wanted: str | None = None) -> Header:
    """Return the ``WWW-Authenticate`` header; without a credential it names no error."""
    value = 'Bearer realm="tokenward"'
    if status is not None:
        error = "insufficient_scope" if status is Status.INSUFFICIENT_SCOPE else "invalid_token"
        value += f', error="{error}", error_description="{_DESCRIPTIONS[status]}"'
        if error == "insufficient_scope" and wanted:
            value += f', scope="{wanted}"'
    return (b"www-authenticate", value.encode("ascii"))
