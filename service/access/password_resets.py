"""Links to set a password, as nobody who is signed in asks for them, and as the worker sends them.

A row says that a member is to have a link. The worker makes its secret, so that the secret lies
nowhere but in the e-mail: neither in a row nor in a queue, and here only as a keyed digest. A
member has one row, so that the newest link alone opens anything.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from service.access.actor import EVERYTHING
from service.access.door import Door, Statement, as_uuid, open_door
from service.access.members import LinkPurpose, renewed_link
from service.clock import new_id
from service.roles import Role

CLAIM = timedelta(minutes=2)  # longer than a relay may take; then twice as long each time
ATTEMPTS_MAX = 8
LIFETIMES = {LinkPurpose.RESET: timedelta(hours=1), LinkPurpose.INVITATION: timedelta(days=7)}
KEPT = timedelta(days=8)  # longer than any link lives, attempts included

_MAY_SIGN_IN = (
    "m.disabled_at IS NULL AND coalesce(a.suspended_at, a.closed_at, r.suspended_at, r.closed_at)"
    " IS NULL"
)
_MEMBER = (
    "member m JOIN account a ON a.id = m.account_id LEFT JOIN account r ON r.id = a.reseller_id"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedLink:
    """A link that is to be sent now, by whoever claimed it.

    Attributes:
        digest: Of the secret that was made for this attempt.
        account_name: People's own words, not to be trusted.
    """

    id: UUID
    digest: bytes = field(repr=False)
    purpose: LinkPurpose
    attempts: int
    email: str
    account_name: str
    expires_at: datetime


async def system_want_password_reset(email: str, now: datetime) -> None:
    """Have the worker send a link to whoever signs in with an address, if somebody does.

    Who was invited and has no password yet gets an invitation again. Not within a minute after the
    last one was wanted. Where nobody has the address, as many bytes reach the log of the database,
    and the commit waits for them as it does otherwise: the answer takes as long.
    """
    statement = Statement()
    at = f"{statement.bind(now)}::timestamptz"
    statement.text = (
        "WITH wanted AS (INSERT INTO password_reset (id, account_id, reseller_id, member_id,"
        f" purpose, created_at, due_at, attempts) SELECT {statement.bind(new_id())}::uuid,"
        " m.account_id, m.reseller_id, m.id,"
        f" CASE WHEN m.password_hash IS NULL THEN '{LinkPurpose.INVITATION}'"
        f" ELSE '{LinkPurpose.RESET}' END, {at}, {at}, 0"
        f" FROM {_MEMBER} WHERE m.email = {statement.bind(email)} AND {_MAY_SIGN_IN}"
        f" {renewed_link(statement, now)} RETURNING id"
        ") SELECT pg_logical_emit_message(true, 'tokenward', repeat('.', 200))"
        " WHERE NOT EXISTS (SELECT FROM wanted)"
    )
    async with open_door(EVERYTHING) as door:
        await door.query(statement)


async def system_find_linked_member(digests: list[bytes], now: datetime) -> UUID | None:
    """Return the member whose link has one of some digests and has not ended, or None."""
    statement = Statement()
    statement.text = (
        "SELECT p.member_id FROM password_reset p JOIN member m ON m.id = p.member_id"
        f" WHERE p.digest = ANY({statement.bind(digests)}) AND p.expires_at > {statement.bind(now)}"
        " AND m.disabled_at IS NULL"
    )
    async with open_door(EVERYTHING) as door:
        row = await door.one(statement)
    return None if row is None else as_uuid(row["member_id"])


async def system_use_link(door: Door, digests: list[bytes], now: datetime) -> bool:
    """End a link by its use; return whether it still opened. Of those who try at once, one may."""
    statement = Statement()
    statement.text = (
        f"DELETE FROM password_reset WHERE digest = ANY({statement.bind(digests)})"
        f" AND expires_at > {statement.bind(now)} RETURNING id"
    )
    return await door.one(statement) is not None


async def system_claim_link(digest: bytes, now: datetime) -> ClaimedLink | None:
    """Claim the link that has waited the longest and give it a secret, or return None.

    The next attempt is due by the same statement, so that a crash needs nobody to notice it. Each
    has a secret of its own: which of two e-mails arrived is not known, and the newest is valid.
    """
    statement = Statement()
    at = f"{statement.bind(now)}::timestamptz"
    lifetimes = " ".join(
        f"WHEN '{purpose}' THEN {statement.bind(lifetime)}::interval"
        for purpose, lifetime in LIFETIMES.items()
    )
    statement.text = (
        "WITH due AS (SELECT id FROM password_reset"
        f" WHERE due_at <= {at} ORDER BY due_at, id LIMIT 1 FOR UPDATE SKIP LOCKED"
        "), claimed AS (UPDATE password_reset p SET attempts = attempts + 1,"
        f" digest = {statement.bind(digest)}, expires_at = {at} + CASE purpose {lifetimes} END,"
        f" due_at = CASE WHEN attempts + 1 < {statement.bind(ATTEMPTS_MAX)}"
        f" THEN {at} + {statement.bind(CLAIM)}::interval * power(2, attempts) END"
        " FROM due WHERE p.id = due.id RETURNING p.*"
        ") SELECT c.id, c.purpose, c.attempts, c.expires_at, m.email, a.name AS account_name"
        f" FROM claimed c JOIN ({_MEMBER}) ON m.id = c.member_id"
    )
    async with open_door(EVERYTHING) as door:
        row = await door.one(statement)
    if row is None:
        return None
    return ClaimedLink(
        **(row | {"id": as_uuid(row["id"]), "purpose": LinkPurpose(row["purpose"])}), digest=digest
    )


async def system_note_link_sent(link: ClaimedLink, now: datetime) -> None:
    """Note that a link was accepted by a relay, unless another was wanted meanwhile."""
    statement = Statement()
    statement.text = (
        f"UPDATE password_reset SET sent_at = {statement.bind(now)}, due_at = NULL, failure = NULL"
        f" WHERE id = {statement.bind(link.id)} AND digest = {statement.bind(link.digest)}"
    )
    async with open_door(EVERYTHING) as door:
        await door.query(statement)


async def system_note_link_failed(link: ClaimedLink, reason: str, *, final: bool) -> None:
    """Note why a link was not accepted, in at most 200 characters, and whether that is final."""
    statement = Statement()
    again = "due_at" if not final else "NULL"
    statement.text = (
        f"UPDATE password_reset SET failure = {statement.bind(reason)}, due_at = {again}"
        f" WHERE id = {statement.bind(link.id)} AND digest = {statement.bind(link.digest)}"
    )
    async with open_door(EVERYTHING) as door:
        await door.query(statement)


async def system_forget_links(now: datetime) -> None:
    """Delete links that have long ended."""
    statement = Statement()
    statement.text = f"DELETE FROM password_reset WHERE created_at < {statement.bind(now - KEPT)}"
    async with open_door(EVERYTHING) as door:
        await door.query(statement)


async def system_lapse_members(
    door: Door, now: datetime, *, invited_before: datetime, limit: int
) -> list[dict[str, Any]]:
    """Remove up to ``limit`` members who were invited long ago and never set a password; tell them.

    Not an owner whose account has none who can sign in: whoever is above may invite them again.
    Rows that somebody else holds are skipped. Cost follows the open invitations, along
    ``member_invited``.
    """
    statement = Statement()
    statement.text = (
        "WITH due AS (SELECT m.id FROM member m WHERE m.password_hash IS NULL"
        f" AND m.disabled_at IS NULL AND m.invited_at <= {statement.bind(invited_before)}"
        f" AND (m.role <> '{Role.OWNER}' OR EXISTS (SELECT FROM member o"
        f" WHERE o.account_id = m.account_id AND o.role = '{Role.OWNER}'"
        " AND o.password_hash IS NOT NULL AND o.disabled_at IS NULL))"
        f" ORDER BY m.invited_at, m.id LIMIT {statement.bind(limit)}"
        " FOR NO KEY UPDATE OF m SKIP LOCKED"
        f"), lapsed AS (UPDATE member m SET disabled_at = {statement.bind(now)},"
        " version = version + 1 FROM due WHERE m.id = due.id"
        " RETURNING m.id, m.account_id, m.reseller_id, m.email"
        "), forgotten AS (DELETE FROM password_reset p USING lapsed l WHERE p.member_id = l.id"
        ") SELECT * FROM lapsed"
    )
    return await door.query(statement)
