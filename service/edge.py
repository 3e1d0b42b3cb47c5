"""What proxies, resource servers and holders of secrets ask. Plain ASGI.

``/validate`` is for nginx ``auth_request``, Caddy and Traefik ``forward_auth`` and Envoy's HTTP
``ext_authz``. ``/introspect`` is RFC 7662, ``/revoke`` RFC 7009; both take many secrets at once as
an extension. All say 503 where the truth cannot be known or changed, and no answer may be cached: a
proxy's cache would add its own lifetime to the published bound.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple, cast
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from service import scopes, upstream
from service.access.actor import Actor
from service.addresses import parse_address
from service.asked import Asked, read_asked
from service.auth import client_address
from service.bearer import Header, bearer_secret, refusal
from service.clock import new_id
from service.composition import Service
from service.errors import TooManyAttempts, Unavailable
from service.holders import CALLS_SECONDS
from service.settings import Settings
from service.streams import Streams
from service.token_rules import is_audience
from service.tokens import RevocationReason
from service.validator import Request, Validator
from service.verdict import VALID, CredentialKind, Leased, Record, Status, Verdict

LOOKED_FOR = "tokenward.looked_for"
KNOWN_BYTES_MAX = 256
INTROSPECT_SCOPE = "tokens:introspect"
INTROSPECT_TOKENS_MAX = 100
INTROSPECT_FIELDS = ("scope", "client_address", "audience", "digests")
REVOKE_TOKENS_MAX = 1_000

Answer = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request is to be let through for; None asks for nothing in particular."""

    scope: str | None = None
    audience: str | None = None


class Reply(NamedTuple):  # one is made for each request
    """An answer, whichever way it is sent."""

    status: int
    headers: list[Header]
    body: bytes = b""


class Question(NamedTuple):
    """What ``/validate`` is asked."""

    secret: str
    request: Request


