"""``/introspect`` by digest: for a validator that may not see the database, within its reach."""

import httpx2
import pytest
from edge_scene import People, client_of
from factories import make_token
from pydantic import SecretStr

from service.app import create_app
from service.clock import boottime
from service.composition import Service
from service.secret_format import digest_of, make_secret
from service.settings import Settings
from service.validator import Validator, open_validator

ONE = "ab" * 32


@pytest.fixture
async def people(service: Service) -> People:
    return await People.make(service)


@pytest.fixture
async def asking(service: Service, people: People) -> dict[str, str]:
    """The credentials of a validator of the reseller's."""
    caller = await make_token(service, people.reseller.actor, scopes=("tokens:introspect",))
    return {"Authorization": f"Bearer {caller.secret}"}


async def test_whatever_is_beyond_the_callers_reach_reads_exactly_like_nothing(
    people: People,
    service: Service,
    validator: Validator,
    http: httpx2.AsyncClient,
    asking: dict[str, str],
) -> None:
    own = await make_token(service, people.customer.actor)
    foreign = await make_token(service, people.stranger.actor)
    operators = await make_token(service, people.operator.actor)
    for created in (own, foreign, operators):
        assert (await validator.check(created.secret)).is_valid, "Redis knows all three"
    pepper = next(iter(service.settings.pepper_keys.values()))
    secrets = {
        "own": own.secret,
        "foreign": foreign.secret,
        "the operator's": operators.secret,
        "a session within reach": people.customer.secret,
        "a session of one's own": people.reseller.secret,
        "missing": make_secret("live", service.settings.pepper_keys).text,
    }
    digests = [digest_of(secret, pepper).hex() for secret in secrets.values()]

    answer = await http.post("/introspect", json={"digests": digests}, headers=asking)

    assert answer.headers["cache-control"] == "no-store"
    [first, *others] = answer.json()["records"]
    assert first["record"]["token_id"] == str(own.token.id)
    assert 0 < first["lease_seconds"] <= service.settings.lease_seconds
    nothing = {"record": None, "lease_seconds": service.settings.lease_seconds}
    assert others == [nothing] * 5


async def test_digests_are_for_callers_with_the_scope(
    people: People, service: Service, http: httpx2.AsyncClient
) -> None:
    created = await make_token(service, people.customer.actor)
    narrow = await make_token(service, people.reseller.actor)
    pepper = next(iter(service.settings.pepper_keys.values()))
    question = {"digests": [digest_of(created.secret, pepper).hex()]}
    expected = {
        None: 401,
        "junk": 401,
        people.reseller.secret: 401,
        narrow.secret: 403,
        created.secret: 403,
    }

    for secret, status in expected.items():
        headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
        answer = await http.post("/introspect", json=question, headers=headers)

        assert (answer.status_code, answer.content) == (status, b"")


@pytest.mark.parametrize(
    "question",
    [
        {"digests": []},
        {"digests": ONE},
        {"digests": None},
        {"digests": {"0": ONE}},
        {"digests": [None]},
        {"digests": [1]},
        {"digests": [[ONE]]},
        {"digests": [""]},
        {"digests": [ONE[1:]]},
        {"digests": [ONE + "ab"]},
        {"digests": [ONE.upper()]},
        {"digests": [ONE[:-1] + "g"]},
        {"digests": [ONE[:-1] + "\u0661"]},
        {"digests": [ONE + "\n"]},
        {"digests": [ONE, "x"]},
        {"digests": [ONE] * 101},
        {"digests": [ONE], "tokens": ["x"]},
        {"digests": ONE, "tokens": ["x"]},
        {"digests": "", "tokens": ["x"]},
        {"digests": [ONE], "tokens": []},
        {"digests": [ONE], "scope": "dns:read"},
        {"digests": [ONE], "audience": "dns"},
        {"digest": [ONE]},
    ],
)
async def test_digests_of_another_shape_are_refused(
    http: httpx2.AsyncClient, asking: dict[str, str], question: object
) -> None:
    answer = await http.post("/introspect", json=question, headers=asking)

    assert (answer.status_code, answer.json()) == (400, {"error": "invalid_request"})


async def test_a_hundred_digests_are_answered_in_their_order(
    people: People, service: Service, http: httpx2.AsyncClient, asking: dict[str, str]
) -> None:
    created = await make_token(service, people.customer.actor)
    digest = digest_of(created.secret, next(iter(service.settings.pepper_keys.values()))).hex()
    digests = [ONE] * 100
    digests[41] = digests[99] = digest

    answer = await http.post("/introspect", json={"digests": digests}, headers=asking)

    told = [record["record"] is not None for record in answer.json()["records"]]
    assert [place for place, known in enumerate(told) if known] == [41, 99]


async def test_digests_are_asked_for_in_json_alone_and_never_in_a_form(
    http: httpx2.AsyncClient, asking: dict[str, str]
) -> None:
    answer = await http.post("/introspect", data={"digests": ONE}, headers=asking)

    assert answer.status_code == 400


async def test_where_the_truth_is_not_known_a_digest_is_told_nothing_of(
    settings: Settings, service: Service, asking: dict[str, str], validator: Validator
) -> None:
    secret = asking["Authorization"].removeprefix("Bearer ")
    record = (await validator.check(secret)).record
    assert record is not None
    away = {
        "redis_url": SecretStr("redis://127.0.0.1:9/0"),
        "database_url": SecretStr("postgres://x@127.0.0.1:9/x"),
    }
    async with open_validator(settings.model_copy(update=away), clock=service.clock) as blind:
        digest = digest_of(secret, next(iter(settings.pepper_keys.values())))
        blind.near.store(digest, record, asked_at=boottime(), lease=60)  # who asks is known
        app = create_app(settings)
        app.open(service, blind)
        async with client_of(app) as client:
            answer = await client.post("/introspect", json={"digests": [ONE]}, headers=asking)

    assert (answer.status_code, answer.headers["retry-after"], answer.content) == (503, "1", b"")
