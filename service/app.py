"""The web process: settings → connections → routes and schema. The only importer of ``schema``."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route, WebSocketRoute

from schema.audit_download import download
from schema.endpoint import GraphQLEndpoint
from schema.live_endpoint import LiveEndpoint
from service import pages
from service.background import end
from service.clock import Clock
from service.composition import open_service
from service.edge import Edge
from service.request_context import RequestContext
from service.settings import Settings
from service.validator import open_validator

BODY_BYTES_MAX = 64 * 1024
PREFLIGHT_SECONDS = 600


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
            sealer = asyncio.create_task(service.sealer.keep_sealing())
            yield
            await service.refusals.settle()
            await end(sealer)
            await end(relay)

    graphql = GraphQLEndpoint(settings)
    app = Starlette(
        routes=[
            Route("/graphql", graphql),
            WebSocketRoute("/graphql", LiveEndpoint(graphql.schema, settings)),
            Route("/audit/export", download, methods=["GET"]),
            *pages.routes(production=settings.environment == "production"),
        ],
        middleware=_middleware(settings),
        exception_handlers={500: pages.surprise},
        lifespan=lifespan,
    )
    edge = Edge(app, settings)
    return edge


def _middleware(settings: Settings) -> list[Middleware]:
    return [
        Middleware(RequestContext),
        Middleware(
            CORSMiddleware,
            allow_origins=list(settings.allowed_origins),
            allow_methods=["POST"],
            allow_headers=["Authorization", "Content-Type"],
            allow_credentials=True,
            max_age=PREFLIGHT_SECONDS,
        ),
        Middleware(RequestBodyLimitMiddleware, max_body_size=BODY_BYTES_MAX),
    ]
