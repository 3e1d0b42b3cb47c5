"""What is asked of templates of scopes."""

import strawberry

from service.scope_templates import TemplateChanges

NAME = "1–50 printable characters, unique among the account's templates."
DESCRIPTION = "For people; at most 500 characters, on several lines."
SCOPES = "1–50 scopes that the account can grant: `noun:verb`, `noun:*` or `*`."


@strawberry.input(description="A new template of the caller's account, for it and all below it.")
class CreateScopeTemplateInput:
    """A new template."""

    name: str = strawberry.field(description=NAME)
    scopes: list[str] = strawberry.field(description=SCOPES)
    description: str | None = strawberry.field(default=None, description=DESCRIPTION)

    def to_changes(self) -> TemplateChanges:
        """Return the domain's wish."""
        return TemplateChanges(
            name=self.name, description=self.description, scopes=tuple(self.scopes)
        )


@strawberry.input(description="A change of a template. What is absent stays as it is.")
class UpdateScopeTemplateInput:
    """A change of a template."""

    id: strawberry.ID = strawberry.field(description="The template.")
    name: strawberry.Maybe[str] = strawberry.field(default=None, description=NAME)
    description: strawberry.Maybe[str | None] = strawberry.field(
        default=None, description=f"{DESCRIPTION} Null takes it away."
    )
    scopes: strawberry.Maybe[list[str]] = strawberry.field(default=None, description=SCOPES)
    expected_version: int | None = strawberry.field(
        default=None, description="Refuse unless the template is at this version."
    )

    def to_changes(self) -> TemplateChanges:
        """Return the domain's changes."""
        return TemplateChanges(
            name=None if self.name is None else self.name.value,
            description=None if self.description is None else self.description.value or "",
            scopes=None if self.scopes is None else tuple(self.scopes.value),
        )


@strawberry.input(description="A template to delete.")
class DeleteScopeTemplateInput:
    """A template to delete."""

    id: strawberry.ID = strawberry.field(description="The template.")
