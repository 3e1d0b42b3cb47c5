"""Expected failures as data, and everything else masked.

A mutation tells its refusals in ``userErrors``; a query, which has no payload to put them in, as a
GraphQL error whose ``extensions.code`` is one of the same codes. What nobody foresaw is one
sentence with the request's id, and its story is in the log alone.
"""

import re
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Any

import strawberry
import structlog
from graphql import GraphQLError
from strawberry.exceptions import MissingQueryError
from strawberry.extensions import FieldExtension
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError

from service import errors
from service.errors import NotFound, ServiceError, TooManyRequests

log = structlog.get_logger("tokenward.graphql")

SURPRISE_CODE = "INTERNAL"
INVALID_OPERATION_CODE = "INVALID_OPERATION"

# Where introspection is off, a typing mistake must not spell the schema out either.
_SUGGESTION = re.compile(r" ?Did you mean [^?]*\?")

# A value that cannot be read may be a secret or a password, and must not be repeated. What stands
# before it is told: which variable, which field of it, and what was expected there.
_VALUE = re.compile(
    r"(?:,? [Ff]ound:|, but encountered error |(?<=String) ['\"]"
    r"|(?<!has invalid value)(?<!invalid default value)(?<=value):).*",
    re.DOTALL,
)
_NO_INSTANT = re.compile(r"Value cannot represent a DateTime:.*", re.DOTALL)
_NO_MEMBER = re.compile(r"Value '.*' does not exist in '(\w+)' enum", re.DOTALL)

# The library tells Python's types where an input field may be absent, but not null.
_PYTHON_TYPE = re.compile(r"^Expected value of type .*, found null\. Field '(\w+)' of type .*")

_NO_OPERATION = (MissingQueryError, CannotGetOperationTypeError)

EXPECTED: tuple[type[ServiceError], ...] = tuple(
    sorted(
        (
            member
            for member in vars(errors).values()
            if isinstance(member, type)
            and issubclass(member, ServiceError)
            and member is not ServiceError
        ),
        key=lambda kind: kind.code,
    )
)

# Made of the error tree, so that no refusal can be missing from the schema.
ErrorCode: Any = Enum(  # type: ignore[misc] # not a literal
    "ErrorCode",
    {
        kind.code: strawberry.enum_value(
            kind.code, description=(kind.__doc__ or "").partition("\n")[0]
        )
        for kind in EXPECTED
    },
)
strawberry.enum(ErrorCode, description="Why something was refused; stable, to branch on.")


@strawberry.type(description="One reason why a mutation changed nothing.")
class UserError:
    """A refusal, as the client sees it."""

    code: ErrorCode = strawberry.field(description="What kind of refusal it is.")
    message: str = strawberry.field(description="One sentence for a person.")
    field: str | None = strawberry.field(
        description="The input field it is about; null where it is about no single one."
    )


def user_errors_field() -> Any:
    """Return the field that every payload has."""
    return strawberry.field(
        default_factory=list,
        description="Why nothing was changed; empty when the mutation succeeded.",
    )


class TellsRefusals(FieldExtension):
    """Turns a refusal by the domain into a payload that holds nothing but its reason.

    Args:
        payload: The mutation's.
        for_anybody: Whether nobody need be signed in. Else that is asked before any id is read, so
            that a stranger hears the same of each.
    """

    def __init__(self, payload: type[Any], *, for_anybody: bool = False) -> None:
        self._payload = payload
        self._for_anybody = for_anybody

    async def resolve_async(
        self,
        next_: Callable[..., Awaitable[Any]],
        source: Any,
        info: strawberry.Info[Any, Any],
        **arguments: Any,
    ) -> Any:
        """Resolve the mutation."""
        try:
            if not self._for_anybody:
                info.context.require_caller()
            return await next_(source, info, **arguments)
        except ServiceError as refused:
            context = info.context
            await context.service.refusals.tell_request(context.caller, refused, info.field_name)
            told = UserError(
                code=ErrorCode[refused.code],
                message=refused.message,
                field=refused.field,
            )
            return self._payload(user_errors=[told])


class MissingIsNull(FieldExtension):
    """Turns "there is no such object" into null, which a foreign one reads like, too."""

    async def resolve_async(
        self,
        next_: Callable[..., Awaitable[Any]],
        source: Any,
        info: strawberry.Info[Any, Any],
        **arguments: Any,
    ) -> Any:
        """Resolve the query."""
        info.context.require_caller()
        try:
            return await next_(source, info, **arguments)
        except NotFound:
            return None


def to_a_stranger(errors: list[GraphQLError]) -> list[GraphQLError]:
    """Return errors without what they tell of the schema, and of how many of its names were right.

    Names can be guessed; what validation says of a wrong one tells types, and whether others were
    right.
    """
    if not any(error.nodes and error.path is None for error in errors):
        return errors
    message = "The document does not fit the schema; what is wrong is told to who is signed in."
    return [GraphQLError(message, extensions={"code": INVALID_OPERATION_CODE})]


def told(error: GraphQLError, request_id: str | None) -> GraphQLError:
    """Return an error as a client may see it."""
    cause = error.original_error
    extensions: dict[str, Any]
    if isinstance(cause, ServiceError):
        message, extensions = cause.message, {"code": cause.code}
        if cause.field is not None:
            extensions["field"] = cause.field
        if isinstance(cause, TooManyRequests):
            extensions["retryAfterSeconds"] = cause.retry_after_seconds
    elif isinstance(cause, _NO_OPERATION):
        message = "Send one operation, and name it where the document holds several."
        extensions = {"code": INVALID_OPERATION_CODE}
    elif isinstance(cause, InvalidOperationTypeError):
        message = "Only subscriptions are streamed; ask for JSON where it is another operation."
        extensions = {"code": INVALID_OPERATION_CODE}
    elif cause is None or isinstance(cause, GraphQLError):
        message = _without_values(error.message)
        extensions = {"code": INVALID_OPERATION_CODE}
    elif error.path is None and isinstance(cause, ValueError):
        # No resolver has run: the document itself holds a value that its type cannot read.
        message = "A value in the document has the wrong form."
        extensions = {"code": INVALID_OPERATION_CODE}
    else:
        log.error("graphql.surprise", path=error.path, exc_info=cause)
        message = f"Something went wrong on our side. Tell support this id: {request_id}"
        extensions = {"code": SURPRISE_CODE, "requestId": request_id}
    return GraphQLError(
        message,
        nodes=error.nodes,
        source=error.source,
        positions=error.positions,
        path=error.path,
        extensions=extensions,
    )


def _without_values(message: str) -> str:
    """Return what the library says of a document, without the values that it could not read."""
    message = _PYTHON_TYPE.sub(r"Field '\1' may be left out, but not null.", message)
    message = _NO_INSTANT.sub("Write an instant as in 2030-01-31T12:00:00Z.", message)
    message = _NO_MEMBER.sub(r"There is no such value in the enum '\1'", message)
    message = _VALUE.sub("", _SUGGESTION.sub("", message))
    return f"{message.removesuffix('.')}."
