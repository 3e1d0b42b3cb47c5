"""What happens is told to whoever watches: all of it, once, at once, and nobody else's."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from typing import Any, cast
from uuid import uuid4

import pytest
from edge_scene import People, Person, assert_leaks_nothing
from factories import make_token
from job_scene import begin
from live_scene import Event, Live, Web, opened_web, refusal
from stores import eventually
from test_query_counts import counted

from schema import node_ids
from service.access.jobs import JobKind
from service.cache import open_cache
from service.composition import Service, compose
from service.settings import Settings
from service.validator import Validator, open_validator

TOKENS = (
    "subscription($after: String, $account: ID) { tokenEvents(after: $after, accountId: $account)"
    " { cursor event { action subjectId details actor { accountName } } token { id name } } }"
)
ACCOUNTS = (
    "subscription($after: String) { accountEvents(after: $after)"
    " { cursor event { action } account { id status } } }"
)
JOB = "subscription($id: ID!) { jobProgress(id: $id) { id state total succeeded } }"


@pytest.fixture
async def people(service: Service) -> People:
    made = await People.make(service)
    await service.sealer.seal()
    return made


@pytest.fixture
async def web(
    settings: Settings, service: Service, validator: Validator, people: People
) -> AsyncIterator[Web]:
    async with opened_web(settings, service, validator, people) as opened:
        yield opened


@pytest.fixture
async def other_web(settings: Settings, service: Service, people: People) -> AsyncIterator[Web]:
    """Another process: it shares the stores alone."""
    async with (
        open_cache(settings) as cache,
        open_validator(settings, clock=service.clock) as validator,
        opened_web(settings, compose(settings, cache, service.clock), validator, people) as opened,
    ):
        yield opened


async def make(web: Web, person: Person, name: str) -> str:
    """Create a token in one process, and seal it there; return its global id."""
    created = await make_token(web.service, person.actor, name=name)
    await web.service.sealer.seal()
    return node_ids.encode(node_ids.TOKEN, created.token.id)


async def heard(live: Live, field: str = "tokenEvents") -> dict[str, Any]:
    """Return the next step of the trail."""
    message = await live.hear()
    assert message["type"] == "next", message
    assert "errors" not in message["payload"], message
    return cast(dict[str, Any], message["payload"]["data"][field])


def told(event: Event, field: str = "tokenEvents") -> dict[str, Any]:
    assert event[0] == "next"
    assert "errors" not in event[1], event
    return cast(dict[str, Any], event[1]["data"][field])


async def test_what_happens_in_one_process_is_told_by_another_over_either_transport(
    web: Web, other_web: Web
) -> None:
    secret = web.people.customer.secret
    async with other_web.known(secret) as live:
        await live.subscribe(TOKENS)
        assert (await heard(live))["event"] is None
        async with aclosing(cast(Any, other_web.events(secret, TOKENS))) as stream:
            assert told(await anext(stream))["event"] is None

            token_id = await make(web, web.people.customer, "new")

            by_socket, by_event = await heard(live), told(await anext(stream))

    assert by_socket == by_event
    assert by_socket["token"] == {"id": token_id, "name": "new"}
    assert (by_socket["event"]["action"], by_socket["event"]["subjectId"]) == (
        "token.created",
        token_id,
    )
    assert by_socket["event"]["actor"] is not None


async def test_after_a_cut_nothing_is_lost_and_nothing_comes_twice(
    web: Web, other_web: Web
) -> None:
    secret = web.people.customer.secret
    async with web.known(secret) as live:
        await live.subscribe(TOKENS)
        begun = (await heard(live))["cursor"]

    for name in ("one", "two", "three"):
        await make(web, web.people.customer, name)

    async with other_web.known(secret) as live:
        await live.subscribe(TOKENS, after=begun)
        first = await heard(live)
        steps = [await heard(live) for _ in range(3)]
        await live.subscribe(TOKENS, "again", after=steps[1]["cursor"])
        again = [await heard(live) for _ in range(2)]

    assert (first["cursor"], first["event"]) == (begun, None)
    assert [step["token"]["name"] for step in steps] == ["one", "two", "three"]
    assert again[1]["token"]["name"] == "three"


async def test_each_hears_of_its_own_reach_alone(web: Web) -> None:
    people = web.people
    listeners = (people.operator, people.reseller, people.customer, people.stranger)
    heard_by: dict[str, list[str]] = {}

    async with (
        web.known(people.operator.secret) as operator,
        web.known(people.reseller.secret) as reseller,
        web.known(people.customer.secret) as customer,
        web.known(people.stranger.secret) as stranger,
    ):
        lives = (operator, reseller, customer, stranger)
        for live in lives:
            await live.subscribe(TOKENS)
            await heard(live)
        for person, name in (
            (people.customer, "ours"),
            (people.sibling, "our sibling's"),
            (people.stranger, "theirs"),
        ):
            await make(web, person, name)
        for live, person, count in zip(lives, listeners, (3, 2, 1, 1), strict=True):
            steps = [await heard(live) for _ in range(count)]
            heard_by[person.email] = [step["token"]["name"] for step in steps]

    assert list(heard_by.values()) == [
        ["ours", "our sibling's", "theirs"],
        ["ours", "our sibling's"],
        ["ours"],
        ["theirs"],
    ]


async def test_an_event_costs_its_fixed_number_of_statements_however_many_watch(
    web: Web, service: Service
) -> None:
    """The sealer's five, and one read of the event and one of the token for all of a reach."""
    people = web.people
    counts = []
    async with AsyncExitStack() as opened:
        for watchers in (1, 9):
            lives = [
                await opened.enter_async_context(web.known(people.reseller.secret))
                for _ in range(watchers)
            ]
            for live in lives:
                await live.subscribe(TOKENS)
                await heard(live)
            await make_token(service, people.customer.actor)
            with counted() as statements:
                await service.sealer.seal()
                await asyncio.gather(*map(heard, lives))
                await eventually(lambda: are_quiet(service), seconds=5)
            # Where there is news is asked once for the process, and by itself every two seconds.
            counts.append(sum("SELECT position, account_id" not in one for one in statements))

    assert counts == [7, 7]


