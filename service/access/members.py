"""Rows of members: the people who sign in for an account, and their links to set a password."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Self
from uuid import UUID

from service.access.door import Door, Statement, as_uuid
from service.clock import new_id
from service.errors import NotFound, VersionConflict
from service.paging import Cursor, Page, PageRequest
from service.roles import Role

LINK_INTERVAL = timedelta(minutes=1)

_ORDER = "members"


class LinkPurpose(StrEnum):
    """What a link to set a password is for; it decides how long it may be used."""

    RESET = "RESET"
    INVITATION = "INVITATION"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A person who signs in for an account.

    Attributes:
        has_password: False until the invitation is accepted.
        disabled_at: When they were removed; None is a member.
        invitation_sent_at: When a relay took the newest invitation; None is not yet, or accepted.
        invitation_failure: Why it could not be sent, in at most 200 characters.
    """

    id: UUID
    account_id: UUID
    reseller_id: UUID | None
    email: str
    role: Role
    has_password: bool
    password_changed_at: datetime | None
    password_version: int
    created_at: datetime
    disabled_at: datetime | None
    version: int
    invitation_sent_at: datetime | None
    invitation_expires_at: datetime | None
    invitation_failure: str | None

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        """Build one from a row of ``_SELECT``."""
        fields = {name: row[name] for name in cls.__dataclass_fields__}
        fields |= {name: as_uuid(row[name]) for name in ("id", "account_id")}
        fields["reseller_id"] = row["reseller_id"] and as_uuid(row["reseller_id"])
        fields["role"] = Role(row["role"])
        return cls(**fields)

    @property
    def owner(self) -> tuple[UUID, UUID | None]:
        """Whose trail a change of it belongs to: its account and its reseller."""
        return self.account_id, self.reseller_id


_SELECT = """
SELECT m.*, m.password_hash IS NOT NULL AS has_password, p.sent_at AS invitation_sent_at,
    p.expires_at AS invitation_expires_at, p.failure AS invitation_failure
FROM member m LEFT JOIN password_reset p ON p.member_id = m.id AND p.purpose = 'INVITATION'
"""


async def find_member(door: Door, member_id: UUID, *, locking: str = "") -> Member:
    """Return a member within reach, or one who was removed.

    Args:
        door: An open door.
        member_id: Their id.
        locking: PostgreSQL's locking clause; see :func:`hold_member`.

    Raises:
        NotFound: If there is none, or it is another tenant's.
    """
    statement = Statement()
    reach = statement.within(door.reach, account="m.account_id", reseller="m.reseller_id")
    statement.text = f"{_SELECT} WHERE m.id = {statement.bind(member_id)} AND {reach} {locking}"
    row = await door.one(statement)
    if row is None:
        raise NotFound("There is no such member.")
    return Member.from_row(row)


async def find_members(door: Door, member_ids: list[UUID]) -> dict[UUID, Member]:
    """Return those of some members that are within reach, by id, in one query."""
    statement = Statement()
    reach = statement.within(door.reach, account="m.account_id", reseller="m.reseller_id")
    statement.text = f"{_SELECT} WHERE m.id = ANY({statement.bind(member_ids)}) AND {reach}"
    found = [Member.from_row(row) for row in await door.query(statement)]
    return {member.id: member for member in found}


async def hold_member(door: Door, member_id: UUID) -> Member:
    """Return a member and keep everybody from changing them until the transaction ends.

    What begins on the strength of a role or a password holds its member: a change of either waits
    for it, and then finds what was begun.

    Raises:
        NotFound: If they are not within reach.
    """
    return await find_member(door, member_id, locking="FOR SHARE OF m")


async def lock_member(door: Door, member_id: UUID) -> Member:
    """Return a member and hold their row until the transaction ends, to change it.

    Raises:
        NotFound: If they are not within reach.
    """
    return await find_member(door, member_id, locking="FOR NO KEY UPDATE OF m")


async def lock_members(door: Door, member_id: UUID) -> dict[UUID, Member]:
    """Return everybody of a member's account and hold their rows until the transaction ends.

    Those who were removed are left out, but for the member asked for. Whoever decides by who else
    there is, decides one after the other.

    Raises:
        NotFound: If the member is not within reach.
    """
    statement = Statement()
    reach = statement.within(door.reach, account="m.account_id", reseller="m.reseller_id")
    wanted = statement.bind(member_id)
    statement.text = (
        f"{_SELECT} WHERE m.account_id = (SELECT account_id FROM member WHERE id = {wanted})"
        f" AND (m.disabled_at IS NULL OR m.id = {wanted}) AND {reach}"
        " ORDER BY m.id FOR NO KEY UPDATE OF m"
    )
    found = [Member.from_row(row) for row in await door.query(statement)]
    members = {member.id: member for member in found}
    if member_id not in members:
        raise NotFound("There is no such member.")
    return members


