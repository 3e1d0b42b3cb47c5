"""The ledger of expiry notices, as the worker writes it; it looks across all tenants.

A row is PENDING until it is SENT, SUPPRESSED (there is nothing to tell any more) or FAILED, and
``reason`` says why.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from service.access.actor import EVERYTHING
from service.access.door import Door, Statement, as_uuid, open_door
from service.clock import new_id

CLAIM = timedelta(minutes=5)
ATTEMPTS_MAX = 10
DIGEST_LINES_MAX = 200


# An audit event per row of the ledger. It names no recipient: that may be a person of the account
# above.
_AUDITED = """
INSERT INTO audit_event (id, account_id, reseller_id, occurred_at, action, subject_id, details)
SELECT gen_random_uuid(), account_id, reseller_id, {now}, '{action}', token_id,
    jsonb_build_object('threshold_days', threshold_days, 'expires_at', expires_at)
FROM {rows}"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a batch of crossings ended, along the index of what time will end."""

    expires_at: datetime
    token_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpiringToken:
    """One line of a digest; names are people's own words and not to be trusted."""

    token_id: UUID
    account_name: str
    name: str
    prefix: str
    last_four: str
    expires_at: datetime
    threshold_days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """What one e-mail tells one recipient.

    Attributes:
        id: The same whenever this e-mail is tried again; its Message-ID is made of it.
        attempts: How often it was claimed, this time included.
        tokens: At least one, what ends first in front.
    """

    id: UUID
    recipient: str
    attempts: int
    tokens: tuple[ExpiringToken, ...]


@dataclass(frozen=True, slots=True)
class WideSchedule:
    """An account whose policy has people told earlier than the platform does.

    Attributes:
        is_fleet: Whether it is a reseller's, and counts for all its customers.
    """

    account_id: UUID
    is_fleet: bool
    widest_days: int


async def system_find_platform_thresholds() -> tuple[int, ...]:
    """Return the days before an expiry that the operator's own policy names."""
    statement = Statement(
        "SELECT DISTINCT days FROM policy p JOIN account a ON a.id = p.account_id"
        " CROSS JOIN LATERAL unnest(p.notice_threshold_days) AS days WHERE a.kind = 'OPERATOR'"
    )
    async with open_door(EVERYTHING) as door:
        return tuple(row["days"] for row in await door.query(statement))


async def system_find_wide_schedules(platform_days: int) -> list[WideSchedule]:
    """Return the accounts below the operator whose policies name more days than the platform."""
    statement = Statement()
    statement.text = (
        "SELECT p.account_id, p.account_id = p.reseller_id AS is_fleet, max(days) AS widest"
        " FROM policy p CROSS JOIN LATERAL unnest(p.notice_threshold_days) AS days"
        f" WHERE p.notice_threshold_days IS NOT NULL AND days > {statement.bind(platform_days)}"
        " AND p.account_id <> (SELECT id FROM account WHERE kind = 'OPERATOR')"
        " GROUP BY p.account_id, p.reseller_id ORDER BY p.account_id"
    )
    async with open_door(EVERYTHING) as door:
        rows = await door.query(statement)
    return [
        WideSchedule(as_uuid(row["account_id"]), bool(row["is_fleet"]), row["widest"])
        for row in rows
    ]


