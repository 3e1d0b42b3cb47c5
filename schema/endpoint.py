"""``POST /graphql``: one operation as JSON, nothing else."""

import json
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from cross_web import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.http import GraphQLHTTPResponse
from strawberry.http.streaming import SSETransport
from strawberry.subscriptions import GRAPHQL_SSE_PROTOCOL
from strawberry.types import ExecutionResult
from strawberry.types.graphql import OperationType

from schema.context import Context
from schema.results import told
from schema.root import build_schema
from service.auth import authenticate
from service.errors import Unavailable
from service.settings import Settings

_CODES = {
    HTTPStatus.METHOD_NOT_ALLOWED: "METHOD_NOT_ALLOWED",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "UNSUPPORTED_MEDIA_TYPE",
    HTTPStatus.SERVICE_UNAVAILABLE: "UNAVAILABLE",
}


class SubscriptionStream(SSETransport):
    """Server-sent events for subscriptions alone: a stream's headers are gone before its cookie."""

    def allowed_operation_types(self, _: set[OperationType]) -> Iterable[OperationType]:
        """Return the one type that is streamed."""
        return (OperationType.SUBSCRIPTION,)


class GraphQLEndpoint(GraphQL[Context, None]):
    """Strawberry's endpoint without what is not wanted: GET, forms, uploads, batches, an IDE."""

    stream_transport_classes_by_protocol = {GRAPHQL_SSE_PROTOCOL: SubscriptionStream}  # noqa: RUF012 - the library's own attribute

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        super().__init__(
            build_schema(production=settings.environment == "production"),
            graphql_ide=None,
            allow_queries_via_get=False,
            subscription_protocols=(GRAPHQL_SSE_PROTOCOL,),
        )

    async def run(self, request: Any, *_: Any, **__: Any) -> Any:
        """Serve one request; one that is no operation is told so in GraphQL's own form."""
        try:
            _check_request(request)
            return await super().run(request)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to read it
        except HTTPException as refused:
            code = _CODES.get(HTTPStatus(refused.status_code), "BAD_REQUEST")
            error = {"message": refused.reason, "extensions": {"code": code}}
            headers = (
                {"Allow": "POST"} if refused.status_code == HTTPStatus.METHOD_NOT_ALLOWED else {}
            )
            return JSONResponse({"errors": [error]}, refused.status_code, headers)

    async def get_context(
        self, request: Request | WebSocket, response: Response | WebSocket
    ) -> Context:
        """Authenticate the request and build its world."""
        if not isinstance(response, Response):
            raise HTTPException(400, "WebSockets are not served here.")
        state = request.app.state
        request_id = getattr(request.state, "request_id", None)
        try:
            caller = await authenticate(
                request.scope, state.validator, self._settings, request_id=request_id
            )
        except Unavailable as unavailable:
            raise HTTPException(unavailable.status, unavailable.message) from None
        return Context(state.service, caller, request.scope, response, request_id)

    async def process_result(
        self, request: Request, result: ExecutionResult
    ) -> GraphQLHTTPResponse:
        """Tell a result; its errors, from whichever phase, as a client may see them."""
        if result.errors:
            request_id = getattr(request.state, "request_id", None)
            result.errors = [told(error, request_id) for error in result.errors]
        return await super().process_result(request, result)

    def decode_json(self, data: str | bytes) -> object:
        """Return one operation.

        Raises:
            HTTPException: 400, for anything that is not an object of the right shape.
        """
        try:
            value = json.loads(data, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            raise HTTPException(400, "The body is not JSON.") from None
        if not _is_text(value):
            raise HTTPException(400, "The body holds half a character (a lone surrogate).")
        if not isinstance(value, dict):
            raise HTTPException(400, "Send one operation as a JSON object.")
        if not isinstance(value.get("query"), str):
            raise HTTPException(400, "`query` must be a string.")
        if not isinstance(value.get("variables", {}), dict | None):
            raise HTTPException(400, "`variables` must be an object.")
        if not isinstance(value.get("operationName"), str | None):
            raise HTTPException(400, "`operationName` must be a string.")
        if not isinstance(value.get("extensions", {}), dict | None):
            raise HTTPException(400, "`extensions` must be an object.")
        return value


def _check_request(request: Any) -> None:
    """Refuse anything but POST of JSON, which also closes CSRF by forms."""
    if isinstance(request, Request):
        if request.method != "POST":
            raise HTTPException(405, "Use POST.")
        content_type = request.headers.get("content-type", "").partition(";")[0]
        # As the library compares it; a name in capitals is refused by us, with the right status.
        if content_type.strip() != "application/json":
            raise HTTPException(415, "Send application/json.")


def _is_text(value: object) -> bool:
    r"""Return whether every string can be encoded; JSON lets ``"\ud800"`` pass (RFC 8259 §8.2)."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")
