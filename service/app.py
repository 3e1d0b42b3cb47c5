"""The web process: settings → connections → routes and schema. The only importer of ``schema``."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib import resources

import structlog
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from schema.endpoint import GraphQLEndpoint
from service.clock import Clock, new_id
from service.composition import open_service
from service.edge import Edge
from service.health import readiness
from service.settings import Settings
from service.validator import open_validator

BODY_BYTES_MAX = 64 * 1024

log = structlog.get_logger("tokenward.http")


def create_app(settings: Settings, *, clock: Clock | None = None) -> Edge:
    """Return the ASGI application; its lifespan opens and closes every connection.

    Args:
        settings: The process' own.
        clock: Tests bring theirs.
    """

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with (
            open_service(settings, clock=clock) as service,
            open_validator(settings, clock=clock) as validator,
        ):
            edge.open(service, validator)
            relay = asyncio.create_task(service.relay.keep_relaying())
            yield
            relay.cancel()
            with suppress(asyncio.CancelledError):
                await relay

    app = Starlette(
        routes=[
            Route("/", _home),
            Mount("/home", StaticFiles(packages=[("service", "home")])),
            Route("/schema.graphql", _schema),
            Route("/healthz", _healthz),
            Route("/readyz", _readyz),
            Route("/graphql", GraphQLEndpoint(settings), methods=["GET", "POST"]),
        ],
        middleware=[
            Middleware(RequestContext),
            Middleware(
                CORSMiddleware,
                allow_origins=list(settings.allowed_origins),
                allow_methods=["POST"],
                allow_headers=["Authorization", "Content-Type"],
                allow_credentials=True,
                max_age=600,
            ),
            Middleware(RequestBodyLimitMiddleware, max_body_size=BODY_BYTES_MAX),
        ],
        exception_handlers={500: _surprise},
        lifespan=lifespan,
    )
    edge = Edge(app, settings)
    return edge


class RequestContext:
    """Gives each request an id, told in the answer and in every log line, and logs its outcome."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = new_id().hex
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        began = time.monotonic()
        status = 500

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", request_id.encode()),
                    (b"x-content-type-options", b"nosniff"),
                ]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            log.info(
                "http.request",
                method=scope["method"],
                path=scope["path"],
                status=status,
                milliseconds=round((time.monotonic() - began) * 1000, 1),
            )


_HOME = resources.files("service").joinpath("home/index.html").read_text(encoding="utf-8")
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; "
    "frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
}


async def _home(_: Request) -> Response:
    return HTMLResponse(_HOME, headers=_PAGE_HEADERS)


async def _schema(_: Request) -> Response:
    text = resources.files("schema").joinpath("schema.graphql").read_text(encoding="utf-8")
    return PlainTextResponse(text)


async def _healthz(_: Request) -> Response:
    return PlainTextResponse("alive\n")


async def _readyz(request: Request) -> Response:
    ready, parts = await readiness(request.app.state.service)
    return JSONResponse(parts, status_code=200 if ready else 503)


async def _surprise(request: Request, failure: Exception) -> Response:
    """Answer what nobody foresaw: the id to ask about, and nothing else."""
    request_id = getattr(request.state, "request_id", None)
    log.error("http.surprise", exc_info=failure)
    return JSONResponse({"error": "internal", "requestId": request_id}, status_code=500)
