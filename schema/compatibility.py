"""``python -m schema.compatibility``: what a change of the schema does to those who call it.

Compares ``schema.graphql`` with ``released.graphql``, the schema of the last release, and holds
both against ``CHANGES.md``, which tells the policy. ``python -m schema.compatibility release``
takes the present schema for the released one.
"""

import re
import sys
from collections.abc import Iterator
from datetime import date, timedelta

import click
from graphql import (
    BreakingChangeType,
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    build_schema,
    find_breaking_changes,
)

from schema.export import SDL
from service.clock import SystemClock

RELEASED = SDL.with_name("released.graphql")
CHANGES = SDL.with_name("CHANGES.md")

NOTICE = timedelta(days=90)

_REASON = re.compile(r"Use [^.]+\. Gone after (\d{4}-\d{2}-\d{2})\.")
_DEPRECATED = re.compile(r"^- (\d{4}-\d{2}-\d{2}) deprecated `([\w.()]+)`", re.MULTILINE)
_BROKEN = re.compile(r"^- \d{4}-\d{2}-\d{2} broken: `([^`]+)`(, at once: \S.*)?", re.MULTILINE)

_GONE = {
    BreakingChangeType.FIELD_REMOVED,
    BreakingChangeType.VALUE_REMOVED_FROM_ENUM,
    BreakingChangeType.ARG_REMOVED,
}


def complaints(released: str, present: str, changes: str, today: date) -> list[str]:
    """Return what breaks the policy of ``CHANGES.md``, a sentence each.

    Args:
        released: The schema that clients were written for, as SDL.
        present: The schema that is to be released.
        changes: ``CHANGES.md``.
        today: By which a term has passed, or not.
    """
    old, new = build_schema(released), build_schema(present)
    terms = dict(_terms(old))
    broken = {match[1]: bool(match[2]) for match in _BROKEN.finditer(changes)}
    found = []
    for change in find_breaking_changes(old, new):
        if change.description not in broken:
            found.append(f"{change.description} CHANGES.md does not say so.")
        elif change.type in _GONE and not broken[change.description]:
            term = next(
                (terms[name] for name in terms if _is_about(change.description, name)), None
            )
            if term is None or today <= term:
                found.append(f"{change.description} It was not deprecated until its time had come.")
    return found + list(_bad_deprecations(new, changes))


def _bad_deprecations(schema: GraphQLSchema, changes: str) -> Iterator[str]:
    """Yield what is deprecated without saying what to use, until when, or too short."""
    told = {name: date.fromisoformat(day) for day, name in _DEPRECATED.findall(changes)}
    for name, reason in _deprecated(schema):
        match = _REASON.fullmatch(reason)
        if match is None:
            yield f"{name}: the reason must read `Use …. Gone after YYYY-MM-DD.`"
        elif name not in told:
            yield f"{name} is deprecated. CHANGES.md does not say so."
        elif date.fromisoformat(match[1]) < told[name] + NOTICE:
            yield f"{name} goes less than {NOTICE.days} days after it was deprecated."


def _terms(schema: GraphQLSchema) -> Iterator[tuple[str, date]]:
    for name, reason in _deprecated(schema):
        if match := _REASON.fullmatch(reason):
            yield name, date.fromisoformat(match[1])


def _deprecated(schema: GraphQLSchema) -> Iterator[tuple[str, str]]:
    """Yield every deprecated field, argument, input field and enum value, and why."""
    for kind in schema.type_map.values():
        if isinstance(kind, GraphQLEnumType):
            members = dict(kind.values)
        elif isinstance(kind, GraphQLObjectType | GraphQLInterfaceType | GraphQLInputObjectType):
            members = dict(kind.fields)
        else:
            continue
        for name, member in members.items():
            if member.deprecation_reason is not None:
                yield f"{kind.name}.{name}", member.deprecation_reason
            for argument, told in getattr(member, "args", {}).items():
                if told.deprecation_reason is not None:
                    yield f"{kind.name}.{name}({argument})", told.deprecation_reason


def _is_about(description: str, name: str) -> bool:
    """Return whether a change is about a member, however graphql-core words it."""
    return all(re.search(rf"\b{part}\b", description) for part in re.findall(r"\w+", name))


@click.group(invoke_without_command=True)
@click.pass_context
def main(context: click.Context) -> None:
    """Compare the schema with the released one."""
    if context.invoked_subcommand is None:
        old, new, changes = (path.read_text(encoding="utf-8") for path in (RELEASED, SDL, CHANGES))
        found = complaints(old, new, changes, SystemClock().now().date())
        click.echo("".join(f"{sentence}\n" for sentence in found), nl=False, err=True)
        sys.exit(bool(found))


@main.command
def release() -> None:
    """Take the present schema for the released one."""
    RELEASED.write_text(SDL.read_text(encoding="utf-8"), encoding="utf-8")


if __name__ == "__main__":
    main()
