"""How PostgreSQL finds tokens: by a narrow index, whichever tenant a plan was made for."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from factories import Platform

from service.access import accounts, fleet, selections, token_lists, tokens, trail
from service.access.actor import EVERYTHING, Extent, Reach
from service.access.door import Door, Statement, open_door
from service.access.token_lists import TokenListing
from service.access.tokens import TokenFilter, TokenOrder, TokenStatus
from service.paging import Cursor, PageRequest

NOW = datetime(2030, 1, 1, tzinfo=UTC)
LARGE = 3_000
SMALL = 500

# One tenant that is large, many that are small, and in the large one a few of each rare state.
FILL = """
WITH tenants AS (
    SELECT n, CASE WHEN n < $3 THEN $1::uuid ELSE gen_random_uuid() END AS account_id,
        CASE WHEN n < $3 THEN $2::uuid ELSE gen_random_uuid() END AS reseller_id
    FROM generate_series(1, $3::int + $4::int) n
), accounts AS (
    INSERT INTO account (id, kind, reseller_id, name, grantable_scopes, created_at)
    SELECT account_id, 'CUSTOMER', reseller_id, 'Small ' || n, '{}', $5 FROM tenants WHERE n >= $3
)
INSERT INTO api_token (id, account_id, reseller_id, kind, name, scopes, allowed_ip_ranges,
    created_at, expires_at, suspended_at, not_before, revoked_at, revocation_reason,
    last_used_at, version)
SELECT gen_random_uuid(), account_id, reseller_id, 'API_TOKEN', 'token ' || n,
    CASE WHEN n % 1000 = 1 THEN '{*}' ELSE '{dns:read}' END::text[],
    CASE WHEN n % 1000 = 2 THEN '{192.0.2.0/24}' ELSE '{}' END::text[],
    $5 - n * interval '1 minute',
    CASE WHEN n % 1000 = 3 THEN $5 - interval '1 hour' ELSE $5 + n * interval '1 hour' END,
    CASE WHEN n % 1000 = 4 THEN $5 END, CASE WHEN n % 1000 = 5 THEN $5 + interval '1 minute' END,
    CASE WHEN n % 1000 = 6 THEN $5 END, CASE WHEN n % 1000 = 6 THEN 'REVOKED' END,
    CASE WHEN n % 1000 <> 7 THEN $5 - n * interval '1 second' END, 1
FROM tenants
"""

SECRETS = """
INSERT INTO secret (id, account_id, reseller_id, token_id, digest, pepper_id, prefix, last_four,
    created_at)
SELECT gen_random_uuid(), account_id, reseller_id, id, sha256(id::text::bytea), 1, 'tw_live_',
    'abcd', created_at FROM api_token WHERE name LIKE 'token %'
"""

RARE = {
    "api_token_held_back": [
        TokenFilter(status=TokenStatus.SUSPENDED),
        TokenFilter(statuses=(TokenStatus.SUSPENDED, TokenStatus.PENDING)),
    ],
    "api_token_revoked": [TokenFilter(status=TokenStatus.REVOKED)],
    "api_token_full_access": [TokenFilter(has_full_access=True)],
    "api_token_limited": [TokenFilter(has_address_limits=True)],
    "api_token_{}expires": [
        TokenFilter(status=TokenStatus.EXPIRED),
        TokenFilter(expires_before=NOW),
    ],
    "api_token_{}used": [
        TokenFilter(never_used=True),
        TokenFilter(unused_since=NOW - timedelta(days=9)),
    ],
}


@dataclass
class Explaining:
    """A door that tells plans instead of rows.

    Attributes:
        generic: Whether they are those for any values, as of a statement that came often.
    """

    door: Door
    generic: bool = False
    scans: list[dict[str, Any]] = field(default_factory=list)

    @property
    def reach(self) -> Reach:
        """As the door's."""
        return self.door.reach

    async def query(self, statement: Statement) -> list[dict[str, Any]]:
        """Keep the plan's scans of tables."""
        mode = "force_generic_plan" if self.generic else "force_custom_plan"
        await self.door.query(Statement(f"SET LOCAL plan_cache_mode = {mode}"))
        statement.text = f"EXPLAIN (FORMAT JSON) {statement.text}"
        [row] = await self.door.query(statement)
        plan = json.loads(row["QUERY PLAN"])[0]["Plan"]
        self.scans += [node for node in nodes(plan) if "Scan" in node["Node Type"]]
        return []

    def of_tables(self) -> list[dict[str, Any]]:
        """Return the scans that are not of a CTE or a subquery."""
        return [node for node in self.scans if "Relation Name" in node or "Index Name" in node]


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    """Return every node of a plan."""
    return [plan, *(node for part in plan.get("Plans", []) for node in nodes(part))]


@pytest.fixture
async def filled(platform: Platform, owner: asyncpg.Connection) -> Platform:
    """Give the customer thousands of tokens, beside hundreds of tenants with one."""
    await owner.execute("SET session_replication_role = replica")
    values = (platform.customer.account_id, platform.reseller.account_id, LARGE, SMALL, NOW)
    await owner.execute(FILL, *values)
    await owner.execute("SET session_replication_role = origin")
    await owner.execute("ANALYZE account")
    await owner.execute("ANALYZE api_token")
    return platform


