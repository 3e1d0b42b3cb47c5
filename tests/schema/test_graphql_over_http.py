"""Forms and statuses of answers, as GraphQL over HTTP has them; older clients see no change."""

# ruff: noqa: UP031 - braces are GraphQL's own here: format() would need each of them twice

import asyncpg
import httpx2
import pytest
from edge_scene import People, assert_leaks_nothing, bearer, client_of, fingerprint
from factories import make_token
from redis.asyncio import Redis

from schema import endpoint, node_ids
from schema.media_types import GRAPHQL, JSON, negotiate, status_of
from service.app import create_app
from service.composition import Service
from service.errors import Unavailable
from service.settings import Settings

NEW = {"Accept": GRAPHQL}
TOKENS = "{ tokens(first: 1) { edges { cursor } } }"

ACCEPTED = {
    "": JSON,
    " ": JSON,
    "*/*": JSON,
    "application/*": JSON,
    "application/json": JSON,
    "application/json, text/plain, */*": JSON,
    GRAPHQL: GRAPHQL,
    GRAPHQL.upper(): GRAPHQL,
    f"{GRAPHQL}; charset=utf-8": GRAPHQL,
    f'{GRAPHQL};charset="UTF-8"': GRAPHQL,
    f"{GRAPHQL}, application/json;q=0.9": GRAPHQL,
    f"application/json, {GRAPHQL}": GRAPHQL,
    f"{GRAPHQL}, */*": GRAPHQL,
    f"{GRAPHQL};q=0.5, */*": JSON,
    f"{GRAPHQL};q=0.5, application/json": JSON,
    f"{GRAPHQL};q=0, */*": JSON,
    "application/json;q=0, */*": GRAPHQL,
    "text/event-stream": JSON,
    "text/html": None,
    "text/*": None,
    "application/xml, text/html": None,
    "*/*;q=0": None,
    "application/json;q=0": None,
    "application/json;q=nan": None,
    "application/json;q=x": None,
    "application/json;q=2": None,
    f"{GRAPHQL}; charset=utf-16": None,
    f"{GRAPHQL}; charset=latin-1, application/json": JSON,
    ",,;;,=": None,
    "text/html," * 5_000 + GRAPHQL: GRAPHQL,
}


@pytest.mark.parametrize(
    ("accept", "media_type"), ACCEPTED.items(), ids=[name[:60] for name in ACCEPTED]
)
def test_the_form_is_the_one_that_the_client_prefers(accept: str, media_type: str | None) -> None:
    assert negotiate(accept) == media_type


@pytest.mark.parametrize(
    ("accept", "told"),
    [
        (GRAPHQL, f"{GRAPHQL}; charset=utf-8"),
        (f"{GRAPHQL}, {JSON};q=0.9", f"{GRAPHQL}; charset=utf-8"),
        (JSON, JSON),
        ("*/*", JSON),
    ],
)
async def test_data_comes_with_200_in_either_form(
    accept: str, told: str, http: httpx2.AsyncClient
) -> None:
    answer = await http.post(
        "/graphql", json={"query": "{ viewer { email } }"}, headers={"Accept": accept}
    )

    assert answer.status_code == 200
    assert answer.headers.get_list("content-type") == [told]
    assert answer.json()["data"] == {"viewer": None}


async def test_a_client_that_takes_neither_form_is_told_so(http: httpx2.AsyncClient) -> None:
    answer = await http.post(
        "/graphql", json={"query": "{ __typename }"}, headers={"Accept": "text/html"}
    )

    assert answer.status_code == 406
    assert answer.headers["content-type"] == JSON
    assert answer.json()["errors"][0]["extensions"] == {"code": "NOT_ACCEPTABLE"}


