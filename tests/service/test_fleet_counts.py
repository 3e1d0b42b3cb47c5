"""Counts are kept by the database: exact after every act, and after time once it is recounted."""

import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from importlib import resources
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from conftest import FrozenClock
from factories import Platform, make_customer, make_token
from fleet_scene import (
    assert_sums_hold,
    counted,
    counts,
    kept_counts,
    true_counts,
    use,
)
from stores import keep_signed_in

from service.access.actor import Actor
from service.access.tokens import TokenFilter, TokenStatus
from service.composition import Service
from service.errors import ServiceError
from service.paging import PageRequest
from service.settings import Settings
from service.sweep import sweep_expired
from service.tokens import TokenChanges

SQL = resources.files("service.migrations")


async def test_an_account_begins_with_zeros_and_its_sessions_do_not_count(
    service: Service, platform: Platform
) -> None:
    for actor in (platform.operator, platform.reseller, platform.customer):
        assert await counted(service, actor) == counts()


async def test_each_facet_counts_what_it_says(
    service: Service, platform: Platform, clock: FrozenClock, owner: asyncpg.Connection
) -> None:
    now, customer = clock.now(), platform.customer
    await make_token(service, customer, expires_at=now + timedelta(days=7))
    await make_token(service, customer, expires_at=now + timedelta(days=7, microseconds=1))
    await make_token(service, customer, expires_at=now + timedelta(days=30, microseconds=1))
    await make_token(service, customer, expires_at=None, scopes=("*",))
    await make_token(service, customer, not_before=now + timedelta(hours=1))
    await make_token(service, customer, allowed_ip_ranges=("192.0.2.0/24",))
    used = await make_token(service, customer)
    await use(owner, used.token.id, now)

    assert await counted(service, customer) == counts(
        live=7,
        active=6,
        expiring_within_7_days=1,
        expiring_within_30_days=5,
        never_used=6,
        without_address_limits=6,
        full_access=1,
    )
    assert await kept_counts(owner) == await true_counts(owner, now)


async def test_an_act_changes_the_counts_with_it(
    service: Service, platform: Platform, clock: FrozenClock
) -> None:
    customer = platform.customer
    token = (await make_token(service, customer, expires_at=None)).token
    live = counts(live=1, active=1, never_used=1, without_address_limits=1)
    assert await counted(service, customer) == live

    await service.tokens.suspend(customer, token.id)
    suspended = counts(live=1, suspended=1, never_used=1, without_address_limits=1)
    assert await counted(service, customer) == suspended
    await service.tokens.resume(customer, token.id)
    assert await counted(service, customer) == live
    narrower = TokenChanges(
        allowed_ip_ranges=("192.0.2.0/24",), expires_at=clock.now() + timedelta(days=20)
    )
    await service.tokens.update(customer, token.id, narrower)
    narrowed = counts(live=1, active=1, never_used=1, expiring_within_30_days=1)
    assert await counted(service, customer) == narrowed
    await service.tokens.revoke(customer, token.id)
    assert await counted(service, customer) == counts()


