"""Which rotations are refused, and that a refusal changes nothing."""

from dataclasses import replace
from uuid import uuid4

import asyncpg
import pytest
from conftest import FrozenClock
from factories import Platform, actor_of, make_token
from rotation_scene import ACTS, HOUR, opening, rotate
from stores import everything, keep_signed_in, keys_and_values

from service.composition import Service
from service.errors import (
    Forbidden,
    InsufficientScope,
    InvalidInput,
    NoRotation,
    NotFound,
    RotationInProgress,
    ScopeNotGrantable,
    TokenEnded,
    VersionConflict,
)
from service.rotation import GRACE_SECONDS_MAX


@pytest.mark.parametrize("ended", ["revoked", "expired"])
@pytest.mark.parametrize("act", ACTS)
async def test_what_has_ended_is_never_rotated(
    service: Service,
    platform: Platform,
    clock: FrozenClock,
    owner: asyncpg.Connection,
    act: str,
    ended: str,
) -> None:
    made = await make_token(service, platform.customer)
    rotated = await rotate(service, platform.customer, made.token.id, GRACE_SECONDS_MAX)
    if ended == "revoked":
        await service.tokens.revoke(platform.customer, made.token.id)
    else:
        await keep_signed_in(owner)
        clock.advance(days=30)
    before = await everything(owner), await keys_and_values(service.cache.redis)

    with pytest.raises(TokenEnded):
        await ACTS[act](service, platform.customer, made.token.id)
    with pytest.raises(TokenEnded):
        await rotate(service, platform.customer, made.token.id, 0)

    assert (await everything(owner), await keys_and_values(service.cache.redis)) == before
    assert await opening(service, owner, made.secret, rotated.secret) == []


@pytest.mark.parametrize("act", ["rotation_completed", "rotation_cancelled"])
@pytest.mark.parametrize("state", ["never rotated", "no grace", "over", "completed", "cancelled"])
async def test_without_a_rotation_under_way_there_is_nothing_to_end(
    service: Service,
    platform: Platform,
    clock: FrozenClock,
    owner: asyncpg.Connection,
    act: str,
    state: str,
) -> None:
    token_id = (await make_token(service, platform.customer)).token.id
    if state != "never rotated":
        await rotate(service, platform.customer, token_id, 0 if state == "no grace" else HOUR)
    if state == "completed":
        await service.rotations.complete(platform.customer, token_id)
    elif state == "cancelled":
        await service.rotations.cancel(platform.customer, token_id)
    elif state == "over":
        clock.advance(seconds=HOUR)
    before = await everything(owner)

    with pytest.raises(NoRotation):
        await ACTS[act](service, platform.customer, token_id)

    assert await everything(owner) == before


async def test_a_token_neither_calls_its_own_rotation_off_nor_rotates_itself_again_meanwhile(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    """Whoever found the old secret must not save it, nor trade it for one of their own."""
    made = await make_token(service, platform.customer, scopes=("tokens:write",))
    rotated = await rotate(service, platform.customer, made.token.id)
    before = await everything(owner)

    for secret in (made.secret, rotated.secret):
        itself = await actor_of(service, secret)
        with pytest.raises(Forbidden):
            await service.rotations.cancel(itself, made.token.id)
        for grace_seconds in (0, HOUR):
            with pytest.raises(RotationInProgress):
                await rotate(service, itself, made.token.id, grace_seconds)

    assert await everything(owner) == before
    await service.rotations.complete(await actor_of(service, rotated.secret), made.token.id)
    again = await rotate(service, await actor_of(service, rotated.secret), made.token.id, 0)
    secrets = (made.secret, rotated.secret, again.secret)
    assert await opening(service, owner, *secrets) == [again.secret]


async def test_a_rotation_under_way_admits_no_other_but_one_without_a_grace(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    made = await make_token(service, platform.customer)
    first = await rotate(service, platform.customer, made.token.id)
    before = await everything(owner)

    with pytest.raises(RotationInProgress):
        await rotate(service, platform.customer, made.token.id, 1)

    assert await everything(owner) == before
    second = await rotate(service, platform.customer, made.token.id, 0)
    secrets = (made.secret, first.secret, second.secret)
    assert await opening(service, owner, *secrets) == [second.secret]


@pytest.mark.parametrize("scopes", [("dns:*",), ("dns:read", "mail:read"), ("*",)])
async def test_a_narrow_token_never_gets_a_wider_ones_secret(
    service: Service, platform: Platform, owner: asyncpg.Connection, scopes: tuple[str, ...]
) -> None:
    wide = await make_token(service, platform.customer, scopes=scopes)
    same = await make_token(service, platform.customer, scopes=("dns:read",))
    narrow = await make_token(service, platform.customer, scopes=("tokens:write", "dns:read"))
    actor = await actor_of(service, narrow.secret)
    before = await everything(owner)

    for grace_seconds in (0, HOUR):
        with pytest.raises(ScopeNotGrantable):
            await rotate(service, actor, wide.token.id, grace_seconds)

    assert await everything(owner) == before
    assert (await rotate(service, actor, same.token.id)).secret


@pytest.mark.parametrize("act", ACTS)
async def test_a_foreign_token_reads_as_if_it_were_missing(
    service: Service, platform: Platform, owner: asyncpg.Connection, act: str
) -> None:
    made = await make_token(service, platform.customer)
    await rotate(service, platform.customer, made.token.id)
    before = await everything(owner)

    for stranger in (platform.sibling, platform.stranger, platform.other_reseller):
        told = []
        for token_id in (made.token.id, uuid4(), stranger.token_id):
            with pytest.raises(NotFound) as refused:
                await ACTS[act](service, stranger, token_id)
            told.append((refused.value.code, refused.value.message, refused.value.field))
        assert len(set(told)) == 1

    assert await everything(owner) == before


@pytest.mark.parametrize("act", ACTS)
async def test_without_the_scope_nothing_is_looked_up(
    service: Service, platform: Platform, owner: asyncpg.Connection, act: str
) -> None:
    made = await make_token(service, platform.customer)
    reader = replace(platform.customer, scopes=("tokens:read", "dns:*"))
    before = await everything(owner)

    for token_id in (made.token.id, uuid4()):
        with pytest.raises(InsufficientScope):
            await ACTS[act](service, reader, token_id)

    assert await everything(owner) == before


async def test_a_session_is_no_token_to_be_rotated(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    before = await everything(owner)

    for act in ACTS.values():
        with pytest.raises(NotFound):
            await act(service, platform.customer, platform.customer.token_id)

    assert await everything(owner) == before


@pytest.mark.parametrize("grace_seconds", [-1, GRACE_SECONDS_MAX + 1, 2**31])
async def test_a_grace_has_its_limits(
    service: Service, platform: Platform, owner: asyncpg.Connection, grace_seconds: int
) -> None:
    made = await make_token(service, platform.customer)
    before = await everything(owner)

    with pytest.raises(InvalidInput) as refused:
        await rotate(service, platform.customer, made.token.id, grace_seconds)

    assert refused.value.field == "gracePeriodSeconds"
    assert await everything(owner) == before


async def test_a_rotation_of_another_version_conflicts(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    made = await make_token(service, platform.customer)
    await rotate(service, platform.customer, made.token.id, 0, expected_version=1)
    before = await everything(owner)

    with pytest.raises(VersionConflict):
        await rotate(service, platform.customer, made.token.id, 0, expected_version=1)

    assert await everything(owner) == before
