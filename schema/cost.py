"""What an operation costs, known before anything of it runs.

A field that holds an object costs a point, a scalar nothing. What is below a page costs as often as
the page has room (``first``), below ``ids`` as often as there are ids, and below a list without
either five times. A directive that leaves something out saves nothing. A mutation costs ten, one
that hashes a password fifty.

The price is worked out once for a document, as a sum over its variables; a request only puts their
values in.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLCompositeType,
    GraphQLError,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLSchema,
    IntValueNode,
    ListValueNode,
    NullValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    ValueNode,
    VariableNode,
    get_named_type,
    get_nullable_type,
    is_list_type,
    is_object_type,
)
from strawberry.extensions import SchemaExtension

from service.budget import Balance
from service.errors import CostExceeded, TooManyRequests
from service.paging import PAGE_SIZE_MAX

COST_MAX = 5_000
OPERATION_COST = 1
MUTATION_COST = 10
PASSWORD_COST = 50
INTROSPECTION_COST = 50
LIST_ITEMS = 5
KNOWN_DOCUMENTS = 256

SIZES = ("first", "ids")
"""The arguments that say how many items a field brings."""

LISTS = {"sample": 20}
"""Fields that bring more than ``LIST_ITEMS`` without being asked how many, each with all below."""

Variables = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Count:
    """How many items a page or a list brings at the most.

    Attributes:
        number: Where no variable says it, or the variable is absent.
        variable: Its name.
    """

    number: int
    variable: str | None = None

    def of(self, variables: Variables) -> int:
        """Return the number; a value that execution will refuse counts as a whole page."""
        if self.variable is None or self.variable not in variables:
            return self.number
        value = variables[self.variable]
        if isinstance(value, list):
            return min(len(value), PAGE_SIZE_MAX)
        if isinstance(value, int):
            return min(max(value, 0), PAGE_SIZE_MAX)
        return PAGE_SIZE_MAX


@dataclass(frozen=True, slots=True)
class Price:
    """Points, and further ones as often as variables will say."""

    points: int = 0
    repeated: tuple[tuple[Count, "Price"], ...] = ()

    def plus(self, other: "Price") -> "Price":
        """Return the price of both."""
        return Price(self.points + other.points, self.repeated + other.repeated)

    def times(self, count: Count) -> "Price":
        """Return the price of a number of them."""
        if count.variable is None and not self.repeated:
            return Price(self.points * count.number)
        return Price(0, ((count, self),))

    def of(self, variables: Variables) -> int:
        """Return the points."""
        points = self.points
        for count, price in self.repeated:
            points += count.of(variables) * price.of(variables)
        return points


@dataclass(frozen=True, slots=True)
class Selected:
    """The price of a selection: what it brings once, and what it brings for each item of a page."""

    once: Price = Price()
    each: Price = Price()

    def plus(self, other: "Selected") -> "Selected":
        """Return the price of both."""
        return Selected(self.once.plus(other.once), self.each.plus(other.each))


@dataclass
class Pricing:
    """Prices the operations of one valid document.

    Attributes:
        called: Under which names each mutation is called.
    """

    schema: GraphQLSchema
    fragments: dict[str, FragmentDefinitionNode]
    defaults: Mapping[str, ValueNode | None]
    called: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    _known: dict[str, Selected] = field(default_factory=dict)

    def selections(self, parent: GraphQLCompositeType, selected: SelectionSetNode) -> Selected:
        """Return the price of a selection set."""
        price = Selected()
        for node in selected.selections:
            if isinstance(node, FieldNode):
                price = price.plus(self.field(parent, node))
            elif isinstance(node, FragmentSpreadNode):
                price = price.plus(self.fragment(node.name.value))
            else:
                condition = node.type_condition  # type: ignore[attr-defined] # the one kind left
                inner = self.schema.get_type(condition.name.value) if condition else parent
                price = price.plus(self.selections(inner, node.selection_set))  # type: ignore[attr-defined,arg-type] # as above; valid
        return price

    def fragment(self, name: str) -> Selected:
        """Return the price of a fragment, worked out once however often it is spread."""
        if name not in self._known:
            node = self.fragments[name]
            parent = self.schema.get_type(node.type_condition.name.value)
            self._known[name] = self.selections(parent, node.selection_set)  # type: ignore[arg-type] # a valid document
        return self._known[name]

    def field(self, parent: GraphQLCompositeType, node: FieldNode) -> Selected:
        """Return the price of a field with all that is below it."""
        name = node.name.value
        if name.startswith("__"):
            return Selected(Price(INTROSPECTION_COST if node.selection_set else 0))
        definition = parent.fields[name]  # type: ignore[union-attr] # a union has no field but __typename
        own = Price(1 if node.selection_set else 0)
        if parent is self.schema.mutation_type:
            self.called[name].add((node.alias or node.name).value)
            own = Price(PASSWORD_COST if _takes(definition, "password") else MUTATION_COST)
        if node.selection_set is None:
            return Selected(own)
        inner_type = get_named_type(definition.type)
        inner = self.selections(inner_type, node.selection_set)
        count = self._count(node)
        if is_list_type(get_nullable_type(definition.type)):
            item = own.plus(inner.once).plus(inner.each.times(Count(LIST_ITEMS)))
            return Selected(each=item) if count is None else Selected(item.times(count))
        return Selected(own.plus(inner.once).plus(inner.each.times(count or Count(LIST_ITEMS))))

    def _count(self, node: FieldNode) -> Count | None:
        """Return how many items a field was asked for, or None where nothing says it."""
        for argument in node.arguments or ():
            if argument.name.value in SIZES:
                value = argument.value
                if isinstance(value, VariableNode):
                    name = value.name.value
                    return Count(_number(self.defaults.get(name)), name)
                return Count(_number(value))
        items = LISTS.get(node.name.value)
        return None if items is None else Count(items)


@dataclass(frozen=True, slots=True)
class Bill:
    """What an operation costs, and what of it may be asked but once.

    Attributes:
        repeated: A mutation that is sensitive and called more than once, if there is one.
    """

    price: Price
    repeated: str | None


@lru_cache(maxsize=KNOWN_DOCUMENTS)  # nodes are known by their identity, and the parser caches them
def bill_of(schema: GraphQLSchema, document: DocumentNode, name: str | None) -> Bill:
    """Return the bill of an operation of a valid document that is within ``schema.limits``.

    Args:
        schema: What it is valid for.
        document: Parsed.
        name: The operation's; None for the only one.
    """
    operation = next(
        node
        for node in document.definitions
        if isinstance(node, OperationDefinitionNode)
        and (name is None or (node.name is not None and node.name.value == name))
    )
    root = schema.get_root_type(operation.operation)
    fragments = {
        node.name.value: node
        for node in document.definitions
        if isinstance(node, FragmentDefinitionNode)
    }
    defaults = {
        node.variable.name.value: node.default_value
        for node in operation.variable_definitions or ()
    }
    pricing = Pricing(schema, fragments, defaults)
    selected = pricing.selections(root, operation.selection_set)  # type: ignore[arg-type] # valid: the type is there
    price = selected.once.plus(selected.each.times(Count(LIST_ITEMS)))
    repeated = (
        name
        for name, aliases in pricing.called.items()
        if len(aliases) > 1 and _is_sensitive(root.fields[name])  # type: ignore[union-attr] # as above
    )
    return Bill(Price(OPERATION_COST).plus(price), next(repeated, None))


class ChargesCost(SchemaExtension):
    """Refuses what costs too much, and has the rest paid for before it runs.

    Each event of a subscription runs the selection anew: the operation pays for the first one, and
    :meth:`schema.context.Context.follow` as much for each further one.
    """

    _told: dict[str, Any]

    async def on_execute(self) -> AsyncIterator[None]:
        """Have the operation paid for.

        Raises:
            CostExceeded: If it costs more than any may.
            TooManyRequests: If the caller has spent its points.
        """
        execution = self.execution_context
        context = execution.context
        bill = bill_of(
            execution.schema._schema,  # noqa: SLF001 - the library's caches take it, too
            execution.graphql_document,
            execution.operation_name,
        )
        if bill.repeated is not None:
            raise GraphQLError(f"Call `{bill.repeated}` at most once in a document.")
        points = bill.price.of(execution.variables or {})
        self._told = {"requestedQueryCost": points}
        if points > COST_MAX:
            raise CostExceeded(f"The document costs {points:,} points; at most {COST_MAX:,}.")
        balance = await context.pay(points)
        self._told["throttleStatus"] = _told(balance)
        if balance.retry_after_seconds:
            raise TooManyRequests(balance.retry_after_seconds)
        yield

    def get_results(self) -> dict[str, Any]:
        """Tell what it cost; not again with each event of a subscription."""
        told = getattr(self, "_told", None)
        if told is None or self.execution_context.operation_type.value == "subscription":
            return {}
        return {"cost": told}


def _told(balance: Balance) -> dict[str, int]:
    return {
        "maximumAvailable": balance.capacity,
        "currentlyAvailable": balance.available,
        "restoreRate": balance.restored_per_second,
    }


def _number(value: ValueNode | None) -> int:
    """Return how many items a literal asks for; of what cannot be read, as many as any may have."""
    if isinstance(value, ListValueNode):
        return min(len(value.values), PAGE_SIZE_MAX)
    if isinstance(value, IntValueNode) and len(value.value) <= len(str(PAGE_SIZE_MAX)):
        return min(max(int(value.value), 0), PAGE_SIZE_MAX)
    return 0 if isinstance(value, NullValueNode) else PAGE_SIZE_MAX


def _inputs(definition: GraphQLField) -> Iterator[str]:
    """Yield the names of what a mutation takes, in its input or beside it."""
    for name, argument in definition.args.items():
        yield name
        kind = get_named_type(argument.type)
        if isinstance(kind, GraphQLInputObjectType):
            yield from kind.fields


def _takes(definition: GraphQLField, word: str) -> bool:
    return any(word in name.lower() for name in _inputs(definition))


def _is_sensitive(definition: GraphQLField) -> bool:
    """Return whether a mutation tries a password, writes to somebody, or tells a secret."""
    payload = get_named_type(definition.type)
    tells = is_object_type(payload) and any("secret" in name.lower() for name in payload.fields)
    return tells or _takes(definition, "password") or _takes(definition, "email")
