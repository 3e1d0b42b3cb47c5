"""Rows of policies, and what of those above binds an account."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self
from uuid import UUID

from service.access.accounts import SELECT, Account
from service.access.door import Door, Statement, as_uuid
from service.errors import InvalidInput, NotFound
from service.paging import Cursor, PageRequest
from service.policy_rules import Policy, PolicyLevel, Rules, rules_from
from service.token_rules import clean_instant
from service.verdict import AccountKind

SCANNED_MAX = 20_000
COUNTED_MAX = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRow:
    """What one level asks of an account and of all below it."""

    account_id: UUID
    level: PolicyLevel
    rules: Rules
    changed_at: datetime
    version: int

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        """Build one."""
        return cls(
            account_id=as_uuid(row["account_id"]),
            level=PolicyLevel(row["level"]),
            rules=rules_from(row),
            changed_at=row["changed_at"],
            version=row["version"],
        )


async def find_policies(door: Door, account_ids: list[UUID]) -> dict[UUID, Policy]:
    """Return what binds each of some accounts, by id; those beyond reach are missing.

    The rows above an account are beyond a customer's reach, so they come through a function of the
    database that tells only their rules and levels.
    """
    statement = Statement()
    reach = statement.within(door.reach, account="a.id", reseller="a.reseller_id")
    statement.text = (
        "SELECT a.id, p.* FROM account a LEFT JOIN LATERAL policy_levels(a.id) p ON TRUE"
        f" WHERE a.id = ANY({statement.bind(account_ids)}::uuid[]) AND {reach}"
    )
    levels: dict[UUID, list[tuple[PolicyLevel, Rules]]] = {}
    for row in await door.query(statement):
        own = levels.setdefault(as_uuid(row["id"]), [])
        if row["level"] is not None:
            own.append((PolicyLevel(row["level"]), rules_from(row)))
    return {account_id: Policy.of(own) for account_id, own in levels.items()}


async def find_policy(door: Door, account_id: UUID) -> Policy:
    """Return what binds an account, from every level.

    Raises:
        NotFound: If the account is not within reach; never a policy that asks nothing instead.
    """
    found = await find_policies(door, [account_id])
    if account_id not in found:
        raise NotFound("There is no such account.")
    return found[account_id]


async def find_bound_account(door: Door, account_id: UUID) -> tuple[Account, Policy]:
    """Return an account within reach and what binds it, in one statement.

    Raises:
        NotFound: If there is none, or it is another tenant's.
    """
    statement = Statement()
    reach = statement.within(door.reach, account="a.id", reseller="a.reseller_id")
    statement.text = (
        "SELECT *, (SELECT json_agg(p) FROM policy_levels(id) p) AS levels"
        f" FROM ({SELECT} WHERE a.id = {statement.bind(account_id)} AND {reach}) a"
    )
    row = await door.one(statement)
    if row is None:
        raise NotFound("There is no such account.")
    levels = json.loads(row["levels"] or "[]")
    policy = Policy.of((PolicyLevel(level["level"]), rules_from(level)) for level in levels)
    return Account.from_row(row), policy


async def list_policies(door: Door, account_id: UUID) -> list[PolicyRow]:
    """Return the rows of an account within reach, at most one per level."""
    statement = Statement()
    reach = statement.within(door.reach, account="account_id", reseller="reseller_id")
    statement.text = (
        f"SELECT * FROM policy WHERE account_id = {statement.bind(account_id)} AND {reach}"
        # Of a customer that has no reseller any more, a reseller's row binds nobody.
        " AND (level <> 'RESELLER' OR reseller_id IS NOT NULL)"
        " ORDER BY array_position(ARRAY['PLATFORM', 'RESELLER', 'ACCOUNT'], level::text)"
    )
    return [PolicyRow.from_row(row) for row in await door.query(statement)]


async def put_policy(door: Door, row: dict[str, Any]) -> None:
    """Add a level's row about an account, or put it in the place of the one that is there.

    Args:
        door: An open door that holds the account's row, within reach.
        row: Every column; the version is that of a new row, and else counted on.
    """
    statement = Statement().insert("policy", [row])
    reach = statement.within(door.reach, account="policy.account_id", reseller="policy.reseller_id")
    replaced = ", ".join(
        f"{column} = excluded.{column}"
        for column in row
        if column not in {"id", "account_id", "reseller_id", "level", "version"}
    )
    statement.text += (
        f" ON CONFLICT (account_id, level) DO UPDATE SET {replaced}, version = policy.version + 1"
        f" WHERE {reach}"
    )
    await door.query(statement)


async def count_live_tokens(door: Door, account_id: UUID, *, now: datetime, most: int) -> int:
    """Return how many API tokens of an account within reach have not ended, and no more than most.

    Until the transaction ends, whoever else counts the account's tokens waits, so that two who
    count at once never both find room for one more.
    """
    # First a statement of its own: the count must see what those who held it have committed.
    statement = Statement()
    account = f"{statement.bind(str(account_id))}::text"
    statement.text = f"SELECT pg_advisory_xact_lock(hashtext('token_cap'), hashtext({account}))"
    await door.query(statement)
    statement = Statement()
    reach = statement.within(door.reach, account="account_id", reseller="reseller_id")
    statement.text = (
        "SELECT count(*) AS live FROM (SELECT FROM api_token WHERE kind = 'API_TOKEN'"
        f" AND account_id = {statement.bind(account_id)} AND revoked_at IS NULL AND {reach}"
        " AND least(expires_at, 'infinity'::timestamptz) >"
        f" {statement.bind(now)}::timestamptz LIMIT {statement.bind(most)}) live"
    )
    [row] = await door.query(statement)
    return int(row["live"])


@dataclass(frozen=True, slots=True)
class Breaking:
    """How many tokens break some rules, and some of them.

    Attributes:
        count: At most 1,000.
        is_exact: Whether there are no more.
        token_ids: One page of them, what lives longest first.
        cursors: The place behind each.
    """

    count: int
    is_exact: bool
    token_ids: list[UUID]
    cursors: list[str]
    has_next: bool


async def find_breaking(
    door: Door, account: Account, rules: Rules, page: PageRequest, *, now: datetime
) -> Breaking:
    """Return the live API tokens of an account and of all below it that break rules now.

    Its cost is bounded: 20,000 tokens are looked at for the count, and as many for a page.

    Args:
        door: An open door.
        account: One within reach.
        rules: Those that a token can break; the others are not looked at.
        page: Which of them are to be named.
        now: Decides what is live, and from when a lifetime counts.
    """
    counting = Statement()
    counting.text = (
        f"WITH {_scanned(counting, door, account, now=now)}"
        f" SELECT count(*) AS scanned, count(*) FILTER (WHERE {_breaks(counting, rules, now=now)})"
        " AS broken FROM scanned t"
    )
    [counted] = await door.query(counting)
    statement = Statement()
    statement.text = (
        f"WITH {_scanned(statement, door, account, now=now, after=page.after)}"
        f" SELECT t.id, t.expires_at FROM scanned t"
        f" WHERE {_breaks(statement, rules, now=now)}"
        f" ORDER BY t.ends DESC, t.id DESC LIMIT {statement.bind(page.first + 1)}"
    )
    rows = await door.query(statement)
    shown = rows[: page.first]
    return Breaking(
        count=min(counted["broken"], COUNTED_MAX),
        is_exact=counted["broken"] <= COUNTED_MAX and counted["scanned"] < SCANNED_MAX,
        token_ids=[as_uuid(row["id"]) for row in shown],
        cursors=[
            Cursor(_ORDER, _key_of(row["expires_at"]), as_uuid(row["id"])).encode() for row in shown
        ],
        has_next=len(rows) > page.first,
    )


_ORDER = "breaking"
_ENDS = "least(t.expires_at, 'infinity'::timestamptz)"  # as the indexes have it


def _scanned(
    statement: Statement, door: Door, account: Account, *, now: datetime, after: str | None = None
) -> str:
    """Return the one range of one index that is looked at; what has been revoked is part of it."""
    conditions = [
        "t.kind = 'API_TOKEN'",
        statement.within(door.reach, account="t.account_id", reseller="t.reseller_id"),
        f"{_ENDS} > {statement.bind(now)}::timestamptz",
    ]
    if account.kind is AccountKind.RESELLER:
        conditions.append(f"t.reseller_id = {statement.bind(account.id)}")
    elif account.kind is AccountKind.CUSTOMER:
        conditions.append(f"t.account_id = {statement.bind(account.id)}")
    if after is not None:
        cursor = Cursor.decode(after, _ORDER)
        end = f"coalesce({statement.bind(_end_of(cursor.key))}::timestamptz, 'infinity')"
        conditions.append(f"({_ENDS}, t.id) < ({end}, {statement.bind(cursor.id)})")
    return (
        "scanned AS (SELECT t.id, t.scopes, t.allowed_ip_ranges, t.revoked_at, t.expires_at,"
        f" {_ENDS} AS ends FROM api_token t WHERE {' AND '.join(conditions)}"
        f" ORDER BY {_ENDS} DESC, t.id DESC LIMIT {SCANNED_MAX})"
    )


def _key_of(expires_at: datetime | None) -> str:
    return "" if expires_at is None else expires_at.isoformat()


def _end_of(key: str) -> datetime | None:
    """Return the expiry that a cursor's key tells; None is never."""
    try:
        return clean_instant(datetime.fromisoformat(key), field="after") if key else None
    except ValueError:
        raise InvalidInput("This cursor is not from this list.", field="after") from None


