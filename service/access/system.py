"""The queries that no actor asks: sign-in, validators and workers look across all tenants.

Each is named ``system_*``; a test lists them, so that one more is a decision.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from service.access.actor import EVERYTHING
from service.access.door import Door, Statement, open_door
from service.database import server_settings
from service.errors import Unavailable
from service.settings import Settings
from service.verdict import Record

READ_SECONDS_MAX = 0.65  # with two deadlines of Redis before it, an answer takes under a second
CONNECT_SECONDS_MAX = 2.0
RELEASE_SECONDS_MAX = 1.0
READS_AT_ONCE_MAX = 8
WARM_UP_SECONDS_MAX = 1.0

Use = tuple[UUID, datetime, str | None]
"""Secret id, instant, client address."""

Delivery = tuple[UUID, int, str, int]
"""Outbox row, its stage when it was delivered, epoch and number of the revision."""


class CredentialSource:
    """Reads the record behind a digest from the primary, within a quarter of the lease.

    It has a small pool of its own, so that neither a slow list starves validation nor a flood of
    unknown secrets starves the API.
    """

    def __init__(self, pool: asyncpg.Pool, timeout_seconds: float) -> None:
        self._pool = pool
        self._timeout_seconds = timeout_seconds
        self._slots = asyncio.Semaphore(READS_AT_ONCE_MAX)
        self._connecting: set[object] = set()

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings) -> AsyncIterator["CredentialSource"]:
        """Open the pool, with one connection where the database answers; close it at the end."""
        pool = await asyncpg.create_pool(
            settings.database_url.get_secret_value(),
            min_size=0,
            max_size=READS_AT_ONCE_MAX,
            reset=_nothing_to_reset,
            server_settings=server_settings(),
        )
        try:
            # So that the first secret does not wait for a connection; without a database the
            # validator still opens, and answers from Redis.
            with suppress(*_UNANSWERED):
                async with asyncio.timeout(WARM_UP_SECONDS_MAX), pool.acquire():
                    pass
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
            self._abandon(reading)
            raise Unavailable
        try:
            row = reading.result()
        except _UNANSWERED:
            raise Unavailable from None
        return None if row is None else Record.from_row(dict(row))

    def _abandon(self, reading: "asyncio.Task[asyncpg.Record | None]") -> None:
        """Leave a read that is late.

        One that is still connecting goes on for a while: were each slow connection cut short, the
        next read would begin another one, and where connecting takes longer than the deadline none
        would ever be made. No read is awaited: asyncpg gives a connection back only once the server
        has answered to the cancellation, and a server that is frozen never does.
        """
        reading.add_done_callback(_look_at)
        if reading in self._connecting:
            asyncio.get_running_loop().call_later(CONNECT_SECONDS_MAX, reading.cancel)
        else:
            reading.cancel()

    async def _read(self, digest: bytes) -> asyncpg.Record | None:
        async with self._slots:
            connection = await self._connect()
            try:
                return await connection.fetchrow("SELECT * FROM credential_by_digest($1)", digest)
            finally:
                # A connection whose path is half open answers no cancellation, and would be kept
                # for ever.
                await self._pool.release(connection, timeout=RELEASE_SECONDS_MAX)

    async def _connect(self) -> PoolConnectionProxy:
        reading = asyncio.current_task()
        self._connecting.add(reading)
        try:
            return await self._pool.acquire(timeout=CONNECT_SECONDS_MAX)
        finally:
            self._connecting.discard(reading)


_UNANSWERED = (
    TimeoutError,
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


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
            "SELECT m.id, m.password_hash, m.password_version,"
            " coalesce(a.suspended_at, a.closed_at, r.suspended_at, r.closed_at) IS NULL"
            " AS may_sign_in"
            " FROM member m JOIN account a ON a.id = m.account_id"
            " LEFT JOIN account r ON r.id = a.reseller_id"
            f" WHERE m.email = {statement.bind(email)} AND m.disabled_at IS NULL"
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
            f" AND swept_at IS NULL AND expires_at <= {at} AND kind <> 'CANARY'"
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
        "SELECT id, kind, subject, stage FROM outbox_event"
        f" WHERE done_at IS NULL AND due_at <= {statement.bind(now)}"
        f" ORDER BY due_at, id LIMIT {statement.bind(limit)} FOR UPDATE SKIP LOCKED"
    )
    return await door.query(statement)


async def system_note_deliveries(
    door: Door, deliveries: list[Delivery], now: datetime, *, again_at: datetime, repeats: int
) -> None:
    """Note that rows were delivered once more, and when they are due again.

    A row keeps the revision of its first delivery: who has applied that has applied the change.

    Args:
        door: An open door.
        deliveries: What was delivered.
        now: The instant of it.
        again_at: When it is to be delivered again, unless it has been often enough.
        repeats: How often a delivery is repeated.
    """
    statement = Statement()
    at, last = statement.bind(now), f"o.stage >= {statement.bind(repeats)}::smallint"
    columns = [
        f"{statement.bind(list(values))}::{kind}[]"
        for values, kind in zip(
            zip(*deliveries, strict=True), ("uuid", "smallint", "text", "bigint"), strict=True
        )
    ]
    statement.text = (
        f"UPDATE outbox_event o SET stage = o.stage + 1,"
        f" committed_at = coalesce(o.committed_at, {at}),"
        f" confirmed_at = coalesce(o.confirmed_at, {at}),"
        " epoch = coalesce(o.epoch, d.epoch), revision = coalesce(o.revision, d.revision),"
        f" due_at = CASE WHEN {last} THEN o.due_at ELSE {statement.bind(again_at)} END,"
        f" done_at = CASE WHEN {last} THEN {at} END"
        f" FROM unnest({', '.join(columns)}) AS d (id, stage, epoch, revision)"
        " WHERE o.id = d.id AND o.stage = d.stage"
    )
    await door.query(statement)


async def system_note_commits(ids: list[UUID], now: datetime) -> None:
    """Note that rows are known to be committed although they could not be delivered yet."""
    async with open_door(EVERYTHING) as door:
        statement = Statement()
        statement.text = (
            f"UPDATE outbox_event SET committed_at = {statement.bind(now)}"
            f" WHERE id = ANY({statement.bind(ids)}) AND committed_at IS NULL"
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


async def system_forget_replays(now: datetime) -> None:
    """Delete replays that have ended."""
    async with open_door(EVERYTHING) as door:
        statement = Statement()
        statement.text = f"DELETE FROM replay WHERE expires_at <= {statement.bind(now)}"
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


async def system_record_uses(uses: list[Use]) -> None:
    """Move last uses forward, never back."""
    async with open_door(EVERYTHING) as door:
        # Tokens before secrets, as everybody else who holds both does.
        statement = Statement()
        statement.text = (
            "SELECT id FROM api_token WHERE id IN (SELECT token_id FROM secret"
            f" WHERE id = ANY({statement.bind([secret for secret, _, _ in uses])}))"
            " ORDER BY id FOR NO KEY UPDATE"
        )
        await door.query(statement)
        statement = Statement()
        statement.text = (
            f"WITH used AS ({_unnested(statement, uses)}), touched AS ("
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


async def system_record_reuses(uses: list[Use]) -> None:
    """Flag secrets that were used after their retirement; the first time is in the audit trail."""
    if not uses:
        return
    async with open_door(EVERYTHING) as door:
        statement = Statement()
        statement.text = (
            f"WITH used AS ({_unnested(statement, uses)}), known AS ("
            " SELECT s.id, s.reused_at, u.used_at, u.address FROM secret s"
            " JOIN used u ON u.secret_id = s.id"
            " WHERE s.retires_at <= u.used_at AND (s.reused_at IS NULL OR s.reused_at < u.used_at)"
            " ORDER BY s.id FOR UPDATE OF s"
            "), touched AS ("
            " UPDATE secret s SET reused_at = k.used_at, reused_address = k.address"
            " FROM known k WHERE s.id = k.id"
            " RETURNING s.account_id, s.reseller_id, s.token_id, s.last_four,"
            " k.reused_at AS before, k.used_at, k.address"
            ") INSERT INTO audit_event (id, account_id, reseller_id, occurred_at, action,"
            " subject_id, address, details)"
            " SELECT gen_random_uuid(), account_id, reseller_id, used_at, 'token.secret_reused',"
            " token_id, address, jsonb_build_object('lastFour', last_four)"
            " FROM touched WHERE before IS NULL"
        )
        await door.query(statement)


def _unnested(statement: Statement, uses: list[Use]) -> str:
    """Return a query of the uses, in the order in which their rows are locked."""
    columns = [
        f"{statement.bind(list(values))}::{kind}[]"
        for values, kind in zip(
            zip(*uses, strict=True) if uses else ((), (), ()),
            ("uuid", "timestamptz", "text"),
            strict=True,
        )
    ]
    return (
        f"SELECT * FROM unnest({', '.join(columns)}) AS u (secret_id, used_at, address)"
        " ORDER BY secret_id"
    )


async def system_find_due_secrets(
    door: Door, now: datetime, *, silent_since: datetime, limit: int
) -> list[dict[str, Any]]:
    """Return retiring secrets whose grace is over, or that are silent, and hold them.

    Silent means: its successor is used, and neither its own last use nor its successor's birth is
    younger than an instant. Cost follows the rotations under way, along ``secret_retiring``.
    """
    statement = Statement()
    at, silent = statement.bind(now), statement.bind(silent_since)
    statement.text = (
        "SELECT o.id, o.digest, o.token_id, o.account_id, o.reseller_id,"
        f" o.retires_at > {at} AS is_silent FROM secret o"
        " JOIN secret n ON n.token_id = o.token_id AND n.retires_at IS NULL"
        " JOIN api_token t ON t.id = o.token_id AND t.revoked_at IS NULL"
        " WHERE o.retires_at IS NOT NULL AND o.retired_at IS NULL"
        f" AND (o.retires_at <= {at} OR (n.last_used_at IS NOT NULL AND n.created_at <= {silent}"
        f" AND coalesce(o.last_used_at <= {silent}, TRUE)))"
        f" ORDER BY o.retires_at, o.id LIMIT {statement.bind(limit)} FOR UPDATE OF o SKIP LOCKED"
    )
    return await door.query(statement)


async def system_has_operator() -> bool:
    """Return whether the platform has its operator yet."""
    async with open_door(EVERYTHING) as door:
        row = await door.one(Statement("SELECT 1 FROM account WHERE kind = 'OPERATOR'"))
    return row is not None
