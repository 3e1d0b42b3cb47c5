"""Policies: each level adds its limits, whoever gets rights or time meets them all."""

import asyncio
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from conftest import FrozenClock
from edge_scene import fingerprint
from factories import Platform, actor_of, make_customer, make_token
from stores import keep_signed_in

from service.access.actor import Actor
from service.composition import Service
from service.errors import (
    AccountClosed,
    Forbidden,
    InsufficientScope,
    InvalidInput,
    NotFound,
    PasswordRequired,
    PolicyViolation,
    ScopeNotGrantable,
    ServiceError,
    VersionConflict,
)
from service.policies import AccountPolicy
from service.policy_rules import PolicyLevel, PolicyRule
from service.rotation import NewRotation
from service.token_changes import TokenChanges
from service.token_widening import Widening
from service.tokens import NewToken

PLATFORM, RESELLER, ACCOUNT = PolicyLevel
DAYS, LIMITS, RANGES, SCOPES, CAP, NOTICES, DELEGATION = PolicyRule
DAY = timedelta(days=1)


async def set_policy(
    service: Service, by: Actor, whose: Actor | None = None, **rules: Any
) -> AccountPolicy:
    """Set rules by their names, on the account of the actor or of another."""
    account_id = None if whose is None else whose.account_id
    changes = {PolicyRule(name): value for name, value in rules.items()}
    return await service.policies.set(by, account_id, changes)


async def refused(service: Service, actor: Actor, **fields: Any) -> str | None:
    """Return the field for which a policy refuses a new token, or None where it is created."""
    try:
        await make_token(service, actor, **fields)
    except PolicyViolation as violation:
        return violation.field or "no field"  # a cap is about no single one
    return None


async def test_a_token_must_be_within_the_rules_of_every_level(
    service: Service, platform: Platform, clock: FrozenClock
) -> None:
    await set_policy(service, platform.operator, max_lifetime_days=60)
    await set_policy(service, platform.reseller, requires_address_limits=True)
    await set_policy(service, platform.customer, allowed_scopes=("dns:*", "mail:read"))
    fits: dict[str, Any] = {
        "expires_at": clock.now() + 60 * DAY,
        "allowed_ip_ranges": ("192.0.2.0/24",),
        "scopes": ("dns:write", "mail:read"),
    }

    assert await refused(service, platform.customer, **fits) is None
    too_long = fits | {"expires_at": fits["expires_at"] + timedelta(seconds=1)}
    assert await refused(service, platform.customer, **too_long) == "expiresAt"
    assert await refused(service, platform.customer, **fits | {"expires_at": None}) == "expiresAt"
    anywhere = fits | {"allowed_ip_ranges": ()}
    assert await refused(service, platform.customer, **anywhere) == "allowedIpRanges"
    for scopes in (("*",), ("mail:*",), ("dns:read", "mail:write")):
        assert await refused(service, platform.customer, **fits | {"scopes": scopes}) == "scopes"
    # A level binds those below it, and nobody beside it.
    assert await refused(service, platform.sibling, **fits | {"scopes": ("*",)}) is None
    assert await refused(service, platform.stranger, **anywhere | {"scopes": ("*",)}) is None
    assert await refused(service, platform.stranger, **too_long) == "expiresAt"
    assert await refused(service, platform.reseller, **anywhere) == "allowedIpRanges"
    # Whoever acts on behalf of an account is bound by what binds it; the operator, too.
    theirs = anywhere | {"account_id": platform.customer.account_id}
    assert await refused(service, platform.reseller, **theirs) == "allowedIpRanges"
    assert await refused(service, platform.operator, **theirs) == "allowedIpRanges"


