"""A change of an account: its name, and what it may grant, which caps all that it has."""

import asyncpg
import pytest
from edge_scene import People, fingerprint
from factories import actor_of, make_customer, make_token

from service.accounts import AccountChanges
from service.composition import Service
from service.errors import (
    AccountClosed,
    Forbidden,
    InsufficientScope,
    InvalidInput,
    NotFound,
    ScopeNotGrantable,
    ServiceError,
)
from service.validator import Validator
from service.verdict import CredentialKind, Status

NAMED = AccountChanges(name="Renamed")
NARROW = AccountChanges(grantable_scopes=("dns:read",))


@pytest.fixture
async def people(service: Service) -> People:
    return await People.make(service)


async def test_a_new_name_changes_nothing_else(
    service: Service, people: People, owner: asyncpg.Connection
) -> None:
    theirs = people.customer.actor.account_id
    before = await service.accounts.get(people.reseller.actor, theirs)

    changed = await service.accounts.update(people.reseller.actor, theirs, NAMED)

    assert changed.account.name == "Renamed"
    assert changed.account.grantable_scopes == before.grantable_scopes
    assert changed.propagation is None
    told = await owner.fetchval(
        "SELECT details->>'previous_name' FROM audit_event WHERE action = 'account.updated'"
    )
    assert told == before.name
    # One's own name too, by whoever may write accounts.
    await service.accounts.update(people.customer.actor, theirs, NAMED)


async def test_fewer_scopes_are_refused_at_once_to_tokens_and_sessions_but_for_the_console(
    service: Service, people: People, validator: Validator
) -> None:
    token = await make_token(service, people.customer.actor, scopes=("dns:*",))
    warm = await validator.check(token.secret, scope="dns:write")

    changed = await service.accounts.update(
        people.reseller.actor, people.customer.actor.account_id, NARROW
    )

    assert warm.status is Status.VALID
    assert changed.propagation is not None
    late = await validator.check(token.secret, scope="dns:write")
    assert late.status is Status.INSUFFICIENT_SCOPE
    assert (await validator.check(token.secret, scope="dns:read")).status is Status.VALID
    statuses = {
        scope: (
            await validator.check(people.customer.secret, kind=CredentialKind.SESSION, scope=scope)
        ).status
        for scope in ("dns:write", "tokens:introspect", "tokens:write")
    }
    assert statuses == {
        "dns:write": Status.INSUFFICIENT_SCOPE,
        "tokens:introspect": Status.INSUFFICIENT_SCOPE,
        "tokens:write": Status.VALID,
    }


async def test_fewer_scopes_of_a_reseller_cap_its_whole_fleet(
    service: Service, people: People, validator: Validator
) -> None:
    token = await make_token(service, people.customer.actor, scopes=("dns:*",))
    warm = await validator.check(token.secret, scope="dns:write")

    await service.accounts.update(people.operator.actor, people.reseller.actor.account_id, NARROW)

    assert warm.status is Status.VALID
    late = await validator.check(token.secret, scope="dns:write")
    assert late.status is Status.INSUFFICIENT_SCOPE


async def test_nobody_grants_what_the_account_above_may_not(
    service: Service, people: People, owner: asyncpg.Connection
) -> None:
    reseller = people.reseller.actor
    customer = await make_customer(service, reseller, grantable_scopes=("dns:read",))
    await service.accounts.update(
        people.operator.actor,
        reseller.account_id,
        AccountChanges(grantable_scopes=("dns:*", "accounts:*")),
    )
    reseller = await actor_of(service, people.reseller.secret)
    before = await fingerprint(owner)

    for scope in ("*", "mail:read", "dns:fly", "nonsense"):
        wider = AccountChanges(grantable_scopes=("dns:read", scope))
        # Not even the operator, for its customer's reseller caps it.
        for actor in (reseller, people.operator.actor):
            with pytest.raises(ScopeNotGrantable):
                await service.accounts.update(actor, customer.account_id, wider)

    assert await fingerprint(owner) == before
    wider = AccountChanges(grantable_scopes=("dns:*",))
    changed = await service.accounts.update(reseller, customer.account_id, wider)
    assert changed.account.grantable_scopes == ("dns:*",)


async def test_a_narrow_token_may_take_away_but_not_give(service: Service, people: People) -> None:
    created = await make_token(service, people.reseller.actor, scopes=("accounts:write",))
    token = await actor_of(service, created.secret)
    customer = await make_customer(
        service, people.reseller.actor, grantable_scopes=("dns:*", "mail:read")
    )

    less = AccountChanges(grantable_scopes=("dns:read",))
    changed = await service.accounts.update(token, customer.account_id, less)

    assert changed.account.grantable_scopes == ("dns:read",)
    more = AccountChanges(grantable_scopes=("dns:read", "mail:read"))
    with pytest.raises(ScopeNotGrantable):
        await service.accounts.update(token, customer.account_id, more)


async def test_what_may_not_be_changed_stays(
    service: Service, people: People, owner: asyncpg.Connection
) -> None:
    theirs = people.customer.actor.account_id
    narrow = await actor_of(
        service, (await make_token(service, people.reseller.actor, scopes=("dns:read",))).secret
    )
    await service.accounts.close(
        people.operator.actor,
        people.sibling.actor.account_id,
        expected_name=(
            await service.accounts.get(people.operator.actor, people.sibling.actor.account_id)
        ).name,
    )
    before = await fingerprint(owner)

    update = service.accounts.update
    attempts: list[tuple[object, type[ServiceError]]] = [
        (update(narrow, theirs, NAMED), InsufficientScope),
        (update(people.stranger.actor, theirs, NAMED), NotFound),
        (update(people.other_reseller.actor, theirs, NARROW), NotFound),
        (update(people.customer.actor, theirs, NARROW), Forbidden),
        (update(people.reseller.actor, people.reseller.actor.account_id, NARROW), Forbidden),
        (update(people.operator.actor, people.operator.actor.account_id, NARROW), Forbidden),
        (update(people.reseller.actor, theirs, AccountChanges()), InvalidInput),
        (update(people.reseller.actor, theirs, AccountChanges(name="")), InvalidInput),
        (update(people.reseller.actor, theirs, AccountChanges(name="a\nb")), InvalidInput),
        (
            update(
                people.reseller.actor,
                theirs,
                AccountChanges(name="Renamed", grantable_scopes=("*",) * 51),
            ),
            InvalidInput,
        ),
        (update(people.reseller.actor, people.sibling.actor.account_id, NAMED), AccountClosed),
    ]
    for attempt, kind in attempts:
        with pytest.raises(kind):
            await attempt  # type: ignore[misc] # a coroutine

    assert await fingerprint(owner) == before
