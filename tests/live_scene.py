"""The web process behind a real socket, and clients that watch: by events, and by WebSocket."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, cast

import httpx2
from edge_scene import People, Person, bearer
from factories import make_token
from web_scene import served
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin, Subprotocol

from schema import node_ids
from schema.live_messages import PROTOCOL
from service.app import create_app
from service.auth import session_cookie
from service.cache import NOTHING_DROPPED
from service.composition import Service
from service.settings import Settings
from service.streams import Streams
from service.validator import Validator

WATCH = (
    "subscription($id: ID!) { revocationProgress(id: $id)"
    " { id state validatorsKnown validatorsApplied vanishedValidators { name } } }"
)
ACCEPT = {"accept": "text/event-stream"}
SILENT = "deaf"
WAIT_SECONDS = 10.0

Event = tuple[str, dict[str, Any]]
"""The name of a server-sent event, and its data."""


@dataclass(frozen=True, slots=True)
class Live:
    """A WebSocket's client, which speaks as it is told to."""

    socket: ClientConnection

    async def say(self, message: object) -> None:
        """Send anything."""
        await self.socket.send(message if isinstance(message, str) else json.dumps(message))

    async def hear(self) -> dict[str, Any]:
        """Return the next message."""
        async with asyncio.timeout(WAIT_SECONDS):
            return cast(dict[str, Any], json.loads(await self.socket.recv()))

    async def init(self, secret: str | None = None) -> dict[str, Any]:
        """Say who calls, and return the answer."""
        payload = {} if secret is None else bearer(secret)
        await self.say({"type": "connection_init", "payload": payload})
        return await self.hear()

    async def subscribe(self, query: str, name: str = "1", /, **variables: object) -> None:
        """Begin a subscription under a name, the protocol's `id`."""
        payload = {"query": query, "variables": variables}
        await self.say({"type": "subscribe", "id": name, "payload": payload})

    async def end(self) -> tuple[int, list[dict[str, Any]]]:
        """Return the code with which the other end closes, and what it says until then."""
        said = []
        with suppress(ConnectionClosed):
            while True:
                said.append(await self.hear())
        assert self.socket.close_code is not None
        return self.socket.close_code, said


@asynccontextmanager
async def opened_live(
    url: str,
    protocols: tuple[str, ...] = (PROTOCOL,),
    *,
    headers: dict[str, str] | None = None,
    origin: str | None = None,
) -> AsyncIterator[Live]:
    """Open a WebSocket to a service at an address."""
    async with connect(
        url.replace("http://", "ws://").rstrip("/") + "/graphql",
        subprotocols=[Subprotocol(name) for name in protocols] or None,
        origin=None if origin is None else Origin(origin),
        additional_headers=headers,
        proxy=None,
    ) as socket:
        yield Live(socket)


@dataclass(frozen=True, slots=True)
class Web:
    """The web process behind a real socket."""

    client: httpx2.AsyncClient
    people: People
    service: Service
    streams: Streams

    async def revoke(self, person: Person) -> str:
        """Revoke a new token of a person's; return the receipt's global id."""
        created = await make_token(self.service, person.actor)
        changed = await self.service.tokens.revoke(person.actor, created.token.id)
        assert changed.propagation is not None
        return node_ids.encode(node_ids.PROPAGATION, changed.propagation.receipt.id)

    async def events(
        self, secret: str | None, query: str = WATCH, **variables: object
    ) -> AsyncIterator[Event]:
        """Yield events as they come: their names, and their data."""
        body = {"query": query, "variables": variables}
        headers = ACCEPT | ({} if secret is None else bearer(secret))
        async with self.client.stream("POST", "/graphql", json=body, headers=headers) as answer:
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert "no-cache" in answer.headers["cache-control"]
            event = ""
            async for line in answer.aiter_lines():
                if line.startswith("event: "):
                    event = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    yield event, json.loads(line.removeprefix("data: ") or "{}")

    async def all(self, secret: str | None, query: str = WATCH, **variables: object) -> list[Event]:
        """Return every event up to the end of the stream."""
        return [event async for event in self.events(secret, query, **variables)]

    @asynccontextmanager
    async def live(
        self,
        *,
        protocols: tuple[str, ...] = (PROTOCOL,),
        origin: str | None = None,
        cookie: str | None = None,
    ) -> AsyncIterator[Live]:
        """Open a WebSocket, as a program does, or a page of an origin with the browser's cookie."""
        headers = {}
        if cookie is not None:
            headers["Cookie"] = f"{session_cookie(self.service.settings)}={cookie}"
        async with opened_live(
            str(self.client.base_url), protocols, headers=headers, origin=origin
        ) as live:
            yield live

    @asynccontextmanager
    async def known(self, secret: str) -> AsyncIterator[Live]:
        """Open a WebSocket, and say who calls."""
        async with self.live() as live:
            assert await live.init(secret) == {"type": "connection_ack"}
            yield live


@asynccontextmanager
async def opened_web(
    settings: Settings, service: Service, validator: Validator, people: People
) -> AsyncIterator[Web]:
    """Serve one web process' application."""
    app = create_app(settings)
    app.open(service, validator)
    streams = app._app.state.streams  # noqa: SLF001 - what nobody outside need know
    async with served(app) as url, httpx2.AsyncClient(base_url=url, timeout=20) as client:
        yield Web(client, people, service, streams)


@asynccontextmanager
async def somebody_deaf(service: Service) -> AsyncIterator[None]:
    """Have a validator that has applied nothing, until the end."""
    await service.cache.report(SILENT, NOTHING_DROPPED)
    try:
        yield
    finally:
        await service.cache.forget_report(SILENT)


def progress(event: Event) -> dict[str, Any]:
    """Return how far a revocation has come, as an event tells."""
    assert event[0] == "next"
    assert "errors" not in event[1], event
    return cast(dict[str, Any], event[1]["data"]["revocationProgress"])


def refusal(events: list[Event]) -> str:
    """Return the code of the refusal that was all that a stream held."""
    [(name, told), *end] = events
    assert name == "next"
    assert [event for event, _ in end] == ["complete"]
    assert not told.get("data")
    [code] = {error["extensions"]["code"] for error in told["errors"]}
    return str(code)
