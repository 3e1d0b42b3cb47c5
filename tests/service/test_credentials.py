"""A change is made only while the caller's credential lives, whatever a validator still believes.

The actor of these tests is what a validator has leased: it was judged before its rows changed.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import datetime
from typing import Any

import asyncpg
import pytest
from conftest import FrozenClock
from edge_scene import fingerprint
from factories import PASSWORD, Platform, actor_of, make_token
from replay_scene import KEY
from rotation_scene import rotate
from stores import eventually, one_row

from service import scopes
from service.access.actor import EVERYTHING, Actor
from service.access.door import Statement, open_door
from service.addresses import parse_address
from service.clock import new_id
from service.composition import Service
from service.errors import (
    AccountInactive,
    InsufficientScope,
    ServiceError,
    SignInFailed,
    Unauthenticated,
)
from service.scope_templates import TemplateChanges
from service.verdict import Record, Status, judge

Change = Callable[[], Coroutine[Any, Any, object]]

WAITING = (
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    " AND usename <> current_user AND datname = current_database()"
)
OF_TOKEN = "UPDATE api_token SET {} WHERE id = $1 AND $2::timestamptz IS NOT NULL"
OF_SECRET = "UPDATE secret SET {} WHERE token_id = $1 AND $2::timestamptz IS NOT NULL"
OF_ACCOUNT = (
    "UPDATE account SET {} WHERE $2::timestamptz IS NOT NULL"
    " AND id = (SELECT account_id FROM api_token WHERE id = $1)"
)
OF_RESELLER = OF_ACCOUNT.replace("account_id", "reseller_id")
OF_PERSON = (
    "UPDATE member SET {} WHERE $2::timestamptz IS NOT NULL"
    " AND id = (SELECT member_id FROM api_token WHERE id = $1)"
)

ENDS = {
    "revoked": OF_TOKEN.format("revoked_at = $2, revocation_reason = 'LEAKED'"),
    "suspended": OF_TOKEN.format("suspended_at = $2"),
    "expired": OF_TOKEN.format("expires_at = $2"),
    "begins later": OF_TOKEN.format("not_before = $2 + interval '1 microsecond'"),
    "for other addresses": OF_TOKEN.format("allowed_ip_ranges = '{192.0.2.8/29,2001:db8::/32}'"),
    "for an audience": OF_TOKEN.format("audiences = '{billing}'"),
    "secret retired": OF_SECRET.format("retires_at = $2 + interval '1 day', retired_at = $2"),
    "secret retiring": OF_SECRET.format("retires_at = $2"),
    "account suspended": OF_ACCOUNT.format("suspended_at = $2"),
    "account closed": OF_ACCOUNT.format("closed_at = $2"),
    "reseller suspended": OF_RESELLER.format("suspended_at = $2"),
    "reseller closed": OF_RESELLER.format("closed_at = $2"),
    "person removed": OF_PERSON.format("disabled_at = $2"),
}
GOES_ON = {
    "expires soon": OF_TOKEN.format("expires_at = $2 + interval '1 microsecond'"),
    "has begun": OF_TOKEN.format("not_before = $2"),
    "for this address": OF_TOKEN.format("allowed_ip_ranges = '{2001:db8::/32,192.0.2.0/24}'"),
    "secret retires soon": OF_SECRET.format("retires_at = $2 + interval '1 microsecond'"),
}


@pytest.fixture
async def token(service: Service, platform: Platform) -> Actor:
    made = await make_token(
        service, platform.customer, scopes=("tokens:*", "dns:read"), expires_at=None
    )
    return await actor_of(service, made.secret)


async def status_of(owner: asyncpg.Connection, actor: Actor, now: datetime) -> Status:
    """Return what a validator that reads now says of a credential."""
    digest = await owner.fetchval("SELECT digest FROM secret WHERE id = $1", actor.secret_id)
    row = await one_row(owner, "SELECT * FROM credential_by_digest($1)", digest)
    return judge(Record.from_row(row), now, address=parse_address(actor.address or "")).status


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("kind", ["session", "token"])
async def test_what_has_ended_in_the_database_changes_nothing_though_it_was_judged_valid(
    service: Service,
    platform: Platform,
    token: Actor,
    owner: asyncpg.Connection,
    clock: FrozenClock,
    kind: str,
    end: str,
) -> None:
    actor = token if kind == "token" else platform.customer
    await owner.execute(ENDS[end], actor.token_id, clock.now())
    before = await fingerprint(owner)

    if (kind, end) == ("token", "person removed"):  # it is the account's, whoever made it
        await make_token(service, actor)
        return
    with pytest.raises(Unauthenticated):
        await make_token(service, actor)

    assert await fingerprint(owner) == before
    assert await status_of(owner, actor, clock.now()) is not Status.VALID


@pytest.mark.parametrize("still", GOES_ON)
async def test_what_has_not_ended_yet_goes_on(
    service: Service, token: Actor, owner: asyncpg.Connection, clock: FrozenClock, still: str
) -> None:
    await owner.execute(GOES_ON[still], token.token_id, clock.now())

    await make_token(service, token)

    assert await status_of(owner, token, clock.now()) is Status.VALID


async def test_a_secret_opens_its_own_token_alone_and_none_opens_nothing(
    service: Service, platform: Platform, token: Actor, owner: asyncpg.Connection
) -> None:
    before = await fingerprint(owner)

    for secret_id in (None, platform.customer.secret_id, new_id()):
        with pytest.raises(Unauthenticated):
            await make_token(service, replace(token, secret_id=secret_id))

    assert await fingerprint(owner) == before


async def test_an_address_that_is_not_known_is_none_of_those_a_token_is_limited_to(
    service: Service, token: Actor, owner: asyncpg.Connection, clock: FrozenClock
) -> None:
    await owner.execute(GOES_ON["for this address"], token.token_id, clock.now())

    for address in (None, "198.51.100.1", "2001:db9::1", "fe80::1%eth0", "'); DROP TABLE account"):
        with pytest.raises(Unauthenticated):
            await make_token(service, replace(token, address=address))
    for number, address in enumerate(("192.0.2.255", "::ffff:192.0.2.1", "2001:db8::1")):
        await make_token(service, replace(token, address=address), name=f"from there {number}")


NARROWINGS = {
    "own": OF_TOKEN.format("scopes = '{tokens:read,dns:*}'"),
    "the account's": OF_ACCOUNT.format("grantable_scopes = '{tokens:*,mail:*}'"),
    "the reseller's": OF_RESELLER.format("grantable_scopes = '{tokens:write,dns:*}'"),
}


@pytest.mark.parametrize("narrowing", NARROWINGS)
async def test_what_has_lost_a_scope_is_judged_anew_before_it_changes_anything(
    service: Service,
    token: Actor,
    owner: asyncpg.Connection,
    clock: FrozenClock,
    narrowing: str,
) -> None:
    """Else a token that was narrowed could still make another one that may do what it could."""
    await owner.execute(NARROWINGS[narrowing], token.token_id, clock.now())
    before = await fingerprint(owner)

    with pytest.raises(InsufficientScope, match="has just changed"):
        await make_token(service, token)

    assert await fingerprint(owner) == before


async def test_scopes_are_covered_in_the_database_as_they_are_here(
    service: Service, token: Actor, owner: asyncpg.Connection
) -> None:
    kinds = ("*", "dns:*", "dns:read", "dns:write", "mail:read")
    set_scopes = "UPDATE api_token SET scopes = $2 WHERE id = $1"
    for own in (*((kind,) for kind in kinds), kinds[2:], ()):
        await owner.execute(set_scopes, token.token_id, own)
        for held in kinds:
            actor = replace(token, scopes=(held,))
            try:
                async with service.tokens.work.begin(actor.reach, actor):
                    may = True
            except InsufficientScope:
                may = False
            assert may is scopes.covers(own, held), (own, held)


async def test_people_look_after_a_narrow_account_and_whoever_was_narrowed_may_leave(
    service: Service, platform: Platform, owner: asyncpg.Connection, clock: FrozenClock
) -> None:
    made = await make_token(service, platform.customer, scopes=("tokens:*", "dns:read"))
    token = await actor_of(service, made.secret)
    narrow = OF_ACCOUNT.format("grantable_scopes = '{mail:read}'")
    await owner.execute(narrow, platform.customer.token_id, clock.now())
    console = replace(platform.customer, scopes=scopes.CONSOLE)

    await service.tokens.rename(console, made.token.id, "another name")
    await service.tokens.revoke_own(token)
    await service.sessions.sign_out(platform.customer)

    for actor in (token, platform.customer):
        assert await status_of(owner, actor, clock.now()) is Status.REVOKED


async def test_a_session_that_has_ended_is_signed_out_already(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    await service.sessions.sign_out(platform.customer)
    before = await fingerprint(owner)

    await service.sessions.sign_out(platform.customer)

    assert await fingerprint(owner) == before


async def test_a_lost_answer_is_not_told_again_to_what_has_ended(
    service: Service, token: Actor, owner: asyncpg.Connection
) -> None:
    made = await make_token(service, token)
    await rotate(service, token, made.token.id, key=KEY)
    await service.tokens.revoke_own(token)
    before = await fingerprint(owner)

    with pytest.raises(Unauthenticated):
        await rotate(service, token, made.token.id, key=KEY)

    assert await fingerprint(owner) == before


async def test_a_refusal_leaves_no_transaction_open(
    service: Service, token: Actor, caplog: pytest.LogCaptureFixture
) -> None:
    await service.tokens.revoke_own(token)

    for _ in range(2 * service.settings.database_pool_size):
        with pytest.raises(Unauthenticated):
            await make_token(service, token)

    assert caplog.records == []
    async with open_door(EVERYTHING) as door:
        left = "SELECT count(*) AS number FROM pg_stat_activity WHERE state LIKE 'idle in%aborted%'"
        assert await door.one(Statement(left)) == {"number": 0}


def test_a_proof_is_spelled_from_closed_types_alone(clock: FrozenClock) -> None:
    class Sly(type(new_id())):  # type: ignore[misc] # a class of the library's own
        def __str__(self) -> str:
            return "x'); DROP TABLE account; --"

    actor = Actor(
        account_id=new_id(),
        account_kind="CUSTOMER",  # type: ignore[arg-type] # no matter here
        reseller_id=None,
        token_id=Sly(int=1),
        secret_id=Sly(int=2),
        kind="API_TOKEN",  # type: ignore[arg-type] # as above
        scopes=("dns:read", "x}'); DROP TABLE account; --"),
        address="1'); DROP TABLE account; --",
    )

    assert actor.proof(clock.now()) == (
        "require_credential('00000000-0000-0000-0000-000000000001',"
        " '00000000-0000-0000-0000-000000000002', '2030-01-15T12:00:00+00:00', NULL, '{dns:read}')"
    )


# What comes between the opening of a change and its lock is found under the lock.


async def refused_by_what_came_between(
    owner: asyncpg.Connection, sql: str, actor: Actor, change: Change
) -> ServiceError:
    async def is_waiting() -> bool:
        return bool(await owner.fetchval(WAITING))

    async with owner.transaction():
        await owner.execute(sql, actor.token_id, await owner.fetchval("SELECT now()"))
        changing = asyncio.create_task(change())
        await eventually(is_waiting, seconds=5)
    with pytest.raises(ServiceError) as refused:
        await changing
    return refused.value


@pytest.mark.parametrize("act", ["confirm", "change"])
async def test_a_password_that_changed_meanwhile_confirms_nothing(
    service: Service, platform: Platform, owner: asyncpg.Connection, act: str
) -> None:
    person = platform.customer
    changed = OF_PERSON.format("password_version = password_version + 1")
    acts: dict[str, Change] = {
        "confirm": lambda: service.sessions.confirm_password(person, PASSWORD),
        "change": lambda: service.password_changes.change(person, PASSWORD, "another one of mine"),
    }

    refusal = await refused_by_what_came_between(owner, changed, person, acts[act])

    assert isinstance(refusal, SignInFailed)


async def test_an_account_that_was_suspended_meanwhile_gets_nothing_more(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    person, wanted = platform.customer, TemplateChanges(name="Late", scopes=("dns:read",))

    refusal = await refused_by_what_came_between(
        owner,
        ENDS["account suspended"],
        person,
        lambda: service.scope_templates.create(person, wanted),
    )

    assert isinstance(refusal, AccountInactive)
    assert await service.scope_templates.offered(platform.reseller) == []
