"""What the owner of a token takes away; each is held to the same bound."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from api import Api
from evidence import Token

GRACE_SECONDS = 2
EXPIRY_SECONDS = 1.5

Send = Callable[[Api, str, Token], Awaitable[Token | None]]


@dataclass(frozen=True, slots=True)
class Change:
    """One kind of change.

    Attributes:
        send: Makes it through a web process; returns the secret that takes the old one's place.
        allowed_seconds: How long the change itself still lets the secret be used.
    """

    name: str
    send: Send
    allowed_seconds: float = 0.0
    is_rotation: bool = False


async def _revoke(api: Api, web: str, token: Token) -> None:
    await api.revoke(web, token)


async def _revoke_held(api: Api, web: str, token: Token) -> None:
    await api.revoke_held(web, token)


async def _narrow_scopes(api: Api, web: str, token: Token) -> None:
    await api.narrow_scopes(web, token)


async def _cut_addresses(api: Api, web: str, token: Token) -> None:
    await api.cut_addresses(web, token)


async def _expire(api: Api, web: str, token: Token) -> None:
    await api.expire_after(web, token, seconds=EXPIRY_SECONDS)


async def _rotate(api: Api, web: str, token: Token, *, grace_seconds: int) -> Token:
    return await api.rotate(web, token, grace_seconds=grace_seconds)


REVOKE = Change("revoke", _revoke)
REVOKE_HELD = Change("/revoke", _revoke_held)
ROTATE = Change("rotate", partial(_rotate, grace_seconds=0), is_rotation=True)
ROTATE_LATER = Change(
    "rotate with a grace",
    partial(_rotate, grace_seconds=GRACE_SECONDS),
    GRACE_SECONDS,
    is_rotation=True,
)
SUSPEND_ACCOUNT = "suspend account"
SUSPEND_RESELLER = "suspend reseller"
CREATED_MEANWHILE = "created meanwhile"

CHANGES = (
    REVOKE,
    REVOKE_HELD,
    ROTATE,
    ROTATE_LATER,
    Change("narrow scopes", _narrow_scopes),
    Change("cut addresses", _cut_addresses),
    Change("earlier expiry", _expire, EXPIRY_SECONDS),
)

IS_MADE = """
    SELECT t.revoked_at IS NOT NULL OR s.retires_at IS NOT NULL OR t.expires_at < '2099-01-01'
        OR NOT $2 = ANY(t.scopes) OR t.allowed_ip_ranges <> ARRAY[$3::text]
    FROM secret s JOIN api_token t ON t.id = s.token_id WHERE s.digest = $1
"""
"""Whether any change of a secret has been committed; of its digest, a scope and a range."""

IS_SUSPENDED = """
    SELECT a.suspended_at IS NOT NULL OR r.suspended_at IS NOT NULL
    FROM secret s JOIN api_token t ON t.id = s.token_id JOIN account a ON a.id = t.account_id
        LEFT JOIN account r ON r.id = t.reseller_id
    WHERE s.digest = $1
"""
"""Whether the account of a secret, or its reseller, is suspended; of its digest."""
