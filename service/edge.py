"""What proxies and resource servers ask: ``/validate`` and ``/introspect``. Plain ASGI.

``/validate`` is for nginx ``auth_request``, Caddy and Traefik ``forward_auth`` and Envoy's HTTP
``ext_authz``. ``/introspect`` is RFC 7662. Both say 503 where the truth cannot be known, and
neither answer may be cached: a proxy's cache would add its own lifetime to the published bound.
"""

import json
from typing import Any
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from service import scopes
from service.access.actor import Actor
from service.addresses import parse_address
from service.auth import bearer_secret, client_address
from service.composition import Service
from service.settings import Settings
from service.validator import Validator
from service.verdict import Record, Status, Verdict

INTROSPECT_SCOPE = "tokens:introspect"
BODY_BYTES_MAX = 8 * 1024

Header = tuple[bytes, bytes]

_DESCRIPTIONS = {
    Status.UNKNOWN: "the token is not known",
    Status.REVOKED: "the token is revoked",
    Status.EXPIRED: "the token has expired",
    Status.SUSPENDED: "the token is suspended",
    Status.NOT_YET_VALID: "the token is not valid yet",
    Status.IP_NOT_ALLOWED: "the token may not be used from this address",
    Status.INSUFFICIENT_SCOPE: "the token lacks a scope",
}


