"""What is dangerous needs a password that was entered lately, by the person at that session."""

import asyncpg
import pytest
from conftest import FrozenClock
from edge_scene import People, Person
from factories import PASSWORD, actor_of, make_token
from people_scene import rows_of_people, sign_in_again

from service.access.actor import Actor
from service.access.door import open_door
from service.composition import Service
from service.errors import Forbidden, PasswordRequired, ServiceError, SignInFailed, Unauthenticated
from service.step_up import RECENT, require_recent_password


@pytest.fixture
async def me(service: Service) -> Person:
    return (await People.make(service)).customer


async def may_pass(service: Service, actor: Actor) -> bool:
    try:
        async with open_door(actor.reach) as door:
            await require_recent_password(door, actor, service.clock.now())
    except PasswordRequired:
        return False
    return True


async def test_signing_in_is_recent_for_ten_minutes(
    service: Service, me: Person, clock: FrozenClock
) -> None:
    assert await may_pass(service, me.actor)

    clock.advance(seconds=RECENT.total_seconds() - 1)
    assert await may_pass(service, me.actor)
    clock.advance(seconds=1)
    assert not await may_pass(service, me.actor)


async def test_the_password_entered_again_is_recent_at_that_session_alone(
    service: Service, me: Person, clock: FrozenClock
) -> None:
    elsewhere = await sign_in_again(service, me)
    clock.advance(hours=1)

    until = await service.sessions.confirm_password(me.actor, PASSWORD)

    assert until == clock.now() + RECENT
    assert await may_pass(service, me.actor)
    assert not await may_pass(service, elsewhere.actor)


async def test_a_wrong_password_confirms_nothing(
    service: Service, me: Person, clock: FrozenClock, owner: asyncpg.Connection
) -> None:
    clock.advance(hours=1)
    before = await rows_of_people(owner)

    with pytest.raises(SignInFailed):
        await service.sessions.confirm_password(me.actor, "wrong horse battery")

    assert not await may_pass(service, me.actor)
    assert await rows_of_people(owner) == before


async def test_a_token_is_never_a_person(service: Service, me: Person) -> None:
    created = await make_token(service, me.actor, scopes=("*",))
    token = await actor_of(service, created.secret)

    assert token.member_id == me.actor.member_id
    assert not await may_pass(service, token)
    with pytest.raises(Forbidden):
        await service.sessions.confirm_password(token, PASSWORD)


async def test_a_session_that_has_ended_confirms_nothing_and_is_never_recent(
    service: Service, me: Person
) -> None:
    await service.sessions.sign_out(me.actor)

    with pytest.raises(Unauthenticated):
        await service.sessions.confirm_password(me.actor, PASSWORD)
    assert not await may_pass(service, me.actor)


async def test_a_confirmation_from_the_future_is_not_recent(
    service: Service, me: Person, clock: FrozenClock
) -> None:
    """A clock that was set back must not stretch ten minutes into hours."""
    clock.advance(hours=-1)

    assert not await may_pass(service, me.actor)


async def test_the_refusal_says_what_to_do() -> None:
    refusal: ServiceError = PasswordRequired()

    assert (refusal.code, refusal.status) == ("PASSWORD_REQUIRED", 403)
