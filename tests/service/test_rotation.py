"""Rotation: a new secret for the same token, and what it never does to the token itself."""

from dataclasses import replace
from datetime import datetime, timedelta

import asyncpg
import pytest
from conftest import FrozenClock
from factories import Platform, make_token
from rotation_scene import ACTS, HOUR, add_retired, opening, rotate, secrets_of, verdicts
from stores import everything, keep_signed_in

from service.composition import Service
from service.receipts import PropagationState
from service.rotation import GRACE_SECONDS_MAX
from service.settings import Settings
from service.validator import Validator, open_validator


class Behind:
    """The clock of a machine that is a year late."""

    def __init__(self, clock: FrozenClock) -> None:
        self._clock = clock

    def now(self) -> datetime:
        return self._clock.now() - timedelta(days=365)


async def test_both_secrets_open_a_token_until_the_grace_ends_and_not_an_instant_longer(
    service: Service, platform: Platform, validator: Validator, clock: FrozenClock
) -> None:
    made = await make_token(service, platform.customer)
    assert await verdicts(validator, made.secret) == ["VALID"]

    rotated = await rotate(service, platform.customer, made.token.id, HOUR)

    assert rotated.secret != made.secret
    clock.advance(seconds=HOUR, microseconds=-1)
    assert await verdicts(validator, made.secret, rotated.secret) == ["VALID", "VALID"]
    clock.advance(microseconds=1)
    assert await verdicts(validator, made.secret, rotated.secret) == ["EXPIRED", "VALID"]
    clock.advance(days=29)
    assert await verdicts(validator, rotated.secret) == ["VALID"]


async def test_without_a_grace_the_old_secret_ends_at_once_by_everybodys_clock(
    service: Service,
    settings: Settings,
    platform: Platform,
    validator: Validator,
    clock: FrozenClock,
) -> None:
    made = await make_token(service, platform.customer, expires_at=None)
    async with open_validator(settings, clock=Behind(clock)) as late:
        assert await verdicts(late, made.secret) == ["VALID"]

        rotated = await rotate(service, platform.customer, made.token.id, 0)

        for one in (validator, late):
            assert await verdicts(one, made.secret, rotated.secret) == ["EXPIRED", "VALID"]


async def test_what_an_act_ends_has_ended_by_everybodys_clock(
    service: Service, settings: Settings, platform: Platform, clock: FrozenClock
) -> None:
    made = await make_token(service, platform.customer, expires_at=None)
    other = await make_token(service, platform.customer, expires_at=None)
    kept = await rotate(service, platform.customer, made.token.id)
    called_off = await rotate(service, platform.customer, other.token.id)

    await service.rotations.complete(platform.customer, made.token.id)
    await service.rotations.cancel(platform.customer, other.token.id)

    async with open_validator(settings, clock=Behind(clock)) as late:
        assert await verdicts(late, made.secret, kept.secret) == ["EXPIRED", "VALID"]
        assert await verdicts(late, other.secret, called_off.secret) == ["VALID", "EXPIRED"]


async def test_a_secret_whose_grace_is_over_is_ended_for_good_by_the_next_rotation(
    service: Service,
    settings: Settings,
    platform: Platform,
    clock: FrozenClock,
    owner: asyncpg.Connection,
) -> None:
    """Else a late validator would open the token with three of its secrets, until a worker came."""
    first = await make_token(service, platform.customer, expires_at=None)
    second = await rotate(service, platform.customer, first.token.id, 1)
    clock.advance(seconds=1)

    third = await rotate(service, platform.customer, first.token.id, HOUR)

    async with open_validator(settings, clock=Behind(clock)) as late:
        told = await verdicts(late, first.secret, second.secret, third.secret)
    assert told == ["EXPIRED", "VALID", "VALID"]
    assert [row["retired_at"] for row in await secrets_of(owner, first.token.id)] == [
        clock.now(),
        None,
        None,
    ]


async def test_a_grace_never_reaches_beyond_the_tokens_expiry(
    service: Service,
    platform: Platform,
    validator: Validator,
    clock: FrozenClock,
    owner: asyncpg.Connection,
) -> None:
    soon = clock.now() + timedelta(seconds=HOUR)
    made = await make_token(service, platform.customer, expires_at=soon)

    rotated = await rotate(service, platform.customer, made.token.id, 2 * HOUR)

    [old, new] = await secrets_of(owner, made.token.id)
    assert (old["retires_at"], new["retires_at"]) == (soon, None)
    clock.advance(seconds=HOUR)
    assert await verdicts(validator, made.secret, rotated.secret) == ["EXPIRED", "EXPIRED"]


@pytest.mark.parametrize("grace_seconds", [0, HOUR, GRACE_SECONDS_MAX])
async def test_a_rotation_changes_nothing_of_the_token_but_its_secret(
    service: Service, platform: Platform, owner: asyncpg.Connection, grace_seconds: int
) -> None:
    made = await make_token(
        service, platform.customer, allowed_ip_ranges=("192.0.2.0/24",), audiences=("dns",)
    )
    before = await everything(owner)

    rotated = await rotate(service, platform.customer, made.token.id, grace_seconds)

    after = await everything(owner)
    expected = [
        row | {"version": 2} if row["id"] == made.token.id else row for row in before["api_token"]
    ]
    assert after["api_token"] == expected
    assert rotated.token == replace(made.token, last_four=rotated.secret[-4:], version=2)
    assert (after["account"], after["member"]) == (before["account"], before["member"])
    assert rotated.secret not in repr(rotated) + repr(after)


