"""Rights: ``noun:verb``, ``noun:*`` and ``*``; which covers which. Pure."""

import re
from collections.abc import Iterable

EVERYTHING = "*"

CONSOLE = (
    "accounts:read",
    "accounts:write",
    "audit:read",
    "members:read",
    "members:write",
    "tokens:read",
    "tokens:write",
)
"""What people do in this service itself: their role gives it, whatever their account may grant."""

_PATTERN = re.compile(r"\*|[a-z_]{1,32}:(\*|[a-z_]{1,32})", re.ASCII)


def is_scope(text: str) -> bool:
    """Return whether the text has the form of a scope."""
    return _PATTERN.fullmatch(text) is not None


def covers_one(granted: str, wanted: str) -> bool:
    """Return whether one scope includes another: ``*`` ⊇ ``dns:*`` ⊇ ``dns:read``."""
    if granted in (wanted, EVERYTHING):
        return True
    noun, _, verb = granted.partition(":")
    return verb == "*" and wanted.partition(":")[0] == noun


def covers(granted: Iterable[str], wanted: str) -> bool:
    """Return whether any of the granted scopes includes the wanted one."""
    return any(covers_one(scope, wanted) for scope in granted)


def covers_all(granted: Iterable[str], wanted: Iterable[str]) -> bool:
    """Return whether every wanted scope is included; then granting it widens nothing."""
    granted = tuple(granted)
    return all(covers(granted, scope) for scope in wanted)


def intersect(left: Iterable[str], right: Iterable[str]) -> frozenset[str]:
    """Return the scopes that both sides include, without redundant ones.

    This is how an account and its reseller cap a token: the result never covers what either side
    does not.
    """
    left, right = frozenset(left), frozenset(right)
    both = {scope for scope in left if covers(right, scope)}
    both |= {scope for scope in right if covers(left, scope)}
    return frozenset(
        scope
        for scope in both
        if not any(other != scope and covers_one(other, scope) for other in both)
    )


def is_known(scope: str, catalogue: Iterable[str]) -> bool:
    """Return whether a scope means something in the catalogue of ``noun:verb`` rights."""
    return is_scope(scope) and any(covers_one(scope, right) for right in catalogue)
