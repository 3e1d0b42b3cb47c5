"""The metrics are what Prometheus reads, and what cannot be read is left out."""

import re
from collections.abc import AsyncIterator

import asyncpg
import httpx2
import pytest
from conftest import FrozenClock
from edge_scene import People, assert_leaks_nothing, client_of
from factories import make_token
from pydantic import SecretStr

from service.app import create_app
from service.cache import REPORTS, open_cache
from service.composition import Service, compose
from service.heartbeat import KEY as HEARTBEAT
from service.heartbeat import beat
from service.metrics import exposition
from service.receipts import LIVE_SECONDS_MAX
from service.settings import Settings
from service.validator import Validator

BOUND, OUTBOX, WORKER = "staleness_bound_seconds", "outbox_lag_seconds", "worker_heartbeat_seconds"
TRAIL = {"trail_unsealed_events", "trail_unsealed_seconds"}
JOBS = "jobs_lag_seconds"
VALIDATORS = {"validators_known", "validators_silent", "validators_beyond_lease"}
CANARY = {
    "canary_probed_at_seconds",
    "canary_refused_seconds",
    "canary_applied_seconds",
    "canary_held",
}
ALL = {BOUND, OUTBOX, JOBS, WORKER, *TRAIL, *VALIDATORS, *CANARY}

NAME = "[a-zA-Z_:][a-zA-Z0-9_:]*"
HELP = re.compile(rf"# HELP ({NAME}) ((?:[^\\\n]|\\\\|\\n)+)")
TYPE = re.compile(rf"# TYPE ({NAME}) (gauge|counter|histogram|summary|untyped)")
SAMPLE = re.compile(rf"({NAME}) (NaN|[+-]Inf|[+-]?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)")


def read(text: str) -> dict[str, float]:
    """Return the gauges of an exposition by name; fail at whatever Prometheus' text form forbids.

    Each family once, its HELP and TYPE before its sample, and a line feed at the end.
    """
    assert text.endswith("\n")
    found: dict[str, float] = {}
    lines = text.removesuffix("\n").split("\n")
    assert len(lines) % 3 == 0
    for helped, typed, sample in zip(lines[::3], lines[1::3], lines[2::3], strict=True):
        one, two, three = HELP.fullmatch(helped), TYPE.fullmatch(typed), SAMPLE.fullmatch(sample)
        assert one is not None, helped
        assert two is not None, typed
        assert three is not None, sample
        assert one[1] == two[1] == three[1]
        assert two[2] == "gauge"
        assert three[1] not in found
        found[three[1]] = float(three[2])
    assert all(name.startswith("tokenward_") for name in found)
    return {name.removeprefix("tokenward_"): value for name, value in found.items()}


async def told(service: Service) -> dict[str, float]:
    return read(await exposition(service))


@pytest.fixture
async def people(service: Service) -> People:
    return await People.make(service)


@pytest.fixture
async def well(service: Service, people: People, validator: Validator) -> Service:
    """A platform on which everything has run once."""
    del people, validator
    probe = await service.canary.probe()
    assert probe is not None
    assert probe.held
    await beat(service.cache.redis, service.clock)
    return service


@pytest.mark.parametrize(
    "text",
    ["", "x 1", "# HELP a b\n# TYPE a gauge\na 1", "# HELP a b\n# TYPE b gauge\na 1\n"]
    + [f"# HELP a b\n# TYPE a gauge\na {value}\n" for value in ("inf", "nan", "True", "1,0", "")],
)
def test_the_reader_is_strict(text: str) -> None:
    with pytest.raises(AssertionError):
        read(text)


async def test_everything_is_told_where_everything_is_well(well: Service) -> None:
    values = await told(well)

    assert set(values) == ALL
    assert values[BOUND] == 10
    assert values[OUTBOX] == values[WORKER] == 0
    assert values["validators_known"] == 1
    assert values["validators_silent"] == 0
    assert values["canary_held"] == 1
    assert values["canary_probed_at_seconds"] == well.clock.now().timestamp()
    assert 0 < values["canary_refused_seconds"] < 10
    assert 0 < values["canary_applied_seconds"] < 10


async def test_monitoring_reads_them_without_a_credential_and_learns_of_no_tenant(
    well: Service, people: People, http: httpx2.AsyncClient
) -> None:
    created = await make_token(well, people.customer.actor, name="a name")

    answer = await http.get("/metrics")

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert set(read(answer.text)) == ALL
    assert_leaks_nothing(answer.text.replace("outbox_lag", ""))
    for word in ("a name", str(created.token.id), str(people.customer.actor.account_id), "example"):
        assert word not in answer.text
    assert (await http.post("/metrics")).status_code == 405


