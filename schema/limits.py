"""What one document may ask for, decided before validation looks at it.

Validation compares fields of the same name in pairs, and the library's own limits walk a fragment
anew at each spread: sixty fragments that each spread the next one twice would keep them busy for
longer than anybody waits. Here each fragment is walked once, and a document that is too large is
refused before any rule has seen it.
"""

from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
)

LEVELS_MAX = 10
ALIASES_MAX = 15
FIELDS_MAX = 300
REPEATS_MAX = 10
FRAGMENTS_MAX = 50
KNOWN_DOCUMENTS = 256


@dataclass(frozen=True, slots=True)
class Size:
    """How much a selection asks for, spread fragments included.

    Attributes:
        levels: Fields within fields; introspection's own nesting does not count.
        repeats: How often one selection set names the same field, or alias, at the most.
    """

    levels: int = 0
    fields: int = 0
    aliases: int = 0
    repeats: int = 0

    def beside(self, other: "Size") -> "Size":
        """Return the size of both, next to each other."""
        return Size(
            max(self.levels, other.levels),
            self.fields + other.fields,
            self.aliases + other.aliases,
            max(self.repeats, other.repeats),
        )


@dataclass
class Measure:
    """Measures the operations of one document."""

    fragments: dict[str, FragmentDefinitionNode]
    _known: dict[str, Size] = field(default_factory=dict)

    @classmethod
    def of(cls, document: DocumentNode) -> Size:
        """Return the size of all operations together.

        Raises:
            GraphQLError: If there are too many fragments even to begin.
        """
        fragments = {
            node.name.value: node
            for node in document.definitions
            if isinstance(node, FragmentDefinitionNode)
        }
        if len(fragments) > FRAGMENTS_MAX:
            raise GraphQLError(f"Define at most {FRAGMENTS_MAX} fragments.")
        measure, size = cls(fragments), Size()
        # Fragments that no operation spreads are validated all the same.
        for node in document.definitions:
            if isinstance(node, OperationDefinitionNode):
                size = size.beside(measure.selections(node.selection_set))
            elif isinstance(node, FragmentDefinitionNode):
                size = size.beside(Size(repeats=measure.fragment(node.name.value).repeats))
        return size

    def selections(self, selected: SelectionSetNode | None) -> Size:
        """Return the size of a selection set."""
        if selected is None:
            return Size()
        names = Counter(
            (node.alias or node.name).value if isinstance(node, FieldNode) else "..."
            for node in selected.selections
            if isinstance(node, FieldNode | FragmentSpreadNode | InlineFragmentNode)
        )
        spreads = names.pop("...", 0)
        size = Size(repeats=max([*names.values(), 0]))
        if spreads > FRAGMENTS_MAX:
            raise GraphQLError(f"Spread at most {FRAGMENTS_MAX} fragments in one place.")
        for node in selected.selections:
            if isinstance(node, FieldNode):
                inner = self.selections(node.selection_set)
                levels = 0 if node.name.value.startswith("__") else inner.levels + 1
                aliases = inner.aliases + (node.alias is not None)
                size = size.beside(Size(levels, inner.fields + 1, aliases, inner.repeats))
            elif isinstance(node, FragmentSpreadNode):
                size = size.beside(self.fragment(node.name.value))
            elif isinstance(node, InlineFragmentNode):
                size = size.beside(self.selections(node.selection_set))
        return size

    def fragment(self, name: str) -> Size:
        """Return the size of a fragment; unknown ones and cycles are validation's to refuse."""
        if name not in self._known:
            self._known[name] = Size()
            if name in self.fragments:
                self._known[name] = self.selections(self.fragments[name].selection_set)
        return self._known[name]


@lru_cache(maxsize=KNOWN_DOCUMENTS)  # documents are known by their identity
def size_of(document: DocumentNode) -> Size:
    """Return the size of a document, as :meth:`Measure.of`; measured once."""
    return Measure.of(document)


def check_operations(document: DocumentNode) -> None:
    """Let a document pass that leaves no doubt which operation is meant (GraphQL §6.1).

    Raises:
        GraphQLError: If it holds several, and none was named.
    """
    if sum(isinstance(node, OperationDefinitionNode) for node in document.definitions) > 1:
        raise GraphQLError("Name the operation: the document holds several.")


def check(size: Size) -> None:
    """Let a document of a size pass.

    Raises:
        GraphQLError: If it is too large; the text tells the limit.
    """
    if size.levels > LEVELS_MAX:
        raise GraphQLError(f"Nest at most {LEVELS_MAX} levels of fields.")
    if size.aliases > ALIASES_MAX:
        raise GraphQLError(f"Use at most {ALIASES_MAX} aliases.")
    if size.fields > FIELDS_MAX:
        raise GraphQLError(f"Ask for at most {FIELDS_MAX} fields.")
    if size.repeats > REPEATS_MAX:
        raise GraphQLError(f"Name a field at most {REPEATS_MAX} times in one place.")