async def list_members(door: Door, account_id: UUID, page: PageRequest) -> Page[Member]:
    """Return one page of an account's members by e-mail address; none beyond reach."""
    statement = Statement()
    conditions = [
        f"m.account_id = {statement.bind(account_id)}",
        "m.disabled_at IS NULL",
        statement.within(door.reach, account="m.account_id", reseller="m.reseller_id"),
    ]
    if page.after is not None:
        cursor = Cursor.decode(page.after, _ORDER)
        conditions.append(
            f"(m.email, m.id) > ({statement.bind(cursor.key)}::text, {statement.bind(cursor.id)})"
        )
    statement.text = (
        f"{_SELECT} WHERE {' AND '.join(conditions)} ORDER BY m.email, m.id"
        f" LIMIT {statement.bind(page.first + 1)}"
    )
    rows = await door.query(statement)
    members = [Member.from_row(row) for row in rows[: page.first]]
    return Page(
        items=members,
        cursors=[Cursor(_ORDER, member.email, member.id).encode() for member in members],
        has_next=len(rows) > page.first,
    )


async def count_members(door: Door, account_id: UUID) -> int:
    """Return how many members an account within reach has."""
    statement = Statement()
    reach = statement.within(door.reach, account="account_id", reseller="reseller_id")
    statement.text = (
        "SELECT count(*) AS number FROM member"
        f" WHERE account_id = {statement.bind(account_id)} AND disabled_at IS NULL AND {reach}"
    )
    row = await door.one(statement)
    return 0 if row is None else int(row["number"])


async def insert_member(door: Door, row: dict[str, Any]) -> None:
    """Add a person.

    Raises:
        EmailTaken: If the address already signs in somewhere.
    """
    await door.query(Statement().insert("member", [row]))


async def change_member(
    door: Door, member_id: UUID, changes: dict[str, Any], *, expected_version: int | None = None
) -> Member:
    """Change some columns of a member, and nothing else, in one UPDATE.

    Args:
        door: An open door.
        member_id: Their id.
        changes: Values by column, from the code's own names; at least one.
        expected_version: Refuse if somebody else was faster; None does not ask.

    Raises:
        NotFound: If they are not within reach, or were removed.
        VersionConflict: If their version is another.
    """
    statement = Statement()
    settings = "".join(f"{column} = {statement.bind(value)}, " for column, value in changes.items())
    reach = statement.within(door.reach, account="account_id", reseller="reseller_id")
    version = (
        "TRUE" if expected_version is None else f"version = {statement.bind(expected_version)}"
    )
    statement.text = (
        f"WITH changed AS (UPDATE member SET {settings}version = version + 1"
        f" WHERE id = {statement.bind(member_id)} AND {reach} AND {version}"
        f" AND disabled_at IS NULL RETURNING *) {_SELECT.replace('member m', 'changed m')}"
    )
    if (row := await door.one(statement)) is not None:
        return Member.from_row(row)
    if (await find_member(door, member_id)).disabled_at is not None:
        raise NotFound("There is no such member.")
    raise VersionConflict


async def want_invitation(door: Door, member_id: UUID, *, now: datetime) -> bool:
    """Have the worker send a member a new link, in place of any before; return whether it will.

    Not within a minute after the last one was wanted, and not to whom has a password.
    """
    statement = Statement()
    at = f"{statement.bind(now)}::timestamptz"
    reach = statement.within(door.reach, account="account_id", reseller="reseller_id")
    statement.text = (
        f"WITH invited AS (UPDATE member SET invited_at = {at}"
        f" WHERE id = {statement.bind(member_id)} AND disabled_at IS NULL"
        f" AND password_hash IS NULL AND {reach} RETURNING id, account_id, reseller_id"
        ") INSERT INTO password_reset (id, account_id, reseller_id, member_id, purpose, created_at,"
        f" due_at, attempts) SELECT {statement.bind(new_id())}::uuid, account_id, reseller_id, id,"
        f" '{LinkPurpose.INVITATION}', {at}, {at}, 0 FROM invited"
        f" {renewed_link(statement, now)} RETURNING id"
    )
    return await door.one(statement) is not None


def renewed_link(statement: Statement, now: datetime) -> str:
    """Return what becomes of a member's older link: it ends, and a new one is due at once."""
    return (
        "ON CONFLICT (member_id) DO UPDATE SET purpose = EXCLUDED.purpose,"
        " created_at = EXCLUDED.created_at, due_at = EXCLUDED.due_at, attempts = 0, digest = NULL,"
        " expires_at = NULL, sent_at = NULL, failure = NULL"
        f" WHERE password_reset.created_at <= {statement.bind(now - LINK_INTERVAL)}"
    )


async def forget_link(door: Door, member_id: UUID) -> bool:
    """End a member's link to set a password; return whether there was one."""
    statement = Statement()
    reach = statement.within(door.reach, account="account_id", reseller="reseller_id")
    statement.text = (
        f"DELETE FROM password_reset WHERE member_id = {statement.bind(member_id)} AND {reach}"
        " RETURNING id"
    )
    return await door.one(statement) is not None