class Edge:
    """Answers the plain paths; everything else goes to the application behind it."""

    def __init__(self, app: Starlette, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._validator: Validator | None = None
        self._answers: dict[str, Answer] = {
            "/validate": self._validate,
            "/introspect": self._introspect,
            "/revoke": self._revoke,
        }

    def open(self, service: Service, validator: Validator) -> None:
        """Take what the lifespan has opened; requests are served from now on."""
        self._validator = validator
        self._app.state.service = service
        self._app.state.validator = validator
        self._app.state.streams = Streams(validator, self._settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        answer = self._answers.get(scope["path"]) if scope["type"] == "http" else None
        await (answer or self._app)(scope, receive, send)

    def reply_at_once(self, scope: Scope) -> Reply | None:
        """Return the answer to ``/validate`` where it is known without awaiting anything, or None.

        What must be looked up it leaves in the request's state, for :meth:`__call__` to go on with.
        :mod:`service.http_protocol` asks it before it makes a task.

        Args:
            scope: Of it the query string, the headers and the client are read.
        """
        if self._validator is None:
            return None
        asked = self._asked(scope)
        if isinstance(asked, Reply):
            return asked
        verdict = self._validator.check_near(asked.secret, asked.request)
        if verdict is None:
            scope.setdefault("state", {})[LOOKED_FOR] = asked
            return None
        return _told(verdict, asked.request)

    async def _validate(self, scope: Scope, _: Receive, send: Send) -> None:
        """Say whether the request that a proxy holds may pass. Proxies keep its method."""
        state = scope.setdefault("state", {})
        reply = None if LOOKED_FOR in state else self.reply_at_once(scope)
        if reply is None:
            validator, question = self._opened, state.pop(LOOKED_FOR)
            reply = _told(await validator.look_up(*question), question.request)
        await _send(send, reply)

    def _asked(self, scope: Scope) -> Question | Reply:
        """Return what ``/validate`` is asked, or the answer where that is nothing to be judged."""
        query = scope["query_string"]
        wanted = _known_wanted(query) if len(query) <= KNOWN_BYTES_MAX else _parse_wanted(query)
        if wanted is None:
            # A proxy's mistake must not drop the scope that it meant to ask for.
            return INVALID
        return self._question(scope, wanted) or _reply(*refusal(None))

    def _question(self, scope: Scope, wanted: Wanted) -> Question | None:
        """Return what is asked of the validator, or None where no credential was sent."""
        secret = bearer_secret(scope["headers"])
        if secret is None:
            return None
        address = client_address(scope, self._settings.trusted_proxies)
        return Question(secret, Request(address, wanted.scope, wanted.audience))

    async def _introspect(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Tell a resource server of tokens within its own reach; every no is the same."""
        if scope["method"] != "POST":
            await _respond(send, 405, [(b"allow", b"POST")])
            return
        caller = await self._caller(scope, send, Wanted(INTROSPECT_SCOPE))
        if caller is None:
            return
        asked = await read_asked(scope, receive, INTROSPECT_TOKENS_MAX, INTROSPECT_FIELDS)
        if asked is None or not _are_scopes(asked.fields.get("scope")):
            await _send(send, INVALID)
        elif asked.digests:
            await self._tell_records(send, asked.digests, Actor.of(caller))
        elif (told := await self._introspections(asked, Actor.of(caller))) is None:
            await _respond(send, *refusal(Status.UNAVAILABLE))
        else:
            await _respond_json(send, 200, {"tokens": told} if asked.is_batch else told[0])

    async def _tell_records(self, send: Send, digests: tuple[bytes, ...], caller: Actor) -> None:
        """Tell another validator what is behind digests; see :mod:`service.upstream`."""
        try:
            leases = await asyncio.gather(*map(self._opened.lease, digests))
        except Unavailable:
            await _respond(send, *refusal(Status.UNAVAILABLE))
            return
        # Always the same: how old an answer is tells whether anybody uses a token.
        nothing = Leased(None, self._settings.lease_seconds)
        records = [
            upstream.tell(lease if _is_within(lease.record, caller) else nothing)
            for lease in leases
        ]
        await _respond_json(send, 200, {"records": records})

    async def _introspections(self, asked: Asked, caller: Actor) -> list[dict[str, Any]] | None:
        """Return what is told of each secret, or None where the truth of one is not known."""
        address = parse_address(asked.fields.get("client_address", ""))
        check = partial(
            # Only within the caller's reach is it a use: others must not write into a record.
            self._opened.check,
            address=address,
            scope=asked.fields.get("scope"),
            audience=asked.fields.get("audience"),
            is_use=False,
        )
        verdicts = await asyncio.gather(*map(check, asked.secrets))
        if any(verdict.status is Status.UNAVAILABLE for verdict in verdicts):
            return None
        told = [self._introspection(verdict, caller) for verdict in verdicts]
        for answer, verdict in zip(told, verdicts, strict=True):
            if answer["active"] and verdict.record is not None:
                self._opened.note_use(verdict.record, address)
        return told

    async def _revoke(self, scope: Scope, receive: Receive, send: Send) -> None:
        """End what live secrets open; the answer is the same whether any was known."""
        if scope["method"] != "POST":
            await _respond(send, 405, [(b"allow", b"POST")])
            return
        asked = await read_asked(scope, receive, REVOKE_TOKENS_MAX, ())
        if asked is None:
            await _send(send, INVALID)
            return
        address = client_address(scope, self._settings.trusted_proxies)
        request_id = new_id().hex
        try:
            await self._service.holders.revoke(
                asked.secrets,
                reason=RevocationReason.LEAKED if asked.is_batch else RevocationReason.USER_REQUEST,
                address=str(address) if address else None,
                request_id=request_id,
            )
        except TooManyAttempts:
            status, headers = 429, [(b"retry-after", b"%d" % CALLS_SECONDS)]
        except Unavailable:
            status, headers = refusal(Status.UNAVAILABLE)
        else:
            status, headers = 200, []
        await _respond(send, status, [*headers, (b"x-request-id", request_id.encode())])

    async def _caller(self, scope: Scope, send: Send, wanted: Wanted) -> Record | None:
        """Return whose request it is, or None where it was refused and that was told."""
        question = self._question(scope, wanted)
        if question is None:
            await _respond(send, *refusal(None))
            return None
        verdict = await self._opened.check(question.secret, **question.request._asdict())
        if verdict.is_valid and verdict.record is not None:
            return verdict.record
        await _respond(send, *refusal(verdict.status, wanted.scope))
        return None

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
        if record.ends_at is not None:
            told["exp"] = int(record.ends_at.timestamp())
        if record.audiences:
            told["aud"] = list(record.audiences)
        if record.not_before is not None:
            told["nbf"] = int(record.not_before.timestamp())
        return told

    @property
    def _opened(self) -> Validator:
        if self._validator is None:
            raise RuntimeError("the lifespan has not opened the validator")
        return self._validator

    @property
    def _service(self) -> Service:
        return cast(Service, self._app.state.service)


def _told(verdict: Verdict, request: Request) -> Reply:
    """Return the answer of ``/validate`` to a verdict."""
    record = verdict.record
    if verdict.status is not VALID or record is None:
        return _reply(*refusal(verdict.status, request.scope))
    identity = [
        (b"x-tokenward-account", str(record.account_id).encode()),
        (b"x-tokenward-token", str(record.token_id).encode()),
        (b"x-tokenward-scopes", _joined(record.scopes)),
    ]
    return _reply(200, identity)


@lru_cache(maxsize=1024)  # there are fewer than records: those of an application are much the same
def _joined(names: tuple[str, ...]) -> bytes:
    """Return scopes as a header's value.

    Raises:
        ValueError: If one, in a row that none of us wrote, would begin another header.
    """
    text = " ".join(names)
    if not text.isprintable():
        raise ValueError("a scope holds what no header may")
    return text.encode()


def _is_within(record: Record | None, caller: Actor) -> bool:
    """Return whether a caller may know of a record: it is of an API token within reach."""
    return (
        record is not None
        and record.kind is CredentialKind.API_TOKEN
        and caller.reach.includes(record.account_id, record.reseller_id)
    )


@lru_cache(maxsize=256)
def _known_wanted(query: bytes) -> Wanted | None:
    """Return the same as :func:`_parse_wanted`: an edge asks for few things, again and again."""
    return _parse_wanted(query)


def _parse_wanted(query: bytes) -> Wanted | None:
    """Return what ``scope=…&audience=…`` asks, or None where the query says anything else."""
    if not query:
        return Wanted()
    try:
        pairs = parse_qsl(
            query.decode("ascii"), strict_parsing=True, max_num_fields=10, keep_blank_values=True
        )
    except ValueError:
        return None
    named = [value for name, value in pairs if name == "scope"]
    audiences = [value for name, value in pairs if name == "audience"]
    wanted = Wanted(
        " ".join(" ".join(named).split()) if named else None,
        audiences[0] if audiences else None,
    )
    if len(audiences) > 1 or len(named) + len(audiences) < len(pairs):
        return None
    if wanted.audience is not None and not is_audience(wanted.audience):
        return None
    return wanted if _are_scopes(wanted.scope) else None


def _are_scopes(text: str | None) -> bool:
    return text is None or all(map(scopes.is_scope, text.split() or [""]))


def _reply(status: int, headers: list[Header], body: bytes = b"") -> Reply:
    """Return an answer with what stands in each."""
    length = (b"content-length", b"%d" % len(body))
    return Reply(status, [length, (b"cache-control", b"no-store"), *headers], body)


def _json_reply(status: int, value: dict[str, Any]) -> Reply:
    return _reply(status, [(b"content-type", b"application/json")], json.dumps(value).encode())


INVALID = _json_reply(400, {"error": "invalid_request"})


async def _respond_json(send: Send, status: int, value: dict[str, Any]) -> None:
    await _send(send, _json_reply(status, value))


async def _respond(send: Send, status: int, headers: list[Header]) -> None:
    await _send(send, _reply(status, headers))


async def _send(send: Send, reply: Reply) -> None:
    status, headers, body = reply
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
