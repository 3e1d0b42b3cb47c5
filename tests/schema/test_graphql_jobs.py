"""Many tokens at once over GraphQL: look, do, watch item by item, call off."""

import json
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from conftest import GraphQL
from edge_scene import People, assert_leaks_nothing, fingerprint
from factories import make_token
from job_scene import begin, ids_of, make_tokens
from test_query_counts import counted

from schema import node_ids
from service.access.jobs import JobKind
from service.composition import Service

ERRORS = "userErrors { code field message }"
PREVIEW = (
    "preview { count countIsExact sample { id }"
    " breaking { tokensUsedWithinLast7Days accountsTouched } }"
)
CHANGE = f"{{ {PREVIEW} job {{ id kind state total }} missingIds {ERRORS} }}"
REVOKE = f"mutation($input: RevokeTokensInput!) {{ revokeTokens(input: $input) {CHANGE} }}"
SUSPEND = f"mutation($input: SuspendTokensInput!) {{ suspendTokens(input: $input) {CHANGE} }}"
EXTEND = f"mutation($input: ExtendTokensInput!) {{ extendTokens(input: $input) {CHANGE} }}"
JOB = """
query($id: ID!, $state: JobItemState, $after: String) {
  job(id: $id) {
    id kind state reason expiresAt byDays total succeeded skipped failed
    createdAt startedAt finishedAt errorCode effectiveEverywhereBy account { id }
    items(first: 2, state: $state, after: $after) {
      edges { node { tokenId state errorCode token { id status } } }
      pageInfo { hasNextPage endCursor }
    }
  }
}
"""


@pytest.fixture
async def people(service: Service) -> People:
    return await People.make(service)


def token_id(made: Any) -> str:
    return node_ids.encode(node_ids.TOKEN, made.token.id)


async def test_look_then_do_then_read_what_became_of_each(
    people: People, service: Service, graphql: GraphQL
) -> None:
    tokens = await make_tokens(service, people.customer.actor, 3)
    secret = people.reseller.secret
    selection = {"filter": {"accountId": people.customer.account_id, "status": "ACTIVE"}}

    looked = await graphql(REVOKE, secret=secret, input={"selection": selection, "dryRun": True})
    found = looked["data"]["revokeTokens"]
    assert found["preview"]["count"] == 3
    assert found["preview"]["countIsExact"] is True
    assert found["preview"]["breaking"] == {"tokensUsedWithinLast7Days": 0, "accountsTouched": 1}
    assert {token["id"] for token in found["preview"]["sample"]} == set(map(token_id, tokens))
    assert (found["job"], found["userErrors"]) == (None, [])
    asked = {"selection": selection, "expectedCount": 3, "reason": "LEAKED"}
    done = (await graphql(REVOKE, secret=secret, input=asked))["data"]["revokeTokens"]
    assert (done["preview"], done["userErrors"]) == (None, [])
    assert done["job"]["state"] == "QUEUED"
    await service.job_runs.run_due()

    job_id = done["job"]["id"]
    job = (await graphql(JOB, secret=secret, id=job_id))["data"]["job"]
    assert (job["state"], job["total"], job["succeeded"]) == ("DONE", 3, 3)
    assert (job["kind"], job["reason"], job["byDays"]) == ("REVOKE", "LEAKED", None)
    assert job["account"] == {"id": people.reseller.account_id}
    assert job["effectiveEverywhereBy"] > job["finishedAt"]
    page = job["items"]
    after = page["pageInfo"]["endCursor"]
    rest = await graphql(JOB, secret=secret, id=job_id, after=after, state=None)
    edges = [*page["edges"], *rest["data"]["job"]["items"]["edges"]]
    assert [edge["node"]["tokenId"] for edge in edges] == sorted(
        map(token_id, tokens), key=lambda text: node_ids.decode(node_ids.TOKEN, text)
    )
    assert {edge["node"]["token"]["status"] for edge in edges} == {"REVOKED"}
    assert rest["data"]["job"]["items"]["pageInfo"]["hasNextPage"] is False
    pending = await graphql(JOB, secret=secret, id=job_id, state="PENDING")
    assert pending["data"]["job"]["items"]["edges"] == []


