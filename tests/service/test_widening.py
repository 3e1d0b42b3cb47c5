"""Widening: a person's act, within every cap, never a narrowing in passing, and true at once."""

import asyncio
import json
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pytest
from conftest import FrozenClock
from factories import PASSWORD, Platform, actor_of, make_customer, make_token
from stores import eventually, everything, one_row

from service.access.actor import Actor
from service.composition import Service
from service.errors import (
    AccountInactive,
    Forbidden,
    InvalidInput,
    NotFound,
    PasswordRequired,
    ScopeNotGrantable,
    ServiceError,
    TokenEnded,
    VersionConflict,
)
from service.tokens import Changed, Created, TokenChanges, Widening
from service.validator import Validator
from service.verdict import Status

LIMITS: dict[str, Any] = {
    "scopes": ("dns:read",),
    "allowed_ip_ranges": ("192.0.2.0/24",),
    "audiences": ("dns",),
}


async def make_limited(service: Service, actor: Actor, **fields: Any) -> Created:
    """Create a token that is limited in everything, and begins in a day."""
    begins = service.clock.now() + timedelta(days=1)
    return await make_token(service, actor, **({"not_before": begins} | LIMITS | fields))


async def widen(
    service: Service, actor: Actor, created: Created, *, version: int = 1, **fields: Any
) -> Changed:
    """Widen a token; a span is an instant from now."""
    wanted = {name: at(service, value) for name, value in fields.items()}
    return await service.tokens.widen(
        actor, created.token.id, Widening(**wanted), expected_version=version
    )


def at(service: Service, value: Any) -> Any:
    return service.clock.now() + value if isinstance(value, timedelta) else value


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"scopes": ("dns:read", "mail:read")}, {"scopes": ("dns:read", "mail:read")}),
        ({"scopes": ("dns:*",)}, {"scopes": ("dns:*",)}),
        ({"scopes": ("*",)}, {"scopes": ("*",)}),
        ({"allowed_ip_ranges": ("192.0.2.0/23",)}, {"allowed_ip_ranges": ("192.0.2.0/23",)}),
        (
            {"allowed_ip_ranges": ("192.0.2.0/24", "2001:db8::/32")},
            {"allowed_ip_ranges": ("192.0.2.0/24", "2001:db8::/32")},
        ),
        ({"allowed_ip_ranges": ()}, {"allowed_ip_ranges": ()}),
        ({"audiences": ("mail", "dns")}, {"audiences": ("dns", "mail")}),
        ({"audiences": ()}, {"audiences": ()}),
        ({"expires_at": timedelta(days=31)}, {"expires_at": timedelta(days=31)}),
        ({"never_expires": True}, {"expires_at": None}),
        ({"not_before": timedelta(hours=1)}, {"not_before": timedelta(hours=1)}),
        ({"begins_at_once": True}, {"not_before": None}),
    ],
    ids=str,
)
async def test_a_widening_gives_what_it_names_and_nothing_else(
    service: Service,
    platform: Platform,
    owner: asyncpg.Connection,
    fields: dict[str, Any],
    told: dict[str, Any],
) -> None:
    created = await make_limited(service, platform.customer)

    changed = await widen(service, platform.customer, created, **fields)

    expected = {name: at(service, value) for name, value in told.items()}
    assert changed.token == replace(created.token, version=2, **expected)
    assert changed.propagation is not None
    event = await one_row(owner, "SELECT * FROM audit_event WHERE action = 'token.widened'")
    [(name, value)] = expected.items()

    def as_json(value: object) -> Any:
        return json.loads(json.dumps(value, default=str))

    assert event["actor_member_id"] == platform.customer.member_id
    assert json.loads(event["details"]) == {
        name: as_json(value),
        "previous": {name: as_json(getattr(created.token, name))},
    }


async def test_validators_learn_of_a_widening_at_once(
    service: Service, platform: Platform, validator: Validator
) -> None:
    created = await make_token(service, platform.customer)
    refused = await validator.check(created.secret, scope="mail:read")
    assert refused.status is Status.INSUFFICIENT_SCOPE

    await widen(service, platform.customer, created, scopes=("dns:read", "mail:read"))

    async def accepted() -> bool:
        verdict = await validator.check(created.secret, scope="mail:read")
        return verdict.status is Status.VALID

    await eventually(accepted, seconds=service.settings.lease_seconds / 4)


