"""Global ids (Relay): opaque outside, a type and a UUID inside."""

import base64
import binascii
from uuid import UUID

TOKEN = "ApiToken"  # noqa: S105 - the name of a type
ACCOUNT = "Account"
PROPAGATION = "Propagation"
AUDIT_EVENT = "AuditEvent"
MEMBER = "Member"
SESSION = "Session"
SCOPE_TEMPLATE = "ScopeTemplate"
JOB = "Job"

NOWHERE = UUID(int=0)
"""The id of nothing, for what is none: every row's own has a version (RFC 9562), and this has not.

So it is asked for like any other id that nothing has: the same refusals, in the same order.
"""


def encode(type_name: str, identifier: UUID) -> str:
    """Return the global id of an object."""
    return base64.urlsafe_b64encode(f"{type_name}:{identifier}".encode()).decode().rstrip("=")


def decode(type_name: str, text: str) -> UUID:
    """Return the UUID of a global id of one type; ``NOWHERE`` for another type's, or for none."""
    found = split(text)
    return found[1] if found is not None and found[0] == type_name else NOWHERE


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