async def system_claim_crossings(
    now: datetime,
    thresholds: tuple[int, ...],
    *,
    after: Place | None,
    limit: int,
    schedule: WideSchedule | None = None,
) -> Place | None:
    """Add a PENDING row per recipient of each token that crossed a threshold; harmless to repeat.

    To the platform's thresholds come those of the policies of the token's account and reseller.
    Only the tightest one counts, and only one shorter than the token's whole life. Those told are
    the enabled members of its account; if none, of its reseller; if none, of the operator.
    Cost follows what is about to expire, along ``api_token_ending``, or for the schedule's account.
    Rows are added in one order, so that runs side by side wait for each other instead of
    deadlocking.

    Args:
        now: The instant that decides.
        thresholds: The platform's, days before an expiry, at least one.
        after: Where the batch before ended; None is the beginning.
        limit: Tokens looked at, at the most.
        schedule: Look at what it alone reaches, not at what the platform's thresholds reach.

    Returns:
        Where this batch ended, or None where nothing was left to look at.
    """
    statement = Statement()
    at = f"{statement.bind(now)}::timestamptz"
    days = f"{statement.bind(list(thresholds))}::int[]"
    ends, within = _window(statement, at, max(thresholds), schedule)
    if after is not None:
        place = f"({statement.bind(after.expires_at)}, {statement.bind(after.token_id)})"
        within += f" AND ({ends}, id) > {place}"
    statement.text = (
        "WITH ending AS (SELECT id, account_id, reseller_id, created_at, expires_at FROM api_token"
        " WHERE expires_at IS NOT NULL AND revoked_at IS NULL AND swept_at IS NULL"
        f" AND kind = 'API_TOKEN' AND {within}"
        f" ORDER BY {ends}, id LIMIT {statement.bind(limit)}"
        f"), {_WRITTEN.format(now=at, days=days, who=_TOLD)}"
        " SELECT expires_at, id FROM ending ORDER BY expires_at DESC, id DESC LIMIT 1"
    )
    async with open_door(EVERYTHING) as door:
        last = await door.one(statement)
    return None if last is None else Place(last["expires_at"], as_uuid(last["id"]))


def _window(
    statement: Statement, at: str, platform_days: int, schedule: WideSchedule | None
) -> tuple[str, str]:
    """Return by which expression of which index the ends are read, and the range of it."""
    widest = f"{at} + make_interval(days => {statement.bind(platform_days)}::int)"
    if schedule is None:
        return "expires_at", f"expires_at > {at} AND expires_at <= {widest}"
    ends = "least(expires_at, 'infinity'::timestamptz)"
    owner = "reseller_id" if schedule.is_fleet else "account_id"
    until = f"{at} + make_interval(days => {statement.bind(schedule.widest_days)}::int)"
    account = statement.bind(schedule.account_id)
    return ends, f"{owner} = {account} AND {ends} > {widest} AND {ends} <= {until}"


# Who may be told: not who was removed, nor an address that was invited and proved nothing yet.
_TOLD = "m.disabled_at IS NULL AND m.password_hash IS NOT NULL"

_ENDING = """
SELECT id, account_id, reseller_id, created_at, expires_at FROM api_token
WHERE expires_at IS NOT NULL AND revoked_at IS NULL AND swept_at IS NULL AND kind = 'API_TOKEN'
"""

# Of the tokens in ``ending``, those that crossed, and their rows in the ledger.
_WRITTEN = """
crossed AS (
    SELECT e.*, tightest.days FROM ending e CROSS JOIN LATERAL (
        SELECT min(days) AS days FROM (
            SELECT unnest({days}) AS days
            UNION ALL SELECT unnest(p.notice_threshold_days) FROM policy p
            WHERE p.account_id IN (e.account_id, e.reseller_id)
            AND p.notice_threshold_days IS NOT NULL
            AND (p.level <> 'RESELLER' OR p.reseller_id IS NOT NULL)
        ) named
        WHERE e.expires_at <= {now} + make_interval(days => days)
        AND e.expires_at > e.created_at + make_interval(days => days)
    ) tightest
    WHERE tightest.days IS NOT NULL AND NOT EXISTS (
        SELECT FROM notice n WHERE n.token_id = e.id AND n.expires_at = e.expires_at
        AND n.threshold_days = tightest.days
    )
), written AS (
    INSERT INTO notice (id, account_id, reseller_id, token_id, expires_at, threshold_days,
        recipient, state, created_at, attempts)
    SELECT gen_random_uuid(), c.account_id, c.reseller_id, c.id, c.expires_at, c.days,
        told.email, 'PENDING', {now}, 0
    FROM crossed c CROSS JOIN LATERAL (
        SELECT email FROM member m WHERE {who} AND m.account_id = (
            SELECT above.id FROM (VALUES
                (1, c.account_id), (2, c.reseller_id),
                (3, (SELECT id FROM account WHERE kind = 'OPERATOR'))
            ) AS above (distance, id)
            WHERE EXISTS (SELECT FROM member m WHERE m.account_id = above.id AND {who})
            ORDER BY above.distance LIMIT 1
        )
    ) told
    ORDER BY c.expires_at, c.id, told.email
    ON CONFLICT (token_id, expires_at, threshold_days, recipient) DO NOTHING
)"""


