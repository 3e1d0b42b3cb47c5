"""A template of scopes as it is told."""

from datetime import datetime
from typing import Self

import strawberry

from schema import node_ids
from schema.enums import PolicyLevel
from schema.relay import Node
from service.access.scope_templates import ScopeTemplate as ScopeTemplateRow


@strawberry.type(
    description="Scopes under a name, to start a new token from. It grants nothing, and changing "
    "it changes no token."
)
class ScopeTemplate(Node):
    """A template."""

    level: PolicyLevel = strawberry.field(
        description="Whose it is: the account's own, its reseller's, the platform's."
    )
    name: str = strawberry.field(description="1–50 characters, unique among the owner's.")
    description: str | None = strawberry.field(description="For people; at most 500 characters.")
    scopes: list[str] = strawberry.field(
        description="1–50 scopes. One from above may hold what the account cannot grant; "
        "`createToken` then refuses it."
    )
    created_at: datetime = strawberry.field(description="When it was created.")
    version: int = strawberry.field(description="Grows with each change; for `expectedVersion`.")

    @classmethod
    def of(cls, row: ScopeTemplateRow) -> Self:
        """Build one."""
        return cls(
            id=strawberry.ID(node_ids.encode(node_ids.SCOPE_TEMPLATE, row.id)),
            level=row.level,
            name=row.name,
            description=row.description,
            scopes=list(row.scopes),
            created_at=row.created_at,
            version=row.version,
        )
