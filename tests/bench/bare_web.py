"""The least that a server can do, served exactly as `tokenward web` is: run as a program.

``/`` answers 204 at once, ``/same`` with an answer that looks like ``/validate``'s, ``/get`` after
one GET of redis-py's, ``/select`` after the one query that validators ask of the database.
"""

import asyncpg
from redis.asyncio import Redis
from starlette.types import Receive, Scope, Send

import service.app
from service.command import main
from service.settings import Settings

DIGEST = bytes(32)
IDENTIFIER = b"00000000-0000-7000-8000-000000000000"
SAME_HEADERS = [
    (b"content-length", b"0"),
    (b"cache-control", b"no-store"),
    (b"x-tokenward-account", IDENTIFIER),
    (b"x-tokenward-token", IDENTIFIER),
    (b"x-tokenward-scopes", b"dns:read dns:write mail:read"),
]


class BareApp:
    """Plain ASGI."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._redis: Redis
        self._pool: asyncpg.Pool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan."""
        if scope["type"] == "lifespan":
            await self._open(send)
            await receive()
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        if scope["path"] == "/get":
            await self._redis.get("bench")
        elif scope["path"] == "/select":
            await self._pool.fetchrow("SELECT * FROM credential_by_digest($1)", DIGEST)
        status, headers = (200, SAME_HEADERS) if scope["path"] == "/same" else (204, [])
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async def _open(self, send: Send) -> None:
        self._redis = Redis.from_url(self._settings.redis_url.get_secret_value())
        # As many as a validator has.
        self._pool = await asyncpg.create_pool(
            self._settings.database_url.get_secret_value(), min_size=0, max_size=8
        )
        await send({"type": "lifespan.startup.complete"})


if __name__ == "__main__":
    service.app.create_app = BareApp  # type: ignore[assignment] # the command serves it instead
    main()
