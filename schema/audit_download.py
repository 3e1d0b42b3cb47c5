"""``GET /audit/export``: the trail within reach as a file, streamed.

It changes nothing, so that a page elsewhere gains nothing by making a browser ask for it; nor does
the cookie count where such a page sends it (:func:`service.auth.cookie_secret`).
"""

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from datetime import datetime
from typing import cast

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from schema import node_ids
from service.access.actor import Actor
from service.auth import authenticate
from service.errors import InvalidInput, ServiceError, Unauthenticated, Unavailable
from service.streams import Streams
from service.trail_export import Exported, Extract, Format, export_for, first_line, write

_MEDIA_TYPES = {
    Format.JSONL: "application/jsonl; charset=utf-8",
    Format.CSV: "text/csv; charset=utf-8; header=present",
}


async def download(request: Request) -> Response:
    """Answer with a file; what is refused is told as GraphQL's endpoint tells it.

    ``format`` is ``jsonl`` (the default) or ``csv``; ``account``, ``since`` and ``until`` narrow.
    """
    try:
        actor = await _actor(request)
        form, extract = _asked(request)
        batches = export_for(actor, extract)
        # The first batch before the status: by it most of what can go wrong has done so.
        with _place(request, actor):
            first: list[Exported] = await anext(batches, [])
    except ServiceError as refused:
        return _refusal(refused)
    headers = {
        "Cache-Control": "no-store",
        "Content-Disposition": f'attachment; filename="audit.{form.value}"',
    }
    is_read = request.method == "GET"  # the server drops what HEAD answers, as fast as it comes
    lines = _lines(request, actor, form, first, batches) if is_read else iter(())
    return StreamingResponse(lines, media_type=_MEDIA_TYPES[form], headers=headers)


async def _lines(
    request: Request,
    begun: Actor,
    form: Format,
    first: list[Exported],
    batches: AsyncIterator[list[Exported]],
) -> AsyncIterator[str]:
    """Yield the file; where the credential ends meanwhile, so does the connection, unfinished.

    Likewise where what it may do has changed, since by that the file was begun.
    """
    with _place(request, begun):
        yield first_line(form) + write(first, form)
        async for events in batches:
            if await _actor(request) != begun:
                raise Unavailable
            yield write(events, form)


def _place(request: Request, actor: Actor) -> AbstractContextManager[None]:
    return cast(Streams, request.app.state.streams).export(actor)


async def _actor(request: Request) -> Actor:
    """Return who is asking.

    Raises:
        Unauthenticated: If nobody is, or nobody any more.
        Unavailable: If that cannot be known.
    """
    state = request.app.state
    actor = await authenticate(request.scope, state.validator, state.service.settings)
    if actor is None:
        raise Unauthenticated
    return actor


def _asked(request: Request) -> tuple[Format, Extract]:
    asked = request.query_params
    try:
        form = Format(asked.get("format", "jsonl"))
    except ValueError:
        raise InvalidInput("The format is jsonl or csv.", field="format") from None
    account_id = node_ids.decode_optional(node_ids.ACCOUNT, asked.get("account"))
    return form, Extract(account_id, _instant(asked, "since"), _instant(asked, "until"))


def _instant(asked: QueryParams, field: str) -> datetime | None:
    text = asked.get(field)
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput("Write an instant as in 2030-01-31T12:00:00Z.", field=field) from None


def _refusal(refused: ServiceError) -> Response:
    extensions = {"code": refused.code} | ({"field": refused.field} if refused.field else {})
    error = {"message": refused.message, "extensions": extensions}
    headers = {"WWW-Authenticate": "Bearer"} if refused.status == Unauthenticated.status else {}
    headers["Cache-Control"] = "no-store"
    return JSONResponse({"errors": [error]}, refused.status, headers)
