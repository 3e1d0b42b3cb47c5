"""Members: what a role may do, who gives it, and that its end is the end everywhere."""

import asyncio
from typing import Any

import asyncpg
import pytest
from edge_scene import People, fingerprint
from factories import actor_of, make_customer, make_token
from people_scene import invite, join, sign_in_again

from service.access.actor import Actor
from service.composition import Service
from service.errors import (
    EmailTaken,
    Forbidden,
    InsufficientScope,
    LastOwner,
    NotFound,
    ServiceError,
    SignInFailed,
    VersionConflict,
)
from service.paging import PageRequest
from service.roles import Role, scopes_of
from service.validator import Validator
from service.verdict import CredentialKind, Status


@pytest.fixture
async def people(service: Service) -> People:
    return await People.make(service)


async def refused(attempt: Any) -> type[ServiceError]:
    with pytest.raises(ServiceError) as caught:
        await attempt
    return type(caught.value)


def member_of(actor: Actor) -> Any:
    assert actor.member_id is not None
    return actor.member_id


async def status_of(validator: Validator, secret: str) -> Status:
    return (await validator.check(secret, kind=CredentialKind.SESSION)).status


async def test_a_session_has_the_rights_of_its_role(service: Service, people: People) -> None:
    owner = people.customer.actor
    manager = await join(service, owner, Role.MANAGER)
    viewer = await join(service, owner, Role.VIEWER)

    catalogue = service.settings.scope_catalogue
    assert owner.scopes == ("*",)
    assert set(manager.actor.scopes) == set(catalogue) - {"accounts:write", "members:write"}
    assert set(viewer.actor.scopes) == {
        "accounts:read",
        "audit:read",
        "members:read",
        "tokens:read",
    }


async def test_a_manager_mints_no_token_that_may_do_more_than_a_manager(
    service: Service, people: People
) -> None:
    manager = await join(service, people.customer.actor, Role.MANAGER)

    await make_token(service, manager.actor, scopes=("tokens:write", "dns:write"))
    for scope in ("*", "members:write", "members:*", "accounts:*"):
        assert (
            await refused(make_token(service, manager.actor, scopes=(scope,)))
        ).code == "SCOPE_NOT_GRANTABLE"


@pytest.mark.parametrize("role", [Role.MANAGER, Role.VIEWER])
async def test_only_owners_change_members(
    role: Role, service: Service, people: People, owner: asyncpg.Connection
) -> None:
    person = await join(service, people.customer.actor, role)
    target = await join(service, people.customer.actor, Role.VIEWER)
    before = await fingerprint(owner)

    members, actor = service.members, person.actor
    for attempt in (
        members.invite(actor, "more@example.com", Role.VIEWER),
        members.update(actor, member_of(target.actor), Role.MANAGER),
        members.remove(actor, member_of(people.customer.actor)),
        members.invite_again(actor, member_of(target.actor)),
    ):
        assert await refused(attempt) is InsufficientScope

    assert await fingerprint(owner) == before


async def test_a_change_of_role_is_the_end_of_every_session_at_every_validator(
    service: Service, people: People, validator: Validator, owner: asyncpg.Connection
) -> None:
    person = await join(service, people.customer.actor, Role.OWNER)
    again = await sign_in_again(service, person)
    warm = [await status_of(validator, it.secret) for it in (person, again)]

    changed = await service.members.update(
        people.customer.actor, member_of(person.actor), Role.VIEWER
    )

    assert warm == [Status.VALID, Status.VALID]
    assert changed.propagation is not None
    assert [await status_of(validator, it.secret) for it in (person, again)] == [
        Status.REVOKED,
        Status.REVOKED,
    ]
    assert set((await sign_in_again(service, person)).actor.scopes) == set(
        scopes_of(Role.VIEWER, ())
    )
    rows = await owner.fetch(
        "SELECT action FROM audit_event WHERE actor_token_id = $1 ORDER BY id",
        people.customer.actor.token_id,
    )
    # Ids of one millisecond stand in any order.
    assert sorted(row["action"] for row in rows[-3:]) == [
        "member.updated",
        "session.ended",
        "session.ended",
    ]


