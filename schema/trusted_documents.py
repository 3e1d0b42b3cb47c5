"""Documents that are known beforehand: asked for by their hash, and in production the only ones.

``python -m schema.trusted_documents collect DIRECTORY -o FILE`` writes the list from a console's
``*.graphql`` files; ``TOKENWARD_TRUSTED_DOCUMENTS`` names it. A client then sends the hash of a
document in its place, as ``documentId: "sha256:…"`` (GraphQL over HTTP, persisted documents) or as
``extensions.persistedQuery.sha256Hash`` (Apollo).
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Any

import click
from graphql import GraphQLError, GraphQLSchema, parse, validate
from strawberry.extensions import SchemaExtension

from schema.limits import Measure, check
from service.errors import DocumentNotTrusted, InvalidInput, SettingsRefused

PREFIX = "sha256:"

_HASH = re.compile("[0-9a-f]{64}")

# What a script of ours sends stands there as a string.
_LITERAL = re.compile(r"`([^`]*)`|\"([^\"\n]*)\"")


@dataclass(frozen=True, slots=True)
class TrustedDocuments:
    """The documents that are known.

    Attributes:
        by_hash: Each under its SHA-256, in lower case hex.
        is_strict: Whether no other may run.
    """

    by_hash: dict[str, str] = field(default_factory=dict)
    is_strict: bool = False

    @classmethod
    def read(cls, path: str, *, production: bool) -> "TrustedDocuments":
        """Return what a file lists, and what the built-in pages send; nothing without a path.

        Raises:
            SettingsRefused: If it cannot be read, or a hash is not that of its document.
        """
        if not path:
            return cls()
        listed = _read(Path(path))
        return cls(listed | {hash_of(text): text for text in page_documents()}, production)

    def resolve(self, query: str | None, extensions: dict[str, Any] | None) -> str | None:
        """Return the document to run; None where none was sent.

        Raises:
            InvalidInput: If the hash has another form.
            DocumentNotTrusted: If it is not known, or belongs to another document.
        """
        wanted = _wanted_hash(extensions)
        if wanted is None:
            if self.is_strict and hash_of(query or "") not in self.by_hash:
                raise DocumentNotTrusted
            return query
        known = self.by_hash.get(wanted)
        if known is None or query not in {None, "", known}:
            raise DocumentNotTrusted
        return known


class TrustsDocuments(SchemaExtension):
    """Looks documents up by their hash, and in production refuses those that are not listed.

    Args:
        trusted: The list.
    """

    def __init__(self, trusted: TrustedDocuments) -> None:
        self._trusted = trusted

    def on_operation(self) -> Iterator[None]:
        """Put the document in the place of its hash, before anything is parsed."""
        context = self.execution_context
        context.query = self._trusted.resolve(context.query, context.operation_extensions)
        yield


def hash_of(document: str) -> str:
    """Return the SHA-256 of a document's UTF-8, in lower case hex."""
    return sha256(document.encode()).hexdigest()


def page_documents() -> list[str]:
    """Return what the scripts of our own pages send as it stands there."""
    scripts = (
        entry.read_text(encoding="utf-8")
        for entry in sorted(resources.files("service").joinpath("home").iterdir(), key=str)
        if entry.name.endswith(".js")
    )
    literals = (a or b for script in scripts for a, b in _LITERAL.findall(script))
    return [text for text in literals if _is_document(text)]


def collect(directory: Path, schema: GraphQLSchema) -> tuple[dict[str, str], list[str]]:
    """Return the documents of a directory's ``*.graphql`` files by their hash, and all complaints.

    Each file is one document: with its fragments, valid, and within the limits for documents.
    """
    documents, complaints = {}, []
    for path in sorted(directory.rglob("*.graphql")):
        text = path.read_text(encoding="utf-8")
        try:
            document = parse(text)
            check(Measure.of(document))
            refused = [error.message for error in validate(schema, document)]
        except GraphQLError as error:
            refused = [error.message]
        complaints += [f"{path}: {message}" for message in refused]
        documents[hash_of(text)] = text
    return documents, complaints or ([] if documents else [f"{directory}: no *.graphql file."])


def _is_document(text: str) -> bool:
    if "${" in text:  # it is put together there, and may become anything
        return False
    try:
        parse(text)
    except GraphQLError:
        return False
    return True


def _wanted_hash(extensions: dict[str, Any] | None) -> str | None:
    if not extensions or "persistedQuery" not in extensions:
        return None
    asked = extensions["persistedQuery"]
    wanted = asked.get("sha256Hash") if isinstance(asked, dict) else None
    if not isinstance(wanted, str) or not _HASH.fullmatch(wanted):
        raise InvalidInput("A document's hash is 64 lower case hex digits.")
    return wanted


def _read(path: Path) -> dict[str, str]:
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise SettingsRefused(
            f"TOKENWARD_TRUSTED_DOCUMENTS: {path} cannot be read as JSON"
        ) from None
    if not isinstance(listed, dict) or not listed:
        raise SettingsRefused(f"TOKENWARD_TRUSTED_DOCUMENTS: {path} lists no document")
    for digest, text in listed.items():
        if not isinstance(text, str) or hash_of(text) != digest:
            raise SettingsRefused(
                f"TOKENWARD_TRUSTED_DOCUMENTS: in {path}, {digest[:64]} is not the SHA-256 of its "
                "document"
            )
    return listed


@click.group()
def main() -> None:
    """Keep the list of documents that may run."""


@main.command(name="collect")
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path))
def collect_command(directory: Path, output: Path) -> None:
    """Write the list of a directory's *.graphql files."""
    from schema.root import build_schema  # noqa: PLC0415 - the schema itself needs this module

    schema = build_schema(production=False)
    documents, complaints = collect(directory, schema._schema)  # noqa: SLF001 - strawberry has no public name
    if complaints:
        raise click.ClickException("\n".join(complaints))
    output.write_text(json.dumps(documents, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    click.echo(f"{len(documents)} documents")


if __name__ == "__main__":
    main()