async def are_quiet(service: Service) -> bool:
    news = service.trail.news
    return not news._reads and all(one._news._waiters for one in news._followers)  # noqa: SLF001 - nothing else tells


async def test_one_account_is_watched_alone_and_a_foreign_one_is_missing(web: Web) -> None:
    people = web.people
    async with web.known(people.reseller.secret) as live:
        await live.subscribe(TOKENS, account=people.customer.account_id)
        await heard(live)
        await make(web, people.sibling, "another's")
        await make(web, people.customer, "its own")
        step = await heard(live)

    assert step["token"]["name"] == "its own"
    missing = node_ids.encode(node_ids.ACCOUNT, uuid4())
    for wrong in (people.stranger.account_id, people.other_reseller.account_id, missing, "x", ""):
        refused = await web.all(people.reseller.secret, TOKENS, account=wrong)
        assert refusal(refused) == "NOT_FOUND", wrong
    for foreign in (people.stranger.account_id, people.other_reseller.account_id):
        refused = await web.all(people.reseller.secret, TOKENS, account=foreign)
        absent = await web.all(people.reseller.secret, TOKENS, account=missing)
        assert refused == absent


async def test_a_senseless_cursor_is_refused(web: Web) -> None:
    for cursor in ("", "x", "§", "0", "x" * 5000, web.people.customer.account_id):
        refused = await web.all(web.people.customer.secret, TOKENS, after=cursor)

        assert refusal(refused) == "INVALID_INPUT", cursor
        assert_leaks_nothing(str(refused))


async def test_without_the_right_to_the_trail_who_did_it_is_not_told(web: Web) -> None:
    customer = web.people.customer
    narrow = await make_token(web.service, customer.actor, scopes=("tokens:read",))
    none = await make_token(web.service, customer.actor, scopes=("dns:read",))
    await web.service.sealer.seal()

    async with web.known(narrow.secret) as live:
        await live.subscribe(TOKENS)
        await heard(live)
        await make(web, customer, "new")
        event = (await heard(live))["event"]
        await live.subscribe(ACCOUNTS, "accounts")
        refused = await live.hear()

    assert (event["action"], event["actor"], event["details"]) == ("token.created", None, {})
    [error] = refused["payload"]["errors"]
    assert error["extensions"]["code"] == "INSUFFICIENT_SCOPE"
    assert refusal(await web.all(none.secret, TOKENS)) == "INSUFFICIENT_SCOPE"
    assert refusal(await web.all(None, TOKENS)) == "UNAUTHENTICATED"


async def test_what_has_moved_away_is_told_to_its_old_reseller_no_more(web: Web) -> None:
    people, service = web.people, web.service
    moved = people.customer.actor.account_id
    new = people.other_reseller.actor.account_id
    await service.sessions.confirm_password(people.operator.actor, "correct horse battery")

    async with (
        web.known(people.reseller.secret) as old_live,
        web.known(people.other_reseller.secret) as new_live,
    ):
        for live in (old_live, new_live):
            await live.subscribe(TOKENS)
            await heard(live)
        await service.account_moves.move(people.operator.actor, moved, new)
        await make(web, people.customer, "after the move")
        await make(web, people.sibling, "of who stayed")
        old_heard, new_heard = await heard(old_live), await heard(new_live)

    assert old_heard["token"]["name"] == "of who stayed"
    assert new_heard["token"]["name"] == "after the move"


async def test_accounts_are_watched_with_what_they_are_now(web: Web) -> None:
    people = web.people
    async with web.known(people.reseller.secret) as live:
        await live.subscribe(ACCOUNTS)
        assert await heard(live, "accountEvents") == {
            "cursor": (await resumed(web, people.reseller, ACCOUNTS)),
            "event": None,
            "account": None,
        }
        await web.service.accounts.suspend(people.reseller.actor, people.customer.actor.account_id)
        await web.service.sealer.seal()
        step = await heard(live, "accountEvents")

    assert step["event"]["action"] == "account.suspended"
    assert step["account"] == {"id": people.customer.account_id, "status": "SUSPENDED"}


async def resumed(web: Web, person: Person, query: str) -> str:
    """Return the cursor of now."""
    async with aclosing(cast(Any, web.events(person.secret, query))) as stream:
        return str(told(await anext(stream), "accountEvents")["cursor"])


async def test_a_job_is_watched_to_its_end_by_who_reaches_it(web: Web) -> None:
    people = web.people
    token = await make_token(web.service, people.customer.actor)
    job = await begin(web.service, people.reseller.actor, JobKind.REVOKE, token.token.id)
    job_id = node_ids.encode(node_ids.JOB, job.id)
    stream = web.events(people.reseller.secret, JOB, id=job_id)

    first = told(await anext(stream), "jobProgress")
    await web.service.job_runs.run_due()
    *_, last, end = [event async for event in stream]

    assert first == {"id": job_id, "state": "QUEUED", "total": 1, "succeeded": 0}
    assert told(last, "jobProgress") == {
        "id": job_id,
        "state": "DONE",
        "total": 1,
        "succeeded": 1,
    }
    assert end == ("complete", {})
    for person in (people.customer, people.other_reseller):
        assert refusal(await web.all(person.secret, JOB, id=job_id)) == "NOT_FOUND"
