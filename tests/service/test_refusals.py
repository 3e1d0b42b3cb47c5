"""Wrong passwords and attempts at what one may not do are told, and cannot flood the trail."""

import asyncio
from typing import Any

import asyncpg
import pytest
from conftest import GraphQL
from edge_scene import People
from factories import PASSWORD, actor_of, make_token

from schema import node_ids
from service.cache import Cache, hot_client
from service.composition import Service, compose
from service.errors import InsufficientScope, SignInFailed
from service.refusals import TELLING_MAX
from service.settings import Settings

WRONG = "not the right password"


@pytest.fixture
async def people(service: Service) -> People:
    return await People.make(service)


async def told(owner: asyncpg.Connection, action: str) -> list[dict[str, Any]]:
    rows = await owner.fetch(
        "SELECT *, details::text AS text FROM audit_event WHERE action = $1 ORDER BY id", action
    )
    return [dict(row) for row in rows]


async def try_to_sign_in(service: Service, email: str, address: str) -> None:
    with pytest.raises(SignInFailed):
        await service.sessions.sign_in(email, WRONG, address=address, request_id="test")


async def test_a_wrong_password_is_told_to_the_account_of_its_member(
    service: Service, people: People, owner: asyncpg.Connection
) -> None:
    await try_to_sign_in(service, people.customer.email.upper(), "198.51.100.1")
    await service.refusals.settle()

    [event] = await told(owner, "session.refused")
    actor = people.customer.actor
    assert (event["account_id"], event["reseller_id"]) == (actor.account_id, actor.reseller_id)
    assert (event["subject_id"], event["address"]) == (actor.member_id, "198.51.100.1")
    assert event["request_id"] == "test"
    # Nobody knows who it was.
    assert (event["actor_account_id"], event["actor_member_id"]) == (None, None)
    assert WRONG not in event["text"]


async def test_a_wrong_password_is_told_once_a_minute_per_member_and_address(
    service: Service, people: People, owner: asyncpg.Connection
) -> None:
    for address in ("198.51.100.1", "198.51.100.1", "198.51.100.2"):
        await try_to_sign_in(service, people.customer.email, address)
    await try_to_sign_in(service, people.stranger.email, "198.51.100.1")
    await service.refusals.settle()
    events = await told(owner, "session.refused")

    for key in await service.cache.redis.keys("refused:*"):
        assert 0 < await service.cache.redis.ttl(key) <= 60
        await service.cache.redis.delete(key)  # a minute later
    await try_to_sign_in(service, people.customer.email, "198.51.100.1")
    await service.refusals.settle()

    assert len(events) == 3
    assert len(await told(owner, "session.refused")) == 4


@pytest.mark.usefixtures("people")
async def test_of_nobodys_address_nothing_is_told(
    service: Service, owner: asyncpg.Connection
) -> None:
    await try_to_sign_in(service, "nobody@example.com", "198.51.100.1")
    await service.refusals.settle()

    assert await told(owner, "session.refused") == []


async def test_the_answer_to_a_wrong_password_does_not_wait_for_the_trail(
    service: Service, people: People, owner: asyncpg.Connection
) -> None:
    """So that it takes as long where nobody has the address."""
    async with owner.transaction():
        await owner.execute("LOCK TABLE audit_event IN ACCESS EXCLUSIVE MODE")

        async with asyncio.timeout(0.9):  # told within a second, or not at all
            await try_to_sign_in(service, people.customer.email, "198.51.100.1")

        assert service.refusals._telling  # noqa: SLF001 - nothing else tells
    await service.refusals.settle()


async def test_no_more_than_so_many_are_told_at_a_time(service: Service) -> None:
    for number in range(TELLING_MAX + 50):
        service.refusals.tell_sign_in(f"nobody{number}@example.com", address=None, request_id=None)

    assert len(service.refusals._telling) == TELLING_MAX  # noqa: SLF001 - nothing else tells
    await service.refusals.settle()
    assert service.refusals._telling == set()  # noqa: SLF001 - as above


