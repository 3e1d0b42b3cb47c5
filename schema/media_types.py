"""Which form an answer has, and with which status it goes (GraphQL over HTTP, draft of 2026)."""

from functools import lru_cache
from http import HTTPStatus
from typing import Any

GRAPHQL = "application/graphql-response+json"
JSON = "application/json"
EVENTS = "text/event-stream"

KNOWN_LENGTH_MAX = 200

_UTF_8 = {"utf-8", "utf8"}
_CONTENT_TYPES = {GRAPHQL: f"{GRAPHQL}; charset=utf-8", JSON: JSON}

# The refusals that are the whole answer where everything that was asked for met with them.
_WHOLE = {
    "UNAUTHENTICATED": HTTPStatus.UNAUTHORIZED,
    "UNAVAILABLE": HTTPStatus.SERVICE_UNAVAILABLE,
}
_REQUEST = _WHOLE | {
    "DOCUMENT_NOT_TRUSTED": HTTPStatus.FORBIDDEN,
    "TOO_MANY_REQUESTS": HTTPStatus.TOO_MANY_REQUESTS,
    "TIMEOUT": HTTPStatus.SERVICE_UNAVAILABLE,
    "INTERNAL": HTTPStatus.INTERNAL_SERVER_ERROR,
}


def negotiate(accept: str) -> str | None:
    """Return the media type of the answer, or None where the client takes none of ours.

    ``application/graphql-response+json`` where it is named and not preferred less; older clients,
    which name neither, get ``application/json`` as ever.

    Args:
        accept: The header; empty where there is none.

    Source:
        RFC 9110 §12.5.1.
    """
    # What is remembered is short, whatever clients send.
    return _known(accept) if len(accept) <= KNOWN_LENGTH_MAX else _negotiate(accept)


def _negotiate(accept: str) -> str | None:
    if not accept.strip():
        return JSON
    weights: dict[str, float] = {}
    for part in accept.split(","):
        name, parameters = _read(part)
        if parameters.get("charset", "utf-8") in _UTF_8:
            weights[name] = _weight(parameters.get("q", "1"))
    general = weights.get("application/*", weights.get("*/*", 0.0))
    graphql, json = weights.get(GRAPHQL, 0.0), weights.get(JSON, general)
    if graphql and graphql >= json:
        return GRAPHQL
    if json or weights.get(EVENTS):
        return JSON  # what is refused before a stream begins is told in JSON
    # Only where `*/*` lets it in although JSON is ruled out by name.
    return GRAPHQL if general and GRAPHQL not in weights else None


_known = lru_cache(maxsize=256)(_negotiate)  # few clients differ in it


def content_type(media_type: str) -> str:
    """Return the header; ``application/json`` has no charset, as ever (RFC 8259 §11)."""
    return _CONTENT_TYPES[media_type]


def is_json(content_type: str) -> bool:
    """Return whether a request's body calls itself JSON in UTF-8, the one form that is taken."""
    if content_type == JSON:
        return True
    name, parameters = _read(content_type)
    return name == JSON and parameters.get("charset", "utf-8") in _UTF_8


def status_of(errors: list[dict[str, Any]], *, anything_ran: bool) -> HTTPStatus:
    """Return the status of an answer that holds no data.

    Args:
        errors: As they are told.
        anything_ran: Whether the operation was executed, and all that it asked for was refused.
    """
    codes = {error["extensions"]["code"] for error in errors}
    if len(codes) > 1:
        return HTTPStatus.OK if anything_ran else HTTPStatus.BAD_REQUEST
    [code] = codes
    if anything_ran:
        return _WHOLE.get(code, HTTPStatus.OK)
    return _REQUEST.get(code, HTTPStatus.BAD_REQUEST)


def _read(text: str) -> tuple[str, dict[str, str]]:
    """Return a media type and its parameters, in lower case."""
    name, *parts = text.lower().split(";")
    pairs = (part.partition("=") for part in parts)
    return name.strip(), {key.strip(): value.strip().strip('"') for key, _, value in pairs}


def _weight(text: str) -> float:
    """Return a quality value; what is none counts as nothing."""
    try:
        weight = float(text)
    except ValueError:
        return 0.0
    return weight if 0 <= weight <= 1 else 0.0