async def test_a_refusal_by_a_policy_changes_nothing(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    await set_policy(service, platform.customer, token_cap=0, max_lifetime_days=1)
    before = await fingerprint(owner)

    for fields in ({}, {"expires_at": service.clock.now() + DAY}):
        with pytest.raises(PolicyViolation):
            await make_token(service, platform.customer, **fields)

    assert await fingerprint(owner) == before


async def test_ranges_of_two_levels_leave_what_both_allow(
    service: Service, platform: Platform
) -> None:
    await set_policy(service, platform.reseller, allowed_ip_ranges=("10.0.0.0/8", "2001:db8::/32"))
    await set_policy(service, platform.customer, allowed_ip_ranges=("10.1.0.0/16", "192.0.2.0/24"))

    effective = (await service.policies.get(platform.customer)).effective
    assert effective.rules.allowed_ip_ranges == ("10.1.0.0/16",)
    assert effective.sources[RANGES] == (RESELLER, ACCOUNT)
    for ranges, field in {
        ("10.1.2.0/24", "10.1.3.4"): None,
        ("10.1.2.0/24", "192.0.2.1"): "allowedIpRanges",
        ("10.0.0.0/8",): "allowedIpRanges",
        ("2001:db8::1",): "allowedIpRanges",
    }.items():
        found = await refused(service, platform.customer, allowed_ip_ranges=ranges)
        assert found == field, ranges


async def test_fifty_at_once_never_exceed_the_cap(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    await set_policy(service, platform.reseller, token_cap=5)
    ended = await make_token(service, platform.customer)
    await service.tokens.revoke(platform.customer, ended.token.id)
    await make_token(service, platform.sibling)

    found = await asyncio.gather(*(refused(service, platform.customer) for _ in range(50)))

    live = await owner.fetchval(
        "SELECT count(*) FROM api_token WHERE account_id = $1 AND kind = 'API_TOKEN'"
        " AND revoked_at IS NULL",
        platform.customer.account_id,
    )
    assert live == 5
    assert sorted(found, key=str) == [None] * 5 + ["no field"] * 45
    audited = await owner.fetchval("SELECT count(*) FROM audit_event WHERE action='token.created'")
    assert audited == 1 + 1 + 5


async def test_room_below_the_cap_is_made_by_revoking_and_by_time(
    service: Service, platform: Platform, clock: FrozenClock, owner: asyncpg.Connection
) -> None:
    await keep_signed_in(owner)
    await set_policy(service, platform.customer, token_cap=2)
    kept = await make_token(service, platform.customer)
    await make_token(service, platform.customer, expires_at=clock.now() + DAY)
    with pytest.raises(PolicyViolation, match="2 live tokens at most"):
        await make_token(service, platform.customer)

    clock.advance(days=1)
    third = await make_token(service, platform.customer)
    await service.tokens.suspend(platform.customer, kept.token.id)  # still live: it may be resumed
    with pytest.raises(PolicyViolation):
        await make_token(service, platform.customer)
    await service.tokens.revoke(platform.customer, third.token.id)
    await make_token(service, platform.customer)


async def test_a_token_that_breaks_a_new_policy_goes_on_until_it_is_to_get_more(
    service: Service, platform: Platform, clock: FrozenClock
) -> None:
    token = (await make_token(service, platform.customer, scopes=("dns:*", "mail:read"))).token
    await set_policy(
        service,
        platform.reseller,
        max_lifetime_days=1,
        allowed_scopes=("dns:read",),
        requires_address_limits=True,
        token_cap=0,
    )

    rotation = NewRotation(token_id=token.id, grace_period_seconds=0)
    await service.rotations.begin(platform.customer, rotation)
    await service.tokens.rename(platform.customer, token.id, "another")
    await service.tokens.suspend(platform.customer, token.id)
    await service.tokens.resume(platform.customer, token.id)
    narrower = TokenChanges(scopes=("dns:*",))
    changed = (await service.tokens.update(platform.customer, token.id, narrower)).token
    assert changed.scopes == ("dns:*",)

    wider = Widening(expires_at=clock.now() + 31 * DAY)
    with pytest.raises(PolicyViolation) as violation:
        await service.tokens.updates.widen(
            platform.customer, token.id, wider, expected_version=changed.version
        )
    assert violation.value.field == "expiresAt"


async def test_nobody_writes_or_loosens_what_another_level_asks(
    service: Service, platform: Platform
) -> None:
    await set_policy(service, platform.operator, platform.customer, max_lifetime_days=30)
    await set_policy(service, platform.reseller, platform.customer, max_lifetime_days=20)
    await set_policy(service, platform.customer, max_lifetime_days=10)

    await set_policy(service, platform.customer, max_lifetime_days=3_650)
    policy = await service.policies.get(platform.customer)
    assert policy.effective.rules.max_lifetime_days == 20
    assert policy.effective.sources[DAYS] == (RESELLER,)
    await set_policy(service, platform.reseller, platform.customer, max_lifetime_days=None)
    policy = await service.policies.get(platform.customer)
    assert policy.effective.rules.max_lifetime_days == 30
    assert policy.effective.sources[DAYS] == (PLATFORM,)
    assert [(row.level, row.rules.max_lifetime_days) for row in policy.rows] == [
        (PLATFORM, 30),
        (RESELLER, None),
        (ACCOUNT, 3_650),
    ]


async def test_what_comes_from_above_is_told_by_its_level_alone(
    service: Service, platform: Platform
) -> None:
    await set_policy(service, platform.operator, max_lifetime_days=90, token_cap=9)
    await set_policy(service, platform.reseller, token_cap=7, allowed_scopes=("dns:*",))

    policy = await service.policies.get(platform.customer)

    assert policy.rows == []
    assert policy.effective.rules.token_cap == 7
    notices = tuple(sorted(service.settings.notice_threshold_days, reverse=True))
    assert policy.effective.rules.notice_threshold_days == notices
    assert policy.effective.sources == {
        DAYS: (PLATFORM,),
        SCOPES: (RESELLER,),
        CAP: (RESELLER,),
        NOTICES: (PLATFORM,),
    }
    # The other fleet knows the platform's alone.
    stranger = await service.policies.get(platform.stranger)
    assert stranger.effective.rules.token_cap == 9
    assert SCOPES not in stranger.effective.sources


async def test_the_setting_of_the_platform_is_part_of_what_binds(
    service: Service, platform: Platform
) -> None:
    settings = service.settings.model_copy(update={"max_lifetime_days": 40})
    policies = type(service.policies)(service.policies.work, service.clock, settings)
    await set_policy(service, platform.customer, max_lifetime_days=50)

    effective = (await policies.get(platform.customer)).effective

    assert effective.rules.max_lifetime_days == 40
    assert effective.sources[DAYS] == (PLATFORM,)


@pytest.mark.parametrize(
    ("first", "second", "needs_password"),
    [
        ({"max_lifetime_days": 30}, {"max_lifetime_days": 29}, False),
        ({"max_lifetime_days": 30}, {"max_lifetime_days": 31}, True),
        ({"max_lifetime_days": 30}, {"token_cap": 1}, False),
        ({"token_cap": 1}, {"token_cap": None}, True),
        ({"allows_delegation": False}, {"allows_delegation": True}, True),
        ({"allowed_scopes": ("dns:*",)}, {"allowed_scopes": ("dns:read",)}, False),
    ],
)
async def test_to_loosen_needs_the_password_once_more_and_to_tighten_does_not(
    service: Service,
    platform: Platform,
    clock: FrozenClock,
    owner: asyncpg.Connection,
    first: dict[str, Any],
    second: dict[str, Any],
    *,
    needs_password: bool,
) -> None:
    await set_policy(service, platform.customer, **first)
    clock.advance(minutes=10)
    before = await fingerprint(owner)

    if needs_password:
        with pytest.raises(PasswordRequired):
            await set_policy(service, platform.customer, **second)
        assert await fingerprint(owner) == before
    else:
        await set_policy(service, platform.customer, **second)


async def test_only_a_person_sets_a_policy(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    full = await actor_of(
        service, (await make_token(service, platform.reseller, scopes=("*",))).secret
    )
    narrow = await actor_of(service, (await make_token(service, platform.customer)).secret)
    before = await fingerprint(owner)

    for actor, error in ((full, Forbidden), (narrow, InsufficientScope)):
        with pytest.raises(error):
            await set_policy(service, actor, token_cap=1)

    assert await fingerprint(owner) == before


async def test_a_policy_of_an_account_beyond_reach_reads_as_missing(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    before = await fingerprint(owner)
    beyond = [
        (platform.customer, platform.sibling),
        (platform.customer, platform.reseller),
        (platform.customer, platform.operator),
        (platform.reseller, platform.stranger),
        (platform.reseller, platform.operator),
    ]

    for actor, target in beyond:
        with pytest.raises(NotFound):
            await service.policies.get(actor, target.account_id)
        with pytest.raises(NotFound):
            await set_policy(service, actor, target, token_cap=1)

    assert await fingerprint(owner) == before


@pytest.mark.parametrize(
    ("rules", "error"),
    [
        ({}, InvalidInput),
        ({"token_cap": -1}, InvalidInput),
        ({"allowed_scopes": ("moon:land",)}, ScopeNotGrantable),
        ({"allowed_ip_ranges": ("everywhere",)}, InvalidInput),
        ({"allows_delegation": False}, InvalidInput),  # a reseller has nobody to keep away
    ],
)
async def test_senseless_rules_are_refused(
    service: Service,
    platform: Platform,
    owner: asyncpg.Connection,
    rules: dict[str, Any],
    error: type[ServiceError],
) -> None:
    before = await fingerprint(owner)

    with pytest.raises(error):
        await set_policy(service, platform.reseller, platform.customer, **rules)

    assert await fingerprint(owner) == before


async def test_a_closed_account_keeps_its_policy(service: Service, platform: Platform) -> None:
    [account] = await service.accounts.get_many(platform.reseller, [platform.customer.account_id])
    assert account is not None
    await service.accounts.close(platform.reseller, account.id, expected_name=account.name)

    with pytest.raises(AccountClosed):
        await set_policy(service, platform.reseller, platform.customer, token_cap=1)


async def test_of_two_who_change_a_version_at_once_one_is_told(
    service: Service, platform: Platform
) -> None:
    async def change(cap: int, version: int) -> int | None:
        try:
            changed = await service.policies.set(
                platform.customer, None, {CAP: cap}, expected_version=version
            )
        except VersionConflict:
            return None
        return changed.rows[0].version

    for version in (0, 1):
        # Tighter both times, whoever wins.
        found = await asyncio.gather(*(change(9 - 2 * version - n, version) for n in (0, 1)))
        assert sorted(found, key=str) == [version + 1, None]


async def test_a_change_is_told_with_what_was_before(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    await set_policy(service, platform.reseller, platform.customer, token_cap=9)
    await set_policy(service, platform.reseller, platform.customer, token_cap=8)
    await set_policy(service, platform.reseller, platform.customer, token_cap=8)  # nothing changes

    rows = await owner.fetch(
        "SELECT account_id, reseller_id, actor_account_id, subject_id, details::jsonb->'level',"
        " details::jsonb->'token_cap', details::jsonb->'previous'"
        " FROM audit_event WHERE action = 'policy.changed' ORDER BY id"
    )

    customer, reseller = platform.customer.account_id, platform.reseller.account_id
    told = (*map(str, (customer, reseller, reseller, customer)), '"RESELLER"')
    assert [tuple(map(str, row)) for row in rows] == [
        (*told, "9", '{"token_cap": null}'),
        (*told, "8", '{"token_cap": 9}'),
    ]


async def test_a_customer_of_the_operators_own_is_bound_by_the_platform(
    service: Service, platform: Platform
) -> None:
    direct = await make_customer(service, platform.operator)
    await set_policy(service, platform.operator, token_cap=0)

    with pytest.raises(PolicyViolation, match="By the policy of the platform, an account may have"):
        await service.tokens.create(direct, NewToken(name="one", scopes=("dns:read",)))