async def system_claim_digest(now: datetime) -> Digest | None:
    """Claim one recipient's e-mail for five minutes, or return None where none is waiting.

    What there is nothing to tell about any more is settled in the same transaction. An e-mail that
    was tried before is claimed again as the same group, before anything new, so that it keeps its
    id. Of those who claim at once, each gets another recipient.
    """
    while True:
        async with open_door(EVERYTHING) as door:
            recipient = await _lock_recipient(door, now)
            if recipient is None:
                return None
            await _settle(door, recipient, now)
            rows = await _claim_rows(door, recipient, now)
        # Without rows, all was settled, or another was faster between our look and our lock.
        if rows:
            return _digest(recipient, rows)


async def _lock_recipient(door: Door, now: datetime) -> str | None:
    """Return a recipient with waiting rows whom nobody else holds, held until the commit.

    The look is older than the lock: whether rows still wait is asked again by what follows.
    """
    statement = Statement()
    statement.text = (
        # Fenced: a plan that sorts last would lock every recipient before it returns the first.
        f"SELECT recipient FROM (SELECT recipient FROM notice n WHERE {_waiting(statement, now)}"
        " ORDER BY recipient OFFSET 0) AS waiting"
        " WHERE pg_try_advisory_xact_lock(hashtext('notice'), hashtext(recipient)) LIMIT 1"
    )
    row = await door.one(statement)
    return None if row is None else str(row["recipient"])


async def _settle(door: Door, recipient: str, now: datetime) -> None:
    """Suppress what need not be told any more, and give up what was tried too often.

    A suspended token is still told of: it may be resumed.
    """
    statement = Statement()
    at = f"{statement.bind(now)}::timestamptz"
    statement.text = (
        "WITH settled AS (SELECT n.id, CASE"
        " WHEN t.revoked_at IS NOT NULL THEN 'REVOKED'"
        " WHEN t.expires_at IS DISTINCT FROM n.expires_at THEN 'EXPIRY_CHANGED'"
        f" WHEN t.expires_at <= {at} THEN 'EXPIRED'"
        " WHEN coalesce(a.suspended_at, a.closed_at, r.suspended_at, r.closed_at) IS NOT NULL"
        " THEN 'ACCOUNT_INACTIVE'"
        " WHEN EXISTS (SELECT FROM notice tighter WHERE tighter.token_id = n.token_id"
        " AND tighter.expires_at = n.expires_at AND tighter.threshold_days < n.threshold_days"
        " AND tighter.recipient = n.recipient) THEN 'SUPERSEDED'"
        " WHEN NOT EXISTS (SELECT FROM member m WHERE m.email = n.recipient"
        f" AND {_TOLD} AND m.account_id IN (n.account_id, n.reseller_id,"
        " (SELECT id FROM account WHERE kind = 'OPERATOR'))) THEN 'RECIPIENT_DISABLED'"
        f" WHEN n.attempts >= {statement.bind(ATTEMPTS_MAX)} THEN 'GIVEN_UP' END AS reason"
        " FROM notice n JOIN api_token t ON t.id = n.token_id JOIN account a ON a.id = n.account_id"
        " LEFT JOIN account r ON r.id = a.reseller_id"
        f" WHERE n.recipient = {statement.bind(recipient)} AND {_waiting(statement, now)}"
        "), ended AS (UPDATE notice n SET reason = settled.reason, claimed_until = NULL,"
        " state = CASE settled.reason WHEN 'GIVEN_UP' THEN 'FAILED' ELSE 'SUPPRESSED' END"
        " FROM settled WHERE n.id = settled.id AND settled.reason IS NOT NULL RETURNING n.*"
        f") {_AUDITED.format(now=at, action='notice.failed', rows='ended')} WHERE state = 'FAILED'"
    )
    await door.query(statement)


