"""The trail is read within one's reach, tells no more of who did it than that, and is followed."""

from datetime import timedelta

import asyncpg
import pytest
from conftest import FrozenClock
from factories import Platform, actor_of, make_token
from trail_scene import actions

from service.access.actor import Actor
from service.access.trail import Event, EventFilter
from service.composition import Service
from service.errors import InsufficientScope, InvalidInput
from service.paging import PageRequest

ALL = PageRequest(100)


async def read(service: Service, actor: Actor, **only: object) -> list[Event]:
    return (await service.trail.page(actor, EventFilter(**only), ALL)).items  # type: ignore[arg-type] # any of its fields


async def email_of(owner: asyncpg.Connection, person: Actor) -> str:
    return str(await owner.fetchval("SELECT email FROM member WHERE id = $1", person.member_id))


# Reading --------------------------------------------------------------------------------------


async def test_a_list_is_newest_first_and_its_pages_are_the_whole_of_it(
    service: Service, platform: Platform, clock: FrozenClock
) -> None:
    for number in range(6):
        clock.advance(minutes=number % 2)  # so that some have the same instant
        await make_token(service, platform.customer)
    whole = await read(service, platform.customer)

    pages: list[Event] = []
    after = None
    while after is not None or not pages:
        page = await service.trail.page(platform.customer, EventFilter(), PageRequest(2, after))
        pages += page.items
        after = page.cursors[-1] if page.has_next else None

    assert pages == whole
    assert actions(whole)[:6] == ["token.created"] * 6
    assert whole == sorted(whole, key=lambda event: (event.occurred_at, event.id), reverse=True)


async def test_each_sees_its_own_its_fleets_or_all(service: Service, platform: Platform) -> None:
    seen = {
        name: {event.account_id for event in await read(service, getattr(platform, name))}
        for name in ("operator", "reseller", "customer", "sibling", "other_reseller", "stranger")
    }

    own = {name: getattr(platform, name).account_id for name in seen}
    assert seen["operator"] == set(own.values())
    assert seen["reseller"] == {own["reseller"], own["customer"], own["sibling"]}
    assert seen["other_reseller"] == {own["other_reseller"], own["stranger"]}
    for name in ("customer", "sibling", "stranger"):
        assert seen[name] == {own[name]}


async def test_each_filter_narrows_alone_and_with_the_others(
    service: Service, platform: Platform, clock: FrozenClock
) -> None:
    began = clock.now()
    clock.advance(minutes=1)
    token = (
        await make_token(service, platform.reseller, account_id=platform.customer.account_id)
    ).token
    clock.advance(minutes=1)
    await service.tokens.revoke(platform.customer, token.id)
    clock.advance(minutes=1)
    await make_token(service, platform.sibling)
    minute = timedelta(minutes=1)
    customer, reseller = platform.customer.account_id, platform.reseller.account_id

    async def found(**only: object) -> list[str]:
        return actions(
            await read(service, platform.reseller, occurred_after=began + minute, **only)
        )

    assert await found() == ["token.created", "token.revoked", "token.created"]
    assert await found(account_id=customer) == ["token.revoked", "token.created"]
    assert await found(subject_id=token.id) == ["token.revoked", "token.created"]
    assert await found(actions=("token.revoked", "account.moved")) == ["token.revoked"]
    assert await found(actor_account_id=reseller) == ["token.created"]
    assert await found(occurred_before=began + 2 * minute) == ["token.created"]
    assert await found(account_id=customer, actions=("token.created",)) == ["token.created"]
    assert await found(account_id=platform.stranger.account_id) == []
    assert await found(actor_account_id=platform.stranger.account_id) == []


async def test_a_senseless_filter_is_refused(service: Service, platform: Platform) -> None:
    naive = service.clock.now().replace(tzinfo=None)
    senseless: dict[str, dict[str, object]] = {
        "actions": {"actions": ()},
        "actions ": {"actions": ("a.b",) * 21},
        "actions  ": {"actions": ("token\0",)},
        "occurredAfter": {"occurred_after": naive},
        "occurredBefore": {"occurred_before": naive},
    }
    for field, only in senseless.items():
        with pytest.raises(InvalidInput) as refused:
            await read(service, platform.customer, **only)
        assert refused.value.field == field.strip()


async def test_a_cursor_of_something_else_is_refused(service: Service, platform: Platform) -> None:
    await service.sealer.seal()
    tokens = await service.trail.page(platform.customer, EventFilter(), PageRequest(1))
    followed = tokens.items[0].cursor
    for cursor in ("", "x", followed):
        with pytest.raises(InvalidInput):
            await service.trail.page(platform.customer, EventFilter(), PageRequest(1, cursor))
        if cursor != followed:
            with pytest.raises(InvalidInput):
                await anext(service.trail.follow(platform.customer, cursor))
    with pytest.raises(InvalidInput):
        await anext(service.trail.follow(platform.customer, tokens.cursors[0]))


async def test_reading_needs_the_scope(service: Service, platform: Platform) -> None:
    created = await make_token(service, platform.customer, scopes=("tokens:*", "accounts:*"))
    narrow = await actor_of(service, created.secret)

    with pytest.raises(InsufficientScope):
        await read(service, narrow)
    with pytest.raises(InsufficientScope):
        await service.trail.get_many(narrow, [])
    with pytest.raises(InsufficientScope):
        await anext(service.trail.follow(narrow))


# Who did it -----------------------------------------------------------------------------------


async def test_an_act_on_behalf_of_somebody_is_seen_by_both_and_its_person_from_above_alone(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    customer = platform.customer.account_id
    token = (await make_token(service, platform.reseller, account_id=customer)).token
    email = await email_of(owner, platform.reseller)

    async def seen(actor: Actor) -> list[Event]:
        return await read(service, actor, subject_id=token.id)

    [own] = await seen(platform.reseller)
    [above] = await seen(platform.operator)
    [below] = await seen(platform.customer)
    assert (await seen(platform.sibling), await seen(platform.other_reseller)) == ([], [])
    for event in (own, above):
        assert event.account_id == customer
        assert event.address == "192.0.2.7"
        assert event.actor is not None
        assert event.actor.email == email
        assert event.actor.token_id == platform.reseller.token_id
    assert below.actor is not None
    assert below.actor.account_id == platform.reseller.account_id
    assert below.actor.account_name == own.actor.account_name if own.actor else None
    assert (below.actor.email, below.actor.token_id, below.address) == (None, None, None)
    assert (below.id, below.details, below.request_id) == (own.id, own.details, own.request_id)


async def test_what_the_operator_did_is_told_to_a_reseller_by_its_name_alone(
    service: Service, platform: Platform
) -> None:
    await service.accounts.suspend(platform.operator, platform.reseller.account_id)

    [event] = await read(service, platform.reseller, actions=("account.suspended",))

    assert event.actor is not None
    assert (event.actor.account_name, event.actor.account_kind) == ("Operator", "OPERATOR")
    assert (event.actor.email, event.actor.token_id, event.address) == (None, None, None)


async def test_what_one_did_oneself_is_told_in_full(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    await make_token(service, platform.customer)

    event = (await read(service, platform.customer))[0]

    assert event.actor is not None
    assert event.actor.email == await email_of(owner, platform.customer)
    assert event.actor.token_id == platform.customer.token_id
    assert event.actor.is_person
    assert event.address == "192.0.2.7"
