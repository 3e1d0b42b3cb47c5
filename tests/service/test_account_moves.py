"""A customer changes hands whole: no row stays with the old reseller, whoever writes meanwhile."""

import asyncio
from uuid import UUID

import asyncpg
import pytest
from edge_scene import People, fingerprint
from factories import actor_of, make_reseller, make_token
from rotation_scene import rotate

from service.access.actor import Actor
from service.access.tokens import TokenFilter
from service.composition import Service
from service.errors import (
    AccountClosed,
    AccountInactive,
    Forbidden,
    InvalidInput,
    NotFound,
    PasswordRequired,
    ServiceError,
)
from service.paging import PageRequest
from service.tokens import NewToken
from service.validator import Validator
from service.verdict import Status

# The trail keeps the reseller of its time; counts are the database's own.
KEEPS = {"account", "audit_event"}
ROUNDS = 12


@pytest.fixture
async def people(service: Service) -> People:
    return await People.make(service)


async def resellers_of(owner: asyncpg.Connection, account_id: UUID) -> dict[str, set[UUID | None]]:
    """Return the resellers that the rows of an account carry, by table, where it has rows."""
    tables = await owner.fetch(
        "SELECT c.table_name FROM information_schema.columns c JOIN pg_class p"
        " ON p.relname = c.table_name AND p.relkind = 'r'"
        " WHERE c.column_name = 'reseller_id' AND c.table_schema = 'public'"
    )
    found = {}
    for (table,) in tables:
        if table not in KEEPS:
            sql = f"SELECT DISTINCT reseller_id FROM {table} WHERE account_id = $1"  # noqa: S608 - names out of the catalogue
            rows = await owner.fetch(sql, account_id)
            found[table] = {row["reseller_id"] for row in rows}
    return {table: resellers for table, resellers in found.items() if resellers}


async def names(service: Service, actor: Actor, account_id: UUID) -> set[str]:
    page = await service.tokens.page(
        actor, PageRequest(100), only=TokenFilter(account_id=account_id)
    )
    return {token.name for token in page.items}


async def test_after_a_move_the_new_reseller_has_everything_and_the_old_one_nothing(
    people: People, service: Service, owner: asyncpg.Connection
) -> None:
    customer, old, new = people.customer.actor, people.reseller.actor, people.other_reseller.actor
    key = "a-key-that-is-kept"
    wanted = NewToken(name="kept", scopes=("dns:read",))
    made = await service.tokens.create(customer, wanted, idempotency_key=key)
    await rotate(service, customer, made.token.id)
    await make_token(service, people.sibling.actor)

    moved = await service.account_moves.move(
        people.operator.actor, customer.account_id, new.account_id
    )

    assert moved.account.reseller_id == new.account_id
    assert await names(service, new, customer.account_id) == {"kept"}
    assert await names(service, old, customer.account_id) == set()
    for refused in (
        service.tokens.get(old, made.token.id),
        service.tokens.revoke(old, made.token.id),
        service.accounts.get(old, customer.account_id),
        service.accounts.suspend(old, customer.account_id),
    ):
        with pytest.raises(NotFound):
            await refused
    carried = await resellers_of(owner, customer.account_id)
    assert {"api_token", "secret", "member", "replay", "outbox_event"} <= set(carried)
    assert set.union(*carried.values()) == {new.account_id}
    sibling = await resellers_of(owner, people.sibling.actor.account_id)
    assert set.union(*sibling.values()) == {old.account_id}


async def test_a_customer_can_become_the_operators_own_and_a_resellers_again(
    people: People, service: Service, owner: asyncpg.Connection
) -> None:
    customer, operator = people.customer.actor, people.operator.actor
    for reseller_id in (None, people.reseller.actor.account_id):
        await service.account_moves.move(operator, customer.account_id, reseller_id)
        made = await make_token(service, customer)

        carried = await resellers_of(owner, customer.account_id)

        assert set.union(*carried.values()) == {reseller_id}
        assert made.token.reseller_id == reseller_id