BAD_REQUESTS = {
    "it does not parse": {"query": "{"},
    "it is not valid": {"query": "{ nope }"},
    "it asks for too much": {"query": "{ %s }" % ("__typename " * 11)},
    "it costs too much": {
        "query": "query($n: Int!) { %s }"
        % " ".join(
            f"a{n}: tokens(first: $n) {{ edges {{ node {{ secrets {{ prefix }} }} }} }}"
            for n in range(8)
        ),
        "variables": {"n": 100},
    },
    "a variable is missing": {"query": "query($id: ID!) { token(id: $id) { id } }"},
    "a variable has another type": {
        "query": "query($n: Int!) { tokens(first: $n) { edges { cursor } } }",
        "variables": {"n": "x"},
    },
    "the operation is not there": {"query": "{ __typename }", "operationName": "Nope"},
    "none is named of several": {"query": "query A { __typename } query B { __typename }"},
    "it is a subscription": {"query": "subscription { revocationProgress(id: 1) { id } }"},
    "there is no document": {},
    "it is empty": {"query": ""},
}


@pytest.mark.parametrize("body", BAD_REQUESTS.values(), ids=BAD_REQUESTS.keys())
async def test_what_cannot_run_is_400_and_has_no_data(
    body: dict[str, object], http: httpx2.AsyncClient
) -> None:
    answer = await http.post("/graphql", json=body, headers=NEW)

    assert answer.status_code == 400
    assert answer.headers["content-type"] == f"{GRAPHQL}; charset=utf-8"
    assert "data" not in answer.json()
    codes = {error["extensions"]["code"] for error in answer.json()["errors"]}
    assert codes <= {"BAD_REQUEST", "INVALID_OPERATION", "COST_EXCEEDED"}
    assert_leaks_nothing(answer.text)


async def test_a_body_that_is_no_json_is_400_in_the_form_that_was_asked_for(
    http: httpx2.AsyncClient,
) -> None:
    headers = NEW | {"Content-Type": "application/json"}

    answer = await http.post("/graphql", content="{", headers=headers)

    assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (400, GRAPHQL)


async def test_nobody_who_asks_for_nothing_else_than_needs_somebody_gets_401(
    http: httpx2.AsyncClient,
) -> None:
    answer = await http.post("/graphql", json={"query": TOKENS}, headers=NEW)

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "data" not in answer.json()
    assert answer.json()["errors"][0]["extensions"] == {"code": "UNAUTHENTICATED"}


async def test_a_part_that_is_refused_leaves_the_rest_with_200(http: httpx2.AsyncClient) -> None:
    query = '{ viewer { email } explainToken(input: {id: "x"}) { status } }'

    answer = await http.post("/graphql", json={"query": query}, headers=NEW)

    assert answer.status_code == 200
    assert answer.json()["data"] == {"viewer": None, "explainToken": None}
    assert answer.json()["errors"][0]["extensions"] == {"code": "UNAUTHENTICATED"}


async def test_a_refusal_of_somebody_who_may_not_is_data_and_200(
    service: Service, http: httpx2.AsyncClient
) -> None:
    people = await People.make(service)
    query = 'mutation { revokeToken(input: {id: "x"}) { userErrors { code } } }'

    answer = await http.post(
        "/graphql", json={"query": query}, headers=NEW | bearer(people.customer.secret)
    )

    assert answer.status_code == 200
    assert answer.json()["data"]["revokeToken"]["userErrors"] == [{"code": "NOT_FOUND"}]


async def test_who_has_spent_everything_gets_429(
    service: Service, http: httpx2.AsyncClient
) -> None:
    redis: Redis = service.cache.redis
    seconds, _ = await redis.time()
    await redis.set("budget:192.0.2.7", f"0.000 {int(seconds) * 1000 + 999}")
    query = "{ tokens(first: 100) { edges { node { name account { name } } } } }"

    answer = await http.post("/graphql", json={"query": query}, headers=NEW)

    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "1"
    assert "data" not in answer.json()
    assert answer.json()["errors"][0]["extensions"]["code"] == "TOO_MANY_REQUESTS"


