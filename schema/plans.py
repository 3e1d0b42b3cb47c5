"""What a document selects of an object is planned once, and then read off each object in one go.

The library collects the fields of each object anew, builds an info for each value, asks a resolver
and looks at the type. Of a document that is known (:mod:`schema.documents`) all of that is known,
too, but for fields with arguments, extensions, an interface's type or something to await: they are
the library's. So is every object in which anything is out of the ordinary, so that errors are told
in one way only.
"""

from collections.abc import Awaitable, Callable
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple, cast

from graphql import (
    GraphQLError,
    GraphQLField,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    Undefined,
    is_leaf_type,
    is_object_type,
)
from graphql.execution.collect_fields import FieldDetailsList, GroupedFieldSet, collect_subfields
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext
from strawberry.types.field import StrawberryField
from strawberry.types.fields.resolver import INFO_PARAMSPEC, SELF_PARAMSPEC

from schema.documents import Document
from schema.limits import KNOWN_DOCUMENTS

TEXT_TYPES = ("String", "ID")

Tell = Callable[[Any, "ContextAlone"], Any]
"""Makes of a value that is not null what the answer holds."""


class UnusualError(Exception):
    """Something the library has to see for itself, and to tell."""


class ContextAlone:
    """All that a resolver without arguments may ask its info for."""

    __slots__ = ("context",)

    def __init__(self, context: Any) -> None:
        self.context = context


class Part(NamedTuple):
    """How one field is read.

    Attributes:
        name: Its name in the answer.
        get: Reads its value off the object; None where a resolver makes it.
        resolve: Makes its value.
        is_nullable: Whether it may be null.
        told_as_is: The class of values that need no telling.
        tell: Tells all others.
    """

    name: str
    get: Callable[[Any], Any] | None
    resolve: Callable[[Any, Any], Any] | None
    is_nullable: bool
    told_as_is: type | None
    tell: Tell


