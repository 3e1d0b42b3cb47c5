"""What the body of a question to the edge asks: a form as the RFCs have it, or JSON of many."""

import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from starlette.types import Receive, Scope

FORM_BYTES_MAX = 8 * 1024
JSON_BYTES_MAX = 64 * 1024

_FORM = b"application/x-www-form-urlencoded"
_JSON = b"application/json"
_DIGEST = re.compile("[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Asked:
    """A body: a form of one secret, or JSON of many secrets or digests.

    Attributes:
        secrets: None empty; none at all where digests are named.
        digests: 32 bytes each.
        fields: The other fields.
    """

    secrets: list[str]
    is_batch: bool
    fields: dict[str, str]
    digests: tuple[bytes, ...] = ()


async def read_asked(
    scope: Scope, receive: Receive, secrets_max: int, fields: tuple[str, ...]
) -> Asked | None:
    """Return what a body asks, or None for another content type, size or shape.

    Args:
        scope: The request's.
        receive: The request's.
        secrets_max: How many secrets JSON may name.
        fields: The other fields that JSON may have, `digests` alone; a form's further fields are
            ignored, as the RFCs want it.
    """
    content_type = dict(scope["headers"]).get(b"content-type", b"").partition(b";")[0]
    content_type = content_type.strip().lower()
    if content_type == _FORM:
        form = _parse_form(await _read_body(receive, FORM_BYTES_MAX))
        token = form.pop("token", "")
        return Asked([token], is_batch=False, fields=form) if token else None
    if content_type == _JSON:
        told = _parse_json(await _read_body(receive, JSON_BYTES_MAX))
        if "digests" in fields and set(told) == {"digests"}:
            return _ask_digests(_texts(told["digests"], secrets_max))
        tokens = _texts(told.pop("tokens", None), secrets_max)
        if "digests" in told:
            return None  # of secrets or of digests, never of both
        if tokens and all(name in fields and isinstance(told[name], str) for name in told):
            return Asked(tokens, is_batch=True, fields=told)
    return None


def _ask_digests(texts: list[str]) -> Asked | None:
    if not texts or not all(map(_DIGEST.fullmatch, texts)):
        return None
    return Asked([], is_batch=True, fields={}, digests=tuple(map(bytes.fromhex, texts)))


def _texts(value: object, length_max: int) -> list[str]:
    """Return a list of texts, none empty; nothing where it is anything else, or too long."""
    if not isinstance(value, list) or len(value) > length_max:
        return []
    texts = [text for text in value if isinstance(text, str) and text]
    return texts if len(texts) == len(value) else []


async def _read_body(receive: Receive, bytes_max: int) -> bytes:
    """Return the body, or nothing where it is too long or its client has gone away."""
    body = bytearray()
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if message["type"] != "http.request" or len(body) > bytes_max:
            return b""
    return bytes(body)


def _parse_form(body: bytes) -> dict[str, str]:
    """Return the fields of a form; none where it is malformed or repeats one."""
    try:
        pairs = parse_qsl(
            body.decode("ascii"), max_num_fields=10, strict_parsing=True, keep_blank_values=True
        )
    except ValueError:
        return {}
    return _unique(pairs)


def _parse_json(body: bytes) -> dict[str, Any]:
    """Return the members of an object; none where it is malformed, repeats one or is none."""
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return pairs as a mapping, or nothing where a name is repeated: never guess which counts."""
    fields = dict(pairs)
    return fields if len(fields) == len(pairs) else {}
