"""A page of a reseller's fleet by what expires soon, for a small fleet and for a large one."""

import time
from collections.abc import Awaitable, Callable
from functools import partial
from statistics import median
from uuid import UUID

import asyncpg
from bench_scene import Scene
from factories import make_reseller
from measured import Measured

from service.access.actor import Actor
from service.access.fleet import FleetFilter, FleetOrder, fleet_statement
from service.paging import PageRequest

PAGE = PageRequest(10)
ORDER = FleetOrder.EXPIRING_WITHIN_7_DAYS
GOAL_RATIO = 1.5

ACCOUNTS = """
INSERT INTO account (id, kind, reseller_id, name, grantable_scopes, created_at)
    SELECT gen_random_uuid(), 'CUSTOMER', $1::uuid, 'Customer ' || n, '{*}', now()
    FROM generate_series(1, $2::integer) n
"""
TOKENS = """
INSERT INTO api_token (id, account_id, reseller_id, kind, name, scopes, allowed_ip_ranges,
    audiences, created_at, expires_at, version)
    SELECT gen_random_uuid(), id, reseller_id, 'API_TOKEN', 'token', '{dns:read}', '{}', '{}',
        now(), now() + random() * interval '60 days', 1
    FROM account WHERE reseller_id = $1 AND id <> $1 ORDER BY id LIMIT 10000
"""
"""For so many accounts that the rows are there in seconds; the others have zeros."""

Ask = Callable[[], Awaitable[object]]


async def measure_fleet(scene: Scene) -> list[Measured]:
    """Measure pages of fleets in turns, each beside the bare query that cuts it."""
    fleets = [await _make_fleet(scene, size) for size in scene.sizes.fleets]
    bare = await asyncpg.connect(scene.settings.database_url.get_secret_value())
    try:
        asked: list[Ask] = [partial(_page, scene, actor) for actor in fleets]
        asked += [partial(_bare_page, bare, actor) for actor in fleets]
        millis = await _median_millis(asked, scene.sizes.pages)
    finally:
        await bare.close()
    small, large, bare_small, bare_large = millis
    lines = [
        Measured(
            f"page of {PAGE.first} of a fleet of {size:,} by what expires soon",
            f"{found:.2f} ms",
            f"bare query: {bound:.2f} ms",
            found / bound,
        )
        for size, found, bound in zip(
            scene.sizes.fleets, (small, large), (bare_small, bare_large), strict=True
        )
    ]
    return [
        *lines,
        Measured(
            "the larger fleet beside the smaller",
            f"{large:.2f} ms",
            f"{small:.2f} ms",
            large / small,
            f"≤ {GOAL_RATIO}",
            large / small <= GOAL_RATIO,
        ),
    ]


async def _make_fleet(scene: Scene, size: int) -> Actor:
    reseller = await make_reseller(scene.service, scene.actor)
    owner = await asyncpg.connect(scene.owner_url)
    await owner.execute(ACCOUNTS, reseller.account_id, size)
    await owner.execute(TOKENS, reseller.account_id)
    await owner.execute("ANALYZE account, token_count")
    await owner.close()
    return reseller


async def _page(scene: Scene, actor: Actor) -> object:
    return await scene.service.fleet.page(actor, PAGE, order=ORDER, descending=True)


async def _bare_page(connection: asyncpg.Connection, actor: Actor) -> object:
    statement = fleet_statement(
        actor.reach, UUID(int=0), FleetFilter(), ORDER, PAGE, descending=True
    )
    async with connection.transaction():
        await connection.execute(actor.reach.opening())
        return await connection.fetch(statement.text, *statement.values)


async def _median_millis(asked: list[Ask], rounds: int) -> list[float]:
    """Return the median of each in milliseconds; in turns, so that a busy machine is shared."""
    found: list[list[float]] = [[] for _ in asked]
    for _ in range(rounds):
        for ask, took in zip(asked, found, strict=True):
            began = time.perf_counter()
            await ask()
            took.append((time.perf_counter() - began) * 1000)
    return [median(took) for took in found]
