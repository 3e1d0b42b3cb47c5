"""Invitations: how many, how often, and that the newest link alone opens anything."""

import asyncio
from typing import Any

import asyncpg
import pytest
from conftest import FrozenClock
from edge_scene import People
from people_scene import invite, mail

from service.composition import Service
from service.errors import AccountInactive, InvalidInput, ServiceError, TooManyAttempts
from service.members import INVITATIONS_PER_PERSON, MEMBERS_MAX
from service.paging import PageRequest
from service.roles import Role


@pytest.fixture
async def people(service: Service) -> People:
    return await People.make(service)


async def refused(attempt: Any) -> type[ServiceError]:
    with pytest.raises(ServiceError) as caught:
        await attempt
    return type(caught.value)


async def test_an_account_has_no_more_than_its_hundred_members(
    service: Service, people: People, owner: asyncpg.Connection
) -> None:
    await owner.execute(
        "INSERT INTO member (id, account_id, reseller_id, email, role, created_at)"
        " SELECT gen_random_uuid(), account_id, reseller_id, 'm' || n || '@example.org', 'VIEWER',"
        " now() FROM member, generate_series(1, $2) n WHERE id = $1",
        people.customer.actor.member_id,
        MEMBERS_MAX - 2,
    )

    outcomes = await asyncio.gather(
        *(invite(service, people.customer.actor, Role.VIEWER) for _ in range(3)),
        return_exceptions=True,
    )

    assert sum(isinstance(outcome, InvalidInput) for outcome in outcomes) == 2
    found = "SELECT count(*) FROM member WHERE account_id = $1"
    assert await owner.fetchval(found, people.customer.actor.account_id) == MEMBERS_MAX
    page = await service.members.page(people.customer.actor, PageRequest(60))
    rest = await service.members.page(people.customer.actor, PageRequest(60, page.cursors[-1]))
    emails = [member.email for member in page.items + rest.items]
    assert emails == sorted(set(emails))
    assert (len(emails), page.has_next, rest.has_next) == (MEMBERS_MAX, True, False)


async def test_an_invitation_is_sent_again_once_a_minute_and_the_older_link_ends(
    service: Service, people: People, clock: FrozenClock
) -> None:
    me, members = people.customer.actor, service.members
    member = await invite(service, me, Role.VIEWER)
    [old] = (await mail(service)).secrets(member.email)
    assert await refused(members.invite_again(me, member.id)) is TooManyAttempts
    clock.advance(minutes=1)

    await members.invite_again(me, member.id)

    [new] = (await mail(service)).secrets(member.email)
    reset = service.password_changes.reset
    assert (await refused(reset(old, "long enough it is", address=None))).code == "LINK_ENDED"
    await reset(new, "long enough it is", address=None)
    clock.advance(minutes=1)
    assert await refused(members.invite_again(me, member.id)) is InvalidInput


async def test_nobody_is_flooded_with_invitations(
    service: Service, people: People, clock: FrozenClock
) -> None:
    me, members = people.customer.actor, service.members
    member = await members.invite(me, "flooded@example.com", Role.VIEWER)
    for _ in range(INVITATIONS_PER_PERSON - 1):
        clock.advance(minutes=1)
        await members.invite_again(me, member.id)
    clock.advance(minutes=1)

    assert await refused(members.invite_again(me, member.id)) is TooManyAttempts
    await members.remove(me, member.id)
    again = members.invite(me, "flooded@example.com", Role.VIEWER)
    assert await refused(again) is TooManyAttempts


async def test_nobody_is_invited_to_an_account_that_nobody_may_use(
    service: Service, people: People
) -> None:
    await service.accounts.suspend(people.operator.actor, people.customer.actor.account_id)
    theirs = people.customer.actor.account_id

    attempt = invite(service, people.reseller.actor, Role.VIEWER, account_id=theirs)

    assert await refused(attempt) is AccountInactive