@pytest.mark.parametrize("grace_seconds", [0, HOUR])
async def test_a_suspended_token_stays_suspended(
    service: Service, platform: Platform, validator: Validator, grace_seconds: int
) -> None:
    made = await make_token(service, platform.customer)
    await service.tokens.suspend(platform.customer, made.token.id)

    rotated = await rotate(service, platform.customer, made.token.id, grace_seconds)

    old = "SUSPENDED" if grace_seconds else "EXPIRED"
    assert await verdicts(validator, made.secret, rotated.secret) == [old, "SUSPENDED"]
    await service.tokens.resume(platform.customer, made.token.id)
    old = "VALID" if grace_seconds else "EXPIRED"
    assert await verdicts(validator, made.secret, rotated.secret) == [old, "VALID"]


async def test_a_revoke_refuses_both_secrets(
    service: Service, platform: Platform, validator: Validator
) -> None:
    made = await make_token(service, platform.customer)
    rotated = await rotate(service, platform.customer, made.token.id)
    assert await verdicts(validator, made.secret, rotated.secret) == ["VALID", "VALID"]

    await service.tokens.revoke(platform.customer, made.token.id)

    assert await verdicts(validator, made.secret, rotated.secret) == ["REVOKED", "REVOKED"]


async def test_a_rotation_called_off_keeps_the_old_secret_and_ends_the_new_one_for_good(
    service: Service,
    platform: Platform,
    validator: Validator,
    clock: FrozenClock,
    owner: asyncpg.Connection,
) -> None:
    await keep_signed_in(owner)
    made = await make_token(service, platform.customer)
    rotated = await rotate(service, platform.customer, made.token.id)

    changed = await service.rotations.cancel(platform.customer, made.token.id)

    assert changed.token == replace(made.token, version=3)
    assert await verdicts(validator, made.secret, rotated.secret) == ["VALID", "EXPIRED"]
    clock.advance(days=29)
    assert await verdicts(validator, made.secret, rotated.secret) == ["VALID", "EXPIRED"]
    again = await rotate(service, platform.customer, made.token.id)
    told = await verdicts(validator, made.secret, rotated.secret, again.secret)
    assert told == ["VALID", "EXPIRED", "VALID"]


async def test_a_reseller_and_the_operator_rotate_for_a_customer(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    made = await make_token(service, platform.customer)

    for above in (platform.reseller, platform.operator):
        rotated = await rotate(service, above, made.token.id, 0)
        assert await opening(service, owner, rotated.secret) == [rotated.secret]

    events = await owner.fetch("SELECT * FROM audit_event WHERE action = 'token.rotated'")
    assert {row["account_id"] for row in events} == {platform.customer.account_id}
    assert {row["actor_account_id"] for row in events} == {
        platform.reseller.account_id,
        platform.operator.account_id,
    }


@pytest.mark.parametrize("act", ACTS)
async def test_each_step_is_told_once_and_drops_the_secrets_it_is_about(
    service: Service, platform: Platform, clock: FrozenClock, owner: asyncpg.Connection, act: str
) -> None:
    made = await make_token(service, platform.customer)
    if act != "rotated":
        await rotate(service, platform.customer, made.token.id)
    before = await everything(owner)
    clock.advance(minutes=1)

    done = await ACTS[act](service, platform.customer, made.token.id)

    after = await everything(owner)
    [event] = [row for row in after["audit_event"] if row not in before["audit_event"]]
    actor = platform.customer
    assert (event["action"], event["subject_id"]) == (f"token.{act}", made.token.id)
    assert (event["account_id"], event["reseller_id"]) == (actor.account_id, actor.reseller_id)
    assert event["actor_member_id"] == actor.member_id
    assert (event["occurred_at"], event["address"]) == (clock.now(), "192.0.2.7")

    old, *new = [row["digest"].hex() for row in await secrets_of(owner, made.token.id)]
    concerned = {old, *new} if act == "rotation_cancelled" else {old}
    dropped = [row for row in after["outbox_event"] if row not in before["outbox_event"]]
    assert {row["subject"] for row in dropped} == concerned
    assert len(dropped) == len(concerned)
    assert done.propagation.state is PropagationState.CONFIRMED
    assert {row["receipt_id"] for row in dropped} == {done.propagation.receipt.id}
    assert await service.receipts.get(actor, done.propagation.receipt.id) == done.propagation
    assert done.token.version == before["api_token"][-1]["version"] + 1


async def test_a_token_that_was_rotated_however_often_can_still_be_taken_away(
    service: Service, platform: Platform, clock: FrozenClock, owner: asyncpg.Connection
) -> None:
    """What has retired needs no drop: thousands of them would be more than a statement may hold."""
    made = await make_token(service, platform.customer)
    await add_retired(owner, made.token.id, 5000, clock.now())
    rotated = await rotate(service, platform.customer, made.token.id)
    await owner.execute("DELETE FROM outbox_event")

    await service.tokens.suspend(platform.customer, made.token.id)
    await service.tokens.revoke(platform.customer, made.token.id)

    assert await opening(service, owner, made.secret, rotated.secret) == []
    assert await owner.fetchval("SELECT count(*) FROM outbox_event") == 4