REFUSED: list[tuple[dict[str, Any], type[ServiceError], str | None]] = [
    ({}, InvalidInput, None),
    # Each would take something away in passing.
    ({"scopes": ("mail:read",)}, InvalidInput, "scopes"),
    ({"scopes": ("mail:read", "*"), "audiences": ("mail",)}, InvalidInput, "audiences"),
    ({"scopes": ()}, InvalidInput, "scopes"),
    ({"allowed_ip_ranges": ("192.0.2.0/25",)}, InvalidInput, "allowedIpRanges"),
    ({"allowed_ip_ranges": ("198.51.100.0/24",)}, InvalidInput, "allowedIpRanges"),
    ({"allowed_ip_ranges": ("everywhere",)}, InvalidInput, "allowedIpRanges"),
    ({"audiences": ("mail",)}, InvalidInput, "audiences"),
    ({"expires_at": timedelta(days=29)}, InvalidInput, "expiresAt"),
    ({"expires_at": timedelta(0)}, InvalidInput, "expiresAt"),
    ({"expires_at": datetime(2031, 1, 16)}, InvalidInput, "expiresAt"),  # noqa: DTZ001 - the naive one is refused
    ({"not_before": timedelta(days=2)}, InvalidInput, "notBefore"),
    # What a new token may not have either.
    ({"scopes": ("dns:read", "no:such")}, ScopeNotGrantable, "scopes"),
    ({"scopes": ("dns:read",) * 51}, InvalidInput, "scopes"),
]

BOUNDLESS: list[dict[str, Any]] = [
    {"allowed_ip_ranges": ("192.0.2.0/24",)},
    {"audiences": ("dns",)},
    {"expires_at": timedelta(days=4_000)},
    {"not_before": timedelta(days=-4_000)},
]


