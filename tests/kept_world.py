"""A world that is made once for a whole file, and put back as it was after each change."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
from conftest import FrozenClock, GraphQL, asking, composed, empty, empty_redis, served
from edge_scene import fingerprint

from service.composition import Service
from service.migration import COUNTED, TABLES
from service.settings import Settings
from service.validator import Validator, open_validator

# Points are counted by the real time; a whole file of questions is no caller's to be slowed down.
UNHURRIED = {"cost_budget": 100_000_000}


@dataclass
class World:
    """One process of the service over a database that is kept.

    Attributes:
        as_kept: What its rows were when they were kept; empty before.
    """

    service: Service
    clock: FrozenClock
    graphql: GraphQL
    owner: asyncpg.Connection
    validator: Validator
    as_kept: dict[str, list[tuple[Any, ...]]]

    async def keep(self) -> None:
        """Remember every row, so that it can be put back."""
        for table in TABLES + COUNTED:
            await self.owner.execute(f"CREATE TEMP TABLE kept_{table} AS TABLE {table}")
        self.as_kept = await fingerprint(self.owner)

    async def is_as_kept(self) -> bool:
        """Return whether no row has been changed, but for what a fingerprint leaves out."""
        return await fingerprint(self.owner) == self.as_kept

    async def put_back(self) -> None:
        """Make every row what it was, and have caches know of nothing."""
        # No trigger fires: neither the guards of what never goes, nor the counts.
        statements = ["BEGIN", "SET LOCAL session_replication_role = replica"]
        for table in TABLES + COUNTED:
            statements += [f"DELETE FROM {table}", f"INSERT INTO {table} TABLE kept_{table}"]  # noqa: S608 - our own names
        await self.owner.execute("; ".join([*statements, "COMMIT"]))
        await self.forget()

    async def forget(self) -> None:
        """Have Redis and the validator begin anew: drops, pauses, points."""
        await empty_redis(self.service.settings)
        self.validator.forget()

    async def close(self) -> None:
        """Forget what was kept."""
        for table in TABLES + COUNTED:
            await self.owner.execute(f"DROP TABLE IF EXISTS pg_temp.kept_{table}")


@asynccontextmanager
async def open_world(settings: Settings, owner: asyncpg.Connection) -> AsyncIterator[World]:
    """Begin with an empty database; the connections are those of the whole run.

    Args:
        settings: This worker's; Tortoise's pool is open.
        owner: The connection of the tables' owner.
    """
    clock = FrozenClock()
    await empty(owner, settings)
    settings = settings.model_copy(update=UNHURRIED)
    async with (
        composed(settings, clock) as service,
        open_validator(settings, clock=clock) as validator,
        served(settings, service, validator) as client,
    ):
        world = World(service, clock, asking(client), owner, validator, {})
        try:
            yield world
        finally:
            await world.close()
