"""Sessions: everybody sees and ends their own, and no other's."""

import asyncpg
import pytest
from conftest import FrozenClock
from edge_scene import People, fingerprint
from factories import actor_of, make_token
from people_scene import join, sign_in_again

from service.composition import Service
from service.errors import Forbidden, NotFound
from service.paging import PageRequest
from service.roles import Role
from service.validator import Validator
from service.verdict import CredentialKind, Status


@pytest.fixture
async def people(service: Service) -> People:
    """Everybody signed in once."""
    people = await People.make(service)
    await service.sessions.end_others(people.customer.actor)
    return people


async def status_of(validator: Validator, secret: str) -> Status:
    return (await validator.check(secret, kind=CredentialKind.SESSION)).status


async def test_a_person_sees_their_own_live_sessions_the_newest_first(
    service: Service, people: People, clock: FrozenClock
) -> None:
    me = people.customer
    await join(service, me.actor, Role.OWNER)
    clock.advance(minutes=1)
    second = await sign_in_again(service, me)
    clock.advance(minutes=1)
    third = await sign_in_again(service, me)
    await service.sessions.sign_out(second.actor)

    page = await service.sessions.page(third.actor, PageRequest(1))
    rest = await service.sessions.page(third.actor, PageRequest(9, page.cursors[-1]))

    assert page.has_next
    assert [it.id for it in page.items + rest.items] == [
        third.actor.token_id,
        me.actor.token_id,
    ]
    assert not rest.has_next
    clock.advance(hours=12)
    assert (await service.sessions.page(third.actor, PageRequest(9))).items == []


async def test_one_session_ended_is_refused_everywhere_and_no_other(
    service: Service, people: People, validator: Validator
) -> None:
    me, other = people.customer, await sign_in_again(service, people.customer)
    assert await status_of(validator, other.secret) is Status.VALID

    ended = await service.sessions.end(me.actor, other.actor.token_id)

    assert ended.count == 1
    assert ended.propagation is not None
    assert await status_of(validator, other.secret) is Status.REVOKED
    assert await status_of(validator, me.secret) is Status.VALID
    assert await service.sessions.end(me.actor, other.actor.token_id) == type(ended)(0, None)


async def test_the_other_sessions_ended_leave_the_one_in_use(
    service: Service, people: People, validator: Validator
) -> None:
    me = people.customer
    others = [await sign_in_again(service, me) for _ in range(3)]

    ended = await service.sessions.end_others(me.actor)

    assert ended.count == 3
    assert [await status_of(validator, it.secret) for it in others] == [Status.REVOKED] * 3
    assert await status_of(validator, me.secret) is Status.VALID
    assert (await service.sessions.end_others(me.actor)).count == 0


async def test_nobody_sees_or_ends_the_session_of_another(
    service: Service, people: People, owner: asyncpg.Connection
) -> None:
    colleague = await join(service, people.customer.actor, Role.OWNER)
    target = people.customer.actor.token_id
    before = await fingerprint(owner)

    # Not even who could remove the person.
    for other in (colleague, people.reseller, people.operator, people.stranger):
        with pytest.raises(NotFound):
            await service.sessions.end(other.actor, target)
        assert await service.sessions.get_many(other.actor, [target]) == [None]
        page = await service.sessions.page(other.actor, PageRequest(100))
        assert target not in {it.id for it in page.items}

    assert await fingerprint(owner) == before


async def test_a_token_is_no_session_and_has_none(
    service: Service, people: People, owner: asyncpg.Connection
) -> None:
    created = await make_token(service, people.customer.actor, scopes=("*",))
    token = await actor_of(service, created.secret)
    before = await fingerprint(owner)

    for attempt in (
        service.sessions.page(token, PageRequest(9)),
        service.sessions.get_many(token, [people.customer.actor.token_id]),
        service.sessions.end(token, people.customer.actor.token_id),
        service.sessions.end_others(token),
    ):
        with pytest.raises(Forbidden):
            await attempt
    with pytest.raises(NotFound):
        await service.sessions.end(people.customer.actor, created.token.id)

    assert await fingerprint(owner) == before
