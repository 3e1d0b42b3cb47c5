"""The schema, assembled once per process, with its limits and caches."""

from collections.abc import Callable
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
from strawberry.extensions.max_aliases import create_validator as max_aliases
from strawberry.extensions.query_depth_limiter import create_validator as max_depth
from strawberry.schema.config import StrawberryConfig

from schema.mutations import Mutation
from schema.queries import Query
from schema.results import MasksSurprises

DEPTH_MAX = 10
ALIASES_MAX = 15
TOKENS_MAX = 1_000
CACHED_DOCUMENTS = 256

# Built once: a rule made anew for each request would never find its own cached verdict.
_LIMITS = [max_depth(DEPTH_MAX, None, None), max_aliases(ALIASES_MAX)]
_PRODUCTION = [*_LIMITS, NoSchemaIntrospectionCustomRule]


class TokenwardSchema(strawberry.Schema):
    """A schema that leaves logging of errors to the masking extension, which knows no secrets."""

    def process_errors(
        self,
        errors: list[GraphQLError],
        execution_context: object | None = None,
    ) -> None:
        """Log nothing: the library would log messages and causes as they are."""


def build_schema(*, production: bool) -> strawberry.Schema:
    """Return the schema.

    Args:
        production: Refuse introspection.
    """
    rules: list[Any] = _PRODUCTION if production else _LIMITS
    extensions: list[type[SchemaExtension] | Callable[[], SchemaExtension]] = [
        MasksSurprises,
        lambda: MaxTokensLimiter(max_token_count=TOKENS_MAX),
        lambda: ParserCache(maxsize=CACHED_DOCUMENTS),
        lambda: ValidationCache(maxsize=CACHED_DOCUMENTS),
        lambda: AddValidationRules(rules),
    ]
    return TokenwardSchema(
        query=Query,
        mutation=Mutation,
        extensions=extensions,
        config=StrawberryConfig(disable_field_suggestions=True),
    )
