"""A fleet's page: in every order, along one index, and cut right where counts are equal."""

import json
from dataclasses import fields, replace
from datetime import timedelta
from itertools import product
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from conftest import FrozenClock
from factories import Platform, make_customer, make_token

from service.access.accounts import AccountStatus
from service.access.actor import EVERYTHING, Actor, Extent, Reach
from service.access.door import open_door
from service.access.fleet import (
    AtLeast,
    Counts,
    Facet,
    FleetAccount,
    FleetFilter,
    FleetOrder,
    fleet_statement,
)
from service.composition import Service
from service.errors import InsufficientScope, InvalidInput
from service.paging import Cursor, PageRequest

ACCOUNTS = 5_000

FILL = """
INSERT INTO account (id, kind, reseller_id, name, grantable_scopes, created_at)
    SELECT gen_random_uuid(), 'CUSTOMER', $1::uuid, 'Customer ' || n, '{*}', now() + n * interval '1 s'
    FROM generate_series(1, $2::integer) n
"""  # noqa: E501 - SQL is kept whole
COUNT = "UPDATE token_count SET " + ", ".join(  # noqa: S608 - our own names
    f"{facet.column} = (hashtext(name || '{facet}') & 127)" for facet in Facet
)


async def whole(
    service: Service, actor: Actor, order: FleetOrder, *, first: int, descending: bool
) -> list[FleetAccount]:
    """Return a fleet page by page."""
    found: list[FleetAccount] = []
    after = None
    while True:
        page = await service.fleet.page(
            actor, PageRequest(first, after), order=order, descending=descending
        )
        found += page.items
        if not page.has_next:
            return found
        after = page.cursors[-1]


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    """Return every node of a plan."""
    return [plan, *(node for part in plan.get("Plans", []) for node in nodes(part))]


async def test_a_page_in_any_order_is_one_range_of_an_index(
    platform: Platform, owner: asyncpg.Connection
) -> None:
    """Whatever is asked for: neither the whole fleet is read nor anything sorted."""
    await owner.execute(FILL, platform.reseller.account_id, ACCOUNTS)
    await owner.execute(COUNT)
    await owner.execute("ANALYZE token_count")
    reaches = {
        "token_count_fleet_": Reach(Extent.FLEET, platform.reseller.account_id),
        "token_count_": EVERYTHING,
    }
    middle = await owner.fetchval("SELECT (now() + interval '1000 s')::timestamptz(0)::text")
    keys = {"text": "Customer 5", "integer": "64", "timestamptz": middle}

    for (index, reach), order, is_first in product(reaches.items(), FleetOrder, (False, True)):
        descending = is_first
        cursor = Cursor(f"fleet:{order}:ASC", keys[order.key_type], UUID(int=1 << 127)).encode()
        page = PageRequest(20, None if is_first else cursor)
        statement = fleet_statement(
            reach, UUID(int=0), FleetFilter(), order, page, descending=descending
        )
        statement.text = f"EXPLAIN (FORMAT JSON) {statement.text}"
        async with open_door(reach) as door:
            [row] = await door.query(statement)
        plan = nodes(json.loads(row["QUERY PLAN"])[0]["Plan"])

        assert [node["Node Type"] for node in plan] == ["Limit", "Index Scan"], plan
        assert plan[-1]["Index Name"] == index + order.column
        assert is_first or order.column in plan[-1]["Index Cond"]


