"""Invitations: how many, how often, and that the newest link alone opens anything."""

import asyncio
import json
from typing import Any

import asyncpg
import pytest
from conftest import FrozenClock
from edge_scene import People
from factories import PASSWORD
from people_scene import invite, join, mail
from stores import keep_signed_in, one_row

from service.composition import Service
from service.errors import (
    AccountInactive,
    InvalidInput,
    LinkEnded,
    PasswordRequired,
    ServiceError,
    TooManyAttempts,
)
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


async def test_an_invitation_that_nobody_accepts_lapses_and_frees_the_address(
    service: Service, people: People, owner: asyncpg.Connection, clock: FrozenClock
) -> None:
    await keep_signed_in(owner)
    me = people.customer.actor
    lapsing = await invite(service, me, Role.MANAGER)
    [secret] = (await mail(service)).secrets(lapsing.email)
    accepted = await join(service, me, Role.MANAGER)
    clock.advance(minutes=1)
    later = await invite(service, me, Role.OWNER)
    clock.advance(days=30, minutes=-1, microseconds=-1)
    assert await service.members.lapse_due() == 0
    clock.advance(microseconds=1)

    assert await service.members.lapse_due(batch=1) == 1
    assert await service.members.lapse_due() == 0

    page = await service.members.page(me, PageRequest(9))
    assert {member.id for member in page.items} == {
        me.member_id,
        accepted.actor.member_id,
        later.id,
    }
    event = await one_row(owner, "SELECT * FROM audit_event WHERE action = 'member.lapsed'")
    assert (event["subject_id"], event["account_id"]) == (lapsing.id, me.account_id)
    assert event["actor_account_id"] is event["actor_token_id"] is None
    assert json.loads(event["details"]) == {"email": lapsing.email}
    left = await owner.fetchval(
        "SELECT count(*) FROM password_reset WHERE member_id = $1", lapsing.id
    )
    assert left == 0
    assert await refused(service.password_changes.reset(secret, PASSWORD, address=None)) is (
        LinkEnded
    )
    stranger = people.stranger.actor
    assert await refused(service.members.invite(me, lapsing.email, Role.VIEWER)) is PasswordRequired
    await service.sessions.confirm_password(stranger, PASSWORD)
    again = await service.members.invite(stranger, lapsing.email, Role.VIEWER)
    assert again.id != lapsing.id


async def test_who_is_invited_again_has_the_whole_time_anew(
    service: Service, people: People, owner: asyncpg.Connection, clock: FrozenClock
) -> None:
    await keep_signed_in(owner)
    member = await invite(service, people.customer.actor, Role.VIEWER)
    clock.advance(days=29)
    await service.sessions.confirm_password(people.customer.actor, PASSWORD)
    await service.members.invite_again(people.customer.actor, member.id)
    # What anybody can ask for by the address alone holds it no longer.
    clock.advance(days=29)
    await service.password_changes.want_reset(member.email, address=None)

    assert await service.members.lapse_due() == 0
    clock.advance(days=1)
    assert await service.members.lapse_due() == 1


async def test_an_owner_to_be_stays_where_the_account_has_no_other(
    service: Service, people: People, owner: asyncpg.Connection, clock: FrozenClock
) -> None:
    first = await invite(service, people.customer.actor, Role.OWNER)
    await invite(service, people.customer.actor, Role.OWNER)
    viewer = await invite(service, people.customer.actor, Role.VIEWER)
    await owner.execute(
        "UPDATE member SET disabled_at = now() WHERE id = $1", people.customer.actor.member_id
    )
    clock.advance(days=30)

    assert await service.members.lapse_due() == 1
    gone = "SELECT id FROM member WHERE disabled_at IS NOT NULL AND password_hash IS NULL"
    assert await owner.fetchval(gone) == viewer.id

    await owner.execute("UPDATE member SET password_hash = 'set' WHERE id = $1", first.id)
    assert await service.members.lapse_due() == 1


async def test_whoever_accepts_while_an_invitation_lapses_is_either_a_member_or_gone(
    service: Service, people: People, owner: asyncpg.Connection, clock: FrozenClock
) -> None:
    member = await invite(service, people.customer.actor, Role.VIEWER)
    clock.advance(days=30)
    [secret] = (await mail(service)).secrets(member.email)

    accepted, lapsed, more = await asyncio.gather(
        service.password_changes.reset(secret, PASSWORD, address=None),
        service.members.lapse_due(),
        service.members.lapse_due(),
        return_exceptions=True,
    )

    row = await one_row(owner, "SELECT * FROM member WHERE id = $1", member.id)
    assert [lapsed, more].count(0) >= 1
    assert (row["disabled_at"] is None) is (row["password_hash"] is not None)
    assert (row["disabled_at"] is None) is (accepted is None)