async def test_who_was_removed_is_signed_out_and_gone_but_for_the_trail(
    service: Service, people: People, validator: Validator, owner: asyncpg.Connection
) -> None:
    person = await join(service, people.customer.actor, Role.MANAGER)
    token = await make_token(service, person.actor)
    removed = await service.members.remove(people.customer.actor, member_of(person.actor))

    again = await service.members.remove(people.customer.actor, member_of(person.actor))

    assert removed.member.disabled_at is not None
    assert again.member == removed.member
    assert await status_of(validator, person.secret) in {Status.REVOKED, Status.SUSPENDED}
    assert await refused(sign_in_again(service, person)) is SignInFailed
    # The account's token goes on, and so does what happened.
    assert (await validator.check(token.secret)).status is Status.VALID
    page = await service.members.page(people.customer.actor, PageRequest(100))
    assert person.email not in {member.email for member in page.items}
    row = "SELECT count(*) FROM audit_event WHERE actor_member_id = $1"
    assert await owner.fetchval(row, person.actor.member_id) > 0


async def test_the_address_of_who_was_removed_is_free_again_anywhere(
    service: Service, people: People
) -> None:
    person = await join(service, people.customer.actor, Role.VIEWER)
    invited = service.members.invite
    assert await refused(invited(people.stranger.actor, person.email, Role.OWNER)) is EmailTaken
    await service.members.remove(people.customer.actor, member_of(person.actor))

    back = await invited(people.stranger.actor, person.email, Role.OWNER)

    assert back.account_id == people.stranger.actor.account_id
    assert not back.has_password
    # The old password belonged to the other membership.
    assert await refused(sign_in_again(service, person)) is SignInFailed


async def test_nobody_changes_their_own_membership(
    service: Service, people: People, owner: asyncpg.Connection
) -> None:
    me = people.customer.actor
    await join(service, me, Role.OWNER)
    before = await fingerprint(owner)

    assert await refused(service.members.update(me, member_of(me), Role.VIEWER)) is Forbidden
    assert await refused(service.members.remove(me, member_of(me))) is Forbidden

    assert await fingerprint(owner) == before


async def test_an_account_keeps_its_last_owner_who_can_sign_in(
    service: Service, people: People, owner: asyncpg.Connection
) -> None:
    above, target = people.reseller.actor, member_of(people.customer.actor)
    # Invited, but the e-mail may never arrive.
    await invite(service, people.customer.actor, Role.OWNER)
    before = await fingerprint(owner)

    assert await refused(service.members.remove(above, target)) is LastOwner
    assert await refused(service.members.update(above, target, Role.MANAGER)) is LastOwner

    assert await fingerprint(owner) == before
    await join(service, people.customer.actor, Role.OWNER)
    assert (await service.members.remove(above, target)).member.disabled_at is not None


@pytest.mark.parametrize("_", range(3))
async def test_of_two_owners_who_remove_each_other_at_once_one_stays(
    _: int, service: Service, people: People, owner: asyncpg.Connection
) -> None:
    first, second = people.customer.actor, (await join(service, people.customer.actor, Role.OWNER))

    outcomes = await asyncio.gather(
        service.members.remove(first, member_of(second.actor)),
        service.members.remove(second.actor, member_of(first)),
        service.members.remove(people.reseller.actor, member_of(first)),
        service.members.update(people.reseller.actor, member_of(second.actor), Role.VIEWER),
        return_exceptions=True,
    )

    left = "SELECT count(*) FROM member WHERE account_id = $1 AND role = 'OWNER'"
    left += " AND disabled_at IS NULL"
    assert await owner.fetchval(left, first.account_id) == 1
    refusals = {type(outcome) for outcome in outcomes if isinstance(outcome, Exception)}
    assert refusals <= {Forbidden, LastOwner, NotFound}


