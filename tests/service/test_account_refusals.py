"""What is refused: another's account, one's own, a wrong name, and what is closed for good."""

from dataclasses import replace
from uuid import uuid4

import asyncpg
import pytest
from account_scene import VERBS, Act, acting
from edge_scene import People, Person, fingerprint
from factories import actor_of, make_token, sign_in
from stores import keys_and_values

from service.access.accounts import change_account
from service.access.door import open_door
from service.composition import Service
from service.errors import (
    AccountClosed,
    AccountInactive,
    InvalidInput,
    ServiceError,
    SignInFailed,
    Unauthenticated,
)


@pytest.fixture
async def people(service: Service) -> People:
    return await People.make(service)


@pytest.fixture
def act(service: Service, people: People) -> Act:
    return acting(service, people)


@pytest.mark.parametrize("verb", ["suspend", "close"])
@pytest.mark.parametrize("whose", ["customer", "reseller"])
async def test_nobody_signs_in_or_makes_a_token_for_an_account_that_is_cut_off(
    service: Service,
    people: People,
    owner: asyncpg.Connection,
    act: Act,
    whose: str,
    verb: str,
) -> None:
    await act(verb, people.operator, getattr(people, whose))
    before = await fingerprint(owner)

    for by, refusal in ((people.customer, Unauthenticated), (people.operator, AccountInactive)):
        with pytest.raises(refusal):
            await make_token(service, by.actor, account_id=people.customer.actor.account_id)
    with pytest.raises(SignInFailed):
        await sign_in(service, people.customer.email)

    assert await fingerprint(owner) == before


async def test_a_closed_account_is_never_suspended_or_resumed(
    service: Service, people: People, owner: asyncpg.Connection, act: Act
) -> None:
    await act("suspend", people.operator, people.customer)
    await act("close", people.operator, people.customer)
    account_id, reach = people.customer.actor.account_id, people.operator.actor.reach
    before = await fingerprint(owner), await keys_and_values(service.cache.redis)

    for by in (people.operator, people.reseller):
        for verb in ("suspend", "resume"):
            with pytest.raises(AccountClosed):
                await act(verb, by, people.customer)
    with pytest.raises(AccountClosed):
        async with open_door(reach) as door:
            await change_account(door, account_id, {"suspended_at": None})
    for change in ("closed_at = NULL", "closed_at = now()"):
        with pytest.raises(asyncpg.CheckViolationError, match="stays closed"):
            await owner.execute(f"UPDATE account SET {change}")  # noqa: S608 - from the line above

    assert (await fingerprint(owner), await keys_and_values(service.cache.redis)) == before


@pytest.mark.parametrize("wrong", ["", "customer 5", "CUSTOMER", " {}", "{} ", "{}\0", "upper"])
async def test_an_account_is_closed_by_its_own_name_alone(
    service: Service, people: People, owner: asyncpg.Connection, wrong: str
) -> None:
    account_id = people.customer.actor.account_id
    name = (await service.accounts.get(people.operator.actor, account_id)).name
    wrong = name.upper() if wrong == "upper" else wrong.format(name)
    before = await fingerprint(owner), await keys_and_values(service.cache.redis)

    with pytest.raises(InvalidInput) as refused:
        await service.accounts.close(people.operator.actor, account_id, expected_name=wrong)

    assert refused.value.field == "expectedName"
    assert (await fingerprint(owner), await keys_and_values(service.cache.redis)) == before
    await service.accounts.close(people.operator.actor, account_id, expected_name=name)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("who", "whom", "code"),
    [
        ("operator", "operator", "FORBIDDEN"),
        ("reseller", "reseller", "FORBIDDEN"),
        ("customer", "customer", "FORBIDDEN"),
        ("reseller", "operator", "NOT_FOUND"),
        ("reseller", "other_reseller", "NOT_FOUND"),
        ("reseller", "stranger", "NOT_FOUND"),
        ("customer", "sibling", "NOT_FOUND"),
        ("customer", "reseller", "NOT_FOUND"),
        ("operator", "nobody", "NOT_FOUND"),
    ],
)
async def test_nobody_changes_an_account_that_is_not_below_their_own(
    service: Service,
    people: People,
    owner: asyncpg.Connection,
    act: Act,
    who: str,
    whom: str,
    code: str,
    verb: str,
) -> None:
    """Nor does one of their own tokens, whatever its rights."""
    person: Person = getattr(people, who)
    token = await make_token(service, person.actor, scopes=("*",))
    by_token = replace(person, actor=await actor_of(service, token.secret))
    nobody = replace(people.customer, actor=replace(people.customer.actor, account_id=uuid4()))
    target = nobody if whom == "nobody" else getattr(people, whom)
    before = await fingerprint(owner), await keys_and_values(service.cache.redis)

    for by in (person, by_token):
        with pytest.raises(ServiceError) as refused:
            await act(verb, by, target)
        assert refused.value.code == code

    assert (await fingerprint(owner), await keys_and_values(service.cache.redis)) == before


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("whom", ["customer", "reseller", "stranger"])
async def test_without_the_scope_no_account_is_changed(
    service: Service,
    people: People,
    owner: asyncpg.Connection,
    act: Act,
    whom: str,
    verb: str,
) -> None:
    scopes = ("accounts:read", "tokens:*")
    narrow = replace(people.reseller, actor=replace(people.reseller.actor, scopes=scopes))
    before = await fingerprint(owner), await keys_and_values(service.cache.redis)

    with pytest.raises(ServiceError) as refused:
        await act(verb, narrow, getattr(people, whom))

    assert refused.value.code == "INSUFFICIENT_SCOPE"
    assert (await fingerprint(owner), await keys_and_values(service.cache.redis)) == before
