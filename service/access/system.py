"""The queries that no actor asks: sign-in, validators and workers look across all tenants.

Each is named ``system_*``; a test lists them, so that one more is a decision.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from service.access.actor import EVERYTHING
from service.access.door import Door, Statement, open_door
from service.database import server_settings
from service.errors import Unavailable
from service.settings import Settings
from service.verdict import Record

READ_SECONDS_MAX = 0.8  # with Redis' deadline before it, a validator answers within a second


class CredentialSource:
    """Reads the record behind a digest from the primary, within a quarter of the lease.

    It has a small pool of its own, so that neither a slow list starves validation nor a flood of
    unknown secrets starves the API.
    """

    def __init__(self, pool: asyncpg.Pool, timeout_seconds: float) -> None:
        self._pool = pool
        self._timeout_seconds = timeout_seconds

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings) -> AsyncIterator["CredentialSource"]:
        """Open the pool, and close it at the end."""
        pool = await asyncpg.create_pool(
            settings.database_url.get_secret_value(),
            min_size=0,
            max_size=8,
            reset=_nothing_to_reset,
            server_settings=server_settings(),
        )
        try:
            yield cls(pool, min(READ_SECONDS_MAX, settings.lease_seconds / 4))
        finally:
            pool.terminate()

    async def find(self, digest: bytes) -> Record | None:
        """Return the record of a digest, or None where there is none.

        Raises:
            Unavailable: If the database does not answer in time.
        """
        reading = asyncio.create_task(self._read(digest))
        done, _ = await asyncio.wait({reading}, timeout=self._timeout_seconds)
        if not done:
            # Not awaited: asyncpg gives a connection back only once the server has answered to
            # the cancellation, and a server that is frozen never does.
            reading.add_done_callback(_look_at)
            reading.cancel()
            raise Unavailable
        try:
            row = reading.result()
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            raise Unavailable from None
        return None if row is None else Record.from_row(dict(row))

    async def _read(self, digest: bytes) -> asyncpg.Record | None:
        async with self._pool.acquire() as connection:
            return await connection.fetchrow("SELECT * FROM credential_by_digest($1)", digest)


def _look_at(reading: "asyncio.Task[asyncpg.Record | None]") -> None:
    """Retrieve the outcome of a read that nobody waits for any more."""
    if not reading.cancelled():
        reading.exception()


async def _nothing_to_reset(_: asyncpg.Connection) -> None:
    """A validator's connection only ever reads; a reset would be a round trip for nothing."""


async def system_find_member(email: str) -> dict[str, Any] | None:
    """Return the person who signs in with an address, and the account they would act for."""
    async with open_door(EVERYTHING) as door:
        statement = Statement()
        statement.text = (
            "SELECT m.id, m.password_hash, m.account_id, m.reseller_id,"
            " coalesce(m.disabled_at, a.suspended_at, a.closed_at, r.suspended_at, r.closed_at)"
            " IS NULL AS may_sign_in"
            " FROM member m JOIN account a ON a.id = m.account_id"
            " LEFT JOIN account r ON r.id = a.reseller_id"
            f" WHERE m.email = {statement.bind(email)}"
        )
        return await door.one(statement)


async def system_update_password_hash(member_id: UUID, old: str, new: str) -> None:
    """Replace a hash by one of the current policy, unless it has changed meanwhile."""
    async with open_door(EVERYTHING) as door:
        statement = Statement()
        statement.text = (
            f"UPDATE member SET password_hash = {statement.bind(new)}"
            f" WHERE id = {statement.bind(member_id)} AND password_hash = {statement.bind(old)}"
        )
        await door.query(statement)


async def system_sweep(now: datetime, *, limit: int) -> list[dict[str, Any]]:
    """Mark up to ``limit`` credentials that time has ended, with their audit events; return them.

    Rows that somebody else holds are skipped: whoever holds them changes them, or the next sweep
    finds them. Cost follows what has expired, along ``api_token_ending``.
    """
    async with open_door(EVERYTHING) as door:
        statement = Statement()
        at = statement.bind(now)
        statement.text = (
            "WITH ended AS ("
            " SELECT id FROM api_token WHERE expires_at IS NOT NULL AND revoked_at IS NULL"
            f" AND swept_at IS NULL AND expires_at <= {at}"
            f" ORDER BY expires_at, id LIMIT {statement.bind(limit)} FOR UPDATE SKIP LOCKED"
            "), swept AS ("
            f" UPDATE api_token t SET swept_at = {at} FROM ended WHERE t.id = ended.id"
            " RETURNING t.id, t.account_id, t.reseller_id, t.kind, t.expires_at"
            "), audited AS ("
            " INSERT INTO audit_event (id, account_id, reseller_id, occurred_at, action,"
            " subject_id, details)"
            f" SELECT gen_random_uuid(), account_id, reseller_id, {at},"
            " CASE kind WHEN 'SESSION' THEN 'session.expired' ELSE 'token.expired' END, id, '{}'"
            " FROM swept"
            ") SELECT * FROM swept"
        )
        return await door.query(statement)


