"""Accounts through GraphQL: who may create whom, and what a reseller caps."""

from typing import Any

import asyncpg
import pytest
from conftest import GraphQL
from edge_scene import People, Person, fingerprint, make_person
from factories import make_token

from service.composition import Service
from service.verdict import AccountKind

CREATE = (
    "mutation($input: CreateAccountInput!) { createAccount(input: $input)"
    " { account { id kind name status grantableScopes } userErrors { code field } } }"
)
WANTED = {"name": "New", "email": "new@example.com", "password": "long enough it is"}


@pytest.fixture
async def people(service: Service) -> People:
    return await People.make(service)


async def create(graphql: GraphQL, person: Person, **fields: Any) -> dict[str, Any]:
    answer = await graphql(CREATE, secret=person.secret, input=WANTED | fields)
    return answer["data"]["createAccount"]  # type: ignore[no-any-return] # JSON


async def test_a_new_account_is_below_its_creator_and_its_person_can_sign_in(
    people: People, graphql: GraphQL
) -> None:
    made = await create(graphql, people.reseller, name="  Näme ")

    assert made["userErrors"] == []
    account = made["account"]
    assert (account["kind"], account["name"], account["status"]) == ("CUSTOMER", "Näme", "ACTIVE")
    signed_in = await graphql(
        "mutation($input: SignInInput!) { signIn(input: $input) { sessionSecret } }",
        input={key: WANTED[key] for key in ("email", "password")} | {"transport": "BEARER"},
    )
    viewer = await graphql(
        "{ viewer { email account { id } } }", secret=signed_in["data"]["signIn"]["sessionSecret"]
    )
    told = {"email": "new@example.com", "account": {"id": account["id"]}}
    assert viewer["data"]["viewer"] == told
    for person, sees in ((people.operator, True), (people.other_reseller, False)):
        read = await graphql(
            "query($id: ID!) { account(id: $id) { id } }", secret=person.secret, id=account["id"]
        )
        assert read["data"]["account"] == ({"id": account["id"]} if sees else None)


@pytest.mark.parametrize(
    ("who", "fields", "code", "field"),
    [
        ("customer", {}, "FORBIDDEN", None),
        ("reseller", {"kind": "RESELLER"}, "FORBIDDEN", None),
        ("reseller", {"kind": "OPERATOR"}, "FORBIDDEN", None),
        ("operator", {"kind": "OPERATOR"}, "FORBIDDEN", None),
        ("reseller", {"resellerId": "other_reseller"}, "NOT_FOUND", None),
        ("operator", {"resellerId": "customer"}, "INVALID_INPUT", "resellerId"),
        ("operator", {"kind": "RESELLER", "resellerId": "reseller"}, "INVALID_INPUT", "resellerId"),
        ("reseller", {"grantableScopes": ["DNS:read"]}, "SCOPE_NOT_GRANTABLE", "grantableScopes"),
        ("reseller", {"name": ""}, "INVALID_INPUT", "name"),
        ("reseller", {"name": "x" * 101}, "INVALID_INPUT", "name"),
        ("reseller", {"email": "a@x.example, b@x.example"}, "INVALID_INPUT", "email"),
        ("reseller", {"password": "elevenchars"}, "INVALID_INPUT", "password"),
        ("reseller", {"password": "x" * 201}, "INVALID_INPUT", "password"),
    ],
)
async def test_an_account_that_may_not_be_is_refused_and_nothing_is_left_of_it(
    who: str,
    fields: dict[str, Any],
    code: str,
    field: str | None,
    people: People,
    graphql: GraphQL,
    owner: asyncpg.Connection,
) -> None:
    fields = dict(fields)
    if "resellerId" in fields:
        fields["resellerId"] = getattr(people, fields["resellerId"]).account_id
    before = await fingerprint(owner)

    refused = await create(graphql, getattr(people, who), **fields)

    assert refused == {"account": None, "userErrors": [{"code": code, "field": field}]}
    assert await fingerprint(owner) == before


async def test_an_address_signs_in_in_one_place_however_it_is_written(
    people: People, graphql: GraphQL, owner: asyncpg.Connection
) -> None:
    before = await fingerprint(owner)

    refused = await create(graphql, people.reseller, email=people.stranger.email.upper())

    assert refused["userErrors"] == [{"code": "EMAIL_TAKEN", "field": "email"}]
    assert await fingerprint(owner) == before


