"""Documents made of the schema itself: all that can be asked for, and every place for an id."""

from collections.abc import Iterator
from dataclasses import dataclass

from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    get_named_type,
    get_nullable_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
    is_required_argument,
    is_required_input_field,
)

from schema.root import build_schema

SCHEMA = build_schema(production=False)._schema  # noqa: SLF001 - Strawberry's own is not public
ROOTS = {"Query": SCHEMA.query_type, "Mutation": SCHEMA.mutation_type}
NODES = sorted(kind.name for kind in SCHEMA.get_possible_types(SCHEMA.type_map["Node"]))  # type: ignore[arg-type] # an interface
LEVELS = 9  # below a root field
PAGE, INNER_PAGE = 25, 3

# What a value has to look like where its type does not tell, by the name of its field.
SAMPLES = {
    "email": '"new{number}@example.com"',
    "password": '"long enough it is"',
    "newPassword": '"battery horse correct"',
    "currentPassword": '"correct horse battery"',
    "scopes": '["dns:read"]',
    "rules": "{requiresAddressLimits: true}",
}
OF_TYPES = {"Int": "5", "Boolean": "true", "DateTime": '"2030-06-01T00:00:00Z"'}
# What is asked along with a place for an id, though the schema lets it be absent.
COMPANIONS = {
    "TokenSelection": {"accountId": "filter: {}"},
    "ExtendTokensInput": {"selection": "byDays: 1"},
    "UpdateTokenInput": {"id": 'description: "other"'},
    "UpdateAccountInput": {"id": 'name: "Other"'},
    "UpdateScopeTemplateInput": {"id": 'name: "Other"'},
}
# An id that a query cannot do without, though the schema lets it be absent.
ASKED_ANYWAY = {"ExplainTokenInput": "ApiToken"}


@dataclass(frozen=True, slots=True)
class Place:
    """A place for an id.

    Attributes:
        root: ``Query`` or ``Mutation``.
        fields: From the root to the one with the argument.
        way: The argument, and the input fields within it.
    """

    root: str
    fields: tuple[str, ...]
    way: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.root}.{'.'.join(self.fields)}({'.'.join(self.way)})"

    @property
    def takes_any_type(self) -> bool:
        """Whether an id of every type is right there."""
        return self.way[-1] == "subjectId" or self.fields[-1] in {"node", "nodes"}

    @property
    def tells_of_above(self) -> frozenset[str]:
        """The types whose objects are told of here although they are those of an account above.

        The templates that it offers; what it did in the trail of the one below.
        """
        if self.takes_any_type:
            return frozenset({"ScopeTemplate"})
        return frozenset({"Account"} if self.way[-1] == "actorAccountId" else ())

    @property
    def is_never_null(self) -> bool:
        """Whether one refusal leaves nothing of the whole answer."""
        kind = ROOTS[self.root]
        assert kind is not None
        return self.root == "Query" and is_non_null_type(kind.fields[self.fields[0]].type)

    def ask(self, values: int) -> str:
        """Return a document that asks with ``$v0``, ``$v1`` and so on, each under an alias."""
        variables = ", ".join(f"$v{number}: ID!" for number in range(values))
        lines = [f"a{number}: {self._call(number)}" for number in range(values)]
        return f"{self.root.lower()}({variables}) {{ {' '.join(lines)} }} {self._fragments()}"

    def _call(self, number: int) -> str:
        kind, opened, text = ROOTS[self.root], "", ""
        for name in self.fields:
            assert isinstance(kind, GraphQLObjectType)
            field = kind.fields[name]
            way = self.way if name == self.fields[-1] else ()
            text += f"{opened}{name}{_arguments(field, way, number)}"
            opened, kind = " { ", get_named_type(field.type)
        return f"{text} {{ {_spread(kind)} }}{' }' * (len(self.fields) - 1)}"

    def _fragments(self) -> str:
        kind: GraphQLNamedType | None = ROOTS[self.root]
        for name in self.fields:
            assert isinstance(kind, GraphQLObjectType)
            kind = get_named_type(kind.fields[name].type)
        if not isinstance(kind, GraphQLObjectType):
            return ""
        levels = 3 if self.root == "Query" else 2  # refused, a payload holds no more
        return f"fragment Of{kind.name} on {kind.name} {{ {select(kind, levels=levels)} }}"


def concrete(kind: GraphQLNamedType | None) -> list[GraphQLObjectType]:
    """Return a type, or all that implement it."""
    if isinstance(kind, GraphQLInterfaceType):
        return list(SCHEMA.get_possible_types(kind))
    assert isinstance(kind, GraphQLObjectType)
    return [kind]


def _spread(kind: GraphQLNamedType | None) -> str:
    if isinstance(kind, GraphQLInterfaceType):
        return "__typename id"  # fields of several types under one name would not merge
    return f"...Of{kind.name}" if kind is not None else ""


def select(kind: GraphQLObjectType, *, levels: int = LEVELS, seen: tuple[str, ...] = ()) -> str:
    """Return everything below an object that fits in some levels.

    An object of a type that it is within already tells its plain fields alone.
    """
    chosen = ["__typename"]
    is_repeated = kind.name in seen
    for name, field in kind.fields.items():
        inner = get_named_type(field.type)
        if is_leaf_type(inner):
            chosen.append(name)
        elif levels > 1 and not is_repeated:
            assert isinstance(inner, GraphQLObjectType)
            below = select(inner, levels=levels - 1, seen=(*seen, kind.name))
            chosen.append(f"{name}{_arguments(field)} {{ {below} }}")
    return " ".join(chosen)


