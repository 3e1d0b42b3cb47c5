"""A document that is sent again is neither parsed, measured, validated nor priced again.

The library's caches know a document by its content, and each of them hashes all of its nodes at
each request. Here it is known by its text, and behind that by its identity.
"""

from collections.abc import Iterator
from functools import lru_cache

from graphql import ASTValidationRule, DocumentNode, GraphQLError, GraphQLSchema, parse
from strawberry.extensions import SchemaExtension
from strawberry.schema.schema import validate_document

from schema.limits import KNOWN_DOCUMENTS, check, check_operations, size_of

TOKENS_MAX = 1_000

Rules = tuple[type[ASTValidationRule], ...]


class Document(DocumentNode):
    """A parsed document that equals nothing but itself."""

    __eq__ = object.__eq__
    __hash__ = object.__hash__


class ReadsDocuments(SchemaExtension):
    """Parses a document, refuses one that asks for too much, and validates the others.

    Args:
        rules: Those that are added to GraphQL's and the library's own.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    def on_parse(self) -> Iterator[None]:
        """Put the parsed document in its place."""
        context = self.execution_context
        if context.query:
            context.graphql_document = parsed(context.query)
        yield

    def on_validate(self) -> Iterator[None]:
        """Measure the document before any rule sees it, and then let the rules see it."""
        context = self.execution_context
        if (document := context.graphql_document) is not None:
            check(size_of(document))
            if context._provided_operation_name is None:  # noqa: SLF001 - the public name guesses
                check_operations(document)
            context.pre_execution_errors = errors_in(
                context.schema._schema,  # noqa: SLF001 - strawberry has no public name
                document,
                context.validation_rules + self._rules,
            )
        yield


@lru_cache(maxsize=KNOWN_DOCUMENTS)
def parsed(text: str) -> Document:
    """Return the document that a text is; parsed once.

    Raises:
        GraphQLError: If it is none, or has more than 1,000 tokens.
    """
    document = parse(text, max_tokens=TOKENS_MAX)
    return Document(definitions=document.definitions, loc=document.loc)


@lru_cache(maxsize=KNOWN_DOCUMENTS)
def errors_in(schema: GraphQLSchema, document: DocumentNode, rules: Rules) -> list[GraphQLError]:
    """Return what is wrong with a document; validated once."""
    return validate_document(schema, document, rules)
