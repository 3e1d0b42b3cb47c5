"""The body of ``POST /graphql``: one operation as strict JSON."""

import json
from typing import Any

from cross_web import HTTPException
from strawberry.http import GraphQLRequestData, GraphQLRequestProtocol

from schema.trusted_documents import PREFIX


def read_operation(body: bytes, protocol: GraphQLRequestProtocol) -> GraphQLRequestData:
    """Return the operation that a body holds.

    Args:
        body: JSON in UTF-8, without a byte order mark.
        protocol: How the answer is told.

    Raises:
        HTTPException: 400, for anything that is not an object of the right shape.
    """
    return operation_of(read_json(body), protocol)


def operation_of(value: object, protocol: GraphQLRequestProtocol) -> GraphQLRequestData:
    """Return the operation that a value out of JSON is.

    Raises:
        HTTPException: As :func:`read_operation`.
    """
    if not isinstance(value, dict):
        raise HTTPException(400, "Send one operation as a JSON object.")
    extensions = _object(value, "extensions")
    if (document_id := value.get("documentId")) is not None:
        if not isinstance(document_id, str) or not document_id.startswith(PREFIX):
            raise HTTPException(400, f"`documentId` must be `{PREFIX}` and the hash.")
        wanted = {"sha256Hash": document_id.removeprefix(PREFIX)}
        extensions = {**(extensions or {}), "persistedQuery": wanted}
    is_by_hash = "persistedQuery" in (extensions or {})
    query = value.get("query")
    if not isinstance(query, str) and not (is_by_hash and query is None):
        raise HTTPException(400, "`query` must be a string.")
    name = value.get("operationName")
    if not isinstance(name, str | None):
        raise HTTPException(400, "`operationName` must be a string.")
    return GraphQLRequestData(query, _object(value, "variables"), name, extensions, protocol)


def _object(value: dict[str, Any], name: str) -> dict[str, Any] | None:
    part = value.get(name)
    if not isinstance(part, dict | None):
        raise HTTPException(400, f"`{name}` must be an object.")
    return part


def read_json(body: bytes) -> object:
    """Return what JSON in UTF-8 says.

    Raises:
        HTTPException: 400, if it is none, or not strictly.
    """
    try:
        value = json.loads(
            # Strictly: the library would guess at UTF-16, and let surrogates pass.
            body.decode("utf-8"),
            parse_constant=_refuse_constant,
            object_pairs_hook=_unique,
        )
        is_text = _is_text(value)  # it may run out of depth where reading has not
    except (ValueError, RecursionError):
        raise HTTPException(400, "The body is not JSON in UTF-8, each key once.") from None
    if not is_text:
        raise HTTPException(400, "The body holds half a character (a lone surrogate).")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; of two values for a key a proxy in front may have seen the other one."""
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key comes twice")
    return value


def _is_text(value: object) -> bool:
    r"""Return whether every string can be encoded; JSON lets ``"\ud800"`` pass (RFC 8259 §8.2)."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")