async def test_before_anything_has_run_its_gauges_are_absent(service: Service) -> None:
    assert await told(service) == {
        BOUND: 10,
        OUTBOX: 0,
        "trail_unsealed_events": 0,
        "trail_unsealed_seconds": 0,
        JOBS: 0,
        "validators_known": 0,
        "validators_silent": 0,
        "validators_beyond_lease": 0,
    }


async def test_a_validator_that_fell_silent_is_counted(well: Service) -> None:
    redis = well.cache.redis
    seconds, micros = await redis.time()
    heard_ms = int(seconds) * 1000 + int(micros) // 1000 - int(LIVE_SECONDS_MAX * 1000) - 500
    await redis.hset(REPORTS, "0123456789ab", f"{heard_ms} - 0")

    values = await told(well)

    assert (values["validators_known"], values["validators_silent"]) == (2, 1)


async def test_a_drop_that_waits_is_told_by_its_age(
    well: Service, owner: asyncpg.Connection, people: People
) -> None:
    created = await make_token(well, people.customer.actor)
    await well.tokens.revoke(people.customer.actor, created.token.id)
    await owner.execute(
        "UPDATE outbox_event SET confirmed_at = NULL,"
        " created_at = $1::timestamptz - interval '90 seconds'",
        well.clock.now(),
    )

    assert (await told(well))[OUTBOX] == 90


@pytest.fixture
async def without_redis(settings: Settings, well: Service) -> AsyncIterator[Service]:
    nowhere = {"redis_url": SecretStr("redis://127.0.0.1:9/0")}
    async with open_cache(settings.model_copy(update=nowhere)) as cache:
        yield compose(settings, cache, well.clock, passwords=well.accounts.passwords)


async def test_without_redis_the_rest_is_told(without_redis: Service) -> None:
    values = await told(without_redis)

    assert set(values) == {BOUND, OUTBOX, JOBS, *TRAIL}
    assert (values[BOUND], values[OUTBOX]) == (10, 0)


async def test_events_that_wait_for_their_seal_are_told_by_their_number_and_age(
    well: Service, people: People, clock: FrozenClock
) -> None:
    await well.sealer.seal()
    await make_token(well, people.customer.actor)
    clock.advance(seconds=7)

    values = await told(well)

    assert (values["trail_unsealed_events"], values["trail_unsealed_seconds"]) == (1, 7)


async def test_without_the_database_the_rest_is_told(
    well: Service, owner: asyncpg.Connection
) -> None:
    """The database is there, and does not answer to this: somebody holds the table."""
    async with owner.transaction():
        await owner.execute("LOCK TABLE outbox_event IN ACCESS EXCLUSIVE MODE")

        values = await told(well)

    assert set(values) == ALL - {OUTBOX}
    assert (await told(well))[OUTBOX] == 0, "and no connection was lost by it"


SENSELESS = {
    "a heartbeat that is no number": ("SET", HEARTBEAT, "soon", {WORKER}),
    "a heartbeat of another type": ("SADD", HEARTBEAT, "1", {WORKER}),
    "a canary of another type": ("SET", "canary", "1", CANARY),
    "a canary that says nothing": ("HSET", "canary", "x", CANARY),
    "reports of another type": ("SET", REPORTS, "1", set[str]()),
}


@pytest.mark.parametrize("name", SENSELESS)
async def test_what_none_of_us_wrote_is_left_out_and_hides_nothing_else(
    well: Service, settings: Settings, validator: Validator, name: str
) -> None:
    command, key, value, missing = SENSELESS[name]
    redis = well.cache.redis
    await redis.delete(key)
    more = ("y",) if command == "HSET" else ()
    await redis.execute_command(command, key, value, *more)  # type: ignore[no-untyped-call] # redis-py leaves it unannotated
    app = create_app(settings)
    app.open(well, validator)

    async with client_of(app, raise_app_exceptions=False) as client:
        answer = await client.get("/metrics")

    assert answer.status_code == 200
    assert set(read(answer.text)) == ALL - missing


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e309"])
async def test_a_number_that_is_none_is_left_out(well: Service, value: str) -> None:
    await well.cache.redis.hset("canary", "applied_seconds", value)

    assert set(await told(well)) == ALL - {"canary_applied_seconds"}


async def test_a_canary_that_failed_is_told(well: Service) -> None:
    await well.cache.redis.hset("canary", "held", "False")

    assert (await told(well))["canary_held"] == 0
