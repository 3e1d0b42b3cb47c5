"""Idempotency keys: an answer that got lost never loses a secret, and nobody else gets it."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from conftest import FrozenClock
from factories import Platform, actor_of, make_customer, make_token, sign_in
from replay_scene import KEY, OPERATIONS, Ask, asking, create
from rotation_scene import HOUR, opening, rotate
from stores import begin_long_ago, everything

from service.cache import NOTHING_DROPPED
from service.composition import Service
from service.errors import (
    IdempotencyConflict,
    InsufficientScope,
    InvalidInput,
    NameTaken,
    NotFound,
    ScopeNotGrantable,
)
from service.receipts import PropagationState, PropagationWait
from service.rotation import NewRotation, Rotated
from service.tokens import Created

AT_ONCE = 12


@pytest.fixture(params=OPERATIONS)
async def ask(request: pytest.FixtureRequest, service: Service, platform: Platform) -> Ask:
    return await asking(service, platform, request.param)


async def test_the_same_request_under_the_same_key_gives_the_same_secret_and_makes_nothing(
    service: Service, platform: Platform, owner: asyncpg.Connection, clock: FrozenClock, ask: Ask
) -> None:
    first = await ask(platform.customer)
    before = await everything(owner)
    clock.advance(minutes=10, microseconds=-1)

    second = await ask(platform.customer)

    assert (first.is_replay, second.is_replay) == (False, True)
    assert (second.secret, second.token) == (first.secret, first.token)
    assert await opening(service, owner, second.secret) == [second.secret]
    after = await everything(owner)
    [event] = [row for row in after.pop("audit_event") if row not in before["audit_event"]]
    assert (event["action"], event["subject_id"]) == ("token.secret_replayed", first.token.id)
    assert event["actor_token_id"] == platform.customer.token_id
    before.pop("audit_event")
    assert after == before


async def test_of_many_that_ask_at_once_with_one_key_all_get_the_one_secret(
    service: Service, platform: Platform, owner: asyncpg.Connection, ask: Ask
) -> None:
    told = await asyncio.gather(*(ask(platform.customer) for _ in range(AT_ONCE)))

    assert len({one.secret for one in told}) == 1
    assert sum(not one.is_replay for one in told) == 1
    assert {one.token.last_four for one in told} == {told[0].secret[-4:]}
    assert len({one.token for one in told}) == 1
    assert await owner.fetchval("SELECT count(*) FROM api_token WHERE kind = 'API_TOKEN'") == 1
    assert await owner.fetchval("SELECT count(*) FROM secret WHERE retires_at IS NULL") == 1 + 6
    query = "SELECT count(*) FROM audit_event WHERE action IN ('token.created', 'token.rotated')"
    assert await owner.fetchval(query) == 1 + (isinstance(told[0], Rotated))
    assert await opening(service, owner, told[0].secret) == [told[0].secret]


async def test_after_ten_minutes_the_key_is_free_again(
    service: Service, platform: Platform, owner: asyncpg.Connection, clock: FrozenClock
) -> None:
    first = await create(service, platform.customer)
    clock.advance(minutes=10)

    with pytest.raises(NameTaken):
        await create(service, platform.customer)
    second = await create(service, platform.customer, name="another")

    assert not second.is_replay
    assert second.secret != first.secret
    assert await owner.fetchval("SELECT count(*) FROM replay") == 1
    clock.advance(minutes=9)
    assert (await create(service, platform.customer, name="another")).secret == second.secret


@pytest.mark.parametrize(
    "change",
    [
        {"name": "another"},
        {"scopes": ("dns:write",)},
        {"scopes": ("dns:read", "dns:write")},
        {"allowed_ip_ranges": ("192.0.2.0/24",)},
        {"audiences": ("dns",)},
        {"days": 1},
        {"account": True},
    ],
    ids=str,
)
async def test_another_request_under_the_same_key_is_a_conflict(
    service: Service, platform: Platform, owner: asyncpg.Connection, change: dict[str, Any]
) -> None:
    await create(service, platform.reseller)
    before = await everything(owner)
    if days := change.get("days"):
        change = {"expires_at": service.clock.now() + timedelta(days=days)}
    elif change.get("account"):
        change = {"account_id": platform.customer.account_id}

    with pytest.raises(IdempotencyConflict) as refused:
        await create(service, platform.reseller, **change)

    assert refused.value.field == "idempotencyKey"
    assert await everything(owner) == before


async def test_a_key_serves_one_operation_and_one_token(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    made = await make_token(service, platform.customer)
    other = await make_token(service, platform.customer)
    await rotate(service, platform.customer, made.token.id, key=KEY)
    before = await everything(owner)

    with pytest.raises(IdempotencyConflict):
        await create(service, platform.customer)
    with pytest.raises(IdempotencyConflict):
        await rotate(service, platform.customer, other.token.id, key=KEY)
    with pytest.raises(IdempotencyConflict):
        await rotate(service, platform.customer, made.token.id, HOUR + 1, key=KEY)
    with pytest.raises(IdempotencyConflict):
        await rotate(service, platform.customer, made.token.id, key=KEY, expected_version=1)

    assert await everything(owner) == before


async def test_a_person_has_one_space_of_keys_over_all_sessions_and_nobody_else_is_in_it(
    service: Service, platform: Platform
) -> None:
    email = "anna@example.com"
    anna = await make_customer(service, platform.reseller, email=email)
    whose: dict[str, Any] = {"account_id": anna.account_id}
    first = await create(service, anna, **whose)
    elsewhere, _ = await sign_in(service, email)
    minting = await make_token(service, anna, scopes=("tokens:write", "dns:read"))
    token = await actor_of(service, minting.secret)

    assert elsewhere.token_id != anna.token_id
    again = await create(service, elsewhere, **whose)
    assert (again.secret, again.is_replay) == (first.secret, True)
    # To everybody else the key is new, so that the name is what is taken.
    for other in (token, platform.reseller, platform.operator):
        with pytest.raises(NameTaken):
            await create(service, other, **whose)
        made = await create(service, other, name=f"of {other.token_id}"[:50], **whose)
        assert not made.is_replay


async def test_a_program_keeps_its_keys_while_its_own_secret_is_rotated(
    service: Service, platform: Platform
) -> None:
    minting = await make_token(service, platform.customer, scopes=("tokens:write", "dns:read"))
    first = await create(service, await actor_of(service, minting.secret))
    rotated = await rotate(service, platform.customer, minting.token.id, 0)

    second = await create(service, await actor_of(service, rotated.secret))

    assert second.secret == first.secret


@pytest.mark.parametrize(
    "key",
    [
        "",
        "a" * 7,
        "a" * 101,
        "with a blank",
        "tab\tulator",
        "line\nline",
        "nul\0nul\0",
        "del\x7fdel\x7f",
        "\ufeff-begins-with-a-mark",
        "ümlautümlaut",
    ],
)
async def test_a_key_of_another_form_is_refused(
    service: Service, platform: Platform, owner: asyncpg.Connection, key: str
) -> None:
    made = await make_token(service, platform.customer)
    before = await everything(owner)

    for attempt in (
        create(service, platform.customer, key),
        rotate(service, platform.customer, made.token.id, key=key),
    ):
        with pytest.raises(InvalidInput) as refused:
            await attempt
        assert refused.value.field == "idempotencyKey"

    assert await everything(owner) == before


@pytest.mark.parametrize("key", ["8letters", "~" * 100, "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"])
async def test_any_visible_ascii_makes_a_key(
    service: Service, platform: Platform, key: str
) -> None:
    first = await create(service, platform.customer, key)

    assert (await create(service, platform.customer, key)).secret == first.secret


async def test_a_create_that_failed_leaves_its_key_free(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    taken = await create(service, platform.customer, None)
    before = await everything(owner)
    with pytest.raises(NameTaken):
        await create(service, platform.customer)
    assert await everything(owner) == before
    await service.tokens.revoke(platform.customer, taken.token.id)

    made = await create(service, platform.customer)

    assert not made.is_replay
    assert (await create(service, platform.customer)).secret == made.secret


async def test_a_replay_brings_nothing_back(
    service: Service, platform: Platform, owner: asyncpg.Connection, ask: Ask
) -> None:
    first = await ask(platform.customer)
    await service.tokens.revoke(platform.customer, first.token.id)

    second = await ask(platform.customer)

    assert (second.secret, second.is_replay) == (first.secret, True)
    assert second.token.revoked_at == service.clock.now()
    assert await opening(service, owner, second.secret) == []


async def test_a_replayed_rotation_gives_its_receipt_again_as_far_as_it_has_come(
    service: Service, platform: Platform, clock: FrozenClock, owner: asyncpg.Connection
) -> None:
    made = await make_token(service, platform.customer)
    first = await rotate(service, platform.customer, made.token.id, 0, key=KEY)
    clock.advance(minutes=1)

    second = await rotate(service, platform.customer, made.token.id, 0, key=KEY)

    assert first.propagation is not None
    assert second.propagation is not None
    assert second.propagation.receipt == first.propagation.receipt
    assert first.propagation.state is PropagationState.CONFIRMED
    assert second.propagation.state is PropagationState.EFFECTIVE
    # Receipts are kept for a day; without one, the secret is what matters.
    await owner.execute("DELETE FROM outbox_event")
    third = await rotate(service, platform.customer, made.token.id, 0, key=KEY)
    assert (third.secret, third.propagation) == (first.secret, None)


async def test_a_replayed_rotation_waits_for_the_validators_where_it_is_asked_to(
    service: Service, platform: Platform
) -> None:
    cache = service.cache
    await begin_long_ago(cache.redis)
    await cache.report("one", NOTHING_DROPPED)
    made = await make_token(service, platform.customer)
    wanted = NewRotation(token_id=made.token.id, grace_period_seconds=0)
    first = await service.rotations.begin(platform.customer, wanted, idempotency_key=KEY)
    assert first.propagation is not None
    assert first.propagation.receipt.revisions is not None

    again = asyncio.create_task(
        service.rotations.begin(
            platform.customer,
            wanted,
            idempotency_key=KEY,
            wait_for=PropagationWait.ALL_VALIDATORS,
        )
    )
    early, _ = await asyncio.wait({again}, timeout=0.3)
    await cache.report("one", first.propagation.receipt.revisions[0])
    second = await again

    assert first.propagation.state is PropagationState.CONFIRMED
    assert early == set()
    assert second.propagation is not None
    assert second.propagation.state is PropagationState.APPLIED


async def test_a_replay_asks_for_the_rights_that_the_request_asks_for(
    platform: Platform, owner: asyncpg.Connection, ask: Ask
) -> None:
    told = await ask(platform.customer)
    before = await everything(owner)

    with pytest.raises(InsufficientScope):
        await ask(replace(platform.customer, scopes=("tokens:read", "dns:read")))
    if isinstance(told, Rotated):
        with pytest.raises(ScopeNotGrantable):
            await ask(replace(platform.customer, scopes=("tokens:write",)))
        with pytest.raises(NotFound):
            await ask(platform.stranger)

    assert await everything(owner) == before


async def test_what_has_ended_is_forgotten_and_nothing_else(
    service: Service, platform: Platform, owner: asyncpg.Connection, clock: FrozenClock
) -> None:
    await create(service, platform.customer, "the-first-key", name="one")
    clock.advance(minutes=5)
    second = await create(service, platform.sibling, "the-second-key", name="two")
    clock.advance(minutes=5)
    before = await everything(owner)

    for _ in range(2):
        await service.replays.forget_ended(clock.now())

    after = await everything(owner)
    [kept] = after.pop("replay")
    assert kept in before.pop("replay")
    assert kept["token_id"] == second.token.id
    assert after == before


async def test_what_is_forgotten_while_it_is_renewed_harms_nobody(
    service: Service, platform: Platform, owner: asyncpg.Connection, clock: FrozenClock
) -> None:
    await create(service, platform.customer, name="old")
    clock.advance(minutes=10)

    *made, _, _ = await asyncio.gather(
        *(create(service, platform.customer) for _ in range(AT_ONCE)),
        service.replays.forget_ended(clock.now()),
        service.replays.forget_ended(clock.now()),
    )

    assert len({one.secret for one in made if isinstance(one, Created)}) == 1
    assert await opening(service, owner, (await create(service, platform.customer)).secret)