class Edge:
    """Answers the two hot paths; everything else goes to the application behind it."""

    def __init__(self, app: Starlette, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._validator: Validator | None = None

    def open(self, service: Service, validator: Validator) -> None:
        """Take what the lifespan has opened; requests are served from now on."""
        self._validator = validator
        self._app.state.service = service
        self._app.state.validator = validator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and scope["path"] == "/validate":
            await self._validate(scope, send)
        elif scope["type"] == "http" and scope["path"] == "/introspect":
            await self._introspect(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _validate(self, scope: Scope, send: Send) -> None:
        """Say whether the request that a proxy holds may pass. Proxies keep its method."""
        wanted = None
        if query := scope["query_string"]:
            wanted = _wanted_scope(query)
            if wanted is None:
                # A proxy's mistake must not drop the scope that it meant to ask for.
                await _respond_json(send, 400, {"error": "invalid_request"})
                return
        secret = bearer_secret(scope["headers"])
        if secret is None:
            await _respond(send, 401, [_challenge(None)])
            return
        verdict = await self._open.check(
            secret,
            address=client_address(scope, self._settings.trusted_proxies),
            scope=wanted,
        )
        if verdict.is_valid and verdict.record is not None:
            await _respond(send, 200, _identity(verdict.record))
        else:
            await _refuse(send, verdict.status, wanted)

    async def _introspect(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Tell a resource server of a token within its own reach; every no is the same."""
        if scope["method"] != "POST":
            await _respond(send, 405, [(b"allow", b"POST")])
            return
        secret = bearer_secret(scope["headers"])
        if secret is None:
            await _respond(send, 401, [_challenge(None)])
            return
        caller = await self._open.check(
            secret,
            address=client_address(scope, self._settings.trusted_proxies),
            scope=INTROSPECT_SCOPE,
        )
        if not caller.is_valid or caller.record is None:
            await _refuse(send, caller.status, INTROSPECT_SCOPE)
            return
        form = await _read_form(scope, receive)
        wanted = form.get("scope") if form else None
        if not form or not form.get("token") or not _are_scopes(wanted):
            await _respond_json(send, 400, {"error": "invalid_request"})
            return
        address = parse_address(form.get("client_address", ""))
        # Only within the caller's reach is it a use: others must not write into a token's record.
        verdict = await self._open.check(form["token"], address=address, scope=wanted, is_use=False)
        if verdict.status is Status.UNAVAILABLE:
            await _refuse(send, verdict.status)
            return
        told = self._introspection(verdict, Actor.of(caller.record))
        if told["active"] and verdict.record is not None:
            self._open.note_use(verdict.record, address)
        await _respond_json(send, 200, told)

    def _introspection(self, verdict: Verdict, caller: Actor) -> dict[str, Any]:
        record = verdict.record
        if (
            record is None
            or not verdict.is_valid
            or not caller.reach.includes(record.account_id, record.reseller_id)
        ):
            return {"active": False}
        told: dict[str, Any] = {
            "active": True,
            "token_type": "Bearer",
            "scope": " ".join(record.scopes),
            "sub": str(record.account_id),
            "jti": str(record.token_id),
            "iss": self._settings.public_url,
            "iat": int(record.issued_at.timestamp()),
        }
        if record.expires_at is not None:
            told["exp"] = int(record.expires_at.timestamp())
        if record.not_before is not None:
            told["nbf"] = int(record.not_before.timestamp())
        return told

    @property
    def _open(self) -> Validator:
        if self._validator is None:
            raise RuntimeError("the lifespan has not opened the validator")
        return self._validator


def _identity(record: Record) -> list[Header]:
    return [
        (b"x-tokenward-account", str(record.account_id).encode()),
        (b"x-tokenward-token", str(record.token_id).encode()),
        (b"x-tokenward-scopes", " ".join(record.scopes).encode()),
    ]


async def _refuse(send: Send, status: Status, wanted: str | None = None) -> None:
    """Answer a verdict that is not VALID; where the truth is not known, that one may try again."""
    if status is Status.UNAVAILABLE:
        await _respond(send, 503, [(b"retry-after", b"1")])
        return
    known = status in {Status.INSUFFICIENT_SCOPE, Status.IP_NOT_ALLOWED}
    await _respond(send, 403 if known else 401, [_challenge(status, wanted)])


def _challenge(status: Status | None, wanted: str | None = None) -> Header:
    """Return the header of RFC 6750 §3; without a credential it names no error."""
    value = 'Bearer realm="tokenward"'
    if status is not None:
        error = "insufficient_scope" if status is Status.INSUFFICIENT_SCOPE else "invalid_token"
        value += f', error="{error}", error_description="{_DESCRIPTIONS[status]}"'
        if error == "insufficient_scope" and wanted:
            value += f', scope="{wanted}"'
    return (b"www-authenticate", value.encode("ascii"))


def _wanted_scope(query: bytes) -> str | None:
    """Return the scopes that ``scope=…`` names, or None where the query says anything else."""
    try:
        pairs = parse_qsl(query.decode("ascii"), strict_parsing=True, max_num_fields=10)
    except ValueError:
        return None
    wanted = " ".join(value for name, value in pairs if name == "scope").split()
    if not wanted or any(name != "scope" for name, _ in pairs):
        return None
    joined = " ".join(wanted)
    return joined if _are_scopes(joined) else None


def _are_scopes(text: str | None) -> bool:
    return text is None or all(map(scopes.is_scope, text.split() or [""]))


async def _read_form(scope: Scope, receive: Receive) -> dict[str, str] | None:
    """Return the fields of a small form; None for another content type, size or repeated field."""
    content_type = dict(scope["headers"]).get(b"content-type", b"").partition(b";")[0]
    if content_type.strip().lower() != b"application/x-www-form-urlencoded":
        return None
    body = b""
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > BODY_BYTES_MAX:
            return None
    try:
        pairs = parse_qsl(body.decode("ascii"), max_num_fields=10, strict_parsing=True)
    except ValueError:
        return None
    fields = dict(pairs)
    return fields if len(fields) == len(pairs) else None


async def _respond_json(send: Send, status: int, value: dict[str, Any]) -> None:
    headers = [(b"content-type", b"application/json")]
    await _respond(send, status, headers, json.dumps(value).encode())


async def _respond(send: Send, status: int, headers: list[Header], body: bytes = b"") -> None:
    start = [
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *headers,
    ]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": body})
