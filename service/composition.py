"""The parts of one process, put together once: settings → connections → use cases."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import asyncpg

from service.accounts import Accounts
from service.cache import Cache, open_cache
from service.canary import Canary
from service.clock import Clock, SystemClock
from service.database import connected
from service.errors import SettingsRefused
from service.explanation import Explanations
from service.holders import Holders
from service.migration import bypasses_row_security
from service.notices import Notices
from service.outbox import Relay
from service.passwords import Passwords
from service.receipts import Receipts
from service.replays import Replays
from service.rotation import Rotations
from service.sessions import Sessions
from service.settings import Settings
from service.throttle import Throttle
from service.tokens import Tokens
from service.validator import open_validator
from service.work import Work

CONNECT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Service:
    """Every use case, ready to be called by a resolver, a task or a command."""

    settings: Settings
    clock: Clock
    cache: Cache
    tokens: Tokens
    explanations: Explanations
    replays: Replays
    rotations: Rotations
    accounts: Accounts
    sessions: Sessions
    holders: Holders
    canary: Canary
    notices: Notices
    relay: Relay
    receipts: Receipts


def compose(
    settings: Settings, cache: Cache, clock: Clock, *, passwords: Passwords | None = None
) -> Service:
    """Put the use cases together over open connections."""
    relay = Relay(cache, clock, settings.lease_seconds)
    receipts = Receipts(cache, clock, settings.staleness_bound_seconds)
    work = Work(relay, receipts, clock)
    replays = Replays(settings)
    passwords = passwords or Passwords()
    throttle = Throttle(cache.redis)
    return Service(
        settings=settings,
        clock=clock,
        cache=cache,
        tokens=Tokens(work, replays, clock, settings),
        explanations=Explanations(clock, settings),
        replays=replays,
        rotations=Rotations(work, replays, clock, settings),
        accounts=Accounts(work, passwords, settings),
        sessions=Sessions(work, passwords, throttle, settings),
        holders=Holders(work, throttle, settings),
        canary=Canary(
            work,
            cache.redis,
            clock,
            settings,
            partial(open_validator, settings, clock=clock),
        ),
        notices=Notices(clock, settings),
        relay=relay,
        receipts=receipts,
    )


@asynccontextmanager
async def open_service(settings: Settings, *, clock: Clock | None = None) -> AsyncIterator[Service]:
    """Open this process's connections and put the use cases over them; close them at the end.

    Raises:
        SettingsRefused: In production, if row-level security does not bind the database's role.
    """
    if settings.environment == "production":
        await check_database(settings)
    async with connected(settings), open_cache(settings) as cache:
        yield compose(settings, cache, clock or SystemClock())


async def check_database(settings: Settings) -> None:
    """Sign in to the database once, and in production make sure that the second wall holds.

    Raises:
        SettingsRefused: If row-level security does not bind the role.
        OSError, asyncpg.PostgresError, asyncpg.InterfaceError: If the database does not let us in.
    """
    url = settings.database_url.get_secret_value()
    connection = await asyncpg.connect(url, timeout=CONNECT_SECONDS)
    try:
        if settings.environment == "production" and await bypasses_row_security(connection):
            raise SettingsRefused(
                "TOKENWARD_DATABASE_URL names a role that walks past row-level security, the wall "
                "between tenants: name one without SUPERUSER and BYPASSRLS"
            )
    finally:
        await connection.close()
