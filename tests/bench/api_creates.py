"""How many tokens one process creates a second, beside a bare transaction of three rows."""

import asyncio
import os
from itertools import count
from uuid import UUID

import asyncpg
from api_scene import ApiScene, Client, api_scene, operation
from asyncpg.pool import PoolConnectionProxy
from bench_scene import Scene, Sizes
from measured import Measured
from web_process import CPU_SECONDS_MIN

from schema import node_ids
from service.clock import boottime, new_id

CREATES_PER_SECOND_MIN = 800
CREATE = (
    "mutation($name: String!, $account: ID!) { createToken(input: {name: $name,"
    ' accountId: $account, scopes: ["dns:read"], expiresAt: "2099-01-01T00:00:00Z"})'
    " { secret userErrors { code message } } }"
)

_numbers = count()


async def measure_creates(scene: Scene) -> list[Measured]:
    """Measure creating tokens for many accounts at once."""
    async with api_scene(scene, "creates") as api:
        rounds: list[tuple[float, float, float]] = []
        for _ in range(scene.sizes.rounds):
            used = api.web.cpu_seconds()
            created, seconds = await _creates(api, scene.sizes)
            used = max(CPU_SECONDS_MIN, api.web.cpu_seconds() - used)
            rounds.append((created / seconds, created / used, await _bare(api, scene.sizes)))
    rate, a_core, bare = (sum(values) / len(values) for values in zip(*rounds, strict=True))
    return [
        Measured(
            f"createToken, {scene.sizes.creators} at a time",
            f"{rate:,.0f}/s; {a_core:,.0f}/s a core of the process",
            f"three bare rows: {bare:,.0f}/s",
            rate / bare,
            f"≥ {CREATES_PER_SECOND_MIN}/s a process",
            rate >= CREATES_PER_SECOND_MIN,
        )
    ]


async def _creates(api: ApiScene, sizes: Sizes) -> tuple[int, float]:
    """Create tokens over several connections; return how many, in how many seconds."""
    secret, each = api.callers["operator"].secret, sizes.creates // sizes.creators

    async def create(client: Client) -> None:
        for _ in range(each):
            number = next(_numbers)
            account = api.customers[number % len(api.customers)]
            body = operation(
                CREATE, name=f"made {number}", account=node_ids.encode(node_ids.ACCOUNT, account)
            )
            data = await client.ask(body, secret)
            assert data["createToken"]["secret"], data

    clients = [await Client.open(api.web) for _ in range(sizes.creators)]
    began = boottime()
    await asyncio.gather(*map(create, clients))
    seconds = boottime() - began
    for client in clients:
        client.close()
    return each * sizes.creators, seconds


async def _bare(api: ApiScene, sizes: Sizes) -> float:
    """Return how many transactions a second add a token, its secret and a line of the trail."""
    pool = await asyncpg.create_pool(
        api.settings.database_url.get_secret_value(),
        min_size=sizes.creators,
        max_size=sizes.creators,
        server_settings={"tokenward.reach": "all"},
    )
    each = sizes.creates // sizes.creators

    async def insert() -> None:
        async with pool.acquire() as connection:
            for _ in range(each):
                number = next(_numbers)
                account = api.customers[number % len(api.customers)]
                await _insert(connection, account, f"bare {number}")

    began = boottime()
    await asyncio.gather(*(insert() for _ in range(sizes.creators)))
    seconds = boottime() - began
    await pool.close()
    return each * sizes.creators / seconds


async def _insert(connection: PoolConnectionProxy, account: UUID, name: str) -> None:
    token = new_id()
    async with connection.transaction():
        await connection.execute(
            "INSERT INTO api_token (id, account_id, kind, name, scopes, allowed_ip_ranges,"
            " created_at, expires_at, version) VALUES ($1, $2, 'API_TOKEN', $3, '{dns:read}', '{}',"
            " now(), now() + interval '1 year', 1)",
            *(token, account, name),
        )
        await connection.execute(
            "INSERT INTO secret (id, account_id, token_id, digest, pepper_id, prefix, last_four,"
            " created_at) VALUES ($1, $2, $3, $4, 1, 'tw_live_', 'abcd', now())",
            *(new_id(), account, token, os.urandom(32)),
        )
        await connection.execute(
            "INSERT INTO audit_event (id, account_id, occurred_at, action, subject_id, details)"
            " VALUES ($1, $2, now(), 'token.created', $3, '{}')",
            *(new_id(), account, token),
        )
