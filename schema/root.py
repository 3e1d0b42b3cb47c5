"""The schema, assembled once per process, with its limits and caches."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import strawberry
from graphql import GraphQLError
from graphql.validation import NoSchemaIntrospectionCustomRule
from strawberry.extensions import SchemaExtension
from strawberry.schema.config import StrawberryConfig
from strawberry.types.execution import PreExecutionError

from schema.cost import ChargesCost
from schema.documents import ReadsDocuments, Rules
from schema.mutations import Mutation
from schema.plans import PlannedExecution
from schema.queries import Query
from schema.subscriptions import Subscription
from schema.trusted_documents import TrustedDocuments, TrustsDocuments
from service.errors import ServiceError

_PRODUCTION: Rules = (NoSchemaIntrospectionCustomRule,)


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
        except ServiceError as refused:
            yield PreExecutionError(data=None, errors=[GraphQLError("", original_error=refused)])


def build_schema(*, production: bool, trusted: TrustedDocuments | None = None) -> strawberry.Schema:
    """Return the schema.

    Args:
        production: Refuse introspection.
        trusted: The documents that are known by their hash; absent, none is.
    """
    known = trusted or TrustedDocuments()
    extensions: list[type[SchemaExtension] | Callable[[], SchemaExtension]] = [
        lambda: TrustsDocuments(known),
        lambda: ReadsDocuments(_PRODUCTION if production else ()),
        ChargesCost,
    ]
    return TokenwardSchema(
        query=Query,
        mutation=Mutation,
        subscription=Subscription,
        extensions=extensions,
        execution_context_class=PlannedExecution,
        config=StrawberryConfig(disable_field_suggestions=True),
    )
