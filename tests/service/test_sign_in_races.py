"""What changes of a person while their password is checked counts for the session, too."""

from collections.abc import Awaitable, Callable

import asyncpg
import pytest
from edge_scene import People, Person
from factories import PASSWORD
from people_scene import OTHER_PASSWORD, join, rows_of_people, sign_in_again

from service.access.actor import Actor
from service.composition import Service, compose
from service.errors import SignInFailed, Unauthenticated
from service.passwords import Passwords
from service.roles import Role, scopes_of

Meanwhile = Callable[[], Awaitable[object]]


class Slow(Passwords):
    """Takes so long that something happens meanwhile."""

    meanwhile: Meanwhile | None = None

    async def verify(self, password: str, known: str | None) -> tuple[bool, str | None]:
        found = await super().verify(password, known)
        happens, self.meanwhile = self.meanwhile, None
        if happens is not None:
            await happens()
        return found


@pytest.fixture
async def people(service: Service) -> People:
    return await People.make(service)


@pytest.fixture
async def person(service: Service, people: People) -> Person:
    return await join(service, people.customer.actor, Role.OWNER)


@pytest.fixture
def slow() -> Slow:
    return Slow(passes=1, memory_kibibytes=8)


@pytest.fixture
def slowly(service: Service, slow: Slow) -> Service:
    return compose(service.settings, service.cache, service.clock, passwords=slow)


async def test_a_session_has_the_role_of_when_it_begins(
    service: Service, slowly: Service, slow: Slow, people: People, person: Person
) -> None:
    member_id = person.actor.member_id
    assert member_id is not None
    slow.meanwhile = lambda: service.members.update(people.customer.actor, member_id, Role.VIEWER)

    begun = await sign_in_again(slowly, person)

    assert begun.actor.scopes == scopes_of(Role.VIEWER, ())


async def test_no_session_begins_with_a_password_that_is_none_any_more(
    service: Service,
    slowly: Service,
    slow: Slow,
    people: People,
    person: Person,
    owner: asyncpg.Connection,
) -> None:
    member_id = person.actor.member_id
    assert member_id is not None
    change, remove = service.password_changes.change, service.members.remove
    ends: list[Meanwhile] = [
        lambda: change(person.actor, PASSWORD, OTHER_PASSWORD),
        lambda: remove(people.customer.actor, member_id),
    ]
    for end, password in zip(ends, (PASSWORD, OTHER_PASSWORD), strict=True):
        slow.meanwhile = end

        with pytest.raises(SignInFailed):
            await sign_in_again(slowly, person, password)

        assert slow.meanwhile is None
    live = "SELECT id FROM api_token WHERE member_id = $1 AND revoked_at IS NULL"
    assert await owner.fetch(live, member_id) == []


async def test_a_password_is_confirmed_or_changed_by_the_one_in_use_alone(
    service: Service, slowly: Service, slow: Slow, person: Person, owner: asyncpg.Connection
) -> None:
    attempts: list[Meanwhile] = [
        lambda: slowly.sessions.confirm_password(person.actor, PASSWORD),
        lambda: slowly.password_changes.change(person.actor, PASSWORD, "the third of them all"),
    ]
    change = service.password_changes.change
    for attempt in attempts:
        other = await sign_in_again(service, person)
        after: dict[str, object] = {}

        async def change_it(by: Actor = other.actor, after: dict[str, object] = after) -> None:
            await change(by, PASSWORD, OTHER_PASSWORD)
            after |= await rows_of_people(owner)

        slow.meanwhile = change_it
        with pytest.raises(Unauthenticated):  # that has ended this session
            await attempt()

        assert await rows_of_people(owner) == after
        person = await sign_in_again(service, person, OTHER_PASSWORD)
        await change(person.actor, OTHER_PASSWORD, PASSWORD)
