"""Suspending, resuming and closing accounts through GraphQL."""

from typing import Any

import asyncpg
import pytest
from conftest import FrozenClock, GraphQL
from edge_scene import People, Person, bearer, fingerprint
from factories import PASSWORD, make_token
from httpx2 import AsyncClient
from stores import eventually

from service.composition import Service

CHANGED = (
    "{ account { id status suspendedAt closedAt }"
    " propagation { state confirmedAt effectiveEverywhereBy }"
    " userErrors { code field message } }"
)
BY_ID = {
    verb: f"mutation($id: ID!) {{ {verb}Account(input: {{id: $id}}) {CHANGED} }}"
    for verb in ("suspend", "resume")
}
CLOSE = (
    "mutation($id: ID!, $name: String!) { closeAccount(input: {id: $id, expectedName: $name})"
    f" {CHANGED} }}"
)
ACCOUNT = "query($id: ID!) { account(id: $id) { name status suspendedAt closedAt } }"
VIEWER = "{ viewer { account { id } } }"

SOON = 1.0  # well below the lease


@pytest.fixture
async def people(service: Service) -> People:
    return await People.make(service)


async def change(graphql: GraphQL, verb: str, by: Person, whom: Person) -> dict[str, Any]:
    """Run one of the three mutations; return its payload."""
    if verb == "close":
        name = (await read(graphql, by, whom))["name"]
        answer = await graphql(CLOSE, secret=by.secret, id=whom.account_id, name=name)
    else:
        answer = await graphql(BY_ID[verb], secret=by.secret, id=whom.account_id)
    assert "errors" not in answer, answer
    return next(iter(answer["data"].values()))


async def read(graphql: GraphQL, by: Person, whom: Person) -> dict[str, Any]:
    answer = await graphql(ACCOUNT, secret=by.secret, id=whom.account_id)
    return answer["data"]["account"]  # type: ignore[no-any-return] # JSON


async def test_an_account_tells_since_when_it_is_suspended_and_the_receipt_tells_by_when(
    people: People, graphql: GraphQL, clock: FrozenClock
) -> None:
    suspended_at = clock.now().isoformat()

    suspended = await change(graphql, "suspend", people.reseller, people.customer)
    clock.advance(minutes=1)
    again = await change(graphql, "suspend", people.operator, people.customer)

    told = {"status": "SUSPENDED", "suspendedAt": suspended_at, "closedAt": None}
    for payload in (suspended, again):
        assert payload["userErrors"] == []
        assert payload["account"] == {"id": people.customer.account_id} | told
        assert payload["propagation"]["state"] in {"CONFIRMED", "APPLIED"}
        assert payload["propagation"]["confirmedAt"] is not None
    by = suspended["propagation"]["effectiveEverywhereBy"]
    assert suspended_at < by < again["propagation"]["effectiveEverywhereBy"]
    seen = await read(graphql, people.reseller, people.customer)
    assert seen == {"name": seen["name"]} | told

    resumed = await change(graphql, "resume", people.reseller, people.customer)

    assert resumed["account"] == {
        "id": people.customer.account_id,
        "status": "ACTIVE",
        "suspendedAt": None,
        "closedAt": None,
    }


async def test_a_suspended_account_is_signed_out_and_may_go_on_where_it_was_once_resumed(
    people: People, graphql: GraphQL, http: AsyncClient, service: Service
) -> None:
    """Its sessions and its tokens, at every edge; by nothing of its own can it come back."""
    token = await make_token(service, people.customer.actor)
    opens = {"session": people.customer.secret, "token": token.secret}

    async def answers() -> dict[str, object]:
        viewer = await graphql(VIEWER, secret=opens["session"])
        validated = await http.get("/validate", headers=bearer(opens["token"]))
        return {
            "session": viewer["data"]["viewer"] is not None,
            "token": validated.status_code,
        }

    async def become(expected: dict[str, object]) -> None:
        async def are_so() -> bool:
            return await answers() == expected

        await eventually(are_so, seconds=SOON)

    assert await answers() == {"session": True, "token": 200}

    await change(graphql, "suspend", people.operator, people.reseller)

    await become({"session": False, "token": 401})
    own = await graphql(
        BY_ID["resume"], secret=people.reseller.secret, id=people.reseller.account_id
    )
    theirs = await graphql(
        BY_ID["resume"], secret=people.reseller.secret, id=people.customer.account_id
    )
    for answer in (own, theirs):
        [refusal] = answer["data"]["resumeAccount"]["userErrors"]
        assert refusal["code"] == "UNAUTHENTICATED"
    signed_in = await graphql(
        "mutation($input: SignInInput!) { signIn(input: $input) { userErrors { code } } }",
        input={"email": people.reseller.email, "password": PASSWORD},
    )
    assert signed_in["data"]["signIn"]["userErrors"] == [{"code": "SIGN_IN_FAILED"}]

    await change(graphql, "resume", people.operator, people.reseller)

    await become({"session": True, "token": 200})


async def test_what_is_closed_is_closed_for_good_and_closing_it_again_is_harmless(
    people: People, graphql: GraphQL, clock: FrozenClock, owner: asyncpg.Connection
) -> None:
    closed_at = clock.now().isoformat()
    closed = await change(graphql, "close", people.reseller, people.customer)
    clock.advance(minutes=1)
    before = await fingerprint(owner)

    for verb in ("suspend", "resume"):
        refused = await change(graphql, verb, people.operator, people.customer)
        [error] = refused.pop("userErrors")
        assert (error["code"], error["field"]) == ("ACCOUNT_CLOSED", None)
        assert refused == {"account": None, "propagation": None}

    assert await fingerprint(owner) == before
    again = await change(graphql, "close", people.operator, people.customer)
    told = {"id": people.customer.account_id, "status": "CLOSED"}
    assert closed["account"] == told | {"suspendedAt": None, "closedAt": closed_at}
    assert again["account"] == closed["account"]


@pytest.mark.parametrize("wrong", ["", "customer", " {}", "{} "])
async def test_a_closing_is_confirmed_by_the_accounts_name(
    wrong: str, people: People, graphql: GraphQL, owner: asyncpg.Connection
) -> None:
    name = (await read(graphql, people.reseller, people.customer))["name"]
    before = await fingerprint(owner)

    answer = await graphql(
        CLOSE,
        secret=people.reseller.secret,
        id=people.customer.account_id,
        name=wrong.format(name),
    )

    refused = answer["data"]["closeAccount"]
    [error] = refused.pop("userErrors")
    assert (error["code"], error["field"]) == ("INVALID_INPUT", "expectedName")
    assert name not in error["message"]
    assert refused == {"account": None, "propagation": None}
    assert await fingerprint(owner) == before


@pytest.mark.parametrize("who", ["operator", "reseller", "customer"])
async def test_nobody_suspends_resumes_or_closes_their_own_account(
    who: str, service: Service, people: People, graphql: GraphQL, owner: asyncpg.Connection
) -> None:
    person: Person = getattr(people, who)
    token = await make_token(service, person.actor, scopes=("*",))
    name = (await read(graphql, people.operator, person))["name"]
    before = await fingerprint(owner)

    for secret in (person.secret, token.secret):
        for query in (*BY_ID.values(), CLOSE):
            variables = {"id": person.account_id} | ({"name": name} if query is CLOSE else {})
            answer = await graphql(query, secret=secret, **variables)
            [payload] = answer["data"].values()
            assert [error["code"] for error in payload["userErrors"]] == ["FORBIDDEN"]

    assert await fingerprint(owner) == before
