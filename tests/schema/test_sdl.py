"""The schema as its readers see it."""

from collections.abc import Iterator

from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    build_schema,
)

from schema.export import SDL, sdl
from schema.results import EXPECTED


def read() -> GraphQLSchema:
    return build_schema(SDL.read_text(encoding="utf-8"))


def own_types() -> Iterator[GraphQLObjectType | GraphQLInterfaceType | GraphQLInputObjectType]:
    for name, kind in read().type_map.items():
        if not name.startswith("__") and isinstance(
            kind, GraphQLObjectType | GraphQLInterfaceType | GraphQLInputObjectType
        ):
            yield kind


def elements() -> Iterator[tuple[str, str | None]]:
    """Yield each thing that a reader may ask about, and what the schema tells of it."""
    for name, kind in read().type_map.items():
        if name.startswith("__") or name in {"Boolean", "Float", "ID", "Int", "String"}:
            continue
        yield name, kind.description
        if isinstance(kind, GraphQLEnumType):
            for value, meaning in kind.values.items():
                yield f"{name}.{value}", meaning.description
    for kind in own_types():
        for field, told in kind.fields.items():
            yield f"{kind.name}.{field}", told.description
            for argument, meant in getattr(told, "args", {}).items():
                yield f"{kind.name}.{field}({argument}:)", meant.description


def test_the_committed_schema_is_the_one_that_is_served() -> None:
    assert SDL.read_text(encoding="utf-8") == sdl(), "run `python -m schema.export`"


def test_everything_has_a_description() -> None:
    told = dict(elements())

    assert len(told) > 100
    assert [name for name, description in told.items() if not (description or "").strip()] == []


def test_every_error_code_is_told_in_the_words_of_its_error() -> None:
    codes = read().type_map["ErrorCode"]
    assert isinstance(codes, GraphQLEnumType)

    told = {code: value.description for code, value in codes.values.items()}

    assert told == {kind.code: (kind.__doc__ or "").splitlines()[0] for kind in EXPECTED}


def test_what_an_enum_says_of_one_value_it_says_of_no_other() -> None:
    for kind in read().type_map.values():
        if isinstance(kind, GraphQLEnumType) and not kind.name.startswith("__"):
            meanings = [value.description for value in kind.values.values()]
            assert len(set(meanings)) == len(meanings), kind.name


def test_what_a_list_returns_is_never_null() -> None:
    lists = {}
    for kind in own_types():
        if isinstance(kind, GraphQLInputObjectType):
            continue
        for name, field in kind.fields.items():
            if "[" in str(field.type):
                lists[f"{kind.name}.{name}"] = field.type

    assert len(lists) > 10
    assert str(lists.pop("Query.nodes")) == "[Node]!"  # Relay's: null in the place of what is not
    for where, field_type in lists.items():
        assert isinstance(field_type, GraphQLNonNull), where
        assert isinstance(field_type.of_type, GraphQLList), where
        assert isinstance(field_type.of_type.of_type, GraphQLNonNull), where


def test_every_mutation_takes_one_input_and_tells_its_refusals() -> None:
    mutation = read().mutation_type
    assert mutation is not None
    for name, field in mutation.fields.items():
        payload = getattr(field.type, "of_type", None)
        assert isinstance(payload, GraphQLObjectType), name
        assert str(payload.fields["userErrors"].type) == "[UserError!]!", name
        assert set(field.args) <= {"input"}, name


def test_every_mutation_has_an_input_and_a_payload_of_its_own_called_after_it() -> None:
    mutation = read().mutation_type
    assert mutation is not None
    for name, field in mutation.fields.items():
        called = name[0].upper() + name[1:]

        assert str(field.type) == f"{called}Payload!"
        taken = [str(argument.type) for argument in field.args.values()]
        assert taken in ([f"{called}Input!"], [])

    assert [name for name, field in mutation.fields.items() if not field.args] == ["signOut"]


def test_a_secret_is_told_by_three_payloads_and_by_nothing_else() -> None:
    told = {
        f"{kind.name}.{field}"
        for kind in own_types()
        if not isinstance(kind, GraphQLInputObjectType)
        for field, shown in kind.fields.items()
        if "secret" in field.lower() and str(shown.type).strip("!") == "String"
    }

    assert told == {
        "CreateTokenPayload.secret",
        "RotateTokenPayload.secret",
        "SignInPayload.sessionSecret",
    }


def test_a_secrets_record_has_no_field_for_the_secret_itself() -> None:
    record = read().type_map["ApiTokenSecret"]
    assert isinstance(record, GraphQLObjectType)

    texts = {name for name, field in record.fields.items() if "String" in str(field.type)}

    assert texts == {"prefix", "lastFour", "reusedAddress"}