async def test_what_is_not_found_is_told_once_in_the_form_it_was_sent_in(
    people: People, service: Service, graphql: GraphQL
) -> None:
    own = await make_token(service, people.customer.actor)
    foreign = await make_token(service, people.stranger.actor)
    missing = [
        token_id(foreign),
        node_ids.encode(node_ids.TOKEN, uuid4()),
        people.customer.account_id,
        "nonsense",
        "\0",
    ]
    selection = {"ids": [token_id(own), token_id(own), *missing, *missing]}

    for dry_run in (True, False):
        asked = {"selection": selection, "dryRun": dry_run}
        answer = await graphql(SUSPEND, secret=people.customer.secret, input=asked)

        told = answer["data"]["suspendTokens"]
        assert told["missingIds"] == missing
        assert (told["preview"] or {"count": 1})["count"] == 1
        assert (told["job"] or {"total": 1})["total"] == 1


@pytest.mark.parametrize(
    ("selection", "code", "field"),
    [
        ({}, "INVALID_INPUT", "selection"),
        ({"ids": None, "filter": None}, "INVALID_INPUT", "selection"),
        ({"ids": []}, "INVALID_INPUT", "ids"),
        ({"ids": ["nonsense"] * 1001}, "INVALID_INPUT", "ids"),
        ({"ids": ["nonsense"]}, "NOT_FOUND", None),
        ({"filter": {}}, "INVALID_INPUT", "expectedCount"),
        ({"filter": {}, "ids": ["nonsense"]}, "INVALID_INPUT", "selection"),
        # An account that is none finds nothing, and is as much of a filter as any.
        ({"filter": {}, "accountId": "nonsense"}, "INVALID_INPUT", "expectedCount"),
        ({"filter": {"accountId": "nonsense"}}, "INVALID_INPUT", "expectedCount"),
    ],
)
async def test_a_senseless_selection_is_a_refusal_and_changes_nothing(
    selection: dict[str, Any],
    code: str,
    field: str | None,
    people: People,
    graphql: GraphQL,
    owner: asyncpg.Connection,
) -> None:
    before = await fingerprint(owner)

    answer = await graphql(REVOKE, secret=people.operator.secret, input={"selection": selection})

    told = answer["data"]["revokeTokens"]
    [refusal] = told.pop("userErrors")
    assert (refusal["code"], refusal["field"]) == (code, field)
    assert not any(told.values())
    assert_leaks_nothing(json.dumps(answer))
    assert await fingerprint(owner) == before


async def test_more_than_expected_is_refused_by_its_code(
    people: People, service: Service, graphql: GraphQL
) -> None:
    await make_tokens(service, people.customer.actor, 2)

    asked = {"selection": {"filter": {}}, "expectedCount": 1}
    answer = await graphql(SUSPEND, secret=people.customer.secret, input=asked)

    [refusal] = answer["data"]["suspendTokens"]["userErrors"]
    assert (refusal["code"], refusal["field"]) == ("SELECTION_CHANGED", "expectedCount")


async def test_a_person_extends_and_sees_which_could_not_be(
    people: People, service: Service, graphql: GraphQL
) -> None:
    good = await make_token(service, people.customer.actor)
    last = await make_token(
        service, people.customer.actor, expires_at=service.clock.now().replace(year=9999)
    )
    asked = {"selection": {"ids": [token_id(good), token_id(last)]}, "byDays": 3_000}

    answer = await graphql(EXTEND, secret=people.customer.secret, input=asked)
    await service.job_runs.run_due()

    job_id = answer["data"]["extendTokens"]["job"]["id"]
    job = (await graphql(JOB, secret=people.customer.secret, id=job_id, state="FAILED"))["data"]
    assert (job["job"]["succeeded"], job["job"]["failed"]) == (1, 1)
    [edge] = job["job"]["items"]["edges"]
    assert edge["node"]["tokenId"] == token_id(last)
    assert (edge["node"]["state"], edge["node"]["errorCode"]) == ("FAILED", "INVALID_INPUT")