async def test_an_account_is_given_no_more_than_the_one_above_may_grant(
    service: Service, people: People, graphql: GraphQL
) -> None:
    narrow = await make_person(
        service,
        people.operator.actor,
        AccountKind.RESELLER,
        grantable_scopes=("accounts:*", "dns:*", "tokens:*"),
    )

    by_default = await create(graphql, narrow)
    refused = await create(graphql, narrow, email="b@example.com", grantableScopes=["mail:read"])
    all_of_it = await create(graphql, narrow, email="c@example.com", grantableScopes=["*"])
    fewer = await create(graphql, narrow, email="d@example.com", grantableScopes=["dns:read"])

    assert by_default["account"]["grantableScopes"] == ["accounts:*", "dns:*", "tokens:*"]
    for answer in (refused, all_of_it):
        told = [{"code": "SCOPE_NOT_GRANTABLE", "field": "grantableScopes"}]
        assert answer["userErrors"] == told
    assert fewer["account"]["grantableScopes"] == ["dns:read"]


async def test_a_resellers_caps_bind_its_customers_live(
    service: Service, people: People, graphql: GraphQL, owner: asyncpg.Connection
) -> None:
    """What the reseller loses, its customers' tokens lose, though their rows say otherwise."""
    scopes = ("dns:*", "mail:read", "tokens:*")
    token = await make_token(service, people.customer.actor, scopes=scopes)
    caps = ["dns:read", "tokens:write", "tokens:read"]
    # The token has not been used yet, so that no validator remembers wider rights.
    await owner.execute(
        "UPDATE account SET grantable_scopes = $1 WHERE id = $2",
        caps,
        people.reseller.actor.account_id,
    )

    viewer = await graphql("{ viewer { scopes account { grantableScopes } } }", secret=token.secret)
    listed = await graphql("{ availableScopes }", secret=token.secret)
    minted = await graphql(
        'mutation($scopes: [String!]!) { createToken(input: {name: "new", scopes: $scopes})'
        " { userErrors { code } } }",
        secret=token.secret,
        scopes=["mail:read"],
    )

    assert viewer["data"]["viewer"]["scopes"] == ["dns:read", "tokens:read", "tokens:write"]
    assert viewer["data"]["viewer"]["account"]["grantableScopes"] == sorted(caps)
    assert listed["data"]["availableScopes"] == sorted(caps)
    assert minted["data"]["createToken"]["userErrors"] == [{"code": "SCOPE_NOT_GRANTABLE"}]


async def test_the_accounts_of_other_peoples_tokens_need_the_scope_for_accounts(
    service: Service, people: People, graphql: GraphQL
) -> None:
    """The way through a token leads to no more than the way straight to the account."""
    await make_token(service, people.customer.actor)
    narrow = await make_token(service, people.reseller.actor, scopes=("tokens:read",))
    wide = await make_token(service, people.reseller.actor, scopes=("tokens:read", "accounts:read"))
    query = "{ tokens(first: 9) { edges { node { account { name } } } } }"

    refused = await graphql(query, secret=narrow.secret)
    told = await graphql(query, secret=wide.secret)

    assert refused["data"] is None
    assert {error["extensions"]["code"] for error in refused["errors"]} == {"INSUFFICIENT_SCOPE"}
    assert len(told["data"]["tokens"]["edges"]) == 3


async def test_accounts_page_by_name_without_gap_or_double(
    service: Service, people: People, graphql: GraphQL
) -> None:
    for name in ("b", "a", "a", "ä", "Z"):
        await make_person(service, people.reseller.actor, AccountKind.CUSTOMER, name=name)
    query = (
        "query($first: Int!, $after: String) { accounts(first: $first, after: $after)"
        " { edges { node { id name } } pageInfo { hasNextPage endCursor } } }"
    )

    for size in (1, 3, 7):
        nodes: list[dict[str, str]] = []
        after, more = None, True
        while more:
            answer = await graphql(query, secret=people.reseller.secret, first=size, after=after)
            page = answer["data"]["accounts"]
            nodes += [edge["node"] for edge in page["edges"]]
            after, more = page["pageInfo"]["endCursor"], page["pageInfo"]["hasNextPage"]
        assert len({node["id"] for node in nodes}) == len(nodes) == 7
        whole = await graphql(query, secret=people.reseller.secret, first=100)
        assert nodes == [edge["node"] for edge in whole["data"]["accounts"]["edges"]]