async def test_pages_joined_are_the_fleet_in_order_also_where_counts_are_equal(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    await owner.execute(FILL, platform.reseller.account_id, 20)
    await owner.execute(COUNT.replace("127", "3"))

    for order, descending in product(FleetOrder, (False, True)):
        found = await whole(service, platform.reseller, order, first=7, descending=descending)

        keys = [
            (
                getattr(item.account, order.column, None) or getattr(item.counts, order.column, 0),
                item.account.id,
            )
            for item in found
        ]
        assert len({account_id for _, account_id in keys}) == len(keys) == 22
        assert keys == sorted(keys, reverse=descending), order


async def test_a_fleet_is_the_accounts_below_and_no_other(
    service: Service, platform: Platform
) -> None:
    own = await make_customer(service, platform.operator)
    fleets = {
        platform.reseller: {platform.customer, platform.sibling},
        platform.other_reseller: {platform.stranger},
        platform.customer: set(),
        own: set(),
        platform.operator: {
            *(platform.reseller, platform.customer, platform.sibling),
            *(platform.other_reseller, platform.stranger, own),
        },
    }
    await make_token(service, platform.customer)
    await make_token(service, platform.reseller)
    await make_token(service, platform.operator)

    for actor, below in fleets.items():
        page = await service.fleet.page(actor, PageRequest(100))
        totals = await service.fleet.totals(actor)

        assert {item.account.id for item in page.items} == {one.account_id for one in below}
        assert totals.accounts == len(below)
        for field in fields(Counts):
            assert getattr(totals.counts, field.name) == sum(
                getattr(item.counts, field.name) for item in page.items
            )


async def test_filters_narrow_and_join(
    service: Service, platform: Platform, clock: FrozenClock
) -> None:
    soon = clock.now() + timedelta(days=3)
    for actor, count in ((platform.customer, 2), (platform.sibling, 1)):
        for _ in range(count):
            await make_token(service, actor, expires_at=soon)
    third = await make_customer(service, platform.reseller, name="100% Under_scored")
    await service.accounts.suspend(platform.reseller, platform.sibling.account_id)

    async def found(**only: Any) -> set[UUID]:
        page = await service.fleet.page(
            platform.reseller, PageRequest(100), only=FleetFilter(**only)
        )
        return {item.account.id for item in page.items}

    week = Facet.EXPIRING_WITHIN_7_DAYS
    two, one, none = (actor.account_id for actor in (platform.customer, platform.sibling, third))
    assert await found(at_least=(AtLeast(week),)) == {two, one}
    assert await found(at_least=(AtLeast(week), AtLeast(Facet.LIVE, 2))) == {two}
    assert await found(status=AccountStatus.SUSPENDED) == {one}
    assert await found(status=AccountStatus.ACTIVE, at_least=(AtLeast(week),)) == {two}
    assert await found(name_contains="% under_") == {none}
    assert await found(name_contains="no such") == set()


async def test_a_suspended_and_a_closed_account_are_found_as_what_they_are(
    service: Service, platform: Platform
) -> None:
    async def found(status: AccountStatus) -> list[UUID]:
        page = await service.fleet.page(
            platform.reseller, PageRequest(9), only=FleetFilter(status=status)
        )
        assert all(item.account.status is status for item in page.items)
        return [item.account.id for item in page.items]

    name = (await service.accounts.get(platform.customer, platform.customer.account_id)).name
    account_id = platform.customer.account_id
    await service.accounts.suspend(platform.reseller, account_id)
    assert await found(AccountStatus.SUSPENDED) == [account_id]
    await service.accounts.resume(platform.reseller, account_id)
    assert await found(AccountStatus.SUSPENDED) == []
    await service.accounts.close(platform.reseller, account_id, expected_name=name)
    assert await found(AccountStatus.CLOSED) == [account_id]


async def test_without_both_scopes_nothing_is_told(service: Service, platform: Platform) -> None:
    for scopes in (("accounts:read",), ("tokens:read",), ()):
        actor = replace(platform.reseller, scopes=scopes)
        with pytest.raises(InsufficientScope):
            await service.fleet.page(actor, PageRequest(1))
        with pytest.raises(InsufficientScope):
            await service.fleet.totals(actor)


@pytest.mark.parametrize(
    "only",
    [
        FleetFilter(at_least=(AtLeast(Facet.LIVE, 0),)),
        FleetFilter(at_least=(AtLeast(Facet.LIVE, -1),)),
        FleetFilter(at_least=(AtLeast(Facet.LIVE, 10**9),)),
        FleetFilter(at_least=(AtLeast(Facet.LIVE),) * 11),
        FleetFilter(name_contains="x" * 51),
        FleetFilter(name_contains="\0"),
    ],
)
async def test_a_senseless_filter_is_refused(
    service: Service, platform: Platform, only: FleetFilter
) -> None:
    with pytest.raises(InvalidInput):
        await service.fleet.page(platform.reseller, PageRequest(1), only=only)


@pytest.mark.parametrize(
    ("order", "key"),
    [
        (FleetOrder.LIVE, "1; DROP TABLE account"),
        (FleetOrder.LIVE, "-1"),
        (FleetOrder.LIVE, "9999999999"),
        (FleetOrder.LIVE, "١"),
        (FleetOrder.CREATED_AT, "infinity"),
        (FleetOrder.CREATED_AT, "2030-02-30 00:00:00+00"),
        (FleetOrder.NAME, "\0"),
    ],
)
async def test_a_cursor_that_no_list_handed_out_is_refused(
    service: Service, platform: Platform, order: FleetOrder, key: str
) -> None:
    forged = Cursor(f"fleet:{order}:ASC", key, UUID(int=0)).encode()
    other = Cursor("fleet:ACTIVE:ASC", "1", UUID(int=0)).encode()

    for after in (forged, other, "nonsense"):
        with pytest.raises(InvalidInput):
            await service.fleet.page(platform.reseller, PageRequest(1, after), order=order)