async def system_claim_outbox(door: Door, now: datetime, *, limit: int) -> list[dict[str, Any]]:
    """Return due outbox rows and hold them until the transaction ends; others skip them."""
    statement = Statement()
    statement.text = (
        "SELECT id, kind, subject, created_at, stage FROM outbox_event"
        f" WHERE done_at IS NULL AND due_at <= {statement.bind(now)}"
        f" ORDER BY due_at, id LIMIT {statement.bind(limit)} FOR UPDATE SKIP LOCKED"
    )
    return await door.query(statement)


async def system_advance_outbox(
    door: Door, ids: list[UUID], now: datetime, *, due_at: datetime | None
) -> None:
    """Note that rows were delivered once more, and when they are due again; None is never."""
    statement = Statement()
    at = statement.bind(now)
    due = "due_at" if due_at is None else statement.bind(due_at)
    done = at if due_at is None else "NULL"
    statement.text = (
        f"UPDATE outbox_event SET stage = stage + 1, confirmed_at = coalesce(confirmed_at, {at}),"
        f" due_at = {due}, done_at = {done} WHERE id = ANY({statement.bind(ids)})"
    )
    await door.query(statement)


async def system_forget_outbox(now: datetime, *, older_than: timedelta) -> None:
    """Delete rows that were done long ago."""
    async with open_door(EVERYTHING) as door:
        statement = Statement()
        statement.text = (
            f"DELETE FROM outbox_event WHERE done_at < {statement.bind(now - older_than)}"
        )
        await door.query(statement)


async def system_outbox_lag(now: datetime) -> float:
    """Return for how many seconds the oldest unconfirmed drop has been waiting; 0 if none is."""
    async with open_door(EVERYTHING) as door:
        row = await door.one(
            Statement(
                "SELECT min(created_at) AS oldest FROM outbox_event"
                " WHERE done_at IS NULL AND confirmed_at IS NULL"
            )
        )
    if row is None or row["oldest"] is None:
        return 0.0
    return max(0.0, float((now - row["oldest"]).total_seconds()))


async def system_record_uses(uses: list[tuple[UUID, datetime, str | None]]) -> None:
    """Move last uses forward, never back.

    Args:
        uses: Secret id, instant, client address.
    """
    async with open_door(EVERYTHING) as door:
        statement = Statement()
        secrets = statement.bind([secret for secret, _, _ in uses])
        instants = statement.bind([instant for _, instant, _ in uses])
        addresses = statement.bind([address for _, _, address in uses])
        statement.text = (
            "WITH used AS (SELECT * FROM unnest("
            f"{secrets}::uuid[], {instants}::timestamptz[], {addresses}::text[])"
            " AS u (secret_id, used_at, address) ORDER BY secret_id"
            "), touched AS ("
            " UPDATE secret s SET last_used_at = u.used_at FROM used u WHERE s.id = u.secret_id"
            " AND (s.last_used_at IS NULL OR s.last_used_at < u.used_at)"
            " RETURNING s.token_id, u.used_at, u.address"
            "), latest AS ("
            " SELECT DISTINCT ON (token_id) * FROM touched ORDER BY token_id, used_at DESC"
            ") UPDATE api_token t SET last_used_at = l.used_at, last_used_address = l.address"
            " FROM latest l WHERE t.id = l.token_id"
            " AND (t.last_used_at IS NULL OR t.last_used_at < l.used_at)"
        )
        await door.query(statement)


async def system_has_operator() -> bool:
    """Return whether the platform has its operator yet."""
    async with open_door(EVERYTHING) as door:
        row = await door.one(Statement("SELECT 1 FROM account WHERE kind = 'OPERATOR'"))
    return row is not None
