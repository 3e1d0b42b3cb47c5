"""``POST /graphql``: one operation as JSON, nothing else."""

import asyncio
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import structlog
from cross_web import AsyncHTTPRequestAdapter, HTTPException
from graphql import GraphQLError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.exceptions import MissingQueryError
from strawberry.http import GraphQLHTTPResponse, GraphQLRequestData
from strawberry.http.streaming import SSETransport
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.subscriptions import GRAPHQL_SSE_PROTOCOL
from strawberry.types import ExecutionResult
from strawberry.types.execution import PreExecutionError
from strawberry.types.graphql import OperationType

from schema import media_types
from schema.context import Context
from schema.operation_request import read_operation
from schema.results import to_a_stranger, told
from schema.root import build_schema
from schema.trusted_documents import TrustedDocuments
from service.auth import authenticate
from service.errors import TimedOut, Unavailable
from service.settings import Settings

OPERATION_SECONDS_MAX = 10.0
RETRY_AFTER_SECONDS = 1

log = structlog.get_logger("tokenward.graphql")

_CODES = {
    HTTPStatus.METHOD_NOT_ALLOWED: "METHOD_NOT_ALLOWED",
    HTTPStatus.NOT_ACCEPTABLE: "NOT_ACCEPTABLE",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "UNSUPPORTED_MEDIA_TYPE",
    HTTPStatus.SERVICE_UNAVAILABLE: "UNAVAILABLE",
}
_HEADERS = {
    HTTPStatus.METHOD_NOT_ALLOWED: {"Allow": "POST"},
    HTTPStatus.UNAUTHORIZED: {"WWW-Authenticate": "Bearer"},
    HTTPStatus.SERVICE_UNAVAILABLE: {"Retry-After": str(RETRY_AFTER_SECONDS)},
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
        production = settings.environment == "production"
        trusted = TrustedDocuments.read(settings.trusted_documents, production=production)
        super().__init__(
            build_schema(production=production, trusted=trusted),
            graphql_ide=None,
            allow_queries_via_get=False,
            subscription_protocols=(GRAPHQL_SSE_PROTOCOL,),
        )

    async def run(self, request: Any, *_: Any, **__: Any) -> Any:
        """Serve one request; one that is no operation is told so in GraphQL's own form."""
        media_type = _media_type(request)
        try:
            _check_request(request, media_type)
            return await super().run(request)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to read it
        except HTTPException as refused:
            status = HTTPStatus(refused.status_code)
            code = _CODES.get(status, "BAD_REQUEST")
            error = {"message": refused.reason, "extensions": {"code": code}}
            return self._respond({"errors": [error]}, media_type or media_types.JSON, status)

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
        request.state.hides_schema = caller is None and self._settings.environment == "production"
        return Context(state.service, caller, request.scope, response, request_id)

    async def get_sub_response(self, request: Request | WebSocket) -> Response:
        """Return what gathers the answer's cookies, and knows its form."""
        response = await super().get_sub_response(request)
        response.media_type = _media_type(request)
        return response

    async def parse_http_body(self, request: AsyncHTTPRequestAdapter) -> GraphQLRequestData:
        """Return the operation of the body."""
        transport = None
        if media_types.EVENTS in request.headers.get("accept", "").lower():
            transport = self._get_stream_transport_from_headers(request.headers)
        body = await request.get_body()
        return read_operation(body, transport.protocol if transport else "http")

    async def execute_single(  # type: ignore[override] # it is called by names
        self, *, request_data: GraphQLRequestData, context: Context, **_: Any
    ) -> ExecutionResult:
        """Run a query or a mutation, and end it where it takes too long.

        A unit of work that is cancelled rolls back; one that commits at that moment has happened.
        """
        try:
            async with asyncio.timeout(OPERATION_SECONDS_MAX):
                return await self.schema.execute(
                    request_data.query,
                    variable_values=request_data.variables,
                    context_value=context,
                    operation_name=request_data.operation_name,
                    allowed_operation_types=(OperationType.QUERY, OperationType.MUTATION),
                    operation_extensions=request_data.extensions,
                )
        except TimeoutError:
            log.warning("graphql.timeout", seconds=OPERATION_SECONDS_MAX)
            return PreExecutionError(None, [GraphQLError("", original_error=TimedOut())])
        except InvalidOperationTypeError:
            message = f"A subscription is told as {media_types.EVENTS}, or over a WebSocket."
            return PreExecutionError(None, [GraphQLError(message)])
        except (CannotGetOperationTypeError, MissingQueryError):
            raise HTTPException(400, "Send a document, and name an operation of it.") from None

    async def process_result(
        self, request: Request, result: ExecutionResult
    ) -> GraphQLHTTPResponse:
        """Tell a result; its errors, from whichever phase, as a client may see them."""
        if result.errors:
            request_id = getattr(request.state, "request_id", None)
            result.errors = [told(error, request_id) for error in result.errors]
            if request.state.hides_schema:
                result.errors = to_a_stranger(result.errors)
        return await super().process_result(request, result)

    def create_response(self, response_data: Any, sub_response: Response) -> Response:
        """Return the answer; its status tells of errors only where its form says that it may."""
        status, headers = HTTPStatus.OK, {}
        errors = response_data.get("errors", [])
        for error in errors:
            if seconds := error["extensions"].get("retryAfterSeconds"):
                headers["Retry-After"] = str(seconds)
        is_graphql = sub_response.media_type == media_types.GRAPHQL
        if is_graphql and errors and response_data["data"] is None:
            anything_ran = all("path" in error for error in errors)
            status = media_types.status_of(errors, anything_ran=anything_ran)
        if status is not HTTPStatus.OK:
            del response_data["data"]  # only an answer of 200 has any
        response = self._respond(response_data, str(sub_response.media_type), status, headers)
        response.headers.raw.extend(sub_response.headers.raw)
        return response

    def _respond(
        self,
        told: dict[str, Any],
        media_type: str,
        status: HTTPStatus,
        headers: dict[str, str] | None = None,
    ) -> Response:
        content_type = {"Content-Type": media_types.content_type(media_type)}
        all_headers = content_type | _HEADERS.get(status, {}) | (headers or {})
        return Response(self.encode_json(told), int(status), all_headers)


def _media_type(request: Any) -> str | None:
    """Return the form of the answer, or None where the client takes none of ours."""
    return media_types.negotiate(", ".join(request.headers.getlist("accept")))


def _check_request(request: Any, media_type: str | None) -> None:
    """Refuse anything but POST of JSON, which also closes CSRF by forms."""
    if request.method != "POST":
        raise HTTPException(405, "Use POST.")
    if media_type is None:
        raise HTTPException(406, f"The answer is {media_types.GRAPHQL} or {media_types.JSON}.")
    if not media_types.is_json(request.headers.get("content-type", "")):
        raise HTTPException(415, "Send application/json in UTF-8.")