def trees() -> Iterator[tuple[str, str, dict[str, str]]]:
    """Yield each query of the schema with all that is below it.

    Yields:
        Its name, the document, and of which type each variable is an id.
    """
    assert SCHEMA.query_type is not None
    for name, field in SCHEMA.query_type.fields.items():
        kind = get_named_type(field.type)
        if is_leaf_type(kind):
            yield name, f"{{ {name} }}", {}
        elif isinstance(kind, GraphQLInterfaceType):
            for each in concrete(kind):
                # Deeper there is only what the query of the type itself tells.
                below = f"... on {each.name} {{ {select(each, levels=2)} }}"
                arguments = "(ids: [$id])" if "ids" in field.args else "(id: $id)"
                yield (
                    name,
                    f"query($id: ID!) {{ {name}{arguments} {{ {below} }} }}",
                    {"id": each.name},
                )
        else:
            assert isinstance(kind, GraphQLObjectType)
            named = [
                get_named_type(argument.type).name
                for argument in field.args.values()
                if is_required_argument(argument) and _wants_id(argument)
            ]
            needs = {"id": ASKED_ANYWAY.get(named[0], kind.name)} if named else {}
            way = next(
                (way for way in _ways(field) if needs and len(way) <= 2),
                (),
            )
            arguments = _arguments(field, way, variable="id", page=PAGE)
            head = "query($id: ID!) " if needs else ""
            yield name, f"{head}{{ {name}{arguments} {{ {select(kind)} }} }}", needs


def places() -> list[Place]:
    """Return every place for an id below the roots, each field of an object type once."""
    found, reached = [], set(ROOTS)
    waiting: list[tuple[GraphQLNamedType | None, str, tuple[str, ...]]] = [
        (kind, root, ()) for root, kind in ROOTS.items()
    ]
    while waiting:
        kind, root, above = waiting.pop(0)
        for name, field in kind.fields.items() if isinstance(kind, GraphQLObjectType) else ():
            found += [Place(root, (*above, name), way) for way in _ways(field)]
            inner = get_named_type(field.type)
            needs_id = any(
                is_required_argument(argument) and _wants_id(argument)
                for argument in field.args.values()
            )
            if root == "Query" and not needs_id and inner.name not in reached:
                reached.add(inner.name)
                waiting.append((inner, root, (*above, name)))
    return found


def _wants_id(argument: GraphQLArgument) -> bool:
    kind = get_named_type(argument.type)
    return kind.name == "ID" or kind.name in ASKED_ANYWAY


def _ways(field: GraphQLField) -> list[tuple[str, ...]]:
    return [
        (name, *way) for name, argument in field.args.items() for way in ways_within(argument.type)
    ]


def ways_within(kind: GraphQLInputType, seen: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the ways to the ids within an input; one empty way where it is an id itself."""
    named = get_named_type(kind)
    if named.name == "ID":
        return [()]
    if not isinstance(named, GraphQLInputObjectType) or named.name in seen:
        return []
    return [
        (name, *way)
        for name, field in named.fields.items()
        for way in ways_within(field.type, (*seen, named.name))
    ]


def _arguments(
    field: GraphQLField,
    way: tuple[str, ...] = (),
    number: int = 0,
    *,
    variable: str | None = None,
    page: int = INNER_PAGE,
) -> str:
    told = [
        f"{name}: {page}"
        if name == "first"
        else f"{name}: {_literal(name, it, rest, number, variable or f'v{number}')}"
        for name, it in field.args.items()
        if (rest := way[1:] if way[:1] == (name,) else None) is not None or is_required_argument(it)
    ]
    return f"({', '.join(told)})" if told else ""


def _literal(
    name: str,
    wanted: GraphQLArgument | GraphQLInputField,
    way: tuple[str, ...] | None,
    number: int,
    variable: str,
) -> str:
    kind = get_named_type(wanted.type)
    if way == ():
        return f"[${variable}]" if is_list_type(get_nullable_type(wanted.type)) else f"${variable}"
    if way is None and name in SAMPLES:
        return SAMPLES[name].replace("{number}", str(number))
    if isinstance(kind, GraphQLInputObjectType):
        return _object(kind, way, number, variable)
    if isinstance(kind, GraphQLEnumType):
        return str(next(iter(kind.values)))
    return OF_TYPES.get(kind.name, '"other"')


def _object(
    kind: GraphQLInputObjectType, way: tuple[str, ...] | None, number: int, variable: str
) -> str:
    told = []
    for name, field in kind.fields.items():
        rest = way[1:] if way is not None and way[:1] == (name,) else None
        if rest is not None:
            companion = COMPANIONS.get(kind.name, {}).get(name)
            told += [companion] if companion else []
            # What a filter finds is looked at; a job about it would be a change of the caller's.
            told += ["dryRun: true"] if name == "selection" and rest != ("ids",) else []
        if rest is not None or is_required_input_field(field):
            told.append(f"{name}: {_literal(name, field, rest, number, variable)}")
    return f"{{{', '.join(told)}}}"