class Plan(NamedTuple):
    """What is read of an object in one go, and what is left to the library.

    Attributes:
        names: Of all fields, in the answer's order.
        read: Reads the first ones.
        rest: The others.
    """

    names: tuple[str, ...]
    read: Tell
    rest: GroupedFieldSet

    def join(self, told: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
        """Return both in order; a field that the schema does not have is in neither."""
        both = told | others
        return {name: both[name] for name in self.names if name in both}


Plans = dict[tuple[Any, ...], Plan]


class PlannedExecution(StrawberryGraphQLCoreExecutionContext):
    """The library's executor, which follows plans where a document is known."""

    plans: Plans | None = None

    @classmethod
    def build(cls, schema: Any, document: Any, *arguments: Any, **named: Any) -> Any:
        """Build one, with the plans of its document."""
        built = super().build(schema, document, *arguments, **named)
        if isinstance(built, cls) and isinstance(document, Document):
            built.plans = plans_of(document)
        return built

    def collect_and_execute_subfields(
        self,
        return_type: GraphQLObjectType,
        field_details_list: FieldDetailsList,
        path: Any,
        result: Any,
        position_context: Any,
    ) -> Any:
        """Return what is selected of an object, or the library's promise of it."""
        if self.plans is not None:
            plan = self._plan(self.plans, return_type, field_details_list)
            try:
                told = plan.read(result, ContextAlone(self.context_value))
            except Exception:  # noqa: BLE001, S110 - whatever it is, the library meets it again and tells it
                pass
            else:
                if not plan.rest:
                    return told
                others: Any = self.execute_fields(
                    return_type, result, path, plan.rest, position_context
                )
                if self.is_awaitable(others):
                    return _join_awaited(plan, told, others)
                return plan.join(told, others)
        return super().collect_and_execute_subfields(
            return_type, field_details_list, path, result, position_context
        )

    def _plan(self, plans: Plans, kind: GraphQLObjectType, details: FieldDetailsList) -> Plan:
        # The document is kept for as long as its plans are, so that no other node has these ids.
        key = (kind, *[id(detail.node) for detail in details])
        plan = plans.get(key)
        if plan is None:
            plan = plans[key] = _make_plan(self, kind, details)
        return plan


@lru_cache(maxsize=KNOWN_DOCUMENTS)
def plans_of(document: Document) -> Plans | None:
    """Return the plans of a document, to be made as they are needed.

    A directive makes a selection depend on variables, of which a plan knows nothing: where there
    may be one, nothing is planned.
    """
    text = document.loc.source.body if document.loc else "@"
    return None if "@" in text else {}


async def _join_awaited(plan: Plan, told: dict[str, Any], others: Awaitable[Any]) -> dict[str, Any]:
    return plan.join(told, await others)


def _make_plan(
    executor: PlannedExecution, kind: GraphQLObjectType, details: FieldDetailsList
) -> Plan:
    selected = collect_subfields(
        executor.schema,
        executor.fragments,
        executor.variable_values,
        executor.operation,
        kind,
        details,
        executor.hide_suggestions,
    ).grouped_field_set
    parts = {name: _part(executor, kind, name, each) for name, each in selected.items()}
    return Plan(
        tuple(selected),
        _reader(kind, [part for part in parts.values() if part is not None]),
        {name: each for name, each in selected.items() if parts[name] is None},
    )


def _reader(kind: GraphQLObjectType, parts: list[Part]) -> Tell:
    """Return what reads some fields of an object into a dictionary."""
    origin = getattr(kind.extensions.get("strawberry-definition"), "origin", None)
    is_type_of = kind.is_type_of

    def read(source: Any, info: ContextAlone) -> dict[str, Any]:
        if source.__class__ is not origin and is_type_of and not is_type_of(source, info):  # type: ignore[arg-type] # the library's own asks for nothing else
            raise UnusualError
        told = {}
        for name, get, resolve, is_nullable, told_as_is, tell in parts:
            value = get(source) if get else resolve(source, info)  # type: ignore[misc] # one of the two
            if value.__class__ is told_as_is:
                told[name] = value
            elif value is not None:
                told[name] = tell(value, info)
            elif is_nullable:
                told[name] = None
            else:
                raise UnusualError
        return told

    return read


def _part(
    executor: PlannedExecution, kind: GraphQLObjectType, name: str, details: FieldDetailsList
) -> Part | None:
    """Return how a field is read, or None where it is left to the library."""
    field_name = details[0].node.name.value
    if field_name == "__typename":
        return Part(name, lambda _: kind.name, None, False, str, _never)  # noqa: FBT003 - a row of six
    field = kind.fields.get(field_name)
    if field is None or (source := _source(field)) is None:
        return None
    inner = _nullable(field.type)
    tell = _teller(executor, inner, details)
    if tell is None:
        return None
    told_as_is = str if getattr(inner, "name", None) in TEXT_TYPES else None
    return Part(name, *source, inner is field.type, told_as_is, tell)


def _source(
    field: GraphQLField,
) -> tuple[Callable[[Any], Any] | None, Callable[[Any, Any], Any] | None] | None:
    """Return what reads a field's value, or what makes it; None where neither is plain."""
    definition = field.extensions.get("strawberry-definition")
    if not isinstance(definition, StrawberryField) or field.args:
        return None
    if definition.extensions or definition.permission_classes or definition.is_async:
        return None
    resolver = definition.base_resolver
    if resolver is None:
        return attrgetter(definition.python_name), None
    named = list(resolver.signature.parameters.values())
    known = [resolver.reserved_parameters[spec] for spec in (SELF_PARAMSPEC, INFO_PARAMSPEC)]
    function = cast(Callable[..., Any], resolver.wrapped_func)
    if named == known:
        return None, function
    if named == known[:1]:
        return None, lambda source, _: function(source)
    return None


def _teller(
    executor: PlannedExecution, kind: GraphQLOutputType, details: FieldDetailsList
) -> Tell | None:
    """Return what tells values of a type; None where the library has to."""
    if isinstance(kind, GraphQLList):
        item = _teller(executor, _nullable(kind.of_type), details)
        is_nullable = not isinstance(kind.of_type, GraphQLNonNull)
        return None if item is None else _list_teller(item, is_nullable=is_nullable)
    if is_leaf_type(kind):
        return _leaf_teller(kind.coerce_output_value)
    if is_object_type(kind):
        plan = _make_plan(executor, kind, details)
        return None if plan.rest else plan.read
    return None


def _list_teller(tell: Tell, *, is_nullable: bool) -> Tell:
    def tell_each(values: Any, info: ContextAlone) -> list[Any]:
        if not isinstance(values, list | tuple) or (None in values and not is_nullable):
            raise UnusualError
        return [None if value is None else tell(value, info) for value in values]

    return tell_each


def _leaf_teller(coerce: Callable[[Any], Any]) -> Tell:
    def tell(value: Any, _: ContextAlone) -> Any:
        told = coerce(value)
        if told is None or told is Undefined:
            raise UnusualError
        return told

    return tell


def _nullable(kind: Any) -> Any:
    return kind.of_type if isinstance(kind, GraphQLNonNull) else kind


def _never(_: Any, __: ContextAlone) -> Any:
    raise GraphQLError("a type's name is a text")
