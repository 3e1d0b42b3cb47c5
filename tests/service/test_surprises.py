"""Health, and what is told of a failure that nobody foresaw: an id, and nothing else."""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import redirect_stderr

import asyncpg
import httpx2
import pytest
import structlog
from edge_scene import People, assert_leaks_nothing, bearer, client_of

from service.app import create_app
from service.composition import Service
from service.logs import configure_logs
from service.settings import Settings
from service.validator import Validator


@pytest.fixture
async def people(service: Service) -> People:
    return await People.make(service)


@pytest.fixture
def logged(settings: Settings) -> Iterator[io.StringIO]:
    """What the process writes to its log, set up as it is when it runs."""
    root = logging.getLogger()
    handlers, level, config = root.handlers, root.level, structlog.get_config()
    written = io.StringIO()
    with redirect_stderr(written):
        configure_logs(settings)
    structlog.configure(cache_logger_on_first_use=False)  # other tests log otherwise again
    yield written
    root.handlers = handlers
    root.setLevel(level)
    structlog.configure(**config)


async def test_health_is_told_to_whoever_asks(http: httpx2.AsyncClient) -> None:
    alive = await http.get("/healthz")
    ready = await http.get("/readyz")

    assert (alive.status_code, alive.text) == (200, "alive\n")
    assert ready.status_code == 200
    told = ready.json()
    assert told["ready"] is True
    assert told["database"]["state"] == "ok"
    assert told["redis"] == {"state": "ok"}
    assert told["worker"]["state"] == "degraded", "no worker runs in this test"


async def test_a_path_that_is_not_there_is_404_and_tells_nothing(http: httpx2.AsyncClient) -> None:
    for path in ("/nope", "/validate/", "/validate/x", "/introspect/", "/graphql/x", "/.env"):
        answer = await http.get(path)
        assert answer.status_code in {404, 307}, path
        assert_leaks_nothing(answer.text)


class Broken:
    """A service that has none of its parts; each use is a surprise."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def __getattr__(self, name: str) -> object:
        raise RuntimeError(f"{name} of {self._secret} is gone: SELECT * FROM api_token")  # noqa: S608 - no query, but what must not be told


async def test_a_surprise_is_one_sentence_with_an_id_and_its_story_is_in_the_log_alone(
    settings: Settings, validator: Validator, people: People, logged: io.StringIO
) -> None:
    app = create_app(settings)
    secret = people.customer.secret
    app.open(Broken(secret), validator)  # type: ignore[arg-type] # that is the surprise

    async with client_of(app, raise_app_exceptions=False) as client:
        viewed = await client.post(
            "/graphql", json={"query": "{ viewer { email } }"}, headers=bearer(secret)
        )
        ready = await client.get("/readyz")

    [error] = viewed.json()["errors"]
    request_id = viewed.headers["x-request-id"]
    assert viewed.json()["data"] is None
    assert error["extensions"] == {"code": "INTERNAL", "requestId": request_id}
    assert error["message"] == (
        f"Something went wrong on our side. Tell support this id: {request_id}"
    )
    assert_leaks_nothing(viewed.text)
    assert ready.status_code == 503
    assert "SELECT" not in ready.text
    assert request_id in logged.getvalue()
    assert "RuntimeError: budget of tw_… is gone" in logged.getvalue()
    assert secret[8:] not in logged.getvalue()


async def test_a_surprise_outside_of_graphql_is_masked_too(
    settings: Settings, service: Service
) -> None:
    app = create_app(settings)
    app.open(service, Broken("x"))  # type: ignore[arg-type] # that is the surprise

    async with client_of(app, raise_app_exceptions=False) as client:
        answer = await client.post(
            "/graphql", json={"query": "{ viewer { email } }"}, headers=bearer("x")
        )

    assert answer.status_code == 500
    told = json.loads(answer.text)
    assert set(told) == {"error", "requestId"}
    assert told["error"] == "internal"
    assert len(told["requestId"]) == 32
    assert_leaks_nothing(answer.text)


async def test_a_database_without_its_table_is_a_surprise_that_tells_no_sql(
    people: People, http: httpx2.AsyncClient, owner: asyncpg.Connection
) -> None:
    await owner.execute("ALTER TABLE api_token RENAME TO api_token_away")
    try:
        answer = await http.post(
            "/graphql",
            json={"query": "{ tokens(first: 1) { edges { cursor } } }"},
            headers=bearer(people.customer.secret),
        )
    finally:
        await owner.execute("ALTER TABLE api_token_away RENAME TO api_token")

    assert answer.status_code in {200, 503}
    assert "api_token" not in answer.text
    assert_leaks_nothing(answer.text)
