"""Passwords: changed by who knows the old one, set by a link that works once, and never told."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from conftest import FrozenClock
from edge_scene import People, fingerprint
from factories import PASSWORD, actor_of, make_token
from people_scene import (
    OTHER_PASSWORD,
    invite,
    join,
    mail,
    rows_of_people,
    sign_in_again,
)

from service.access import password_resets
from service.access.members import LINK_INTERVAL
from service.composition import Service
from service.errors import (
    Forbidden,
    InvalidInput,
    LinkEnded,
    ServiceError,
    SignInFailed,
    TooManyAttempts,
)
from service.password_changes import LINKS_PER_PERSON
from service.peppers import parse_peppers
from service.roles import Role
from service.validator import Validator
from service.verdict import CredentialKind, Status

WRONG = "wrong horse battery"


@pytest.fixture
async def people(service: Service) -> People:
    return await People.make(service)


async def refused(attempt: Any) -> type[ServiceError]:
    with pytest.raises(ServiceError) as caught:
        await attempt
    return type(caught.value)


async def statuses(validator: Validator, *secrets: str) -> list[Status]:
    checks = [validator.check(secret, kind=CredentialKind.SESSION) for secret in secrets]
    return [(await check).status for check in checks]


async def want_link(service: Service, email: str) -> list[str]:
    """Ask for a link; return the secrets that were sent to the address."""
    await service.password_changes.want_reset(email, address="192.0.2.7")
    return (await mail(service)).secrets(email)


async def test_a_changed_password_ends_every_session_but_the_one_that_changed_it(
    service: Service, people: People, validator: Validator, owner: asyncpg.Connection
) -> None:
    me, elsewhere = people.customer, await sign_in_again(service, people.customer)
    assert await statuses(validator, me.secret, elsewhere.secret) == [Status.VALID] * 2

    await service.password_changes.change(me.actor, PASSWORD, OTHER_PASSWORD)

    assert await statuses(validator, me.secret, elsewhere.secret) == [
        Status.VALID,
        Status.REVOKED,
    ]
    assert await refused(sign_in_again(service, me)) is SignInFailed
    await sign_in_again(service, me, OTHER_PASSWORD)
    told = await owner.fetchval(
        "SELECT count(*) FROM audit_event WHERE action = 'member.password_changed'"
        " AND subject_id = $1 AND details = '{}'",
        me.actor.member_id,
    )
    assert told == 1


async def test_a_change_needs_the_password_in_use_and_a_person(
    service: Service, people: People, owner: asyncpg.Connection
) -> None:
    token = await make_token(service, people.customer.actor, scopes=("*",))
    bearer = await actor_of(service, token.secret)
    before = await rows_of_people(owner)

    change = service.password_changes.change
    me = people.customer.actor
    assert await refused(change(me, WRONG, OTHER_PASSWORD)) is SignInFailed
    assert await refused(change(me, "x" * 1000, OTHER_PASSWORD)) is SignInFailed
    assert await refused(change(bearer, PASSWORD, OTHER_PASSWORD)) is Forbidden
    for new in ("short", "x" * 201, "\ud800" * 12):
        assert await refused(change(me, PASSWORD, new)) is InvalidInput

    assert await rows_of_people(owner) == before


async def test_guesses_at_ones_password_count_like_failed_sign_ins(
    service: Service, people: People
) -> None:
    me = people.customer
    for _ in range(service.settings.sign_in_attempts):
        await refused(service.sessions.confirm_password(me.actor, WRONG))

    for attempt in (
        service.password_changes.change(me.actor, PASSWORD, OTHER_PASSWORD),
        service.sessions.confirm_password(me.actor, PASSWORD),
        service.sessions.sign_in(me.email, PASSWORD, address="192.0.2.7", request_id=None),
    ):
        assert await refused(attempt) is TooManyAttempts


async def test_of_two_changes_at_once_one_counts(service: Service, people: People) -> None:
    me, elsewhere = people.customer, await sign_in_again(service, people.customer)
    change = service.password_changes.change

    outcomes = await asyncio.gather(
        change(me.actor, PASSWORD, "the first of the two"),
        change(elsewhere.actor, PASSWORD, "the second of the two"),
        return_exceptions=True,
    )

    assert [type(outcome) for outcome in outcomes].count(SignInFailed) == 1


async def test_a_link_sets_a_password_once_and_ends_every_session(
    service: Service, people: People, validator: Validator, owner: asyncpg.Connection
) -> None:
    me = people.customer
    assert await statuses(validator, me.secret) == [Status.VALID]
    [secret] = await want_link(service, me.email)

    await service.password_changes.reset(secret, OTHER_PASSWORD, address="192.0.2.7")

    assert await statuses(validator, me.secret) == [Status.REVOKED]
    await sign_in_again(service, me, OTHER_PASSWORD)
    before = await fingerprint(owner)
    again = service.password_changes.reset(secret, PASSWORD, address="192.0.2.7")
    assert await refused(again) is LinkEnded
    assert await fingerprint(owner) == before


async def test_of_many_who_use_a_link_at_once_one_does(service: Service, people: People) -> None:
    [secret] = await want_link(service, people.customer.email)
    reset = service.password_changes.reset

    outcomes = await asyncio.gather(
        *(reset(secret, f"password number {n}", address=None) for n in range(4)),
        return_exceptions=True,
    )

    assert [type(outcome) for outcome in outcomes].count(LinkEnded) == 3


@pytest.mark.parametrize("purpose", ["RESET", "INVITATION"])
async def test_a_link_works_until_its_end_and_not_at_it(
    purpose: str, service: Service, people: People, clock: FrozenClock
) -> None:
    lifetime = timedelta(days=7) if purpose == "INVITATION" else timedelta(hours=1)
    if purpose == "INVITATION":
        member = await invite(service, people.customer.actor, Role.VIEWER)
        [secret] = (await mail(service)).secrets(member.email)
    else:
        [secret] = await want_link(service, people.customer.email)
    reset = service.password_changes.reset

    clock.advance(seconds=lifetime.total_seconds())
    assert await refused(reset(secret, OTHER_PASSWORD, address=None)) is LinkEnded
    clock.advance(seconds=-1)
    await reset(secret, OTHER_PASSWORD, address=None)


async def test_only_the_newest_link_works(
    service: Service, people: People, clock: FrozenClock
) -> None:
    [old] = await want_link(service, people.customer.email)
    clock.advance(seconds=LINK_INTERVAL.total_seconds())
    await service.password_changes.want_reset(people.customer.email, address=None)
    reset = service.password_changes.reset
    # The older one ends when the newer one is wanted, not when that arrives.
    assert await refused(reset(old, OTHER_PASSWORD, address=None)) is LinkEnded

    [new] = (await mail(service)).secrets(people.customer.email)

    await reset(new, OTHER_PASSWORD, address=None)


@pytest.mark.parametrize("end", ["changed", "removed"])
async def test_a_link_ends_with_what_it_was_for(
    end: str, service: Service, people: People, owner: asyncpg.Connection
) -> None:
    person = await join(service, people.customer.actor, Role.VIEWER)
    [secret] = await want_link(service, person.email)
    if end == "changed":
        await service.password_changes.change(person.actor, PASSWORD, OTHER_PASSWORD)
    else:
        assert person.actor.member_id is not None
        await service.members.remove(people.customer.actor, person.actor.member_id)
    before = await fingerprint(owner)

    late = service.password_changes.reset(secret, PASSWORD, address=None)

    assert await refused(late) is LinkEnded
    assert await fingerprint(owner) == before


@pytest.mark.parametrize(
    "secret", ["", "x", "A" * 43, "A" * 42 + "\0", "é" * 43, "A" * 44, "\ud800" * 43]
)
async def test_what_is_no_link_opens_nothing(
    secret: str, service: Service, people: People, owner: asyncpg.Connection
) -> None:
    await want_link(service, people.customer.email)
    before = await fingerprint(owner)

    attempt = service.password_changes.reset(secret, OTHER_PASSWORD, address=None)

    assert await refused(attempt) is LinkEnded
    assert await fingerprint(owner) == before


async def test_who_tries_links_is_paused(service: Service, people: People) -> None:
    tight = service.password_changes.settings.model_copy(update={"sign_in_attempts_per_address": 2})
    changes = replace(service.password_changes, settings=tight)
    [secret] = await want_link(service, people.customer.email)
    for _ in range(2):
        await refused(changes.reset("A" * 43, OTHER_PASSWORD, address="192.0.2.9"))

    paused = changes.reset(secret, OTHER_PASSWORD, address="192.0.2.9")

    assert await refused(paused) is TooManyAttempts
    await changes.reset(secret, OTHER_PASSWORD, address="192.0.2.10")


async def test_asking_for_a_link_tells_nothing_of_whether_anybody_has_the_address(
    service: Service, people: People, owner: asyncpg.Connection
) -> None:
    for email in (people.customer.email, "nobody@example.com"):
        await service.password_changes.want_reset(email, address="192.0.2.7")

    assert await owner.fetchval("SELECT count(*) FROM password_reset") == 1
    assert len((await mail(service)).messages) == 1


async def test_the_database_writes_as_much_for_nobody_as_for_somebody(
    service: Service, people: People, owner: asyncpg.Connection
) -> None:
    """The answer waits for a commit; one that writes nothing would come back sooner."""
    written = []
    for email in (people.customer.email, "nobody@example.com"):
        before = await owner.fetchval("SELECT pg_current_wal_insert_lsn()")
        await password_resets.system_want_password_reset(email, service.clock.now())
        written.append(
            await owner.fetchval("SELECT pg_current_wal_insert_lsn() - $1::pg_lsn", before)
        )

    somebody, nobody = written
    assert nobody > 200
    assert somebody > 200


async def test_nobody_gets_a_link_who_may_not_sign_in(service: Service, people: People) -> None:
    person = await join(service, people.customer.actor, Role.VIEWER)
    assert person.actor.member_id is not None
    await service.members.remove(people.customer.actor, person.actor.member_id)
    await service.accounts.suspend(people.operator.actor, people.other_reseller.actor.account_id)

    for email in (person.email, people.other_reseller.email, people.stranger.email):
        assert await want_link(service, email) == []


async def test_links_are_not_sent_more_often_than_people_ask(
    service: Service, people: People, clock: FrozenClock, owner: asyncpg.Connection
) -> None:
    email = people.customer.email
    await want_link(service, email)
    before = await fingerprint(owner)
    assert await want_link(service, email) == []  # not within a minute, whoever asks
    assert await fingerprint(owner) == before
    for _ in range(LINKS_PER_PERSON - 2):
        clock.advance(minutes=1)
        assert len(await want_link(service, email)) == 1
    clock.advance(minutes=1)

    assert await refused(want_link(service, email)) is TooManyAttempts
    for _ in range(LINKS_PER_PERSON):
        await want_link(service, "nobody@example.com")
    assert await refused(want_link(service, "nobody@example.com")) is TooManyAttempts


async def test_who_forgot_an_invitation_gets_another_and_not_an_hours_link(
    service: Service, people: People, clock: FrozenClock
) -> None:
    member = await invite(service, people.customer.actor, Role.VIEWER)
    await mail(service)
    clock.advance(days=8)

    [secret] = await want_link(service, member.email)
    clock.advance(days=6)

    await service.password_changes.reset(secret, OTHER_PASSWORD, address=None)


async def test_a_link_outlives_a_change_of_the_pepper(service: Service, people: People) -> None:
    [secret] = await want_link(service, people.customer.email)
    old = service.settings.peppers.get_secret_value()
    peppers = type(service.settings.peppers)(f"2:{'n' * 32},{old}")
    turned = service.settings.model_copy(update={"peppers": peppers})
    turned.__dict__["pepper_keys"] = parse_peppers(peppers.get_secret_value())
    later = replace(service.password_changes, settings=turned)

    await later.reset(secret, OTHER_PASSWORD, address=None)


async def test_a_secret_of_a_link_is_nowhere_but_in_the_e_mail(
    service: Service, people: People, owner: asyncpg.Connection
) -> None:
    [secret] = await want_link(service, people.customer.email)
    redis = service.cache.redis

    assert secret not in str(await fingerprint(owner))
    for key in await redis.keys("*"):
        assert secret.encode() not in (await redis.dump(key) or b"")
        assert people.customer.email.encode() not in key