async def test_what_is_no_widening_is_refused_and_changes_nothing(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    created = await make_limited(service, platform.customer)
    before = await everything(owner)

    for fields, error, field in REFUSED:
        with pytest.raises(error) as refused:
            await widen(service, platform.customer, created, **fields)
        assert refused.value.field == field, fields

    assert await everything(owner) == before


async def test_what_has_no_limit_gets_none_by_a_widening(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    created = await make_token(service, platform.customer, expires_at=None)
    before = await everything(owner)

    for fields in BOUNDLESS:
        with pytest.raises(InvalidInput):
            await widen(service, platform.customer, created, **fields)

    assert await everything(owner) == before


async def test_a_token_never_widens_a_token_whatever_its_scopes(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    created = await make_token(service, platform.customer, scopes=("*",))
    other = await make_token(service, platform.customer)
    actor = await actor_of(service, created.secret)
    before = await everything(owner)

    for target in (created, other):
        with pytest.raises(Forbidden):
            await widen(service, actor, target, never_expires=True)

    assert await everything(owner) == before


async def test_the_password_must_have_been_entered_within_ten_minutes(
    service: Service, platform: Platform, owner: asyncpg.Connection, clock: FrozenClock
) -> None:
    created = await make_token(service, platform.customer)
    clock.advance(minutes=10)
    before = await everything(owner)

    with pytest.raises(PasswordRequired):
        await widen(service, platform.customer, created, never_expires=True)
    assert await everything(owner) == before
    # Asked before any look-up, so that it tells of no object.
    stranger = await make_token(service, platform.stranger)
    with pytest.raises(PasswordRequired):
        await widen(service, platform.customer, stranger, never_expires=True)

    await service.sessions.confirm_password(platform.customer, PASSWORD)
    changed = await widen(service, platform.customer, created, never_expires=True)
    assert changed.token.expires_at is None


async def test_nobody_gives_what_they_or_the_account_may_not_give(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    capped = await make_customer(
        service, platform.reseller, grantable_scopes=("dns:read", "dns:write", "tokens:write")
    )
    of_account = await make_token(service, capped)
    wide = await make_token(service, platform.customer, scopes=("dns:read", "mail:read"))
    narrow = replace(platform.customer, scopes=("tokens:write", "dns:read"))
    before = await everything(owner)

    for actor in (capped, platform.reseller, platform.operator):
        with pytest.raises(ScopeNotGrantable):
            await widen(service, actor, of_account, scopes=("dns:read", "mail:read"))
    # Neither a right that the person does not have, nor more life for one that they do not have.
    with pytest.raises(ScopeNotGrantable):
        await widen(service, narrow, wide, scopes=("*",))
    with pytest.raises(ScopeNotGrantable):
        await widen(service, narrow, wide, never_expires=True)

    assert await everything(owner) == before
    changed = await widen(service, platform.reseller, of_account, scopes=("dns:read", "dns:write"))
    assert changed.token.scopes == ("dns:read", "dns:write")


async def test_a_longer_life_counts_from_now(
    service: Service, platform: Platform, clock: FrozenClock
) -> None:
    created = await make_token(service, platform.customer)
    limited = service.settings.model_copy(update={"max_lifetime_days": 60})
    tokens = replace(service.tokens, updates=replace(service.tokens.updates, settings=limited))
    clock.advance(minutes=5)
    latest = clock.now() + timedelta(days=60)

    async def wanted(**fields: Any) -> Changed:
        return await tokens.widen(
            platform.customer, created.token.id, Widening(**fields), expected_version=1
        )

    for fields in (
        {"never_expires": True},
        {"expires_at": latest + timedelta(microseconds=1)},
    ):
        with pytest.raises(InvalidInput) as refused:
            await wanted(**fields)
        assert refused.value.field == "expiresAt"
    assert (await wanted(expires_at=latest)).token.expires_at == latest


async def test_a_widening_reaches_no_further_than_any_other_change(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    created = await make_token(service, platform.customer)
    before = await everything(owner)

    for actor in (platform.sibling, platform.stranger, platform.other_reseller):
        with pytest.raises(NotFound):
            await widen(service, actor, created, never_expires=True)

    assert await everything(owner) == before


async def test_what_has_ended_or_is_shut_is_not_widened(
    service: Service, platform: Platform, owner: asyncpg.Connection, clock: FrozenClock
) -> None:
    revoked = await make_token(service, platform.customer)
    await service.tokens.revoke(platform.customer, revoked.token.id)
    soon = clock.now() + timedelta(minutes=5)
    expired = await make_token(service, platform.customer, expires_at=soon)
    live = await make_token(service, platform.customer)
    clock.advance(minutes=5)
    before = await everything(owner)

    for ended in (revoked, expired):
        with pytest.raises(TokenEnded):
            await widen(service, platform.customer, ended, version=2, never_expires=True)
    assert await everything(owner) == before

    await service.accounts.suspend(platform.reseller, platform.customer.account_id)
    with pytest.raises(AccountInactive):
        await widen(service, platform.reseller, live, never_expires=True)


async def test_a_suspended_token_stays_suspended(service: Service, platform: Platform) -> None:
    created = await make_token(service, platform.customer)
    await service.tokens.suspend(platform.customer, created.token.id)

    changed = await widen(service, platform.customer, created, version=2, never_expires=True)

    assert changed.token.suspended_at is not None


async def test_a_widening_is_of_the_version_that_was_looked_at(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    created = await make_token(service, platform.customer, scopes=("dns:read", "mail:read"))
    await widen(service, platform.customer, created, scopes=("dns:*", "mail:read"))
    before = await everything(owner)

    # The second would take from the token that it is now, which is not what its caller looked at.
    for wanted in (("*",), ("dns:read", "dns:write", "mail:read")):
        with pytest.raises(VersionConflict):
            await widen(service, platform.customer, created, scopes=wanted)

    assert await everything(owner) == before


@pytest.mark.parametrize("round_", range(8))
async def test_a_widening_that_races_a_revoke_never_brings_a_token_back(
    service: Service, platform: Platform, owner: asyncpg.Connection, round_: int
) -> None:
    created = await make_token(service, platform.customer)
    rivals = [
        widen(service, platform.customer, created, never_expires=True),
        service.tokens.revoke(platform.reseller, created.token.id),
    ]

    results = await asyncio.gather(*rivals[:: 1 if round_ % 2 else -1], return_exceptions=True)

    row = await one_row(owner, "SELECT * FROM api_token WHERE id = $1", created.token.id)
    assert row["revoked_at"] == service.clock.now()
    kinds = Counter(type(result).__name__ for result in results)
    # A revoke counts the version on, so that whoever comes second has seen another one or the end.
    assert kinds["Changed"] + kinds["TokenEnded"] == 2
    assert (row["expires_at"] is None) is (kinds["TokenEnded"] == 0)


@pytest.mark.parametrize("round_", range(8))
async def test_of_a_widening_and_a_narrowing_of_one_version_one_is_made(
    service: Service, platform: Platform, owner: asyncpg.Connection, round_: int
) -> None:
    created = await make_token(service, platform.customer, scopes=("dns:read", "mail:read"))
    rivals = [
        widen(service, platform.customer, created, scopes=("*",)),
        service.tokens.update(
            platform.customer,
            created.token.id,
            TokenChanges(scopes=("dns:read",)),
            expected_version=1,
        ),
    ]

    results = await asyncio.gather(*rivals[:: 1 if round_ % 2 else -1], return_exceptions=True)

    kinds = Counter(type(result).__name__ for result in results)
    assert kinds == {"Changed": 1, "VersionConflict": 1}
    row = await one_row(owner, "SELECT * FROM api_token WHERE id = $1", created.token.id)
    assert row["version"] == 2
    assert row["scopes"] in (["*"], ["dns:read"])
