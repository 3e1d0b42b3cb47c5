"""A document is parsed, measured and validated once, however often it is sent."""

import pytest
from graphql import GraphQLError, parse, print_ast, specified_rules

from schema.documents import TOKENS_MAX, errors_in, parsed
from schema.limits import size_of
from schema.root import build_schema

SCHEMA = build_schema(production=False)._schema  # noqa: SLF001 - strawberry has no public name
RULES = tuple(specified_rules)
VIEWER = "query Viewer { viewer { email } }"


def test_a_document_is_known_by_its_text() -> None:
    first, again = parsed(VIEWER), parsed("".join(VIEWER))

    assert first is again
    assert print_ast(first) == print_ast(parse(VIEWER))


def test_a_document_is_found_in_a_cache_without_a_look_at_its_nodes() -> None:
    document, twin = parsed(VIEWER), parse(VIEWER)

    # Of the same content, and yet another: nothing compares or hashes what is inside.
    assert document.definitions == twin.definitions
    assert document != twin
    assert hash(document) == object.__hash__(document)
    assert size_of(document) is size_of(document)
    assert errors_in(SCHEMA, document, RULES) is errors_in(SCHEMA, document, RULES)


def test_what_is_wrong_with_a_document_is_found_again() -> None:
    document = parsed("{ nothing }")

    for _ in range(2):
        [error] = errors_in(SCHEMA, document, RULES)
        assert "nothing" in error.message


def test_a_document_with_too_many_tokens_is_refused_each_time() -> None:
    text = "{%s}" % (" a" * (TOKENS_MAX - 1))

    for _ in range(2):
        with pytest.raises(GraphQLError, match="tokens"):
            parsed(text)