async def test_a_truth_that_is_not_known_is_503_in_either_form(
    settings: Settings, service: Service
) -> None:
    class Away:
        """A validator that cannot say anything."""

        async def check(self, *_: object, **__: object) -> object:
            raise Unavailable

    app = create_app(settings)
    app.open(service, Away())  # type: ignore[arg-type] # all that is asked of it here
    people = await People.make(service)

    async with client_of(app) as client:
        for form in (GRAPHQL, JSON):
            answer = await client.post(
                "/graphql",
                json={"query": "{ __typename }"},
                headers=bearer(people.customer.secret) | {"Accept": form},
            )
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "1"
            assert answer.json()["errors"][0]["extensions"] == {"code": "UNAVAILABLE"}


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "QUERY"])
async def test_another_method_is_told_which_one_is_served(
    method: str, http: httpx2.AsyncClient
) -> None:
    answer = await http.request(method, "/graphql", params={"query": "{ __typename }"})

    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"


async def test_the_session_cookie_comes_in_either_form(
    service: Service, http: httpx2.AsyncClient
) -> None:
    people = await People.make(service)
    query = (
        'mutation { signIn(input: {email: "%s", password: "correct horse battery"})'
        " { userErrors { code } } }" % people.customer.email
    )

    for form in (GRAPHQL, JSON):
        answer = await http.post("/graphql", json={"query": query}, headers={"Accept": form})
        assert answer.json()["data"]["signIn"]["userErrors"] == []
        assert answer.headers["set-cookie"].startswith("tokenward=tws_")
        assert len(answer.headers.get_list("content-type")) == 1


def test_several_kinds_of_refusal_have_no_status_of_one() -> None:
    def told(*codes: str) -> list[dict[str, dict[str, str]]]:
        return [{"extensions": {"code": code}} for code in codes]

    assert status_of(told("UNAUTHENTICATED", "NOT_FOUND"), anything_ran=True) == 200
    assert status_of(told("UNAUTHENTICATED", "UNAUTHENTICATED"), anything_ran=True) == 401
    assert status_of(told("UNAVAILABLE"), anything_ran=True) == 503
    assert status_of(told("INSUFFICIENT_SCOPE"), anything_ran=True) == 200
    assert status_of(told("INVALID_OPERATION", "INVALID_OPERATION"), anything_ran=False) == 400
    assert status_of(told("INVALID_OPERATION", "INTERNAL"), anything_ran=False) == 400
    assert status_of(told("TIMEOUT"), anything_ran=False) == 503
    assert status_of(told("INTERNAL"), anything_ran=False) == 500


REVOKE = "mutation($id: ID!) { revokeToken(input: {id: $id}) { userErrors { code } } }"


async def test_what_takes_too_long_is_ended_whole_and_costs_no_connection(
    service: Service,
    http: httpx2.AsyncClient,
    owner: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    people = await People.make(service)
    token = await make_token(service, people.customer.actor)
    body = {
        "query": REVOKE,
        "variables": {"id": node_ids.encode(node_ids.TOKEN, token.token.id)},
    }
    headers = bearer(people.customer.secret) | NEW
    monkeypatch.setattr(endpoint, "OPERATION_SECONDS_MAX", 0.2)
    before = await fingerprint(owner)

    async with owner.transaction():
        await owner.execute("SELECT 1 FROM api_token WHERE id = $1 FOR UPDATE", token.token.id)
        for _ in range(service.settings.database_pool_size + 1):
            answer = await http.post("/graphql", json=body, headers=headers)
            assert answer.status_code == 503
            [error] = answer.json()["errors"]
            assert error["extensions"] == {"code": "TIMEOUT"}
            assert "data" not in answer.json()
    assert await fingerprint(owner) == before

    monkeypatch.setattr(endpoint, "OPERATION_SECONDS_MAX", 10.0)
    again = await http.post("/graphql", json=body, headers=headers)
    assert again.json()["data"]["revokeToken"]["userErrors"] == []
