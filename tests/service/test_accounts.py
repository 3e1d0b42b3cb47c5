"""Use cases of accounts: who may create what below whom, and what a cap means to live tokens."""

import asyncio
from dataclasses import replace
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from conftest import FrozenClock
from factories import PASSWORD, Platform, actor_of, make_account, make_customer, make_token
from stores import everything, one_row

from service.access.accounts import AccountStatus
from service.access.actor import Actor
from service.accounts import NewAccount
from service.composition import Service
from service.errors import (
    AccountInactive,
    EmailTaken,
    Forbidden,
    InsufficientScope,
    NotFound,
    ServiceError,
    Unauthenticated,
)
from service.paging import PageRequest
from service.validator import Validator
from service.verdict import AccountKind, Status

WANTED = {"name": "New", "kind": AccountKind.CUSTOMER, "email": "new@example.com"}


def wanted(**fields: Any) -> NewAccount:
    return NewAccount(**({"password": PASSWORD} | WANTED | fields))


@pytest.mark.parametrize(
    ("who", "kind", "reseller"),
    [
        ("operator", AccountKind.RESELLER, "itself"),
        ("operator", AccountKind.CUSTOMER, None),
        ("reseller", AccountKind.CUSTOMER, "reseller"),
    ],
)
async def test_an_account_its_person_and_its_event_are_made_in_one_transaction(
    service: Service,
    platform: Platform,
    owner: asyncpg.Connection,
    clock: FrozenClock,
    who: str,
    kind: AccountKind,
    reseller: str | None,
) -> None:
    actor: Actor = getattr(platform, who)
    clock.advance(minutes=1)

    account = await service.accounts.create(actor, wanted(kind=kind))

    expected = {"itself": account.id, "reseller": platform.reseller.account_id, None: None}[
        reseller
    ]
    assert (account.kind, account.reseller_id) == (kind, expected)
    assert (account.status, account.grantable_scopes) == (AccountStatus.ACTIVE, ("*",))
    member = await one_row(owner, "SELECT * FROM member WHERE account_id = $1", account.id)
    assert (member["email"], member["reseller_id"]) == ("new@example.com", expected)
    assert member["password_hash"].startswith("$argon2id$")
    [event] = await owner.fetch("SELECT * FROM audit_event WHERE occurred_at = $1", clock.now())
    assert event["action"] == "account.created"
    assert event["subject_id"] == event["account_id"] == account.id
    assert event["reseller_id"] == expected
    assert event["actor_account_id"] == actor.account_id
    assert event["actor_member_id"] == actor.member_id
    assert event["actor_token_id"] == actor.token_id
    assert (event["address"], event["request_id"]) == ("192.0.2.7", "test")
    assert "new@example.com" not in event["details"]


async def test_the_operator_may_create_a_customer_of_a_reseller(
    service: Service, platform: Platform
) -> None:
    account = await service.accounts.create(
        platform.operator, wanted(reseller_id=platform.reseller.account_id)
    )

    assert account.reseller_id == platform.reseller.account_id
    assert await service.accounts.get(platform.reseller, account.id) == account


@pytest.mark.parametrize(
    ("who", "fields", "code", "field"),
    [
        ("customer", {}, "FORBIDDEN", None),
        ("reseller", {"kind": AccountKind.RESELLER}, "FORBIDDEN", None),
        ("operator", {"kind": AccountKind.OPERATOR}, "FORBIDDEN", None),
        ("operator", {"reseller_id": "customer"}, "INVALID_INPUT", "resellerId"),
        (
            "operator",
            {"kind": AccountKind.RESELLER, "reseller_id": "reseller"},
            "INVALID_INPUT",
            "resellerId",
        ),
        ("reseller", {"reseller_id": "other_reseller"}, "NOT_FOUND", None),
        (
            "reseller",
            {"grantable_scopes": ("dns:read",) * 51},
            "INVALID_INPUT",
            "grantableScopes",
        ),
        (
            "reseller",
            {"grantable_scopes": ("no:such",)},
            "SCOPE_NOT_GRANTABLE",
            "grantableScopes",
        ),
        (
            "reseller",
            {"grantable_scopes": ("dns:fly:high",)},
            "SCOPE_NOT_GRANTABLE",
            "grantableScopes",
        ),
        ("reseller", {"name": ""}, "INVALID_INPUT", "name"),
        ("reseller", {"email": "a@x.com, evil@y.com"}, "INVALID_INPUT", "email"),
        ("reseller", {"password": "short"}, "INVALID_INPUT", "password"),
    ],
    ids=str,
)
async def test_an_account_that_may_not_be_is_not_made(
    service: Service,
    platform: Platform,
    owner: asyncpg.Connection,
    who: str,
    fields: dict[str, Any],
    code: str,
    field: str | None,
) -> None:
    before = await everything(owner)
    if "reseller_id" in fields:
        fields = fields | {"reseller_id": getattr(platform, fields["reseller_id"]).account_id}

    with pytest.raises(ServiceError) as refused:
        await service.accounts.create(getattr(platform, who), wanted(**fields))

    assert (refused.value.code, refused.value.field) == (code, field)
    assert await everything(owner) == before


