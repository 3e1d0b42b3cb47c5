"""Who calls, in which order, and what each may be told; the rows stand noun by noun beside it."""

OK = "OK"
NOTHING = "NOTHING"
"""Null, an empty list or NOT_FOUND: exactly what a missing object would give."""
NOBODY = "UNAUTHENTICATED"
SCOPE = "INSUFFICIENT_SCOPE"
NEVER = "FORBIDDEN"

CALLERS = (
    "anonymous",
    "stranger",
    "sibling",
    "other reseller",
    "the account",
    "its reseller",
    "the operator",
    "a token without the scope",
    "a token with it",
    "an expired token",
    "a revoked token",
)

ERRORS = "userErrors { code message field }"
TOKEN = f"{{ token {{ id name status }} {ERRORS} }}"
ACCOUNT = f"{{ account {{ id name status }} {ERRORS} }}"

Row = tuple[str, tuple[str, ...]]
"""An operation, and its outcome for each of ``CALLERS``."""
