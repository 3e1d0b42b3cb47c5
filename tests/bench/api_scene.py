"""A database of its own for the API's measurements, and a client that adds little of its own."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
from bench_scene import Scene
from pydantic import SecretStr
from web_process import WebProcess, serving

from service.clock import new_id
from service.migration import migrate
from service.secret_format import make_secret
from service.settings import Settings

CUSTOMERS = 100
FREE: dict[str, Any] = {"cost_budget": 1_000_000_000, "cost_restore_per_second": 1_000_000}
HEADERS = "Host: localhost\r\nContent-Type: application/json\r\nAccept: application/json"

# Every row goes in as the triggers would leave it; they are asked for nothing, to be done in time.
_TOKENS = """
INSERT INTO api_token (id, account_id, reseller_id, kind, name, scopes, allowed_ip_ranges,
    created_at, expires_at, version)
SELECT gen_random_uuid(), a.id, a.reseller_id, 'API_TOKEN', 'bench ' || n,
    '{dns:read,dns:write,mail:read}', '{}',
    now() - n * interval '1 second', now() + n * interval '1 minute', 1
FROM generate_series($1::int, $2::int - 1) n
JOIN bench_account a ON a.number = n % $3
"""
_SECRETS = """
INSERT INTO secret (id, account_id, reseller_id, token_id, digest, pepper_id, prefix, last_four,
    created_at)
SELECT gen_random_uuid(), t.account_id, t.reseller_id, t.id, sha256(t.id::text::bytea), 1,
    'tw_live_', 'abcd', t.created_at
FROM api_token t WHERE NOT EXISTS (SELECT FROM secret s WHERE s.token_id = t.id)
"""


@dataclass(frozen=True, slots=True)
class Caller:
    """An account that asks: its id and a token of all its rights."""

    account_id: UUID
    secret: str


@dataclass(frozen=True, slots=True)
class ApiScene:
    """A database, a web process over it, and an operator, a reseller and a customer who ask."""

    settings: Settings
    owner: asyncpg.Connection
    web: WebProcess
    callers: dict[str, Caller]
    customers: list[UUID]

    async def fill(self, first: int, last: int) -> None:
        """Add tokens to the reseller's customers, from a number up to another."""
        await self.owner.execute("SET session_replication_role = replica")
        await self.owner.execute("SET statement_timeout = 0")
        await self.owner.execute(_TOKENS, first, last, CUSTOMERS)
        await self.owner.execute(_SECRETS)
        await self.owner.execute("SET session_replication_role = origin")
        await self.owner.execute("VACUUM ANALYZE")


@asynccontextmanager
async def api_scene(scene: Scene, name: str) -> AsyncIterator[ApiScene]:
    """Make a database and serve it; the web process has no budget that would stop the bench."""
    admin = await asyncpg.connect(scene.owner_url)
    database = f"bench_{name}"
    await admin.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
    await admin.execute(f"CREATE DATABASE {database}")
    settings = scene.settings.model_copy(
        update={
            field: SecretStr(_in(getattr(scene.settings, field).get_secret_value(), database))
            for field in ("database_url", "database_owner_url")
        }
    )
    await migrate(settings)
    owner = await asyncpg.connect(settings.database_owner_url.get_secret_value())
    try:
        customers = [new_id() for _ in range(CUSTOMERS)]
        callers = await _insert_callers(owner, settings, customers)
        url = settings.database_url.get_secret_value()
        with serving(scene, database_url=url, **FREE) as web:
            await web.starts()
            yield ApiScene(settings, owner, web, callers, customers)
    finally:
        await owner.close()
        await admin.execute(f"DROP DATABASE {database} WITH (FORCE)")
        await admin.close()


class Client:
    """One connection that asks one operation after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, web: WebProcess) -> "Client":
        """Connect."""
        return cls(*await asyncio.open_connection("127.0.0.1", web.port))

    async def ask(self, body: bytes, secret: str) -> dict[str, Any]:
        """Run one operation and return its data.

        Raises:
            AssertionError: If the answer is another than the operation's result.
        """
        head = f"{HEADERS}\r\nAuthorization: Bearer {secret}\r\nContent-Length: {len(body)}"
        self._writer.write(f"POST /graphql HTTP/1.1\r\n{head}\r\n\r\n".encode() + body)
        told = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(told.partition("content-length: ")[2].partition("\r\n")[0])
        answer = json.loads(await self._reader.readexactly(length))
        assert "errors" not in answer, answer
        data: dict[str, Any] = answer["data"]
        return data

    def close(self) -> None:
        """End the connection."""
        self._writer.close()


def operation(query: str, **variables: object) -> bytes:
    """Return the body of one operation."""
    return json.dumps({"query": query, "variables": variables}).encode()


async def _insert_callers(
    owner: asyncpg.Connection, settings: Settings, customers: list[UUID]
) -> dict[str, Caller]:
    operator, reseller = new_id(), new_id()
    rows: Sequence[tuple[object, ...]] = [
        (operator, "OPERATOR", None, "Operator"),
        (reseller, "RESELLER", reseller, "Reseller"),
        *((each, "CUSTOMER", reseller, f"Customer {n}") for n, each in enumerate(customers)),
    ]
    await owner.executemany(
        "INSERT INTO account (id, kind, reseller_id, name, grantable_scopes, created_at)"
        " VALUES ($1, $2, $3, $4, '{*}', now())",
        rows,
    )
    await owner.execute("CREATE TABLE bench_account (number int, id uuid, reseller_id uuid)")
    await owner.executemany(
        "INSERT INTO bench_account VALUES ($1, $2, $3)",
        [(number, each, reseller) for number, each in enumerate(customers)],
    )
    named = {"operator": operator, "reseller": reseller, "account": customers[0]}
    return {name: await _caller(owner, settings, each) for name, each in named.items()}


async def _caller(owner: asyncpg.Connection, settings: Settings, account_id: UUID) -> Caller:
    secret, token_id = make_secret(settings.token_label, settings.pepper_keys), new_id()
    await owner.execute(
        "INSERT INTO api_token (id, account_id, kind, name, scopes, allowed_ip_ranges, created_at,"
        " version) VALUES ($1, $2, 'API_TOKEN', 'caller', '{*}', '{}', now(), 1)",
        *(token_id, account_id),
    )
    await owner.execute(
        "INSERT INTO secret (id, account_id, token_id, digest, pepper_id, prefix, last_four,"
        " created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, now())",
        *(new_id(), account_id, token_id, secret.digest, secret.pepper_id),
        *(secret.prefix, secret.last_four),
    )
    return Caller(account_id, secret.text)


def _in(url: str, database: str) -> str:
    return urlsplit(url)._replace(path=f"/{database}").geturl()
