"""Global ids (Relay): opaque outside, a type and a UUID inside."""

import base64
import binascii
from uuid import UUID

from service.errors import NotFound

TOKEN = "ApiToken"  # noqa: S105 - the name of a type
ACCOUNT = "Account"
PROPAGATION = "Propagation"
AUDIT_EVENT = "AuditEvent"
MEMBER = "Member"
SESSION = "Session"
SCOPE_TEMPLATE = "ScopeTemplate"
JOB = "Job"

_NOUNS = {
    TOKEN: "token",
    ACCOUNT: "account",
    PROPAGATION: "receipt",
    MEMBER: "member",
    SESSION: "session",
    AUDIT_EVENT: "event",
    SCOPE_TEMPLATE: "template",
    JOB: "job",
}


def encode(type_name: str, identifier: UUID) -> str:
    """Return the global id of an object."""
    return base64.urlsafe_b64encode(f"{type_name}:{identifier}".encode()).decode().rstrip("=")


def decode(type_name: str, text: str) -> UUID:
    """Return the UUID of a global id of one type.

    Raises:
        NotFound: If it is another type's, or no global id at all: the same words as for an object
            that does not exist.
    """
    found = split(text)
    if found is None or found[0] != type_name:
        raise NotFound(f"There is no such {_NOUNS[type_name]}.")
    return found[1]


def split(text: str) -> tuple[str, UUID] | None:
    """Return the type's name and the UUID of a global id; None where it is no global id at all."""
    try:
        raw = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4)).decode()
        type_name, _, identifier = raw.partition(":")
        return type_name, UUID(identifier)
    except (ValueError, binascii.Error):
        return None


def decode_optional(type_name: str, text: str | None) -> UUID | None:
    """Return the UUID of a global id, or None for none."""
    return None if text is None else decode(type_name, text)
