"""Rows of templates of scopes, and those that an account is offered from above."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from service.access.door import Door, Statement, as_uuid
from service.errors import NotFound, VersionConflict
from service.policy_rules import PolicyLevel, level_of
from service.verdict import AccountKind


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeTemplate:
    """Scopes under a name.

    Attributes:
        level: Whose it is; what the platform's and a reseller's accounts are called is not told.
    """

    id: UUID
    level: PolicyLevel
    name: str
    description: str | None
    scopes: tuple[str, ...]
    created_at: datetime
    version: int

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        """Build one from a row with the kind of its owner."""
        return cls(
            id=as_uuid(row["id"]),
            level=level_of(AccountKind(row["owner_kind"])),
            name=row["name"],
            description=row["description"],
            scopes=tuple(row["scopes"]),
            created_at=row["created_at"],
            version=row["version"],
        )


async def list_templates(door: Door, account_id: UUID) -> list[ScopeTemplate]:
    """Return what an account within reach is offered, by level and name; of one beyond, nothing.

    Those of its reseller and of the operator are beyond a customer's reach, so they come through a
    function of the database that tells no other tenant's.
    """
    statement = Statement()
    reach = statement.within(door.reach, account="a.id", reseller="a.reseller_id")
    statement.text = (
        "SELECT t.* FROM account a CROSS JOIN LATERAL templates_for(a.id) t"
        f" WHERE a.id = {statement.bind(account_id)} AND {reach}"
        " ORDER BY array_position(ARRAY['OPERATOR', 'RESELLER', 'CUSTOMER'], t.owner_kind),"
        " t.name, t.id"
    )
    return [ScopeTemplate.from_row(row) for row in await door.query(statement)]


async def find_template(
    door: Door, template_id: UUID, *, locking: str = ""
) -> tuple[ScopeTemplate, UUID]:
    """Return a template of an account within reach, with that account's id.

    Args:
        door: An open door.
        template_id: Its id.
        locking: PostgreSQL's locking clause; see :func:`lock_template`.

    Raises:
        NotFound: If there is none, or it is another tenant's, or comes from above.
    """
    statement = Statement()
    reach = statement.within(door.reach, account="t.account_id", reseller="t.reseller_id")
    statement.text = (
        "SELECT t.*, a.kind AS owner_kind FROM scope_template t"
        " JOIN account a ON a.id = t.account_id"
        f" WHERE t.id = {statement.bind(template_id)} AND {reach} {locking}"
    )
    row = await door.one(statement)
    if row is None:
        raise NotFound("There is no such template.")
    return ScopeTemplate.from_row(row), as_uuid(row["account_id"])


async def lock_template(door: Door, template_id: UUID) -> tuple[ScopeTemplate, UUID]:
    """Return the same, and hold the row until the transaction ends, so that it stays true.

    Raises:
        NotFound: If there is none, or it is another tenant's, or comes from above.
    """
    return await find_template(door, template_id, locking="FOR UPDATE OF t")


async def count_templates(door: Door, account_id: UUID) -> int:
    """Return how many templates of its own an account within reach has."""
    statement = Statement()
    reach = statement.within(door.reach, account="account_id", reseller="reseller_id")
    statement.text = (
        "SELECT count(*) AS own FROM scope_template"
        f" WHERE account_id = {statement.bind(account_id)} AND {reach}"
    )
    [row] = await door.query(statement)
    return int(row["own"])


async def insert_template(door: Door, row: dict[str, Any]) -> None:
    """Add a template.

    Raises:
        TemplateNameTaken: If another one of the account bears the name.
    """
    await door.query(Statement().insert("scope_template", [row]))


async def change_template(
    door: Door, template_id: UUID, changes: dict[str, Any], *, expected_version: int | None = None
) -> None:
    """Change some columns of a template, and nothing else.

    Args:
        door: An open door.
        template_id: One within reach, whose row is held.
        changes: At least one value by column, from the code's own names.
        expected_version: Refuse if somebody else was faster; None does not ask.

    Raises:
        NotFound: If it is not within reach.
        VersionConflict: If its version is another.
        TemplateNameTaken: If another one of the account bears the name.
    """
    statement = Statement()
    columns = ", ".join(f"{column} = {statement.bind(value)}" for column, value in changes.items())
    reach = statement.within(door.reach, account="account_id", reseller="reseller_id")
    version = (
        "TRUE" if expected_version is None else f"version = {statement.bind(expected_version)}"
    )
    statement.text = (
        f"UPDATE scope_template SET {columns}, version = version + 1"
        f" WHERE id = {statement.bind(template_id)} AND {reach} AND {version} RETURNING id"
    )
    if await door.one(statement) is None:
        await find_template(door, template_id)
        raise VersionConflict


async def delete_template(door: Door, template_id: UUID) -> bool:
    """Delete a template within reach; return whether it was there."""
    statement = Statement()
    reach = statement.within(door.reach, account="account_id", reseller="reseller_id")
    statement.text = (
        f"DELETE FROM scope_template WHERE id = {statement.bind(template_id)} AND {reach}"
        " RETURNING id"
    )
    return await door.one(statement) is not None
