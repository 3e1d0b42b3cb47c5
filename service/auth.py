"""Who is calling: a request → an actor. The credential is a bearer secret or a session's cookie."""

from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

from service import secret_format
from service.access.actor import Actor
from service.addresses import Address, Network, is_within, parse_address
from service.bearer import bearer_secret
from service.errors import Unavailable
from service.settings import Settings
from service.validator import Validator
from service.verdict import CredentialKind, Status


def session_cookie(settings: Settings) -> str:
    """Return the cookie's name. ``__Host-`` ties it to this host, over TLS, for every path."""
    return "__Host-tokenward" if settings.uses_tls else "tokenward"


def client_address(scope: Scope, trusted: tuple[Network, ...]) -> Address | None:
    """Return the client's address.

    ``X-Forwarded-For`` counts only where the peer is a trusted proxy, and then from the right: the
    first address that is not a trusted proxy's own. What a client wrote further left is ignored.
    """
    peer = parse_address(scope["client"][0]) if scope.get("client") else None
    told = [value for name, value in scope["headers"] if name.lower() == b"x-forwarded-for"]
    if peer is None or not told or not is_within(peer, trusted):
        return peer
    hops = b",".join(told).decode("latin-1")
    address = peer
    for hop in reversed([part for part in hops.split(",") if part.strip()]):
        parsed = parse_address(hop)
        if parsed is None:
            return None  # a proxy that we trust wrote nonsense: the address is not known
        address = parsed
        if not is_within(parsed, trusted):
            break
    return address


def is_foreign(headers: Headers, settings: Settings) -> bool:
    """Return whether a page sent this that is none of ours. Programs send neither header."""
    origin = headers.get("origin")
    site = headers.get("sec-fetch-site")
    if origin is not None:
        return origin not in {_origin(settings.public_url), *settings.allowed_origins}
    return site not in {None, "same-origin", "none"}


def cookie_secret(headers: Headers, settings: Settings) -> str | None:
    """Return the session's secret of the cookie, if one of our own pages sent it; else None.

    A page elsewhere can make a browser send the cookie, but neither hide its ``Origin`` nor forge
    ``Sec-Fetch-Site`` (OWASP, CSRF Prevention: origin verification, fetch metadata).
    """
    if is_foreign(headers, settings):
        return None
    cookies = SimpleCookie()
    try:
        cookies.load(headers.get("cookie", ""))
    except CookieError:
        return None
    morsel = cookies.get(session_cookie(settings))
    return morsel.value if morsel and secret_format.is_session(morsel.value) else None


async def authenticate(
    scope: Scope,
    validator: Validator,
    settings: Settings,
    *,
    request_id: str | None = None,
    is_use: bool = True,
) -> Actor | None:
    """Return who is calling, or None: nobody, or not validly.

    Args:
        scope: The request's, or the WebSocket's.
        validator: The process' own.
        settings: The process' own.
        request_id: Told in the audit trail.
        is_use: Whether this is told as the credential's last use.

    Raises:
        Unavailable: If the truth cannot be known; the caller is told to try again, not to sign in.
    """
    headers = Headers(scope=scope)
    secret = bearer_secret(scope["headers"])
    if secret is None and "authorization" not in headers:
        secret = cookie_secret(headers, settings)
    if secret is None:
        return None
    address = client_address(scope, settings.trusted_proxies)
    session = secret_format.is_session(secret)
    verdict = await validator.check(
        secret,
        address=address,
        kind=CredentialKind.SESSION if session else CredentialKind.API_TOKEN,
        is_use=is_use,
    )
    if verdict.status is Status.UNAVAILABLE:
        raise Unavailable
    if not verdict.is_valid or verdict.record is None:
        return None
    return Actor.of(
        verdict.record, address=str(address) if address else None, request_id=request_id
    )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
