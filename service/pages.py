"""The few answers that are neither GraphQL nor the edge's: pages, health, surprises."""

from importlib import resources

import structlog
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from service.health import readiness
from service.metrics import exposition

log = structlog.get_logger("tokenward.http")

_HOME = resources.files("service").joinpath("home/index.html").read_text(encoding="utf-8")
_RESET = resources.files("service").joinpath("home/reset.html").read_text(encoding="utf-8")
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; "
    "frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
}


async def home(_: Request) -> Response:
    """Show a page to sign in on and to ask anything of the API."""
    return HTMLResponse(_HOME, headers=_PAGE_HEADERS)


async def reset_password(_: Request) -> Response:
    """Show a page to set a password on, by the link of an e-mail."""
    return HTMLResponse(_RESET, headers=_PAGE_HEADERS)


async def schema(_: Request) -> Response:
    """Give the schema as it is committed."""
    text = resources.files("schema").joinpath("schema.graphql").read_text(encoding="utf-8")
    return PlainTextResponse(text)


async def healthz(_: Request) -> Response:
    """Say that this process is alive."""
    return PlainTextResponse("alive\n")


async def readyz(request: Request) -> Response:
    """Say whether requests can be served, and how each part is."""
    ready, parts = await readiness(request.app.state.service)
    return JSONResponse(parts, status_code=200 if ready else 503)


async def metrics(request: Request) -> Response:
    """Give an operator's monitoring what it reads; an edge keeps it from everybody else."""
    return PlainTextResponse(await exposition(request.app.state.service))


async def surprise(request: Request, failure: Exception) -> Response:
    """Answer what nobody foresaw: the id to ask about, and nothing else."""
    request_id = getattr(request.state, "request_id", None)
    log.error("http.surprise", exc_info=failure)
    return JSONResponse({"error": "internal", "requestId": request_id}, status_code=500)


def routes(*, production: bool) -> list[BaseRoute]:
    """Return the routes; the schema, like introspection, stays out of production."""
    everywhere: list[BaseRoute] = [
        Route("/", home),
        Route("/reset-password", reset_password),
        Mount("/home", StaticFiles(packages=[("service", "home")])),
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/metrics", metrics),
    ]
    return everywhere if production else [*everywhere, Route("/schema.graphql", schema)]