async def test_a_refused_act_changes_no_count(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    await make_token(service, platform.customer, name="taken")
    before = await kept_counts(owner)

    with pytest.raises(ServiceError):
        await make_token(service, platform.customer, name="taken")

    assert await kept_counts(owner) == before


async def test_time_changes_the_counts_to_the_instant_once_it_is_recounted(
    service: Service, platform: Platform, clock: FrozenClock, owner: asyncpg.Connection
) -> None:
    born = clock.now()
    for days in (100, 140):
        await make_token(service, platform.customer, expires_at=born + timedelta(days=days))
    await make_token(service, platform.customer, not_before=born + timedelta(days=1))
    assert await service.fleet.recount_due() == 0

    for days in (1, 70, 90, 93, 100, 110, 133, 140):
        clock._now = born + timedelta(days=days, microseconds=-1)  # noqa: SLF001 - to the instant
        await service.fleet.recount_due()
        assert await kept_counts(owner) == await true_counts(owner, clock.now())
        before = await counted(service, platform.customer)
        clock.advance(microseconds=1)

        assert await service.fleet.recount_due() > 0

        assert await counted(service, platform.customer) != before
        assert await kept_counts(owner) == await true_counts(owner, clock.now())
        assert await service.fleet.recount_due() == 0
    assert await counted(service, platform.customer) == counts(expired=3)
    await assert_sums_hold(owner)


async def test_the_sweep_counts_what_it_ends(
    service: Service, platform: Platform, clock: FrozenClock
) -> None:
    await make_token(service, platform.customer, expires_at=clock.now() + timedelta(hours=1))
    clock.advance(hours=1)

    await sweep_expired(clock)

    assert await counted(service, platform.customer) == counts(expired=1)


async def test_a_token_is_idle_until_it_is_used_and_again_ninety_days_later(
    service: Service, platform: Platform, clock: FrozenClock, owner: asyncpg.Connection
) -> None:
    born = clock.now()
    token = (await make_token(service, platform.customer, expires_at=None)).token
    steps = {89: (1, 0), 90: (1, 1), 91: (0, 0), 180: (0, 0), 181: (0, 1), 182: (0, 0)}

    for day, (never_used, idle) in steps.items():
        clock._now = born + timedelta(days=day)  # noqa: SLF001 - days at a time
        if day in {91, 182}:
            await use(owner, token.id, clock.now())
        await service.fleet.recount_due()

        found = await counted(service, platform.customer)
        assert (found.never_used, found.idle_90_days) == (never_used, idle), day


async def test_a_token_in_daily_use_costs_the_counts_nothing_until_ninety_days_have_passed(
    service: Service, platform: Platform, clock: FrozenClock, owner: asyncpg.Connection
) -> None:
    token = (await make_token(service, platform.customer, expires_at=None)).token
    await use(owner, token.id, clock.now())
    [before] = await owner.fetch("SELECT xmin FROM token_count WHERE live > 0")
    recounted = 0

    for _ in range(91):
        clock.advance(days=1)
        await use(owner, token.id, clock.now())
        recounted += await service.fleet.recount_due()

    [after] = await owner.fetch("SELECT xmin FROM token_count WHERE live > 0")
    assert after == before
    assert recounted == 1
    assert (await counted(service, platform.customer)).idle_90_days == 0


async def test_what_a_savepoint_takes_back_is_not_counted(
    service: Service, platform: Platform, owner: asyncpg.Connection, clock: FrozenClock
) -> None:
    kept, undone = [(await make_token(service, platform.customer)).token.id for _ in range(2)]
    revoke = "UPDATE api_token SET revoked_at = now(), revocation_reason = 'POLICY' WHERE id = $1"

    async with owner.transaction():
        savepoint = owner.transaction()
        await savepoint.start()
        await owner.execute(revoke, undone)
        await savepoint.rollback()
        await owner.execute(revoke, kept)

    assert (await counted(service, platform.customer)).live == 1
    assert await kept_counts(owner) == await true_counts(owner, clock.now())


Step = Callable[[], Awaitable[object]]


@pytest.mark.parametrize("seed", [1, 2])
async def test_after_any_walk_the_counts_are_what_counting_gives(
    service: Service, platform: Platform, clock: FrozenClock, owner: asyncpg.Connection, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 - repeatable
    actors = [platform.customer, platform.sibling, platform.stranger, platform.operator]
    live: list[tuple[Actor, UUID]] = []

    async def create() -> None:
        actor = chance.choice(actors)
        made = await make_token(
            service,
            actor,
            expires_at=chance.choice([None, clock.now() + timedelta(days=chance.randint(1, 120))]),
            not_before=chance.choice([None, clock.now() + timedelta(hours=5)]),
            scopes=chance.choice([("*",), ("dns:read", "dns:write")]),
            allowed_ip_ranges=chance.choice([(), ("192.0.2.0/24",)]),
        )
        live.append((actor, made.token.id))

    async def act() -> None:
        actor, token_id = chance.choice(live)
        tokens = service.tokens
        verbs = [tokens.suspend, tokens.resume, tokens.revoke]
        await chance.choice(verbs)(actor, token_id)

    async def narrow() -> None:
        actor, token_id = chance.choice(live)
        changes = TokenChanges(
            scopes=("dns:read",), allowed_ip_ranges=(f"192.0.2.{chance.randint(0, 255)}",)
        )
        await service.tokens.update(actor, token_id, changes)

    async def pass_time() -> None:
        clock.advance(days=chance.choice([0.5, 3, 20, 45]))
        await chance.choice([service.fleet.recount_due, lambda: sweep_expired(clock)])()

    steps = [create, create, act, narrow, pass_time, lambda: use(owner, live[-1][1], clock.now())]
    await create()
    for _ in range(70):
        step: Step = chance.choice(steps)
        try:
            await step()
        except ServiceError:
            continue  # what has ended is changed no more, and a name may be taken
    await service.fleet.recount_due()

    assert await kept_counts(owner) == await true_counts(owner, clock.now())
    await assert_sums_hold(owner)


async def test_what_is_deleted_is_counted_no_more(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    token = (await make_token(service, platform.customer)).token

    await owner.execute("DELETE FROM api_token WHERE id = $1", token.id)

    assert await counted(service, platform.customer) == counts()
    await assert_sums_hold(owner)


async def test_the_migration_counts_what_is_there_already(
    service: Service, platform: Platform, owner: asyncpg.Connection, clock: FrozenClock
) -> None:
    for actor in (platform.customer, platform.reseller, platform.operator):
        await make_token(service, actor, scopes=("*",))
    before = await kept_counts(owner)

    transaction = owner.transaction()
    await transaction.start()
    try:
        for name in ("0006_fleet_undo.sql", "0006_fleet.sql"):
            await owner.execute(SQL.joinpath(name).read_text(encoding="utf-8"))
        found = await kept_counts(owner)
        await assert_sums_hold(owner)
    finally:
        await transaction.rollback()

    # Its facets are those of the token's own latest instant, which the test's clock has told.
    assert found == before == await true_counts(owner, clock.now())


@pytest.mark.parametrize("table", ["token_count", "token_total"])
@pytest.mark.parametrize("act", ["UPDATE {} SET live = 9", "DELETE FROM {}", "TRUNCATE {}"])
async def test_the_application_cannot_write_a_count(
    settings: Settings, table: str, act: str
) -> None:
    app = await asyncpg.connect(settings.database_url.get_secret_value())
    try:
        await app.execute("SELECT set_config('tokenward.reach', 'all', false)")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await app.execute(act.format(table))
    finally:
        await app.close()


async def test_a_new_account_joins_its_fleet_with_zeros(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    customer = await make_customer(service, platform.reseller)

    totals = await service.fleet.totals(platform.reseller)

    assert (totals.accounts, totals.counts) == (3, counts())
    assert await service.fleet.counts_of(platform.reseller, [customer.account_id]) == [counts()]
    await assert_sums_hold(owner)


async def test_each_facet_counts_what_the_filter_of_tokens_finds(
    service: Service, platform: Platform, clock: FrozenClock, owner: asyncpg.Connection
) -> None:
    born, customer = clock.now(), platform.customer
    for days in (None, 95, 98, 125, 200):
        expires_at = None if days is None else born + timedelta(days=days)
        await make_token(service, customer, expires_at=expires_at, scopes=("*",))
    made = await make_token(service, customer, allowed_ip_ranges=("192.0.2.1",), expires_at=None)
    await keep_signed_in(owner)
    clock.advance(days=93)
    await use(owner, made.token.id, clock.now())
    await make_token(service, customer)
    await service.fleet.recount_due()
    found = await counted(service, customer)
    now = clock.now()

    async def listed(**only: Any) -> int:
        live = (TokenStatus.ACTIVE, TokenStatus.SUSPENDED, TokenStatus.PENDING)
        wanted = TokenFilter(**({"statuses": live} | only))
        return len((await service.tokens.page(customer, PageRequest(100), only=wanted)).items)

    assert found == counts(
        live=await listed(),
        active=await listed(statuses=(TokenStatus.ACTIVE,)),
        expiring_within_7_days=await listed(expires_before=now + timedelta(days=7)),
        expiring_within_30_days=await listed(expires_before=now + timedelta(days=31)),
        never_used=await listed(never_used=True),
        idle_90_days=await listed(unused_since=now - timedelta(days=90)),
        without_address_limits=await listed(has_address_limits=False),
        full_access=await listed(has_full_access=True),
    )
    assert (found.live, found.expiring_within_7_days, found.idle_90_days) == (7, 2, 5)