async def test_a_token_never_changes_the_members_of_its_own_account(
    service: Service, people: People, owner: asyncpg.Connection
) -> None:
    created = await make_token(service, people.reseller.actor, scopes=("*",))
    token = await actor_of(service, created.secret)
    colleague = await join(service, people.reseller.actor, Role.VIEWER)
    before = await fingerprint(owner)

    members = service.members
    for attempt in (
        members.invite(token, "more@example.com", Role.VIEWER),
        members.update(token, member_of(colleague.actor), Role.MANAGER),
        members.remove(token, member_of(colleague.actor)),
        members.invite_again(token, member_of(colleague.actor)),
    ):
        assert await refused(attempt) is Forbidden

    assert await fingerprint(owner) == before
    invited = await invite(service, token, Role.OWNER, account_id=people.customer.actor.account_id)
    assert invited.account_id == people.customer.actor.account_id


async def test_nobody_gives_a_role_that_may_do_more_than_their_own_credential(
    service: Service, people: People, owner: asyncpg.Connection
) -> None:
    narrow = await make_token(
        service, people.reseller.actor, scopes=("members:*", *scopes_of(Role.VIEWER, ()))
    )
    token = await actor_of(service, narrow.secret)
    theirs = people.customer.actor.account_id
    target = await join(service, people.customer.actor, Role.VIEWER)
    before = await fingerprint(owner)

    for role in (Role.OWNER, Role.MANAGER):
        assert await refused(invite(service, token, role, account_id=theirs)) is Forbidden
        change = service.members.update(token, member_of(target.actor), role)
        assert await refused(change) is Forbidden

    assert await fingerprint(owner) == before
    assert (await invite(service, token, Role.VIEWER, account_id=theirs)).role is Role.VIEWER


async def test_an_owner_of_a_capped_account_gives_any_role_of_it(
    service: Service, people: People
) -> None:
    capped = await make_customer(
        service, people.reseller.actor, grantable_scopes=("members:*", "dns:read")
    )

    assert (await invite(service, capped, Role.OWNER)).role is Role.OWNER


async def test_a_foreign_member_reads_like_a_missing_one(
    service: Service, people: People, owner: asyncpg.Connection
) -> None:
    target = member_of(people.customer.actor)
    before = await fingerprint(owner)

    for person in (people.stranger, people.sibling, people.other_reseller):
        members = service.members
        theirs = people.customer.actor.account_id
        page = await members.page(person.actor, PageRequest(9), account_id=theirs)
        assert page.items == []
        assert await members.get_many(person.actor, [target]) == [None]
        for attempt in (
            members.invite(person.actor, "more@example.com", Role.VIEWER, account_id=theirs),
            members.update(person.actor, target, Role.VIEWER),
            members.remove(person.actor, target),
            members.invite_again(person.actor, target),
        ):
            assert await refused(attempt) is NotFound

    assert await fingerprint(owner) == before


async def test_a_change_of_what_somebody_else_changed_is_refused(
    service: Service, people: People
) -> None:
    person = await join(service, people.customer.actor, Role.VIEWER)
    [known] = await service.members.get_many(people.customer.actor, [member_of(person.actor)])
    assert known is not None
    me, members = people.customer.actor, service.members

    changed = await members.update(me, known.id, Role.MANAGER, expected_version=known.version)

    late = members.update(me, known.id, Role.OWNER, expected_version=known.version)
    assert await refused(late) is VersionConflict
    assert changed.member.version == known.version + 1
    # The same role again changes nothing, and signs nobody out.
    same = await members.update(me, known.id, Role.MANAGER)
    assert (same.member, same.propagation) == (changed.member, None)


async def test_the_database_itself_lets_nobody_come_back_or_change_hands(
    service: Service, people: People, owner: asyncpg.Connection
) -> None:
    person = await join(service, people.customer.actor, Role.VIEWER)
    await service.members.remove(people.customer.actor, member_of(person.actor))

    for change in ("disabled_at = NULL", "email = 'other@example.com'", "account_id = id"):
        with pytest.raises(asyncpg.CheckViolationError):
            await owner.execute(
                f"UPDATE member SET {change} WHERE id = $1",  # noqa: S608 - from the line above
                person.actor.member_id,
            )
