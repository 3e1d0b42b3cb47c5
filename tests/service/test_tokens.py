"""Use cases of tokens: what each changes, tells and drops, and what it refuses."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from conftest import FrozenClock
from factories import Platform, actor_of, make_token
from stores import eventually, everything, keep_signed_in, keys_and_values, one_row
from tortoise.exceptions import OperationalError

from service.access.actor import Actor
from service.access.tokens import change_token
from service.cache import Cache, Drop, hot_client
from service.composition import Service, compose
from service.errors import (
    InsufficientScope,
    NameTaken,
    NotFound,
    ServiceError,
    TokenEnded,
    VersionConflict,
)
from service.receipts import PropagationState
from service.settings import Settings
from service.tokens import Changed, NewToken, RevocationReason, TokenChanges
from service.validator import Validator
from service.verdict import Status

Use = Callable[[Service, Actor, UUID], Awaitable[Changed]]

CHANGES: dict[str, Use] = {
    "renamed": lambda service, actor, token: service.tokens.rename(actor, token, "another"),
    "updated": lambda service, actor, token: service.tokens.update(
        actor, token, TokenChanges(allowed_ip_ranges=("192.0.2.0/24",))
    ),
    "suspended": lambda service, actor, token: service.tokens.suspend(actor, token),
    "resumed": lambda service, actor, token: service.tokens.resume(actor, token),
    "revoked": lambda service, actor, token: service.tokens.revoke(actor, token),
}


async def row_of(owner: asyncpg.Connection, token_id: UUID) -> dict[str, Any]:
    return await one_row(owner, "SELECT * FROM api_token WHERE id = $1", token_id)


async def test_a_revoked_token_is_refused_also_from_a_warm_cache(
    service: Service, platform: Platform, validator: Validator
) -> None:
    created = await make_token(service, platform.customer)
    assert (await validator.check(created.secret)).status is Status.VALID

    changed = await service.tokens.revoke(platform.customer, created.token.id)

    assert changed.propagation is not None
    told = {PropagationState.CONFIRMED, PropagationState.APPLIED}  # as fast as the validator says
    assert changed.propagation.state in told

    async def refused() -> bool:
        return (await validator.check(created.secret)).status is Status.REVOKED

    await eventually(refused, seconds=service.settings.lease_seconds / 4)


@pytest.mark.parametrize("action", CHANGES)
async def test_a_change_is_told_once_and_dropped_unless_it_narrows_nothing(
    service: Service, platform: Platform, owner: asyncpg.Connection, clock: FrozenClock, action: str
) -> None:
    created = await make_token(service, platform.customer)
    if action == "resumed":
        await service.tokens.suspend(platform.customer, created.token.id)
    before = await everything(owner)
    clock.advance(minutes=1)

    changed = await CHANGES[action](service, platform.customer, created.token.id)

    after = await everything(owner)
    [event] = [row for row in after["audit_event"] if row not in before["audit_event"]]
    actor = platform.customer
    assert event["action"] == f"token.{action}"
    assert event["subject_id"] == created.token.id
    assert event["occurred_at"] == clock.now()
    assert (event["account_id"], event["reseller_id"]) == (actor.account_id, actor.reseller_id)
    assert event["actor_account_id"] == actor.account_id
    assert event["actor_member_id"] == actor.member_id
    assert event["actor_token_id"] == actor.token_id
    assert (event["address"], event["request_id"]) == ("192.0.2.7", "test")

    dropped = [row for row in after["outbox_event"] if row not in before["outbox_event"]]
    [secret] = after["secret"][-1:]
    # Delivered once already, by the change itself.
    again_at = clock.now() + timedelta(seconds=service.settings.lease_seconds)
    expected = [] if action == "renamed" else [("TOKEN", secret["digest"].hex(), 1, again_at)]
    assert [
        (row["kind"], row["subject"], row["stage"], row["due_at"]) for row in dropped
    ] == expected
    receipts = [] if changed.propagation is None else [changed.propagation.receipt.id]
    assert [row["receipt_id"] for row in dropped] == receipts
    assert (receipts == []) is (action == "renamed")
    assert changed.token.version == before["api_token"][-1]["version"] + 1


async def test_whoever_acts_for_a_customer_is_told_in_the_customers_trail(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    created = await make_token(service, platform.reseller, account_id=platform.customer.account_id)

    event = await one_row(owner, "SELECT * FROM audit_event WHERE action = 'token.created'")
    assert event["subject_id"] == created.token.id
    assert event["account_id"] == platform.customer.account_id
    assert event["reseller_id"] == platform.reseller.account_id
    assert event["actor_account_id"] == platform.reseller.account_id
    assert event["actor_member_id"] == platform.reseller.member_id


async def test_a_failing_unit_leaves_no_change_no_event_no_drop(
    service: Service, platform: Platform, owner: asyncpg.Connection, validator: Validator
) -> None:
    created = await make_token(service, platform.customer)
    await validator.check(created.secret)
    before = await everything(owner), await keys_and_values(service.cache.redis)
    actor, whose = platform.customer, (platform.customer.account_id, None)

    async def change(action: str, failure: Exception | None) -> None:
        async with service.tokens.work.begin(actor.reach, actor) as unit:
            await change_token(unit.door, created.token.id, {"name": "gone"}, now=unit.now)
            unit.drop(Drop.of_account(actor.account_id), whose)
            unit.audit(action, created.token.id, whose)
            if failure is not None:
                await unit.write()
                raise failure

    with pytest.raises(RuntimeError, match="a late failure"):
        await change("token.renamed", RuntimeError("a late failure"))
    with pytest.raises(OperationalError, match="value too long"):
        await change("an action that is longer than the column of the trail", None)

    assert (await everything(owner), await keys_and_values(service.cache.redis)) == before


async def test_a_revoke_succeeds_without_redis_and_says_that_it_is_pending(
    service: Service, settings: Settings, platform: Platform, owner: asyncpg.Connection
) -> None:
    created = await make_token(service, platform.customer)
    nowhere = Cache(hot_client("redis://127.0.0.1:1"), b"k" * 32, settings.lease_seconds)
    cut_off = compose(settings, nowhere, service.clock, passwords=service.accounts.passwords)

    changed = await cut_off.tokens.revoke(platform.customer, created.token.id)

    assert changed.propagation is not None
    assert changed.propagation.state is PropagationState.PENDING
    assert changed.propagation.receipt.confirmed_at is None
    assert changed.propagation.effective_everywhere_by == service.clock.now() + timedelta(
        seconds=10
    )
    assert (await row_of(owner, created.token.id))["revoked_at"] == service.clock.now()
    row = await one_row(owner, "SELECT * FROM outbox_event")
    assert (row["stage"], row["due_at"]) == (0, service.clock.now())


async def test_a_second_revoke_changes_nothing_and_drops_again(
    service: Service, platform: Platform, owner: asyncpg.Connection, clock: FrozenClock
) -> None:
    token_id = (await make_token(service, platform.customer)).token.id
    await service.tokens.revoke(platform.customer, token_id, reason=RevocationReason.LEAKED)
    before = await everything(owner)
    clock.advance(minutes=1)

    changed = await service.tokens.revoke(platform.customer, token_id)

    after = await everything(owner)
    assert changed.propagation is not None
    assert changed.token.revocation_reason == "LEAKED"
    assert len(after.pop("outbox_event")) == len(before.pop("outbox_event")) + 1
    assert after == before


async def test_an_expired_token_is_not_revoked_too(
    service: Service, platform: Platform, owner: asyncpg.Connection, clock: FrozenClock
) -> None:
    created = await make_token(service, platform.customer)
    await keep_signed_in(owner)
    clock.advance(days=31)
    before = await row_of(owner, created.token.id)

    await service.tokens.revoke(platform.customer, created.token.id)

    assert await row_of(owner, created.token.id) == before


async def test_a_rename_touches_only_the_name(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    created = await make_token(service, platform.customer, allowed_ip_ranges=("192.0.2.0/24",))
    before = await everything(owner)

    await service.tokens.rename(platform.customer, created.token.id, "  another  ")

    expected = [
        row | {"name": "another", "version": 2} if row["id"] == created.token.id else row
        for row in before["api_token"]
    ]
    after = await everything(owner)
    assert after.pop("api_token") == expected
    assert len(after.pop("audit_event")) == len(before.pop("audit_event")) + 1
    before.pop("api_token")
    assert after == before


async def test_a_narrow_token_mints_no_wider_one(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    narrow = await make_token(service, platform.customer, scopes=("tokens:write", "dns:read"))
    actor = await actor_of(service, narrow.secret)
    before = await everything(owner)

    for scope in ("dns:write", "dns:*", "*"):
        with pytest.raises(ServiceError, match="cannot be granted"):
            await make_token(service, actor, scopes=(scope,))

    assert await everything(owner) == before
    assert (await make_token(service, actor, scopes=("dns:read",))).token.scopes == ("dns:read",)


@pytest.mark.parametrize("action", CHANGES)
async def test_a_foreign_token_reads_and_changes_as_if_it_were_missing(
    service: Service, platform: Platform, owner: asyncpg.Connection, action: str
) -> None:
    created = await make_token(service, platform.customer)
    before = await everything(owner)

    for stranger in (platform.sibling, platform.stranger, platform.other_reseller):
        told = []
        for token_id in (created.token.id, uuid4(), stranger.token_id):
            with pytest.raises(NotFound) as refused:
                await CHANGES[action](service, stranger, token_id)
            told.append((refused.value.code, refused.value.message, refused.value.field))
        assert len(set(told)) == 1

    assert await everything(owner) == before


@pytest.mark.parametrize("action", CHANGES)
async def test_without_the_scope_nothing_is_looked_up(
    service: Service, platform: Platform, owner: asyncpg.Connection, action: str
) -> None:
    created = await make_token(service, platform.customer)
    before = await everything(owner)
    reader = replace(platform.customer, scopes=("tokens:read",))

    for token_id in (created.token.id, uuid4()):
        with pytest.raises(InsufficientScope):
            await CHANGES[action](service, reader, token_id)

    assert await everything(owner) == before


@pytest.mark.parametrize("ended", ["revoked", "expired"])
@pytest.mark.parametrize("action", [action for action in CHANGES if action != "revoked"])
async def test_what_has_ended_is_never_changed(
    service: Service,
    platform: Platform,
    owner: asyncpg.Connection,
    clock: FrozenClock,
    action: str,
    ended: str,
) -> None:
    created = await make_token(service, platform.customer)
    if ended == "revoked":
        await service.tokens.revoke(platform.customer, created.token.id)
    else:
        await keep_signed_in(owner)
        clock.advance(days=30)
    before = await everything(owner)

    with pytest.raises(TokenEnded):
        await CHANGES[action](service, platform.customer, created.token.id)

    assert await everything(owner) == before


async def test_a_change_of_what_somebody_else_has_changed_is_refused(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    token_id = (await make_token(service, platform.customer)).token.id
    await service.tokens.rename(platform.customer, token_id, "first", expected_version=1)
    before = await everything(owner)

    with pytest.raises(VersionConflict):
        await service.tokens.rename(platform.customer, token_id, "second", expected_version=1)
    with pytest.raises(VersionConflict):
        await service.tokens.update(
            platform.customer, token_id, TokenChanges(scopes=("dns:read",)), expected_version=1
        )

    assert await everything(owner) == before


@pytest.mark.parametrize("ended", ["revoked", "expired"])
async def test_a_name_is_free_as_soon_as_its_token_has_ended(
    service: Service, platform: Platform, clock: FrozenClock, ended: str
) -> None:
    soon = clock.now() + timedelta(hours=1)
    for name in ("one", "two"):
        first = await make_token(service, platform.customer, name=name, expires_at=soon)
        if ended == "revoked":
            await service.tokens.revoke(platform.customer, first.token.id)
    other = await make_token(service, platform.customer, name="other")
    if ended == "expired":
        with pytest.raises(NameTaken):
            await service.tokens.rename(platform.customer, other.token.id, "one")
        clock.advance(hours=1)

    created = await service.tokens.create(
        platform.customer, NewToken(name="one", scopes=("dns:read",))
    )
    renamed = await service.tokens.rename(platform.customer, other.token.id, "two")

    assert (created.token.name, renamed.token.name) == ("one", "two")


async def test_an_expiry_found_by_a_namesake_is_told_like_any_other(
    service: Service, platform: Platform, owner: asyncpg.Connection, clock: FrozenClock
) -> None:
    soon = clock.now() + timedelta(hours=1)
    first = await make_token(service, platform.customer, name="one", expires_at=soon)
    clock.advance(hours=1)

    await make_token(service, platform.customer, name="one")

    event = await one_row(owner, "SELECT * FROM audit_event WHERE action = 'token.expired'")
    assert (event["subject_id"], event["occurred_at"]) == (first.token.id, clock.now())
    # The first try told nothing of a token that was not made.
    created = "SELECT count(*) FROM audit_event WHERE action = 'token.created'"
    assert await owner.fetchval(f"{created} AND details ->> 'name' = 'one'") == 2
