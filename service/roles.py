"""What a member of an account may do, told by a role. Pure."""

from collections.abc import Iterable
from enum import StrEnum

from service import scopes


class Role(StrEnum):
    """What somebody may do who signs in for an account, the most first."""

    OWNER = "OWNER"
    MANAGER = "MANAGER"
    VIEWER = "VIEWER"


# Whoever creates accounts or people could make themselves an owner somewhere.
_OWNERS_ALONE = frozenset({"accounts:write", "members:write"})
_VIEWER = ("accounts:read", "audit:read", "members:read", "tokens:read")


def scopes_of(role: Role, catalogue: Iterable[str]) -> tuple[str, ...]:
    """Return the scopes of a session that begins in a role.

    A manager's are listed one by one: with ``*``, or a noun's ``*``, they could give a token what
    only owners may do.

    Args:
        role: The member's.
        catalogue: Every right of the platform.
    """
    if role is Role.OWNER:
        return (scopes.EVERYTHING,)
    if role is Role.MANAGER:
        return tuple(sorted(set(catalogue) - _OWNERS_ALONE))
    return _VIEWER