async def test_a_job_is_a_node_and_the_subject_of_its_events(
    people: People, service: Service, graphql: GraphQL
) -> None:
    [token] = await make_tokens(service, people.customer.actor, 1)
    job = await begin(service, people.customer.actor, JobKind.REVOKE, token.token.id)
    job_id = node_ids.encode(node_ids.JOB, job.id)
    query = "query($id: ID!) { node(id: $id) { id ... on Job { total } } }"

    seen = await graphql(query, secret=people.reseller.secret, id=job_id)
    foreign = await graphql(query, secret=people.stranger.secret, id=job_id)

    assert seen["data"] == {"node": {"id": job_id, "total": 1}}
    assert foreign["data"] == {"node": None}
    events = (
        "query($id: ID!) { auditEvents(first: 9, filter: {subjectId: $id})"
        " { edges { node { action subjectId } } } }"
    )
    told = await graphql(events, secret=people.reseller.secret, id=job_id)
    assert [edge["node"] for edge in told["data"]["auditEvents"]["edges"]] == [
        {"action": "job.created", "subjectId": job_id}
    ]


@pytest.mark.parametrize("after", ["nonsense", "eyJ9", ""])
async def test_a_cursor_from_elsewhere_is_refused(
    after: str, people: People, service: Service, graphql: GraphQL
) -> None:
    [token] = await make_tokens(service, people.customer.actor, 1)
    job = await begin(service, people.customer.actor, JobKind.REVOKE, token.token.id)
    job_id = node_ids.encode(node_ids.JOB, job.id)

    items = await graphql(JOB, secret=people.customer.secret, id=job_id, after=after)
    jobs = await graphql(
        "query($after: String) { jobs(first: 1, after: $after) { edges { cursor } } }",
        secret=people.customer.secret,
        after=after,
    )

    for answer in (items, jobs):
        assert answer["errors"][0]["extensions"]["code"] == "INVALID_INPUT"


@pytest.mark.parametrize("count", [1, 7])
async def test_pages_of_jobs_with_their_items_cost_the_same_for_any_number(
    count: int, people: People, service: Service, graphql: GraphQL
) -> None:
    tokens = await make_tokens(service, people.customer.actor, 3)
    for _ in range(count):
        await begin(service, people.customer.actor, JobKind.SUSPEND, *ids_of(tokens))
    query = (
        "{ jobs(first: 10) { edges { node { total account { name } items(first: 5)"
        " { edges { node { state token { name } } } } } } } }"
    )

    with counted() as statements:
        answer = await graphql(query, secret=people.reseller.secret)

    edges = answer["data"]["jobs"]["edges"]
    assert [len(edge["node"]["items"]["edges"]) for edge in edges] == [3] * count
    # The jobs, their accounts, their items, the tokens of these.
    assert len(statements) == 4, "\n".join(statements)


@pytest.mark.parametrize("count", [1, 30])
async def test_a_request_for_many_costs_the_same_for_any_number(
    count: int, people: People, service: Service, graphql: GraphQL
) -> None:
    tokens = await make_tokens(service, people.customer.actor, count)
    selection = {"ids": list(map(token_id, tokens))}

    with counted() as looking:
        await graphql(
            SUSPEND, secret=people.customer.secret, input={"selection": selection, "dryRun": True}
        )
    with counted() as doing:
        await graphql(SUSPEND, secret=people.customer.secret, input={"selection": selection})

    # The count with who would notice, which of the ids are there, the sample.
    assert len(looking) == 3, "\n".join(looking)
    # The account under its lock, which ids are there, how many jobs wait, the items, the job, the
    # trail.
    assert len(doing) == 6, "\n".join(doing)


@pytest.mark.parametrize("count", [1, 30])
@pytest.mark.parametrize(
    ("kind", "expected"),
    # Whose turn it is; the job, the account, the credential behind it, the tokens to do, their
    # rows under their locks, the change, their digests, the items, the progress, the trail, the
    # outbox and the note of its delivery. An extension asks for accounts and policies, too.
    [(JobKind.REVOKE, 12), (JobKind.SUSPEND, 12), (JobKind.EXTEND, 14)],
)
async def test_a_batch_costs_the_same_for_any_number_of_tokens(
    count: int, kind: JobKind, expected: int, people: People, service: Service
) -> None:
    tokens = await make_tokens(service, people.customer.actor, count)
    by_days = 1 if kind is JobKind.EXTEND else None
    await begin(service, people.customer.actor, kind, *ids_of(tokens), by_days=by_days)

    with counted() as statements:
        await service.job_runs.run_due()

    # To end the job: whose turn it is, the job, the account, the credential, that nothing is left,
    # the end, the trail; and that there is no other.
    assert len(statements) == expected + 8, "\n".join(statements)
