"""What the counts of tokens must be, counted one by one behind the door."""

from collections import Counter
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from service.access.actor import Actor
from service.access.fleet import Counts, Facet
from service.access.system import system_record_uses
from service.composition import Service


def facets(row: dict[str, Any], now: datetime) -> set[Facet]:
    """Return what a token is counted under at an instant."""
    if row["revoked_at"] is not None:
        return set()
    expires_at = row["expires_at"]
    if expires_at is not None and expires_at <= now:
        return {Facet.EXPIRED}
    pending = row["not_before"] is not None and row["not_before"] > now
    last = row["last_used_at"] or row["created_at"]
    is_so = {
        Facet.LIVE: True,
        Facet.SUSPENDED: row["suspended_at"] is not None,
        Facet.ACTIVE: row["suspended_at"] is None and not pending,
        Facet.EXPIRING_WITHIN_7_DAYS: expires_at is not None
        and expires_at - now <= timedelta(days=7),
        Facet.EXPIRING_WITHIN_30_DAYS: expires_at is not None
        and expires_at - now <= timedelta(days=30),
        Facet.NEVER_USED: row["last_used_at"] is None,
        Facet.IDLE_90_DAYS: now - last >= timedelta(days=90),
        Facet.WITHOUT_ADDRESS_LIMITS: not row["allowed_ip_ranges"],
        Facet.FULL_ACCESS: "*" in row["scopes"],
    }
    return {facet for facet, is_it in is_so.items() if is_it}


def counts(**nonzero: int) -> Counts:
    """Return counts that are zero but for some."""
    return Counts(**({facet.column: 0 for facet in Facet} | nonzero))


async def true_counts(owner: asyncpg.Connection, now: datetime) -> dict[UUID, Counts]:
    """Count the tokens of every account, one by one."""
    found: dict[UUID, Counter[str]] = {
        row["id"]: Counter() for row in await owner.fetch("SELECT id FROM account")
    }
    for row in await owner.fetch("SELECT * FROM api_token WHERE kind = 'API_TOKEN'"):
        found[row["account_id"]].update(facet.column for facet in facets(dict(row), now))
    return {account_id: counts(**counted) for account_id, counted in found.items()}


async def kept_counts(owner: asyncpg.Connection) -> dict[UUID, Counts]:
    """Return the counts of every account as the database keeps them."""
    rows = await owner.fetch("SELECT * FROM token_count")
    return {row["account_id"]: Counts.from_row(dict(row)) for row in rows}


async def assert_sums_hold(owner: asyncpg.Connection) -> None:
    """Fail unless the sums of every fleet are those of its accounts."""
    columns = ", ".join(facet.column for facet in Facet)
    summed = ", ".join(f"sum({facet.column})::bigint" for facet in Facet)
    wrong = await owner.fetch(
        f"""
        WITH fleets AS (
            SELECT NULL::uuid AS fleet, * FROM token_count WHERE kind <> 'OPERATOR'
            UNION ALL
            SELECT reseller_id, * FROM token_count WHERE reseller_id <> account_id
        ), true_sums AS (
            SELECT fleet, count(*) AS accounts, {summed} FROM fleets GROUP BY fleet
        ), kept AS (
            SELECT account_id AS fleet, sum(accounts)::bigint AS accounts, {summed}
            FROM token_total GROUP BY account_id
        )
        (SELECT * FROM true_sums EXCEPT SELECT * FROM kept)
        UNION ALL (SELECT * FROM kept WHERE accounts <> 0 EXCEPT SELECT * FROM true_sums)
        """  # noqa: S608 - our own names
    )
    assert wrong == [], columns


async def counted(service: Service, actor: Actor) -> Counts:
    """Return an account's counts as it reads them itself."""
    [found] = await service.fleet.counts_of(actor, [actor.account_id])
    assert found is not None
    return found


async def use(owner: asyncpg.Connection, token_id: UUID, at: Any) -> None:
    """Have a token be used at an instant, as the flush tells it."""
    secret = await owner.fetchval(
        "SELECT id FROM secret WHERE token_id = $1 AND retires_at IS NULL", token_id
    )
    await system_record_uses([(secret, at, "192.0.2.1")])
