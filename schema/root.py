"""The schema, assembled once per process, with its limits and caches."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import strawberry
from graphql import GraphQLError
from graphql.validation import NoSchemaIntrospectionCustomRule
from strawberry.extensions import (
    AddValidationRules,
    MaxTokensLimiter,
    ParserCache,
    SchemaExtension,
    ValidationCache,
)
from strawberry.schema.config import StrawberryConfig
from strawberry.types.execution import PreExecutionError

from schema.limits import LimitsDocuments
from schema.mutations import Mutation
from schema.queries import Query
from schema.subscriptions import Subscription

TOKENS_MAX = 1_000
CACHED_DOCUMENTS = 256

_PRODUCTION: list[Any] = [NoSchemaIntrospectionCustomRule]


class TokenwardSchema(strawberry.Schema):
    """A schema that leaves logging of errors to the endpoint, which masks them."""

    def process_errors(
        self,
        errors: list[GraphQLError],
        execution_context: object | None = None,
    ) -> None:
        """Log nothing: the library would log messages and causes as they are."""

    async def stream(self, *arguments: Any, **named: Any) -> Any:
        """Stream an operation; what the parser or a limit refuses is its one result.

        The library would break the stream off, and log the cause as it is.
        """
        return _with_refusals(await super().stream(*arguments, **named))


async def _with_refusals(results: Any) -> AsyncGenerator[Any, None]:
    async with aclosing(results):
        try:
            async for result in results:
                yield result
        except GraphQLError as refused:
            yield PreExecutionError(data=None, errors=[refused])


def build_schema(*, production: bool) -> strawberry.Schema:
    """Return the schema.

    Args:
        production: Refuse introspection.
    """
    extensions: list[type[SchemaExtension] | Callable[[], SchemaExtension]] = [
        lambda: MaxTokensLimiter(max_token_count=TOKENS_MAX),
        lambda: ParserCache(maxsize=CACHED_DOCUMENTS),
        LimitsDocuments,
        lambda: ValidationCache(maxsize=CACHED_DOCUMENTS),
        lambda: AddValidationRules(_PRODUCTION if production else []),
    ]
    return TokenwardSchema(
        query=Query,
        mutation=Mutation,
        subscription=Subscription,
        extensions=extensions,
        config=StrawberryConfig(disable_field_suggestions=True),
    )
