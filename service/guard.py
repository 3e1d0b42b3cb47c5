"""For applications that check in process: an ASGI middleware, and Starlette's own door.

Both refuse as the edge does, and want a validator that the application opens in its lifespan
(:func:`service.validator.open_validator`). Both leave the secret in the request's headers.

Example:
    ``TokenGuard(app, lambda: app.state.validator, scope="dns:read")``, or
    ``Middleware(AuthenticationMiddleware, backend=TokenBackend(...), on_error=answer_refused)``
"""

from collections.abc import Callable, Iterable

from starlette.authentication import (
    AuthCredentials,
    AuthenticationBackend,
    AuthenticationError,
    BaseUser,
)
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service import scopes
from service.addresses import Network
from service.auth import client_address
from service.bearer import Header, bearer_secret, refusal
from service.validator import Validator
from service.verdict import Record, Status, Verdict

AUTHENTICATED = "authenticated"
POLICY_VIOLATION = 1008  # RFC 6455 §7.4.1

GetValidator = Callable[[], Validator]


class TokenGuard:
    """Lets a request pass that bears a valid token, with its record in ``scope["tokenward"]``.

    Put middleware that answers without a credential, such as CORS', around it.

    Args:
        app: What is guarded, over HTTP and WebSocket.
        validator: The process' own, or what returns it once the lifespan has begun.
        scope: The scopes that every request needs, separated by spaces; None asks for none.
        audience: What this application calls itself; None refuses tokens limited to audiences.
        trusted_proxies: Whose ``X-Forwarded-For`` is believed; nobody's by default.

    Raises:
        ValueError: If a scope is none.
    """

    def __init__(
        self,
        app: ASGIApp,
        validator: Validator | GetValidator,
        scope: str | None = None,
        *,
        audience: str | None = None,
        trusted_proxies: Iterable[Network] = (),
    ) -> None:
        if scope is not None and not all(map(scopes.is_scope, scope.split() or [""])):
            raise ValueError(f"`{scope}` names no scopes")
        self._app = app
        self._validator = validator
        self._scope = scope
        self._audience = audience
        self._trusted = tuple(trusted_proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, connection or lifespan."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        verdict = await _check(
            self._validator, scope, self._trusted, wanted=self._scope, audience=self._audience
        )
        if verdict is not None and verdict.is_valid:
            await self._app({**scope, "tokenward": verdict.record}, receive, send)
        else:
            status = None if verdict is None else verdict.status
            await _refuse(scope, send, *refusal(status, self._scope))


class TokenUser(BaseUser):
    """Whoever bears a token, as ``request.user``.

    Attributes:
        record: What is known of the token.
    """

    def __init__(self, record: Record) -> None:
        self.record = record

    @property
    def is_authenticated(self) -> bool:
        """Whether anybody is; always."""
        return True

    @property
    def display_name(self) -> str:
        """The token's id."""
        return str(self.record.token_id)

    @property
    def identity(self) -> str:
        """The account's id."""
        return str(self.record.account_id)


class GrantedScopes(list[str]):
    """Scopes that hold what they cover, so that ``@requires("dns:read")`` lets ``dns:*`` pass."""

    def __contains__(self, wanted: object) -> bool:
        """Return whether a scope is among them or covered by one."""
        return isinstance(wanted, str) and (wanted == AUTHENTICATED or scopes.covers(self, wanted))


class TokenCredentials(AuthCredentials):
    """What a token may do, as ``request.auth``; ``authenticated`` is Starlette's own word."""

    def __init__(self, record: Record) -> None:
        super().__init__()
        self.scopes = GrantedScopes(record.scopes)


class TokenRefused(AuthenticationError):
    """A token was sent and is not valid, or the truth is not known: never the same as no token.

    Attributes:
        status: The verdict's.
    """

    def __init__(self, status: Status) -> None:
        super().__init__(status.value)
        self.status = status


class TokenBackend(AuthenticationBackend):
    """Starlette's authentication by token. Without a credential nobody is signed in.

    Args:
        validator: The process' own, or what returns it once the lifespan has begun.
        audience: What this application calls itself; None refuses tokens limited to audiences.
        trusted_proxies: Whose ``X-Forwarded-For`` is believed; nobody's by default.
    """

    def __init__(
        self,
        validator: Validator | GetValidator,
        *,
        audience: str | None = None,
        trusted_proxies: Iterable[Network] = (),
    ) -> None:
        self._validator = validator
        self._audience = audience
        self._trusted = tuple(trusted_proxies)

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser] | None:
        """Return what the bearer may do and who it is, or None where none sent a credential.

        Raises:
            TokenRefused: If the token is not valid; ``on_error=answer_refused`` answers it.
        """
        verdict = await _check(
            self._validator, conn.scope, self._trusted, wanted=None, audience=self._audience
        )
        if verdict is None:
            return None
        if not verdict.is_valid or verdict.record is None:
            raise TokenRefused(verdict.status)
        return TokenCredentials(verdict.record), TokenUser(verdict.record)


def answer_refused(_: HTTPConnection, refused: AuthenticationError) -> Response:
    """Answer a refusal of :class:`TokenBackend` as the edge does: 401, 403 or 503."""
    status = refused.status if isinstance(refused, TokenRefused) else Status.UNKNOWN
    code, headers = refusal(status)
    told = {name.decode(): value.decode() for name, value in headers}
    return Response(status_code=code, headers={"cache-control": "no-store", **told})


async def _check(
    validator: Validator | GetValidator,
    scope: Scope,
    trusted: tuple[Network, ...],
    *,
    wanted: str | None,
    audience: str | None,
) -> Verdict | None:
    """Return the verdict of a request, or None where it bears no credential."""
    secret = bearer_secret(scope["headers"])
    if secret is None:
        return None
    opened = validator if isinstance(validator, Validator) else validator()
    address = client_address(scope, trusted)
    return await opened.check(secret, address=address, scope=wanted, audience=audience)


async def _refuse(scope: Scope, send: Send, status: int, headers: list[Header]) -> None:
    """Answer in the request's own protocol; a WebSocket's handshake is refused with HTTP."""
    prefix = "http"
    if scope["type"] == "websocket":
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": POLICY_VIOLATION})
            return
        prefix = "websocket.http"
    headers = [*headers, (b"content-length", b"0"), (b"cache-control", b"no-store")]
    await send({"type": f"{prefix}.response.start", "status": status, "headers": headers})
    await send({"type": f"{prefix}.response.body", "body": b""})
