"""Whom a refused sign-in was about."""

from dataclasses import dataclass
from uuid import UUID

from service.access.door import Door, Statement, as_uuid


@dataclass(frozen=True, slots=True)
class Person:
    """A member, and whose trail it is where something was tried in their name."""

    id: UUID
    owner: tuple[UUID, UUID | None]


async def system_find_person(door: Door, email: str) -> Person | None:
    """Return who signs in with an e-mail address, whether or not they may; None for nobody."""
    statement = Statement()
    statement.text = (
        "SELECT id, account_id, reseller_id FROM member"
        f" WHERE email = {statement.bind(email)} AND disabled_at IS NULL"
    )
    row = await door.one(statement)
    if row is None:
        return None
    reseller_id = row["reseller_id"]
    return Person(
        as_uuid(row["id"]), (as_uuid(row["account_id"]), reseller_id and as_uuid(reseller_id))
    )
