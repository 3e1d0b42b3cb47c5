"""Twenty tokens out of very many, over HTTP, each beside the bare query on the same database."""

from collections.abc import Awaitable, Callable
from statistics import median

import asyncpg
from api_scene import ApiScene, Caller, Client, api_scene, operation
from bench_scene import Scene
from measured import Measured

from service.clock import boottime

PAGE = 20
ROUND = 25
RATIO_MAX = 5.0
GROWTH_MAX = 1.2

QUERY = operation(
    "query($first: Int!) { tokens(first: $first) { edges { cursor node { id name status scopes"
    " prefix lastFour createdAt expiresAt lastUsedAt } } pageInfo { hasNextPage endCursor } } }",
    first=PAGE,
)
BARE = f"""
SELECT t.*, s.prefix, s.last_four FROM api_token t
JOIN secret s ON s.token_id = t.id AND s.retires_at IS NULL
WHERE t.kind = 'API_TOKEN' AND {{condition}}
ORDER BY t.created_at DESC, t.id DESC LIMIT {PAGE + 1}
"""  # noqa: S608 - of words that stand in this file
CONDITIONS = {
    "account": ("account", "t.account_id = $1"),
    "reseller": ("fleet", "t.reseller_id = $1"),
    "operator": ("all", "$1::uuid IS NOT NULL"),
}


async def measure_lists(scene: Scene) -> list[Measured]:
    """Measure a page of an account, a reseller and the operator, in a small and a large table."""
    few, many = scene.sizes.listed
    async with api_scene(scene, "lists") as api:
        await api.fill(0, few)
        small = {who: await _page(api, who, scene.sizes.list_rounds) for who in CONDITIONS}
        await api.fill(few, many)
        large = {who: await _page(api, who, scene.sizes.list_rounds) for who in CONDITIONS}
    return [_line(who, many, *large[who], small[who][0], few) for who in CONDITIONS]


async def _page(api: ApiScene, who: str, rounds: int) -> tuple[float, float]:
    """Return the median of one page in seconds: through the API, and of the bare query."""
    caller = api.callers[who]
    client = await Client.open(api.web)
    bare = await asyncpg.connect(api.settings.database_url.get_secret_value())
    ask, read = await _asking(client, caller), await _reading(bare, who, caller)
    asked, bared = [], []
    try:
        for _ in range(rounds):
            asked += [await _seconds(ask) for _ in range(ROUND)]
            bared += [await _seconds(read) for _ in range(ROUND)]
    finally:
        client.close()
        await bare.close()
    return median(asked), median(bared)


async def _asking(client: Client, caller: Caller) -> Callable[[], Awaitable[object]]:
    async def ask() -> object:
        return await client.ask(QUERY, caller.secret)

    data = await client.ask(QUERY, caller.secret)
    assert len(data["tokens"]["edges"]) == PAGE
    return ask


async def _reading(
    bare: asyncpg.Connection, who: str, caller: Caller
) -> Callable[[], Awaitable[object]]:
    extent, condition = CONDITIONS[who]
    await bare.execute("SELECT set_config('tokenward.reach', $1, false)", extent)
    await bare.execute("SELECT set_config('tokenward.reach_id', $1, false)", str(caller.account_id))
    prepared = await bare.prepare(BARE.format(condition=condition))

    async def read() -> object:
        return await prepared.fetch(caller.account_id)

    return read


async def _seconds(act: Callable[[], Awaitable[object]]) -> float:
    began = boottime()
    await act()
    return boottime() - began


def _line(who: str, many: int, asked: float, bare: float, small: float, few: int) -> Measured:
    ratio, growth = asked / bare, asked / small
    return Measured(
        f"{PAGE} of {many:,} tokens, {who}, p50",
        f"{asked * 1e3:.2f} ms ({growth:.2f} of that at {few:,})",
        f"bare query: {bare * 1e3:.2f} ms",
        ratio,
        f"≤ {RATIO_MAX:.0f}; growth ≤ {GROWTH_MAX}",
        ratio <= RATIO_MAX and growth <= GROWTH_MAX,
    )
