"""What a client may say over a WebSocket: ``graphql-transport-ws``, and nothing else."""

from dataclasses import dataclass
from typing import Any

from cross_web import HTTPException
from strawberry.http import GraphQLRequestData

from schema.operation_request import operation_of, read_json
from service.streams import MESSAGE_BYTES_MAX

PROTOCOL = "graphql-transport-ws"
ID_CHARACTERS_MAX = 128

BAD_REQUEST = 4400
UNAUTHORIZED = 4401
FORBIDDEN = 4403
NO_SUCH_PROTOCOL = 4406
INIT_TIMEOUT = 4408
ID_TAKEN = 4409
TOO_MANY_INITS = 4429
TRY_AGAIN = 4503  # the protocol leaves 4000–4999 to us; its clients connect again after this one
TOO_BIG = 1009  # RFC 6455 §7.4.1


class Closed(Exception):
    """The connection ends, for a reason that the other end is told."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Message:
    """One message.

    Attributes:
        type: What it says.
        id: Of which operation; empty where it is about none.
        payload: None where it has none.
    """

    type: str
    id: str
    payload: dict[str, Any] | None


def read_message(received: dict[str, Any]) -> Message:
    """Return the message that an ASGI event holds.

    Raises:
        Closed: If it is none.
    """
    text = received.get("text")
    if text is None:
        raise Closed(BAD_REQUEST, "Send text.")
    body = text.encode("utf-8", "surrogatepass")
    if len(body) > MESSAGE_BYTES_MAX:
        raise Closed(TOO_BIG, "The message is too big.")
    try:
        value = read_json(body)
    except HTTPException:
        raise Closed(BAD_REQUEST, "The message is not JSON, each key once.") from None
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        raise Closed(BAD_REQUEST, "Send an object with a type.")
    payload = value.get("payload")
    if not isinstance(payload, dict | None):
        raise Closed(BAD_REQUEST, "The payload must be an object.")
    return Message(value["type"], _read_id(value), payload)


def read_authorization(message: Message) -> list[bytes] | None:
    """Return what a ``connection_init`` says in the place of a header; None where it says nothing.

    Raises:
        Closed: If it is no text.
    """
    said = [
        value
        for name, value in (message.payload or {}).items()
        if name.lower() == "authorization" and value is not None
    ]
    if not all(isinstance(value, str) for value in said):
        raise Closed(BAD_REQUEST, "Authorization must be a string.")
    return [value.encode() for value in said] or None


def read_operation(message: Message) -> GraphQLRequestData:
    """Return the operation that a ``subscribe`` holds, by the same rules as a body's.

    Raises:
        Closed: If it has another shape.
    """
    try:
        return operation_of(message.payload, "http")
    except HTTPException as refused:
        raise Closed(BAD_REQUEST, refused.reason) from None


def _read_id(value: dict[str, Any]) -> str:
    id_ = value.get("id", "")
    if not isinstance(id_, str) or len(id_) > ID_CHARACTERS_MAX:
        raise Closed(BAD_REQUEST, f"An id is a string of at most {ID_CHARACTERS_MAX} characters.")
    if not id_ and value["type"] in {"subscribe", "complete"}:
        raise Closed(BAD_REQUEST, "The message needs an id.")
    return id_