REVOKE = "mutation($id: ID!) { revokeToken(input: {id: $id}) { userErrors { code } } }"
RENAME = 'mutation($id: ID!) { renameToken(input: {id: $id, name: "x"}) { userErrors { code } } }'


async def test_mutations_without_the_scope_are_told_once_a_minute_and_queries_never(
    service: Service, people: People, graphql: GraphQL, owner: asyncpg.Connection
) -> None:
    narrow = await make_token(service, people.customer.actor)
    token_id = node_ids.encode(node_ids.TOKEN, narrow.token.id)
    query = "query($id: ID!) { token(id: $id) { name } }"

    read = await graphql(query, secret=narrow.secret, id=token_id)
    untold = await told(owner, "request.refused")
    changed = [
        await graphql(mutation, secret=narrow.secret, id=token_id)
        for mutation in (REVOKE, REVOKE, RENAME)
    ]

    assert read["errors"][0]["extensions"]["code"] == "INSUFFICIENT_SCOPE"
    refusals = [next(iter(answer["data"].values()))["userErrors"] for answer in changed]
    assert refusals == [[{"code": "INSUFFICIENT_SCOPE"}]] * 3
    assert untold == []
    [event] = await told(owner, "request.refused")
    assert event["text"] == '{"code": "INSUFFICIENT_SCOPE", "operation": "revokeToken"}'
    assert event["actor_token_id"] == event["subject_id"] == narrow.token.id


async def test_what_a_credential_that_has_ended_tried_is_told_all_the_same(
    service: Service, people: People, owner: asyncpg.Connection
) -> None:
    narrow = await make_token(service, people.customer.actor)
    actor = await actor_of(service, narrow.secret)
    await service.tokens.revoke_own(actor)

    await service.refusals.tell_request(actor, InsufficientScope(), "revokeToken")

    [event] = await told(owner, "request.refused")
    assert event["actor_token_id"] == event["subject_id"] == narrow.token.id
    assert event["actor_account_id"] == people.customer.actor.account_id


async def test_what_a_caller_may_never_do_is_told_to_its_own_account(
    people: People, graphql: GraphQL, owner: asyncpg.Connection
) -> None:
    create = (
        'mutation { createAccount(input: {name: "New", email: "new@example.com",'
        ' password: "long enough it is"}) { userErrors { code } } }'
    )

    for person in (people.customer, people.customer, people.stranger):
        answer = await graphql(create, secret=person.secret)
        assert answer["data"]["createAccount"]["userErrors"] == [{"code": "FORBIDDEN"}]

    events = await told(owner, "request.refused")
    actors = [people.customer.actor, people.stranger.actor]
    assert [event["account_id"] for event in events] == [one.account_id for one in actors]
    assert [event["subject_id"] for event in events] == [one.token_id for one in actors]
    assert {event["text"] for event in events} == {
        '{"code": "FORBIDDEN", "operation": "createAccount"}'
    }
    assert {event["address"] for event in events} == {"192.0.2.7"}


async def test_other_refusals_and_those_of_nobody_are_not_told(
    people: People, graphql: GraphQL, owner: asyncpg.Connection
) -> None:
    nobody = await graphql(REVOKE, id="x")
    missing = await graphql(REVOKE, secret=people.customer.secret, id="x")

    codes = [one["data"]["revokeToken"]["userErrors"][0]["code"] for one in (nobody, missing)]
    assert codes == ["UNAUTHENTICATED", "NOT_FOUND"]
    assert await told(owner, "request.refused") == []


async def test_without_redis_nothing_is_told_and_every_answer_is_the_same(
    service: Service, settings: Settings, people: People, owner: asyncpg.Connection
) -> None:
    nowhere = Cache(hot_client("redis://127.0.0.1:1"), b"k" * 32, 4.0)
    cut_off = compose(settings, nowhere, service.clock, passwords=service.accounts.passwords)

    await try_to_sign_in(cut_off, people.customer.email, "198.51.100.1")
    await cut_off.refusals.settle()
    signed_in = await cut_off.sessions.sign_in(
        people.customer.email, PASSWORD, address="198.51.100.1", request_id="test"
    )

    assert signed_in.secret
    assert await told(owner, "session.refused") == []