async def test_the_new_resellers_suspension_holds_and_the_old_ones_no_longer(
    people: People, service: Service, validator: Validator
) -> None:
    operator, customer = people.operator.actor, people.customer.actor
    token = await make_token(service, customer)
    assert (await validator.check(token.secret)).status is Status.VALID
    old, new = people.reseller.actor.account_id, people.other_reseller.actor.account_id
    await service.account_moves.move(operator, customer.account_id, new)

    await service.accounts.suspend(operator, old)
    validator.forget()
    under_the_old = await validator.check(token.secret)
    await service.accounts.suspend(operator, new)
    validator.forget()
    under_the_new = await validator.check(token.secret)

    assert under_the_old.status is Status.VALID
    assert under_the_new.status is Status.SUSPENDED


async def test_a_move_never_gives_a_customer_more(people: People, service: Service) -> None:
    operator, customer = people.operator.actor, people.customer.actor
    narrow = await make_reseller(service, operator, grantable_scopes=("mail:read",))
    before = (await service.accounts.get(operator, customer.account_id)).grantable_scopes

    under_narrow = await service.account_moves.move(
        operator, customer.account_id, narrow.account_id
    )
    back = await service.account_moves.move(operator, customer.account_id, None)

    assert under_narrow.account.grantable_scopes == ("mail:read",)
    assert set(back.account.grantable_scopes) == set(before)


async def test_who_may_not_move_a_customer_changes_nothing(
    people: People, service: Service, owner: asyncpg.Connection
) -> None:
    operator, customer = people.operator.actor, people.customer.actor
    new = people.other_reseller.actor.account_id
    token = await make_token(service, operator, scopes=("*",))
    by_token = await actor_of(service, token.secret)
    closed = people.stranger.actor.account_id
    name = (await service.accounts.get(operator, closed)).name
    await service.accounts.close(operator, closed, expected_name=name)
    inactive = await make_reseller(service, operator)
    await service.accounts.suspend(operator, inactive.account_id)
    cases: list[tuple[Actor, UUID, UUID | None, type[ServiceError]]] = [
        (people.reseller.actor, customer.account_id, new, Forbidden),
        (customer, customer.account_id, new, Forbidden),
        (by_token, customer.account_id, new, PasswordRequired),
        (operator, customer.account_id, people.sibling.actor.account_id, InvalidInput),
        (operator, customer.account_id, inactive.account_id, AccountInactive),
        (operator, customer.account_id, UUID(int=7), NotFound),
        (operator, UUID(int=7), new, NotFound),
        (operator, people.reseller.actor.account_id, new, InvalidInput),
        (operator, operator.account_id, None, InvalidInput),
        (operator, closed, new, AccountClosed),
    ]
    before = await fingerprint(owner)

    for actor, account_id, reseller_id, refusal in cases:
        with pytest.raises(refusal):
            await service.account_moves.move(actor, account_id, reseller_id)

    assert await fingerprint(owner) == before


async def test_no_row_is_left_behind_whoever_writes_while_a_customer_moves(
    people: People, service: Service, owner: asyncpg.Connection
) -> None:
    operator, customer = people.operator.actor, people.customer.actor
    places = [people.reseller.actor, people.other_reseller.actor]
    steady = await make_token(service, customer)
    surprises: list[Exception] = []

    async def write(actor: Actor, number: int) -> None:
        try:
            made = await make_token(
                service, actor, account_id=customer.account_id, name=f"{actor.token_id} {number}"
            )
            await rotate(service, actor, made.token.id)
            await service.tokens.suspend(actor, steady.token.id)
            await service.tokens.resume(actor, steady.token.id)
        except NotFound:
            assert actor is not customer, "the customer reaches its own rows wherever it is"
        except Exception as surprise:  # noqa: BLE001 - any is one too many, and is told below
            surprises.append(surprise)

    new = places[-1].account_id
    for number in range(ROUNDS):
        new = places[number % 2 - 1].account_id
        await asyncio.gather(
            *(write(actor, number) for actor in (customer, *places)),
            service.account_moves.move(operator, customer.account_id, new),
        )

    assert surprises == []
    carried = await resellers_of(owner, customer.account_id)
    assert set.union(*carried.values()) == {new}
