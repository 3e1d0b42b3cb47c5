"""The queries across tenants that keep counts of tokens true as time goes by, and check them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from service.access.actor import EVERYTHING
from service.access.door import Statement, as_uuid, open_door
from service.access.fleet import Facet

# Clocks differ a little: a facet that is right within this of now is not taken to be wrong.
TOLERANCE = timedelta(minutes=2)

_PLATFORM = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Counts of one account that are not what its tokens are.

    Attributes:
        misjudged: Tokens that are counted under facets that are not theirs.
        is_stale: Whether the row of counts is missing, or tells another account than there is.
        kept: The counts that differ, as they are kept, by column.
        true: The same, counted one by one.
    """

    account_id: UUID
    misjudged: int
    is_stale: bool
    kept: dict[str, int]
    true: dict[str, int]


async def system_recount(now: datetime, *, limit: int) -> int:
    """Count up to ``limit`` tokens anew of which time has changed a facet; return how many.

    A trigger does it: to write ``recount_at`` is to ask for the facets of that instant. Rows that
    somebody else holds are skipped. Cost follows what is due, along ``api_token_recount``.
    """
    async with open_door(EVERYTHING) as door:
        statement = Statement()
        at = statement.bind(now)
        statement.text = (
            "WITH due AS ("
            f" SELECT id FROM api_token WHERE recount_at <= {at}"
            f" ORDER BY recount_at, id LIMIT {statement.bind(limit)}"
            " FOR NO KEY UPDATE SKIP LOCKED"
            f") UPDATE api_token t SET recount_at = {at} FROM due WHERE t.id = due.id"
            " RETURNING t.id"
        )
        return len(await door.query(statement))


async def system_wrong_accounts(
    after: UUID | None, *, now: datetime, limit: int
) -> tuple[UUID | None, list[Difference]]:
    """Compare the counts of some accounts with their tokens, within one snapshot.

    Args:
        after: Behind this account, by id; None begins.
        now: By which time changes a facet; what is due to be counted anew is not compared.
        limit: How many accounts.

    Returns:
        The last account that was looked at, None at the end; and those that differ.
    """
    statement = Statement()
    statement.text = _wrong_accounts(statement, after or UUID(int=0), now, limit)
    async with open_door(EVERYTHING) as door:
        rows = await door.query(statement)
    last = as_uuid(rows[-1]["id"]) if len(rows) == limit else None
    return last, [found for row in rows if (found := _difference(row)) is not None]


async def system_misjudged(account_id: UUID, *, now: datetime, limit: int) -> list[UUID]:
    """Return some tokens of an account that are counted under facets that are not theirs."""
    statement = Statement()
    statement.text = (
        f"SELECT id FROM api_token t WHERE account_id = {statement.bind(account_id)}"
        f" AND kind = 'API_TOKEN' AND {_misjudged(statement, now)}"
        f" LIMIT {statement.bind(limit)}"
    )
    async with open_door(EVERYTHING) as door:
        return [as_uuid(row["id"]) for row in await door.query(statement)]


async def system_judge(token_ids: Sequence[UUID], *, now: datetime) -> None:
    """Count some tokens under what they are; harmless to repeat.

    Rows are held in one order, so that who changes many waits instead of deadlocking.
    """
    held, judged = Statement(), Statement()
    held.text = (
        f"SELECT id FROM api_token WHERE id = ANY({held.bind(list(token_ids))})"
        " AND kind = 'API_TOKEN' ORDER BY id FOR NO KEY UPDATE"
    )
    judged.text = (
        f"UPDATE api_token SET recount_at = {judged.bind(now)}"
        f" WHERE id = ANY({judged.bind(list(token_ids))}) AND kind = 'API_TOKEN'"
    )
    async with open_door(EVERYTHING) as door:
        await door.query(held)
        await door.query(judged)


async def system_wrong_fleets() -> list[UUID | None]:
    """Return the resellers whose fleet's sums are not those of its accounts; None is the platform.

    One snapshot over the accounts' rows of counts.
    """
    columns = ["accounts", *(facet.column for facet in Facet)]
    sums = ", ".join(f"sum({name})::bigint AS {name}" for name in columns)
    fleets = "LATERAL (SELECT NULL::uuid UNION SELECT nullif(c.reseller_id, c.account_id))"
    statement = Statement(
        f"WITH kept AS (SELECT account_id AS fleet, {sums} FROM token_total GROUP BY 1),"
        f" wanted AS (SELECT fleet, {sums} FROM (SELECT *, 1 AS accounts FROM token_count) c"
        f", {fleets} f (fleet) WHERE c.kind <> 'OPERATOR' GROUP BY 1)"
        " SELECT coalesce(k.fleet, w.fleet) AS fleet FROM kept k FULL JOIN wanted w"
        f" ON coalesce(k.fleet, '{_PLATFORM}') = coalesce(w.fleet, '{_PLATFORM}') WHERE "
        + " OR ".join(f"coalesce(k.{name}, 0) <> coalesce(w.{name}, 0)" for name in columns)
    )
    async with open_door(EVERYTHING) as door:
        rows = await door.query(statement)
    return [row["fleet"] and as_uuid(row["fleet"]) for row in rows]


def _misjudged(statement: Statement, now: datetime) -> str:
    """Return the condition that a row of ``api_token t`` is counted as what it is not.

    What is due changes by itself, up to a minute late.
    """
    early, late = (
        f"greatest({statement.bind(at)}::timestamptz, t.created_at, t.suspended_at, t.swept_at)"
        for at in (now - TOLERANCE, now + TOLERANCE)
    )
    return (
        f"coalesce(t.recount_at, 'infinity') > {statement.bind(now)}::timestamptz"
        f" AND t.counted_as <> token_facets(t, {early})"
        f" AND t.counted_as <> token_facets(t, {late})"
    )


def _wrong_accounts(statement: Statement, after: UUID, now: datetime, limit: int) -> str:
    counted = ", ".join(
        f"count(*) FILTER (WHERE t.counted_as & {1 << place} <> 0) AS {facet.column}"
        for place, facet in enumerate(Facet)
    )
    both = ", ".join(
        f"c.{facet.column} AS kept_{facet.column}, t.{facet.column} AS true_{facet.column}"
        for facet in Facet
    )
    return (
        "SELECT a.id, t.misjudged, (a.reseller_id, a.kind, account_status(a), a.name, a.created_at)"
        " IS DISTINCT FROM (c.reseller_id, c.kind, c.status, c.name, c.created_at) AS is_stale,"
        f" {both} FROM (SELECT * FROM account WHERE id > {statement.bind(after)}"
        f" ORDER BY id LIMIT {statement.bind(limit)}) a"
        " LEFT JOIN token_count c ON c.account_id = a.id CROSS JOIN LATERAL ("
        f"SELECT count(*) FILTER (WHERE {_misjudged(statement, now)}) AS misjudged, {counted}"
        " FROM api_token t WHERE t.account_id = a.id AND t.kind = 'API_TOKEN') t ORDER BY a.id"
    )


def _difference(row: dict[str, Any]) -> Difference | None:
    pairs = {
        facet.column: (row[f"kept_{facet.column}"] or 0, row[f"true_{facet.column}"])
        for facet in Facet
    }
    differing = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    if not (differing or row["misjudged"] or row["is_stale"]):
        return None
    return Difference(
        account_id=as_uuid(row["id"]),
        misjudged=row["misjudged"],
        is_stale=row["is_stale"],
        kept={name: kept for name, (kept, _) in differing.items()},
        true={name: true for name, (_, true) in differing.items()},
    )
