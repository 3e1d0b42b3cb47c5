"""Nobody ends up with more than they were given, by whatever they do first or at the same time."""

import asyncio

import asyncpg
import pytest
from conftest import FrozenClock
from edge_scene import People, fingerprint
from factories import PASSWORD, Platform, actor_of, make_customer, make_token
from people_scene import invite, join, sign_in_again
from replay_scene import KEY
from stores import eventually

from service import scopes
from service.access.jobs import JobKind
from service.access.selections import Selection
from service.composition import Service
from service.errors import DelegationRefused, Forbidden, PasswordRequired, ScopeNotGrantable
from service.job_requests import NewJob
from service.policy_rules import PolicyRule
from service.roles import Role, scopes_of
from service.tokens import NewToken, Widening

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND usename <> "
WAITING += "current_user AND datname = current_database()"


@pytest.fixture
async def people(service: Service) -> People:
    return await People.make(service)


async def test_whoever_finds_an_open_session_makes_nobody_a_member(
    service: Service, people: People, owner: asyncpg.Connection, clock: FrozenClock
) -> None:
    """Else they would invite themselves, choose a password, and so step up without the victim's."""
    me, theirs = people.reseller.actor, people.customer.actor.account_id
    colleague = (await join(service, me, Role.VIEWER)).actor.member_id
    assert colleague is not None
    clock.advance(minutes=10)
    before = await fingerprint(owner)

    for attempt in (
        invite(service, me, Role.VIEWER),
        invite(service, me, Role.OWNER, account_id=theirs),
        service.members.update(me, colleague, Role.OWNER),
    ):
        with pytest.raises(PasswordRequired):
            await attempt

    assert await fingerprint(owner) == before
    # What takes something away needs no password, and a password opens the rest.
    await service.members.remove(me, colleague)
    await service.sessions.confirm_password(me, PASSWORD)
    assert (await invite(service, me, Role.OWNER)).role is Role.OWNER


async def test_whoever_is_being_removed_leaves_no_owner_behind(
    service: Service, people: People, owner: asyncpg.Connection
) -> None:
    leaving = (await join(service, people.customer.actor, Role.OWNER)).actor
    assert leaving.member_id is not None

    async def is_waiting() -> bool:
        return bool(await owner.fetchval(WAITING))

    async with owner.transaction():
        disable = "UPDATE member SET disabled_at = $1 WHERE id = $2"
        await owner.execute(disable, service.clock.now(), leaving.member_id)
        inviting = asyncio.create_task(invite(service, leaving, Role.OWNER))
        await eventually(is_waiting, seconds=5)

    with pytest.raises(Forbidden):
        await inviting
    members = "SELECT count(*) FROM member WHERE account_id = $1"
    assert await owner.fetchval(members, leaving.account_id) == 2


async def test_a_lost_answer_is_not_told_again_once_delegation_is_off(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    wanted = NewToken(name="theirs", scopes=("dns:read",), account_id=platform.customer.account_id)
    await service.tokens.create(platform.reseller, wanted, idempotency_key=KEY)
    await service.policies.set(platform.customer, None, {PolicyRule.ALLOWS_DELEGATION: False})
    before = await fingerprint(owner)

    with pytest.raises(DelegationRefused):
        await service.tokens.create(platform.reseller, wanted, idempotency_key=KEY)

    assert await fingerprint(owner) == before


async def test_a_lost_answer_is_not_told_again_to_whom_has_lost_the_rights_in_it(
    service: Service, people: People, owner: asyncpg.Connection
) -> None:
    person = await join(service, people.customer.actor, Role.OWNER)
    wanted = NewToken(name="everything", scopes=("*",))
    await service.tokens.create(person.actor, wanted, idempotency_key=KEY)
    assert person.actor.member_id is not None
    await service.members.update(people.customer.actor, person.actor.member_id, Role.MANAGER)
    manager = (await sign_in_again(service, person)).actor
    before = await fingerprint(owner)

    with pytest.raises(ScopeNotGrantable):
        await service.tokens.create(manager, wanted, idempotency_key=KEY)

    assert await fingerprint(owner) == before


async def test_people_of_a_narrow_account_look_after_it_and_give_no_token_what_it_may_not_have(
    service: Service, people: People, owner: asyncpg.Connection
) -> None:
    """Else whoever narrows an account blinds its owner, who could not even end a stolen token."""
    narrow = await make_customer(service, people.reseller.actor, grantable_scopes=("dns:*",))
    token = (await make_token(service, narrow)).token
    before = await fingerprint(owner)

    assert set(narrow.scopes) == {"dns:*", *scopes.CONSOLE}
    for scope in ("tokens:write", "tokens:*", "mail:read", "*"):
        with pytest.raises(ScopeNotGrantable):
            await make_token(service, narrow, scopes=(scope,))
        with pytest.raises(ScopeNotGrantable):
            await service.tokens.widen(
                narrow, token.id, Widening(scopes=("dns:read", scope)), expected_version=1
            )

    assert await fingerprint(owner) == before
    # Nor does whoever may do less make somebody an owner who looks after it.
    created = await make_token(service, people.reseller.actor, scopes=("dns:*", "members:write"))
    program = await actor_of(service, created.secret)
    with pytest.raises(Forbidden):
        await invite(service, program, Role.OWNER, account_id=narrow.account_id)
    # A role gives no more than before either, and a job goes on in the same rights.
    viewer = await join(service, narrow, Role.VIEWER)
    assert set(viewer.actor.scopes) == set(scopes_of(Role.VIEWER, ()))
    selection = Selection(ids=(token.id,))
    await service.jobs.begin(narrow, NewJob(kind=JobKind.SUSPEND, selection=selection))
    await service.job_runs.run_due()
    assert (await service.tokens.get(narrow, token.id)).suspended_at is not None