async def _claim_rows(door: Door, recipient: str, now: datetime) -> list[dict[str, Any]]:
    statement = Statement()
    statement.text = (
        "WITH waiting AS (SELECT id, digest_id, expires_at FROM notice n"
        f" WHERE recipient = {statement.bind(recipient)} AND {_waiting(statement, now)}"
        "), chosen AS (SELECT w.id FROM waiting w WHERE w.digest_id IS NOT DISTINCT FROM"
        " (SELECT digest_id FROM waiting ORDER BY digest_id NULLS LAST LIMIT 1)"
        f" ORDER BY w.expires_at, w.id LIMIT {statement.bind(DIGEST_LINES_MAX)}"
        "), claimed AS (UPDATE notice n SET attempts = attempts + 1,"
        f" digest_id = coalesce(n.digest_id, {statement.bind(new_id())}),"
        f" claimed_until = {statement.bind(now + CLAIM)} FROM chosen WHERE n.id = chosen.id"
        " RETURNING n.digest_id, n.attempts, n.token_id, n.account_id, n.expires_at,"
        " n.threshold_days"
        ") SELECT c.*, a.name AS account_name, t.name, s.prefix, s.last_four FROM claimed c"
        " JOIN account a ON a.id = c.account_id JOIN api_token t ON t.id = c.token_id"
        " JOIN LATERAL (SELECT prefix, last_four FROM secret WHERE token_id = c.token_id"
        " ORDER BY created_at DESC, id DESC LIMIT 1) s ON TRUE"
        " ORDER BY c.expires_at, a.name, t.name"
    )
    return await door.query(statement)


def _waiting(statement: Statement, now: datetime) -> str:
    """Return the condition that a row ``n`` waits for somebody to claim it."""
    at = statement.bind(now)
    return f"n.state = 'PENDING' AND (n.claimed_until IS NULL OR n.claimed_until <= {at})"


def _digest(recipient: str, rows: list[dict[str, Any]]) -> Digest:
    lines = tuple(
        ExpiringToken(
            token_id=as_uuid(row["token_id"]),
            account_name=row["account_name"],
            name=row["name"],
            prefix=row["prefix"],
            last_four=row["last_four"],
            expires_at=row["expires_at"],
            threshold_days=row["threshold_days"],
        )
        for row in rows
    )
    attempts = max(row["attempts"] for row in rows)
    return Digest(
        id=as_uuid(rows[0]["digest_id"]), recipient=recipient, attempts=attempts, tokens=lines
    )


def _of(digest: Digest, statement: Statement) -> str:
    """Return the condition that a row is of a digest and not settled; along ``notice_pending``."""
    return (
        f"recipient = {statement.bind(digest.recipient)} AND state = 'PENDING'"
        f" AND digest_id = {statement.bind(digest.id)}"
    )


async def system_mark_sent(digest: Digest, now: datetime) -> None:
    """Note that an e-mail was accepted, with an audit event per token; harmless to repeat.

    The audit event names no recipient: it may be a person of the account above.
    """
    statement = Statement()
    at = f"{statement.bind(now)}::timestamptz"
    statement.text = (
        f"WITH sent AS (UPDATE notice SET state = 'SENT', sent_at = {at}, reason = NULL,"
        f" claimed_until = NULL WHERE {_of(digest, statement)} RETURNING *"
        f") {_AUDITED.format(now=at, action='notice.sent', rows='sent')}"
    )
    async with open_door(EVERYTHING) as door:
        await door.query(statement)


async def system_mark_failed(digest: Digest, reason: str, now: datetime) -> None:
    """Note that an e-mail will never be accepted, and why, in at most 200 characters.

    With an audit event per token, as of one that was sent; harmless to repeat.
    """
    statement = Statement()
    at = f"{statement.bind(now)}::timestamptz"
    statement.text = (
        f"WITH failed AS (UPDATE notice SET state = 'FAILED', reason = {statement.bind(reason)},"
        f" claimed_until = NULL WHERE {_of(digest, statement)} RETURNING *"
        f") {_AUDITED.format(now=at, action='notice.failed', rows='failed')}"
    )
    async with open_door(EVERYTHING) as door:
        await door.query(statement)


async def system_postpone(digest: Digest, until: datetime, reason: str) -> None:
    """Leave an e-mail to a later run, and note why, in at most 200 characters."""
    statement = Statement()
    statement.text = (
        f"UPDATE notice SET claimed_until = {statement.bind(until)},"
        f" reason = {statement.bind(reason)} WHERE {_of(digest, statement)}"
    )
    async with open_door(EVERYTHING) as door:
        await door.query(statement)