def reaches(platform: Platform) -> dict[str, Reach]:
    """Return each extent that reaches the large tenant, by its part in an index's name."""
    return {
        "account_": Reach(Extent.ACCOUNT, platform.customer.account_id),
        "fleet_": Reach(Extent.FLEET, platform.reseller.account_id),
        "": EVERYTHING,
    }


async def test_a_page_begins_at_its_cursor_in_every_order(filled: Platform) -> None:
    """Row security lets nothing but what leaks nothing be searched for in an index."""
    keys = {TokenOrder.NAME: "token 7"} | dict.fromkeys(
        set(TokenOrder) - {TokenOrder.NAME}, "2030-01-02 00:00:00+00"
    )
    names = {TokenOrder.CREATED_AT: "created", TokenOrder.EXPIRES_AT: "expires"}
    names |= {TokenOrder.NAME: "name", TokenOrder.LAST_USED_AT: "used"}

    for (extent, reach), order, descending in product(
        reaches(filled).items(), TokenOrder, (False, True)
    ):
        listing = TokenListing(page=PageRequest(20), order=order, descending=descending)
        cursor = Cursor(listing.name, keys[order], UUID(int=0)).encode()
        listing = TokenListing(page=PageRequest(20, cursor), order=order, descending=descending)
        async with open_door(reach) as door:
            explaining = Explaining(door)
            await token_lists.list_tokens(explaining, listing, now=NOW)  # type: ignore[arg-type] # in the door's place

        [walk] = [node for node in explaining.of_tables() if node.get("Alias") == "t"]
        # Along the platform's, where one tenant is most of it.
        assert walk["Index Name"] in {
            f"api_token_{extent}{names[order]}",
            f"api_token_{names[order]}",
        }, walk
        assert "ROW(" in walk["Index Cond"], walk


async def test_a_rare_state_is_found_by_an_index_in_any_order(filled: Platform) -> None:
    for (extent, reach), (name, filters), order in product(
        reaches(filled).items(), RARE.items(), (TokenOrder.CREATED_AT, TokenOrder.NAME)
    ):
        for only in filters:
            async with open_door(reach) as door:
                explaining = Explaining(door)
                listing = TokenListing(page=PageRequest(20), only=only, order=order)
                await token_lists.list_tokens(explaining, listing, now=NOW)  # type: ignore[arg-type] # in the door's place

            scans = explaining.of_tables()
            used = {node.get("Index Name") for node in scans}
            # The platform's, where one tenant is most of it.
            assert used & {name.format(extent), name.format("")}, (only, scans)
            whole = [node for node in scans if node["Node Type"] == "Seq Scan"]
            assert "api_token" not in {node["Relation Name"] for node in whole}, (only, scans)


async def test_what_lies_behind_the_walk_is_found_all_the_same(
    filled: Platform, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A walk that fills no page is followed by a search, which must find each once, in order."""
    await owner.execute(SECRETS)
    rare = [*(only for some in RARE.values() for only in some), TokenFilter(name_contains="99")]
    asked = list(product(reaches(filled).values(), rare, TokenOrder, (False, True)))

    async def found() -> list[list[UUID]]:
        return [
            await ids_of(reach, only, order, descending=descending)
            for reach, only, order, descending in asked
        ]

    all_walked = await found()
    monkeypatch.setattr(token_lists, "WALKED_MAX", 10)

    assert await found() == all_walked
    assert all(
        len(ids) >= 3
        for (_, only, *_), ids in zip(asked, all_walked, strict=True)
        if only.unused_since is None  # nothing is that old
    )


async def ids_of(
    reach: Reach, only: TokenFilter, order: TokenOrder, *, descending: bool
) -> list[UUID]:
    listing = TokenListing(page=PageRequest(50), only=only, order=order, descending=descending)
    async with open_door(reach) as door:
        page = await token_lists.list_tokens(door, listing, now=NOW)
    return [token.id for token in page.items]


async def test_rows_that_are_named_are_never_looked_for_among_all_in_reach(
    filled: Platform,
) -> None:
    """A plan for any values takes each fleet to be small, and would read all of a large one."""
    ids = [UUID(int=number) for number in range(100)]
    listing = TokenListing(page=PageRequest(10), only=TokenFilter(status=TokenStatus.SUSPENDED))
    named = {
        "find_tokens": lambda door: tokens.find_tokens(door, ids),
        "find_accounts": lambda door: accounts.find_accounts(door, ids),
        "find_counts": lambda door: fleet.find_counts(door, ids),
        "find_events": lambda door: trail.find_events(door, ids),
        "lock_targets": lambda door: selections.lock_targets(door, ids),
        "find_selected_ids": lambda door: selections.find_selected_ids(
            door, selections.Selection(ids=tuple(ids)), now=NOW
        ),
        "list_tokens_of_accounts": lambda door: token_lists.list_tokens_of_accounts(
            door, ids, listing, now=NOW
        ),
    }

    for (name, ask), reach in product(named.items(), reaches(filled).values()):
        async with open_door(reach) as door:
            explaining = Explaining(door, generic=True)
            await ask(explaining)

        found = [str(node.get("Index Cond")) for node in explaining.of_tables()]
        assert found, name
        assert not [condition for condition in found if "reseller_id" in condition], (name, found)
