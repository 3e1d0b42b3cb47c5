"""The parts of one process, put together once: settings → connections → use cases."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import asyncpg

from service.account_mail import AccountMail
from service.account_moves import AccountMoves
from service.accounts import Accounts
from service.budget import Budget
from service.cache import Cache, open_cache
from service.canary import Canary
from service.clock import Clock, SystemClock
from service.database import connected
from service.errors import SettingsRefused
from service.explanation import Explanations
from service.fleet import Fleet
from service.holders import Holders
from service.job_runs import JobRuns
from service.jobs import Jobs
from service.members import Members
from service.migration import bypasses_row_security
from service.news import News
from service.notice_ledger import NoticeLedger
from service.notices import Notices
from service.outbox import Relay
from service.password_changes import PasswordChanges
from service.password_check import PasswordCheck
from service.passwords import Passwords
from service.policies import Policies
from service.preflight import check_durability
from service.receipts import Receipts
from service.refusals import Refusals
from service.replays import Replays
from service.rotation import Rotations
from service.scope_templates import ScopeTemplates
from service.sealer import Sealer
from service.sessions import Sessions
from service.settings import Settings
from service.throttle import Throttle
from service.token_changes import TokenUpdates
from service.token_creation import TokenCreation
from service.tokens import Tokens
from service.trail import Trail
from service.validator import open_validator
from service.work import Work

CONNECT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Service:
    """Every use case, ready to be called by a resolver, a task or a command."""

    settings: Settings
    clock: Clock
    cache: Cache
    budget: Budget
    tokens: Tokens
    explanations: Explanations
    replays: Replays
    rotations: Rotations
    accounts: Accounts
    account_moves: AccountMoves
    fleet: Fleet
    sessions: Sessions
    jobs: Jobs
    job_runs: JobRuns
    members: Members
    password_changes: PasswordChanges
    account_mail: AccountMail
    holders: Holders
    policies: Policies
    scope_templates: ScopeTemplates
    canary: Canary
    notices: Notices
    notice_ledger: NoticeLedger
    relay: Relay
    receipts: Receipts
    refusals: Refusals
    sealer: Sealer
    trail: Trail


def compose(
    settings: Settings, cache: Cache, clock: Clock, *, passwords: Passwords | None = None
) -> Service:
    """Put the use cases together over open connections."""
    relay = Relay(cache, clock, settings.lease_seconds)
    receipts = Receipts(cache, clock, settings.staleness_bound_seconds)
    sealer = Sealer(cache.redis)
    work = Work(relay, receipts, clock, sealer)
    replays = Replays(settings)
    creation = TokenCreation(work, replays, settings)
    passwords = passwords or Passwords()
    throttle = Throttle(cache.redis)
    refusals = Refusals(work, cache.redis)
    opening = partial(open_validator, settings, clock=clock)
    check = PasswordCheck(passwords, throttle, settings, refusals)
    return Service(
        settings=settings,
        clock=clock,
        cache=cache,
        budget=Budget(cache.redis, settings.cost_budget, settings.cost_restore_per_second),
        tokens=Tokens(work, clock, creation, TokenUpdates(work, settings)),
        explanations=Explanations(clock, settings),
        replays=replays,
        rotations=Rotations(work, replays, clock, settings),
        account_moves=AccountMoves(work),
        fleet=Fleet(clock),
        accounts=Accounts(work, passwords, settings),
        jobs=Jobs(work, clock, settings.staleness_bound_seconds),
        job_runs=JobRuns(work, clock, settings),
        sessions=Sessions(work, check, clock, settings),
        members=Members(work, throttle, settings),
        password_changes=PasswordChanges(work, check, passwords, throttle, clock, settings),
        account_mail=AccountMail(clock, settings),
        holders=Holders(work, throttle, settings),
        policies=Policies(work, clock, settings),
        scope_templates=ScopeTemplates(work, settings),
        canary=Canary(work, cache.redis, clock, settings, opening),
        notices=Notices(clock, settings),
        notice_ledger=NoticeLedger(),
        relay=relay,
        receipts=receipts,
        refusals=refusals,
        sealer=sealer,
        trail=Trail(News(cache.redis)),
    )


@asynccontextmanager
async def open_service(settings: Settings, *, clock: Clock | None = None) -> AsyncIterator[Service]:
    """Open this process's connections and put the use cases over them; close them at the end.

    Raises:
        SettingsRefused: In production, as :func:`check_database`.
    """
    if settings.environment == "production":
        await check_database(settings)
    async with connected(settings), open_cache(settings) as cache:
        yield compose(settings, cache, clock or SystemClock())


async def check_database(settings: Settings) -> None:
    """Sign in to the database once, and in production make sure that it is fit for that.

    Raises:
        SettingsRefused: If row-level security does not bind the role, or a crash loses commits.
        OSError, asyncpg.PostgresError, asyncpg.InterfaceError: If the database does not let us in.
    """
    url = settings.database_url.get_secret_value()
    connection = await asyncpg.connect(url, timeout=CONNECT_SECONDS)
    try:
        if settings.environment != "production":
            return
        if await bypasses_row_security(connection):
            raise SettingsRefused(
                "TOKENWARD_DATABASE_URL names a role that walks past row-level security, the wall "
                "between tenants: name one without SUPERUSER and BYPASSRLS"
            )
        await check_durability(connection)
    finally:
        await connection.close()
