"""The receipt of a change of many tokens, as a page follows it: told, watched, read and listed."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from conftest import GraphQL
from edge_scene import People
from factories import make_token
from job_scene import begin, ids_of, make_tokens
from live_scene import Web, opened_web, progress
from stores import begin_long_ago
from test_query_counts import counted

from schema import node_ids
from service.access.jobs import JobKind
from service.composition import Service
from service.settings import Settings
from service.validator import Validator

PROPAGATION = "propagation { id state effectiveEverywhereBy validatorsKnown validatorsApplied }"
REVOKE = (
    "mutation($ids: [ID!]) { revokeTokens(input: {selection: {ids: $ids}})"
    f" {{ job {{ id {PROPAGATION} }} userErrors {{ code }} }} }}"
)
JOB = f"query($id: ID!) {{ job(id: $id) {{ effectiveEverywhereBy {PROPAGATION} }} }}"
READ = "query($id: ID!) { propagation(id: $id) { id state } node(id: $id) { id } }"


@pytest.fixture
async def people(service: Service) -> People:
    await begin_long_ago(service.cache.redis)
    return await People.make(service)


@pytest.fixture
async def web(
    settings: Settings, service: Service, validator: Validator, people: People
) -> AsyncIterator[Web]:
    async with opened_web(settings, service, validator, people) as opened:
        yield opened


async def revoke(service: Service, graphql: GraphQL, people: People, count: int) -> dict[str, Any]:
    """Have a customer ask for a job; return it as the mutation told it."""
    tokens = await make_tokens(service, people.customer.actor, count)
    ids = [node_ids.encode(node_ids.TOKEN, token_id) for token_id in ids_of(tokens)]
    answer = await graphql(REVOKE, secret=people.customer.secret, ids=ids)
    payload = answer["data"]["revokeTokens"]
    assert payload["userErrors"] == []
    return payload["job"]  # type: ignore[no-any-return] # JSON


async def test_a_job_tells_its_receipt_from_the_beginning_and_it_is_watched_to_the_end(
    web: Web, people: People, service: Service, graphql: GraphQL
) -> None:
    job = await revoke(service, graphql, people, 3)
    receipt = job["propagation"]["id"]
    assert job["propagation"]["state"] == "PENDING"
    stream = web.events(people.customer.secret, id=receipt)
    assert progress(await anext(stream))["state"] == "PENDING"

    await service.job_runs.run_due(batch=2)

    *news, end = [event async for event in stream]
    assert end == ("complete", {})
    last = progress(news[-1])
    assert (last["id"], last["state"]) == (receipt, "APPLIED")
    assert last["validatorsKnown"] == last["validatorsApplied"] == 1
    told = (await graphql(JOB, secret=people.reseller.secret, id=job["id"]))["data"]["job"]
    assert (told["propagation"]["id"], told["propagation"]["state"]) == (receipt, "APPLIED")
    assert told["propagation"]["effectiveEverywhereBy"] == told["effectiveEverywhereBy"]
    read = (await graphql(READ, secret=people.customer.secret, id=receipt))["data"]
    assert read == {"propagation": {"id": receipt, "state": "APPLIED"}, "node": {"id": receipt}}
    foreign = (await graphql(READ, secret=people.stranger.secret, id=receipt))["data"]
    assert foreign == {"propagation": None, "node": None}


async def test_a_dry_run_and_a_job_that_changed_nothing_have_no_receipt(
    people: People, service: Service, graphql: GraphQL
) -> None:
    token = await make_token(service, people.customer.actor)
    job = await begin(service, people.customer.actor, JobKind.RESUME, token.token.id)
    job_id = node_ids.encode(node_ids.JOB, job.id)
    before = await graphql(JOB, secret=people.customer.secret, id=job_id)
    dry_run = await graphql(
        f"mutation {{ revokeTokens(input: {{selection: {{filter: {{}}}}, dryRun: true}})"
        f" {{ preview {{ count }} job {{ {PROPAGATION} }} }} }}",
        secret=people.customer.secret,
    )

    await service.job_runs.run_due()

    after = await graphql(JOB, secret=people.customer.secret, id=job_id)
    assert before["data"]["job"]["propagation"]["state"] == "PENDING"
    assert after["data"]["job"]["propagation"] is None
    assert dry_run["data"]["revokeTokens"] == {"preview": {"count": 1}, "job": None}


async def test_who_may_write_and_not_read_makes_a_job_and_sees_no_receipt(
    people: People, service: Service, graphql: GraphQL
) -> None:
    writer = await make_token(service, people.customer.actor, scopes=("tokens:write",))
    own = node_ids.encode(node_ids.TOKEN, writer.token.id)

    answer = await graphql(REVOKE, secret=writer.secret, ids=[own])

    assert answer["data"]["revokeTokens"]["job"]["propagation"] is None
    assert [error["extensions"]["code"] for error in answer["errors"]] == ["INSUFFICIENT_SCOPE"]


@pytest.mark.parametrize("count", [1, 5])
async def test_a_page_of_jobs_with_their_receipts_is_two_statements_for_any_number(
    count: int, people: People, service: Service, graphql: GraphQL
) -> None:
    for _ in range(count):
        [token] = await make_tokens(service, people.customer.actor, 1)
        await begin(service, people.customer.actor, JobKind.REVOKE, token.token.id)
    await service.job_runs.run_due()

    with counted() as statements:
        answer = await graphql(
            f"{{ jobs(first: 10) {{ edges {{ node {{ {PROPAGATION} }} }} }} }}",
            secret=people.reseller.secret,
        )

    edges = answer["data"]["jobs"]["edges"]
    states = [edge["node"]["propagation"]["state"] for edge in edges]
    assert len(states) == count
    assert set(states) <= {"CONFIRMED", "APPLIED"}
    assert len(statements) == 2, "\n".join(statements)
