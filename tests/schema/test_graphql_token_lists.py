"""Lists of tokens: every page once, the right ones, and no further than one's reach."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from conftest import FrozenClock, GraphQL
from edge_scene import People, Person
from factories import make_token

from service.composition import Service

LIST = (
    "query($first: Int!, $after: String, $filter: ApiTokenFilter, $order: ApiTokenOrder) {"
    " tokens(first: $first, after: $after, filter: $filter, orderBy: $order) {"
    " edges { cursor node { id name status createdAt expiresAt lastUsedAt account { id } } }"
    " pageInfo { hasNextPage endCursor } } }"
)
KEYS = {
    "CREATED_AT": ("createdAt", ""),
    "EXPIRES_AT": ("expiresAt", "infinity"),  # never is the latest
    "NAME": ("name", ""),
    "LAST_USED_AT": ("lastUsedAt", ""),  # never used is the longest ago
}


@pytest.fixture
async def people(service: Service) -> People:
    return await People.make(service)


async def names(graphql: GraphQL, person: Person, **only: Any) -> set[str]:
    answer = await graphql(LIST, secret=person.secret, first=100, filter=only)
    assert "errors" not in answer, answer
    return {edge["node"]["name"] for edge in answer["data"]["tokens"]["edges"]}


async def read_all(graphql: GraphQL, person: Person, size: int, **order: str) -> list[Any]:
    """Follow the pages to the end."""
    nodes: list[Any] = []
    after = None
    while True:
        answer = await graphql(LIST, secret=person.secret, first=size, after=after, order=order)
        page = answer["data"]["tokens"]
        nodes += [edge["node"] for edge in page["edges"]]
        after = page["pageInfo"]["endCursor"]
        assert after == page["edges"][-1]["cursor"]
        if not page["pageInfo"]["hasNextPage"]:
            return nodes
        assert len(page["edges"]) == size


@pytest.fixture
async def crowd(
    people: People, service: Service, clock: FrozenClock, owner: asyncpg.Connection
) -> People:
    """Tokens with equal keys and nulls in every order: made at three instants, four expiries."""
    for number in range(12):
        actor = (people.customer, people.sibling)[number % 2].actor
        days = (None, 10, 10, 20)[number % 4]
        await make_token(
            service,
            actor,
            name=f"name {number // 2}",
            expires_at=None
            if days is None
            else clock.now().replace(day=1, month=3, year=2031) + timedelta(days=days),
        )
        if number % 4 == 3:
            clock.advance(microseconds=1)
    await owner.execute(
        "UPDATE api_token SET last_used_at = created_at WHERE name IN ('name 1', 'name 2')"
    )
    return people


@pytest.mark.parametrize("direction", ["ASC", "DESC"])
@pytest.mark.parametrize("field", list(KEYS))
async def test_pages_hold_every_token_once_and_in_order_also_with_equal_keys_and_nulls(
    field: str, direction: str, crowd: People, graphql: GraphQL
) -> None:
    key, instead_of_null = KEYS[field]

    for size in (1, 5, 12):
        found = await read_all(graphql, crowd.reseller, size, field=field, direction=direction)

        assert len(found) == 12
        assert len({node["id"] for node in found}) == 12
        keys = [node[key] or instead_of_null for node in found]
        assert keys == sorted(keys, reverse=direction == "DESC")
        assert len(set(keys)) < 12, "the order has equal keys"


async def test_a_page_is_not_shaken_by_what_is_created_and_revoked_meanwhile(
    crowd: People, graphql: GraphQL, service: Service, clock: FrozenClock
) -> None:
    order = {"field": "CREATED_AT", "direction": "DESC"}
    secret = crowd.reseller.secret
    all_of_them = await read_all(graphql, crowd.reseller, 12, **order)
    first = await graphql(LIST, secret=secret, first=5, order=order)
    clock.advance(seconds=1)
    await make_token(service, crowd.customer.actor)

    after = first["data"]["tokens"]["pageInfo"]["endCursor"]
    rest = await graphql(LIST, secret=secret, first=100, after=after, order=order)

    seen = [edge["node"]["id"] for edge in rest["data"]["tokens"]["edges"]]
    assert seen == [node["id"] for node in all_of_them[5:]]


async def test_the_newest_comes_first_unless_another_order_is_asked_for(
    crowd: People, graphql: GraphQL
) -> None:
    default = await graphql(LIST, secret=crowd.reseller.secret, first=100)
    named = await read_all(graphql, crowd.reseller, 100, field="CREATED_AT", direction="DESC")

    assert [edge["node"] for edge in default["data"]["tokens"]["edges"]] == named


async def test_a_customer_lists_its_own_a_reseller_its_fleets_the_operator_all(
    people: People, service: Service, graphql: GraphQL
) -> None:
    who = ("operator", "reseller", "customer", "sibling", "other_reseller", "stranger")
    for name in who:
        await make_token(service, getattr(people, name).actor, name=name)

    async def sees(person: Person, wanted: Iterable[str]) -> None:
        assert await names(graphql, person) == set(wanted)

    await sees(people.customer, ["customer"])
    await sees(people.sibling, ["sibling"])
    await sees(people.reseller, ["reseller", "customer", "sibling"])
    await sees(people.other_reseller, ["other_reseller", "stranger"])
    await sees(people.operator, who)
    of_sibling = people.sibling.account_id
    assert await names(graphql, people.reseller, accountId=of_sibling) == {"sibling"}
    assert await names(graphql, people.customer, accountId=of_sibling) == set()
    assert await names(graphql, people.other_reseller, accountId=of_sibling) == set()


async def test_a_list_never_holds_a_session(
    people: People, graphql: GraphQL, owner: asyncpg.Connection
) -> None:
    assert await owner.fetchval("SELECT count(*) FROM api_token WHERE kind = 'SESSION'") > 5

    assert await names(graphql, people.operator) == set()


async def test_a_status_filters_what_it_tells(
    people: People, service: Service, graphql: GraphQL, clock: FrozenClock
) -> None:
    actor, now = people.customer.actor, clock.now()
    await make_token(service, actor, name="pending", not_before=now + timedelta(days=1))
    await make_token(service, actor, name="ACTIVE")
    suspended = await make_token(service, actor, name="suspended")
    await service.tokens.suspend(actor, suspended.token.id)
    await make_token(service, actor, name="expired", expires_at=now + timedelta(hours=1))
    revoked = await make_token(service, actor, name="revoked")
    await service.tokens.revoke(actor, revoked.token.id)
    late = await make_token(
        service, actor, name="suspended, then expired", expires_at=now + timedelta(hours=1)
    )
    await service.tokens.suspend(actor, late.token.id)
    clock.advance(hours=1)

    found = {
        status: await names(graphql, people.customer, status=status)
        for status in ("PENDING", "ACTIVE", "SUSPENDED", "EXPIRED", "REVOKED")
    }

    assert found == {
        "PENDING": {"pending"},
        "ACTIVE": {"ACTIVE"},
        "SUSPENDED": {"suspended"},
        "EXPIRED": {"expired", "suspended, then expired"},
        "REVOKED": {"revoked"},
    }
    answer = await graphql(LIST, secret=people.customer.secret, first=100)
    for edge in answer["data"]["tokens"]["edges"]:
        assert edge["node"]["name"] in found[edge["node"]["status"]]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("%", {"100% sure"}),
        ("_", {"snake_case"}),
        ("\\", {"back\\slash"}),
        ("'", {"o'clock"}),
        ("SNAKE", {"snake_case"}),
        ("a%e", set()),
        ("snake case", set()),
        ("", {"100% sure", "snake_case", "back\\slash", "o'clock", "plain"}),
    ],
)
async def test_a_name_is_searched_as_it_is_written(
    text: str, found: set[str], people: People, service: Service, graphql: GraphQL
) -> None:
    for name in ("100% sure", "snake_case", "back\\slash", "o'clock", "plain"):
        await make_token(service, people.customer.actor, name=name)

    assert await names(graphql, people.customer, nameContains=text) == found


async def test_filters_narrow_together_and_pages_keep_them(crowd: People, graphql: GraphQL) -> None:
    only = {"accountId": crowd.customer.account_id, "status": "ACTIVE", "nameContains": "name"}
    secret = crowd.reseller.secret
    first = await graphql(LIST, secret=secret, first=4, filter=only)
    after = first["data"]["tokens"]["pageInfo"]["endCursor"]
    rest = await graphql(LIST, secret=secret, first=4, after=after, filter=only)

    edges = first["data"]["tokens"]["edges"] + rest["data"]["tokens"]["edges"]
    assert len({edge["node"]["id"] for edge in edges}) == len(edges) == 6
    assert {edge["node"]["account"]["id"] for edge in edges} == {crowd.customer.account_id}
    assert rest["data"]["tokens"]["pageInfo"]["hasNextPage"] is False
