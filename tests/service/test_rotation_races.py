"""Rotations of one token at the same moment: two secrets at most, and no more than one current."""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from conftest import FrozenClock
from factories import Platform, make_token
from rotation_scene import HOUR, opening, rotate, secrets_of
from stores import one_row

from service.composition import Service
from service.errors import ServiceError
from service.rotation import Rotated
from service.usage import flush_usage
from service.validator import Validator

AT_ONCE = 12
ROUNDS = 20


async def race(*rivals: Coroutine[Any, Any, Any]) -> list[Any]:
    """Run all at once; return what came of each. Anything but a refusal is raised."""
    results = await asyncio.gather(*rivals, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, ServiceError):
            raise result
    return results


def outcomes(results: list[Any]) -> Counter[str]:
    return Counter(type(result).__name__ for result in results)


def new_secrets(results: list[Any]) -> list[str]:
    return [result.secret for result in results if isinstance(result, Rotated)]


async def assert_sound(service: Service, owner: asyncpg.Connection, token_id: UUID) -> None:
    """Fail unless one secret is current, and beside it one at the most retires."""
    rows = await secrets_of(owner, token_id)
    assert [row["retires_at"] is None for row in rows] == [False] * (len(rows) - 1) + [True]
    retiring = [row for row in rows[:-1] if row["retired_at"] is None]
    assert len(retiring) <= 1
    now = service.clock.now()
    assert all(row["retires_at"] <= now for row in rows[:-1] if row["retired_at"] is not None)


@pytest.mark.parametrize("expected_version", [None, 1])
@pytest.mark.parametrize("grace_seconds", [0, HOUR])
async def test_of_many_rotations_at_once_one_secret_is_left_and_the_old_one_for_its_grace(
    service: Service,
    platform: Platform,
    owner: asyncpg.Connection,
    grace_seconds: int,
    expected_version: int | None,
) -> None:
    made = await make_token(service, platform.customer)
    actors = [platform.customer, platform.reseller, platform.operator]

    results = await race(
        *(
            rotate(
                service,
                actors[number % 3],
                made.token.id,
                grace_seconds,
                expected_version=expected_version,
            )
            for number in range(AT_ONCE)
        )
    )

    await assert_sound(service, owner, made.token.id)
    found = outcomes(results)
    refused = "RotationInProgress" if grace_seconds else "VersionConflict"
    if grace_seconds or expected_version:
        assert found == {"Rotated": 1, refused: AT_ONCE - 1}
    else:
        assert found == {"Rotated": AT_ONCE}
    told = new_secrets(results)
    live = await opening(service, owner, made.secret, *told)
    assert len(live) == (2 if grace_seconds else 1)
    assert (made.secret in live) is bool(grace_seconds)
    query = "SELECT count(*) FROM audit_event WHERE action = 'token.rotated'"
    assert await owner.fetchval(query) == len(told)
    # What each was told of the token belongs to the secret that it was told.
    assert all(
        result.token.last_four == result.secret[-4:]
        for result in results
        if isinstance(result, Rotated)
    )


@pytest.mark.parametrize("round_", range(ROUNDS))
async def test_whatever_races_a_rotation_leaves_one_current_secret_and_nothing_deadlocks(
    service: Service,
    platform: Platform,
    validator: Validator,
    clock: FrozenClock,
    owner: asyncpg.Connection,
    round_: int,
) -> None:
    made = await make_token(service, platform.customer)
    token_id, rotations = made.token.id, service.rotations
    before = await rotate(service, platform.customer, token_id, round_ % 2 + 1)
    gone = await rotate(service, platform.customer, token_id, 0)
    last = await rotate(service, platform.customer, token_id, round_ % 3 + 1)
    secrets = [made.secret, before.secret, gone.secret, last.secret]
    clock.advance(seconds=1)
    for secret in secrets:
        await validator.check(secret)
    await validator.usage.hand_on(service.cache.redis)
    rivals = [
        rotations.cancel(platform.customer, token_id),
        rotations.complete(platform.reseller, token_id),
        rotate(service, platform.customer, token_id, 0),
        rotate(service, platform.reseller, token_id, HOUR),
        rotations.complete_due(),
        flush_usage(service.cache.redis),
        rotate(service, platform.customer, token_id, 0),
        rotations.complete_due(),
        rotations.cancel(platform.operator, token_id),
        service.tokens.rename(platform.customer, token_id, "another"),
    ]
    place = round_ % len(rivals)

    results = await race(*rivals[place:], *rivals[:place])

    assert set(outcomes(results)) <= {
        "Changed",
        "Rotated",
        "int",
        "NoRotation",
        "RotationInProgress",
    }
    await assert_sound(service, owner, token_id)
    live = await opening(service, owner, *secrets, *new_secrets(results))
    assert 1 <= len(live) <= 2
    await rotate(service, platform.customer, token_id, 0)
    assert await opening(service, owner, *live) == []


@pytest.mark.parametrize("round_", range(ROUNDS))
async def test_whatever_rotates_beside_a_revoke_no_secret_is_left(
    service: Service, platform: Platform, owner: asyncpg.Connection, round_: int
) -> None:
    made = await make_token(service, platform.customer)
    token_id = made.token.id
    if round_ % 2:
        await rotate(service, platform.customer, token_id)
    rivals = [
        rotate(service, platform.customer, token_id, 0),
        rotate(service, platform.reseller, token_id, HOUR, key="a-key-that-nobody-guesses"),
        service.rotations.cancel(platform.customer, token_id),
        service.rotations.complete(platform.customer, token_id),
        service.rotations.complete_due(),
    ]
    place = round_ % (len(rivals) + 1)

    results = await race(
        *rivals[:place], service.tokens.revoke(platform.operator, token_id), *rivals[place:]
    )

    assert set(outcomes(results)) <= {
        "Changed",
        "Rotated",
        "int",
        "NoRotation",
        "RotationInProgress",
        "TokenEnded",
    }
    row = await one_row(owner, "SELECT * FROM api_token WHERE id = $1", token_id)
    assert row["revoked_at"] == service.clock.now()
    assert await opening(service, owner, made.secret, *new_secrets(results)) == []
    # Each secret that the revoke ended was dropped, the ones that came in between too.
    dropped = {event["subject"] for event in await owner.fetch("SELECT subject FROM outbox_event")}
    ended = [row for row in await secrets_of(owner, token_id) if row["retired_at"] is None]
    assert {row["digest"].hex() for row in ended} <= dropped


async def test_many_completions_and_cancellations_at_once_end_one_secret(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    made = await make_token(service, platform.customer)
    rotated = await rotate(service, platform.customer, made.token.id)

    results = await race(
        *(
            act(platform.customer, made.token.id)
            for _ in range(AT_ONCE // 2)
            for act in (service.rotations.cancel, service.rotations.complete)
        )
    )

    assert outcomes(results) == {"Changed": 1, "NoRotation": AT_ONCE - 1}
    assert len(await opening(service, owner, made.secret, rotated.secret)) == 1
    query = "SELECT count(*) FROM audit_event WHERE action LIKE 'token.rotation_%'"
    assert await owner.fetchval(query) == 1
