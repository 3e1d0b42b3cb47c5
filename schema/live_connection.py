"""One WebSocket: who is at its other end, and the subscriptions that run over it.

Plain ``graphql-transport-ws`` (github.com/enisdenjo/graphql-ws, PROTOCOL.md). The library's own
handler would tell errors as they are, and stumble over messages of another shape.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

import structlog
from graphql import GraphQLError
from starlette.responses import Response
from starlette.types import Scope
from starlette.websockets import WebSocket, WebSocketDisconnect
from strawberry.http import GraphQLRequestData, process_result
from strawberry.schema.base import BaseSchema
from strawberry.schema.exceptions import InvalidOperationTypeError
from strawberry.types import ExecutionResult
from strawberry.types.execution import PreExecutionError
from strawberry.types.graphql import OperationType

from schema import live_messages
from schema.context import Context
from schema.live_messages import Closed, Message, read_authorization, read_message, read_operation
from schema.results import INVALID_OPERATION_CODE, told
from service.background import end
from service.clock import new_id
from service.composition import Service
from service.errors import ServiceError, TooManyStreams, Unauthenticated
from service.streams import Standing, Streams

INIT_SECONDS_MAX = 10.0
SUBSCRIPTIONS_MAX = 10

_GONE = (WebSocketDisconnect, ConnectionError)


class Connection:
    """One accepted WebSocket.

    Args:
        socket: Accepted already.
        schema: What is executed.
        service: The process' own.
        streams: The process' own.
    """

    def __init__(
        self, socket: WebSocket, schema: BaseSchema, service: Service, streams: Streams
    ) -> None:
        self._socket = socket
        self._schema = schema
        self._service = service
        self._streams = streams
        self._scope: Scope = socket.scope
        self._running: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Serve it until its end.

        Raises:
            Closed: With what the other end is told.
            WebSocketDisconnect: If it has gone away itself.
        """
        try:
            with self._streams.unknown_socket(self._scope):
                standing = await self._wait_for_init()
            actor = await standing.begin()
            with self._streams.sockets.taken(actor):
                await self._send({"type": "connection_ack"})
                async with self._ending():
                    await _first_of(self._keep_reading(), standing.keep_judging())
        except Unauthenticated:
            raise Closed(live_messages.FORBIDDEN, "The credential is not valid.") from None
        except ServiceError as refused:
            raise Closed(live_messages.TRY_AGAIN, refused.message) from None

    async def _wait_for_init(self) -> Standing:
        """Return how the caller stands, once it has said who it is."""
        try:
            async with asyncio.timeout(INIT_SECONDS_MAX):
                while (message := await self._receive()).type in {"ping", "pong"}:
                    await self._answer_ping(message)
        except TimeoutError:
            raise Closed(live_messages.INIT_TIMEOUT, "Nobody has said who calls.") from None
        if message.type != "connection_init":
            raise Closed(live_messages.UNAUTHORIZED, "Send connection_init first.")
        if (said := read_authorization(message)) is not None:
            # As if it were the handshake's header, so that every rule for that holds.
            headers = [
                pair for pair in self._scope["headers"] if pair[0].lower() != b"authorization"
            ]
            headers += [(b"authorization", value) for value in said]
            self._scope = {**self._scope, "headers": headers}
        return self._streams.standing(self._scope, new_id().hex)

    async def _keep_reading(self) -> None:
        """Do what the other end says, message by message."""
        while True:
            message = await self._receive()
            match message.type:
                case "subscribe":
                    await self._begin(message)
                case "complete":
                    if running := self._running.pop(message.id, None):
                        await _end(running)
                case "ping" | "pong":
                    await self._answer_ping(message)
                case "connection_init":
                    raise Closed(live_messages.TOO_MANY_INITS, "Send connection_init once.")
                case _:
                    raise Closed(live_messages.BAD_REQUEST, "There is no such message.")

    async def _begin(self, message: Message) -> None:
        """Begin a subscription."""
        if message.id in self._running:
            raise Closed(live_messages.ID_TAKEN, "The id is in use.")
        operation = read_operation(message)
        if len(self._tasks) >= SUBSCRIPTIONS_MAX:
            refused = GraphQLError("", original_error=TooManyStreams())
            await self._send_error(message.id, [refused], None)
            return
        task = asyncio.create_task(self._run(message.id, operation))
        self._running[message.id] = task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, id_: str, operation: GraphQLRequestData) -> None:
        """Run a subscription to its end; whatever goes wrong is told, and told masked."""
        request_id = new_id().hex
        structlog.contextvars.bind_contextvars(request_id=request_id)
        try:
            async with aclosing(await self._stream(operation, request_id)) as results:
                async for result in results:
                    if isinstance(result, PreExecutionError):
                        await self._send_error(id_, result.errors or [], request_id)
                        return
                    await self._send_result(id_, result, request_id)
            self._forget(id_)
            await self._send({"id": id_, "type": "complete"})
        except _GONE:
            pass  # nobody is there to be told
        except Exception as surprise:  # noqa: BLE001 - told, masked, and logged by `told`
            with suppress(*_GONE):
                error = GraphQLError("", original_error=surprise)
                await self._send_error(id_, [error], request_id)
        finally:
            self._forget(id_)

    async def _stream(self, operation: GraphQLRequestData, request_id: str) -> Any:
        standing = self._streams.standing(self._scope, request_id)
        caller = await standing.begin()
        return await self._schema.stream(
            operation.query,
            variable_values=operation.variables,
            context_value=Context(self._service, caller, self._scope, Response(), request_id),
            operation_name=operation.operation_name,
            operation_extensions=operation.extensions,
            allowed_operation_types=(OperationType.SUBSCRIPTION,),
        )

    def _forget(self, id_: str) -> None:
        """Let an id be used again; another subscription that has taken it since keeps it."""
        if self._running.get(id_) is asyncio.current_task():
            del self._running[id_]

    async def _send_result(self, id_: str, result: ExecutionResult, request_id: str) -> None:
        if result.errors:
            result.errors = [told(error, request_id) for error in result.errors]
        await self._send({"id": id_, "type": "next", "payload": process_result(result)})

    async def _send_error(
        self, id_: str, errors: list[GraphQLError], request_id: str | None
    ) -> None:
        """End an operation that did not run."""
        self._forget(id_)
        payload = [_told(error, request_id).formatted for error in errors]
        await self._send({"id": id_, "type": "error", "payload": payload})

    async def _answer_ping(self, message: Message) -> None:
        if message.type == "ping":
            await self._send({"type": "pong"})

    async def _receive(self) -> Message:
        received = await self._socket.receive()
        if received["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(received.get("code", 1005))
        return read_message(dict(received))

    async def _send(self, message: dict[str, Any]) -> None:
        """Send a message; wait for as long as the other end has not read enough of the last ones.

        :class:`service.websocket_protocol.WebSocketProtocol` ends that after a while.
        """
        await self._socket.send_text(json.dumps(message, separators=(",", ":")))

    @asynccontextmanager
    async def _ending(self) -> AsyncIterator[None]:
        """End every subscription at the end, before the other end is told of it."""
        try:
            yield
        finally:
            for task in list(self._tasks):
                await _end(task)


async def _first_of(*running: Coroutine[Any, Any, None]) -> None:
    """Run until the first has ended; raise what it raised."""
    tasks = [asyncio.create_task(one) for one in running]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            await _end(task)


async def _end(task: "asyncio.Task[None]") -> None:
    with suppress(Exception):
        await end(task)


def _told(error: GraphQLError, request_id: str | None) -> GraphQLError:
    if isinstance(error.original_error, InvalidOperationTypeError):
        code = {"code": INVALID_OPERATION_CODE}
        return GraphQLError("Only subscriptions run here; send others by POST.", extensions=code)
    return told(error, request_id)