def _breaks(statement: Statement, rules: Rules, *, now: datetime) -> str:
    """Return the condition that a row of ``scanned t`` is live and breaks one of the rules.

    It says in SQL what :meth:`Policy.violations` says; a test holds the two against each other.
    """
    broken = ["FALSE"]
    if rules.max_lifetime_days is not None:
        latest = now + timedelta(days=rules.max_lifetime_days)
        broken.append(f"t.ends > {statement.bind(latest)}::timestamptz")
    if rules.requires_address_limits:
        broken.append("t.allowed_ip_ranges = '{}'")
    if rules.allowed_ip_ranges is not None:
        allowed = statement.bind(list(rules.allowed_ip_ranges))
        broken.append(
            "t.allowed_ip_ranges = '{}' OR EXISTS (SELECT FROM unnest(t.allowed_ip_ranges) own"
            f" WHERE NOT own::inet <<= ANY ({allowed}::text[]::inet[]))"
        )
    if rules.allowed_scopes is not None:
        allowed = statement.bind(list(rules.allowed_scopes))
        broken.append(
            "EXISTS (SELECT FROM unnest(t.scopes) own WHERE NOT"
            f" ARRAY[own, split_part(own, ':', 1) || ':*', '*'] && {allowed}::text[])"
        )
    return f"t.revoked_at IS NULL AND ({' OR '.join(broken)})"