async def test_without_the_scope_no_account_is_made_or_read(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    before = await everything(owner)
    actor = replace(platform.reseller, scopes=("tokens:*",))

    for refused in (
        service.accounts.create(actor, wanted()),
        service.accounts.page(actor, PageRequest(10)),
        service.accounts.get(actor, platform.customer.account_id),
        service.accounts.get(actor, uuid4()),
    ):
        with pytest.raises(InsufficientScope):
            await refused

    assert (await service.accounts.get(actor, actor.account_id)).id == actor.account_id
    assert await everything(owner) == before


async def test_nobody_grants_more_than_they_hold(service: Service, platform: Platform) -> None:
    narrow, _ = await make_account(
        service, platform.operator, AccountKind.RESELLER, grantable_scopes=("dns:*", "accounts:*")
    )

    with pytest.raises(ServiceError, match="cannot be granted"):
        await service.accounts.create(narrow, wanted(grantable_scopes=("mail:read",)))
    with pytest.raises(ServiceError, match="cannot be granted"):
        await service.accounts.create(
            replace(narrow, scopes=("accounts:write",)), wanted(grantable_scopes=("dns:read",))
        )
    made = await service.accounts.create(narrow, wanted())

    assert made.grantable_scopes == ("accounts:*", "dns:*")


async def test_of_two_accounts_with_one_address_one_is_made(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    results = await asyncio.gather(
        *(
            service.accounts.create(actor, wanted(email="Two@Example.com"))
            for actor in (platform.reseller, platform.other_reseller) * 3
        ),
        return_exceptions=True,
    )

    refused = [result for result in results if isinstance(result, BaseException)]
    assert [type(result) for result in refused] == [EmailTaken] * 5
    assert await owner.fetchval("SELECT count(*) FROM member WHERE email = 'two@example.com'") == 1
    assert await owner.fetchval("SELECT count(*) FROM account WHERE name = 'New'") == 1


async def test_there_is_one_operator(service: Service, owner: asyncpg.Connection) -> None:
    results = await asyncio.gather(
        *(
            service.accounts.create_operator("Operator", f"o{n}@example.com", PASSWORD)
            for n in range(5)
        ),
        return_exceptions=True,
    )

    refused = [result for result in results if isinstance(result, BaseException)]
    assert [type(result) for result in refused] == [Forbidden] * 4
    assert await owner.fetchval("SELECT count(*) FROM account") == 1
    assert await owner.fetchval("SELECT count(*) FROM audit_event") == 1


async def test_sub_accounts_are_those_below_alone(service: Service, platform: Platform) -> None:
    async def seen(actor: Actor) -> set[object]:
        page = await service.accounts.page(actor, PageRequest(100))
        return {account.id for account in page.items}

    assert await seen(platform.customer) == set()
    assert await seen(platform.reseller) == {
        platform.customer.account_id,
        platform.sibling.account_id,
    }
    assert await seen(platform.other_reseller) == {platform.stranger.account_id}
    assert len(await seen(platform.operator)) == 5
    some = [platform.customer.account_id, platform.stranger.account_id, uuid4()]
    found = await service.accounts.get_many(platform.reseller, some)
    assert [account and account.id for account in found] == [some[0], None, None]
    with pytest.raises(NotFound):
        await service.accounts.get(platform.reseller, platform.stranger.account_id)


async def test_pages_of_sub_accounts_give_each_once_in_order_of_name(
    service: Service, platform: Platform
) -> None:
    for name in ("Same", "Same", "Same", "Aardvark", "Zebra"):
        await make_customer(service, platform.other_reseller, name=name)
    found, after = [], None
    while True:
        page = await service.accounts.page(platform.other_reseller, PageRequest(2, after))
        found += page.items
        if not page.has_next:
            break
        after = page.cursors[-1]

    assert len({account.id for account in found}) == len(found) == 6
    names = [account.name for account in found]
    assert names == sorted(names)


@pytest.mark.parametrize("whose", ["customer", "reseller"])
async def test_a_narrowed_cap_binds_live_tokens(
    service: Service,
    platform: Platform,
    owner: asyncpg.Connection,
    validator: Validator,
    whose: str,
) -> None:
    created = await make_token(service, platform.customer, scopes=("dns:*", "mail:read"))
    assert (await actor_of(service, created.secret)).scopes == ("dns:*", "mail:read")

    await owner.execute(
        "UPDATE account SET grantable_scopes = '{dns:read,tokens:*}' WHERE id = $1",
        getattr(platform, whose).account_id,
    )

    assert (await actor_of(service, created.secret)).scopes == ("dns:read",)
    read = await validator.check(created.secret, scope="dns:read")
    written = await validator.check(created.secret, scope="dns:write")
    assert (read.status, written.status) == (Status.VALID, Status.INSUFFICIENT_SCOPE)
    with pytest.raises(ServiceError, match="has just changed"):
        await make_token(service, platform.customer, scopes=("mail:read",))
    customer = replace(platform.customer, scopes=("dns:read", "tokens:*"))
    with pytest.raises(ServiceError, match="cannot be granted"):
        await make_token(service, customer, scopes=("mail:read",))


@pytest.mark.parametrize("column", ["suspended_at", "closed_at"])
@pytest.mark.parametrize("whose", ["customer", "reseller"])
async def test_nothing_is_made_for_an_account_that_is_suspended_or_closed(
    service: Service, platform: Platform, owner: asyncpg.Connection, whose: str, column: str
) -> None:
    await owner.execute(
        f"UPDATE account SET {column} = now() WHERE id = $1",  # noqa: S608 - from the table above
        getattr(platform, whose).account_id,
    )
    before = await everything(owner)

    with pytest.raises(AccountInactive):
        await make_token(service, platform.operator, account_id=platform.customer.account_id)
    by_itself = {"customer": AccountInactive, "reseller": Unauthenticated}[whose]
    with pytest.raises(by_itself):
        await make_token(service, platform.reseller, account_id=platform.customer.account_id)
    if whose == "reseller":
        with pytest.raises(Unauthenticated):
            await service.accounts.create(platform.reseller, wanted())
    assert await everything(owner) == before


def test_a_password_is_in_no_repr() -> None:
    assert PASSWORD not in repr(wanted())
