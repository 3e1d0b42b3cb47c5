"""The canary measures the promise, tells what it saw, opens nothing and leaves nothing."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from functools import partial

import asyncpg
import httpx2
import pytest
from conftest import FrozenClock, GraphQL
from edge_scene import People, bearer
from factories import make_token
from pydantic import SecretStr
from starlette.authentication import AuthenticationError
from starlette.requests import HTTPConnection
from stores import begin_long_ago, everything, keys_and_values

from schema import node_ids
from service.access.actor import EVERYTHING
from service.access.canary import system_insert_canary
from service.access.door import open_door
from service.access.system import CredentialSource
from service.background import end
from service.cache import NOTHING_DROPPED, Failed, open_cache
from service.canary import FORGOTTEN_AFTER, LIFETIME, Canary, Probe, last_probe
from service.clock import new_id
from service.composition import Service, compose
from service.errors import Unavailable
from service.guard import TokenBackend
from service.receipts import LIVE_SECONDS_MAX
from service.secret_format import NewSecret, make_secret
from service.settings import Settings
from service.sweep import sweep_expired
from service.validator import Validator, open_validator
from service.verdict import CredentialKind, Status

BOUND, LEASE = 10.0, 0.4
INACTIVE = {"active": False}
SLOW_SECONDS = 0.1
SLOW_COMMIT = f"""
    CREATE FUNCTION be_slow() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_sleep({SLOW_SECONDS}); RETURN NULL; END $$;
    CREATE TRIGGER slow AFTER INSERT ON outbox_event EXECUTE FUNCTION be_slow()
"""


@pytest.fixture
async def people(service: Service) -> People:
    await begin_long_ago(service.cache.redis)
    return await People.make(service)


async def probed(service: Service) -> Probe:
    probe = await service.canary.probe()
    assert probe is not None
    return probe


async def test_a_probe_sees_a_revoke_refused_and_applied_within_the_bound(
    people: People, service: Service, validator: Validator, clock: FrozenClock
) -> None:
    del people, validator  # the platform, and a second one that listens

    probe = await probed(service)

    assert probe.held
    assert 0 < probe.refused_seconds < BOUND
    assert 0 < probe.applied_seconds < BOUND
    assert probe.validators_known == 2
    assert probe.probed_at_seconds == clock.now().timestamp()
    told = await last_probe(service.cache.redis)
    assert told == {name: str(value) for name, value in asdict(probe).items()}
    assert 0 < await service.cache.redis.ttl("canary") <= 3600


async def test_a_probe_counts_from_the_call_of_its_revoke(
    people: People, service: Service, owner: asyncpg.Connection
) -> None:
    """Else the way of the drop, which lies within the call, would be measured nowhere."""
    del people
    await owner.execute(SLOW_COMMIT)
    try:
        probe = await probed(service)
    finally:
        await owner.execute("DROP TRIGGER slow ON outbox_event; DROP FUNCTION be_slow")

    assert probe.held
    assert probe.refused_seconds >= SLOW_SECONDS
    assert probe.applied_seconds >= SLOW_SECONDS


async def test_right_after_a_flush_nothing_is_applied_until_everybody_has_reported(
    people: People, service: Service, validator: Validator
) -> None:
    """The prober's own validator alone would be all that Redis knows of."""
    del people, validator
    await service.cache.redis.flushdb()

    probe = await probed(service)

    assert probe.held
    assert probe.applied_seconds > LIVE_SECONDS_MAX / 2
    assert probe.validators_known == 2


async def test_without_an_operator_nothing_is_done(
    service: Service, owner: asyncpg.Connection
) -> None:
    before = await everything(owner), await keys_and_values(service.cache.redis)

    assert await service.canary.probe() is None

    assert (await everything(owner), await keys_and_values(service.cache.redis)) == before


async def test_probes_side_by_side_do_not_disturb_each_other(
    people: People, service: Service
) -> None:
    del people

    probes = await asyncio.gather(*(probed(service) for _ in range(4)))

    assert all(probe.held for probe in probes)


async def test_a_probe_leaves_no_event_and_no_credential_after_an_hour(
    people: People, service: Service, clock: FrozenClock, owner: asyncpg.Connection
) -> None:
    created = await make_token(service, people.operator.actor)
    await service.tokens.revoke(people.operator.actor, created.token.id)
    before = await everything(owner)
    for _ in range(3):
        await probed(service)
    assert len((await everything(owner))["api_token"]) == len(before["api_token"]) + 3

    clock.advance(seconds=FORGOTTEN_AFTER.total_seconds() + 1)
    await probed(service)

    after = await everything(owner)
    last = [row for row in after["api_token"] if row["kind"] == "CANARY"]
    assert len(last) == 1
    for table in ("account", "member", "notice", "audit_event", "replay"):
        assert after[table] == before[table], table
    assert [row for row in after["api_token"] if row not in last] == before["api_token"]
    secrets = [row for row in after["secret"] if row["token_id"] != last[0]["id"]]
    assert secrets == before["secret"]


@pytest.fixture
async def canary(service: Service, people: People) -> NewSecret:
    """A live canary, as if its prober had died."""
    secret = make_secret("live", service.settings.pepper_keys)
    now = service.clock.now()
    async with open_door(EVERYTHING) as door:
        operator_id = people.operator.actor.account_id
        await system_insert_canary(door, operator_id, new_id(), secret, now, now + LIFETIME)
    return secret


async def test_a_prober_that_died_leaves_no_event_either(
    canary: NewSecret, service: Service, clock: FrozenClock, owner: asyncpg.Connection
) -> None:
    del canary
    before = await owner.fetch("SELECT * FROM audit_event")

    clock.advance(seconds=LIFETIME.total_seconds())
    await sweep_expired(service.clock)

    assert await owner.fetch("SELECT * FROM audit_event") == before


async def test_a_canary_is_valid_to_its_prober_alone_and_not_for_long(
    canary: NewSecret, validator: Validator, clock: FrozenClock
) -> None:
    async def verdicts() -> list[Status]:
        return [(await validator.check(canary.text, kind=kind)).status for kind in CredentialKind]

    assert await verdicts() == [Status.UNKNOWN, Status.UNKNOWN, Status.VALID]
    clock.advance(seconds=LIFETIME.total_seconds())
    assert await verdicts() == [Status.UNKNOWN, Status.UNKNOWN, Status.EXPIRED]


async def test_a_canary_has_no_scopes_for_anybody(canary: NewSecret, validator: Validator) -> None:
    for scope in ("dns:read", "tokens:introspect", "*"):
        verdict = await validator.check(canary.text, scope=scope, kind=CredentialKind.CANARY)

        assert verdict.status is Status.INSUFFICIENT_SCOPE


async def test_a_canary_opens_no_edge(
    canary: NewSecret,
    people: People,
    service: Service,
    validator: Validator,
    http: httpx2.AsyncClient,
) -> None:
    """To whoever holds its secret it reads exactly like one that was never made."""
    unknown = make_secret("live", service.settings.pepper_keys)
    caller = await make_token(service, people.operator.actor, scopes=("tokens:introspect",))
    asking = bearer(caller.secret)
    told = []

    for secret in (canary, unknown):
        validated = await http.get("/validate", headers=bearer(secret.text))
        asked = await http.post("/introspect", headers=bearer(secret.text), data={"token": "x"})
        one = await http.post("/introspect", headers=asking, data={"token": secret.text})
        many = await http.post("/introspect", headers=asking, json={"tokens": [secret.text]})
        digest = {"digests": [secret.digest.hex()]}
        by_digest = await http.post("/introspect", headers=asking, json=digest)
        viewed = await http.post(
            "/graphql", headers=bearer(secret.text), json={"query": "{ viewer { scopes } }"}
        )
        answers = (validated, asked, one, many, by_digest)
        told.append([(answer.status_code, answer.content) for answer in answers])
        assert (one.json(), many.json()) == (INACTIVE, {"tokens": [INACTIVE]})
        assert by_digest.json()["records"][0]["record"] is None
        assert viewed.json()["data"] == {"viewer": None}
        scope = {"type": "http", "headers": [(b"authorization", f"Bearer {secret.text}".encode())]}
        with pytest.raises(AuthenticationError, match="UNKNOWN"):
            await TokenBackend(validator).authenticate(HTTPConnection(scope))

    assert told[0] == told[1]
    assert told[0][0][0] == told[0][1][0] == 401


async def test_a_canary_is_in_no_list_and_cannot_be_reached_by_its_id(
    canary: NewSecret, people: People, graphql: GraphQL, owner: asyncpg.Connection
) -> None:
    row = await owner.fetchrow("SELECT id FROM api_token WHERE kind = 'CANARY'")
    assert row is not None
    token_id = node_ids.encode(node_ids.TOKEN, row["id"])
    before = await everything(owner)

    listed = await graphql(
        "{ tokens(first: 100) { edges { node { id name } } } }", secret=people.operator.secret
    )
    explained = [
        await graphql(
            "query($input: ExplainTokenInput!) { explainToken(input: $input) { status } }",
            secret=people.operator.secret,
            input=value,
        )
        for value in ({"id": token_id}, {"secret": canary.text})
    ]
    read = await graphql(
        "query($id: ID!) { token(id: $id) { name } }", secret=people.operator.secret, id=token_id
    )
    revoked = await graphql(
        "mutation($id: ID!) { revokeToken(input: {id: $id}) { userErrors { code } } }",
        secret=people.operator.secret,
        id=token_id,
    )

    assert listed["data"]["tokens"]["edges"] == []
    assert [answer["data"] for answer in explained] == [{"explainToken": None}] * 2
    assert read["data"] == {"token": None}
    assert revoked["data"]["revokeToken"]["userErrors"] == [{"code": "NOT_FOUND"}]
    assert await everything(owner) == before


@pytest.fixture
async def brisk(
    people: People,  # noqa: ARG001 - there is an operator
    settings: Settings,
    service: Service,
) -> Service:
    """The use cases with a canary that measures by almost the smallest bound there is."""
    changed = settings.model_copy(update={"lease_seconds": LEASE})
    canary = replace(service.canary, settings=changed)
    return replace(service, settings=changed, canary=canary)


def with_a_deaf_prober(service: Service, settings: Settings, lease_seconds: float) -> Canary:
    """Return a canary whose own validator hears of nothing and has a lease of its own."""

    @asynccontextmanager
    async def opening() -> AsyncIterator[Validator]:
        async with CredentialSource.open(settings) as source:
            yield Validator(
                service.cache,
                source.find,
                service.settings.pepper_keys,
                clock=service.clock,
                lease_seconds=lease_seconds,
            )

    return replace(service.canary, opening=opening)


@asynccontextmanager
async def reporting(
    service: Service, until: Callable[[], Awaitable[object]]
) -> AsyncIterator[None]:
    """Report as a validator does that has applied nothing, until something is so."""

    async def keep_reporting() -> None:
        while not await until():
            await service.cache.report("deaf", NOTHING_DROPPED)
            await asyncio.sleep(0.02)

    task = asyncio.create_task(keep_reporting())
    try:
        yield
    finally:
        await end(task)


async def never() -> bool:
    return False


async def test_a_validator_that_keeps_no_lease_is_told_as_a_broken_promise(
    brisk: Service, settings: Settings
) -> None:
    probe = await with_a_deaf_prober(brisk, settings, 60).probe()

    assert probe is not None
    assert not probe.held
    assert probe.refused_seconds > brisk.settings.staleness_bound_seconds
    assert (await last_probe(brisk.cache.redis))["held"] == "False"


async def test_where_nobody_listens_the_lease_holds_the_promise_and_the_bound_is_told(
    brisk: Service, settings: Settings
) -> None:
    probe = await with_a_deaf_prober(brisk, settings, LEASE).probe()

    assert probe is not None
    assert probe.held
    assert probe.applied_seconds == brisk.settings.staleness_bound_seconds
    assert probe.validators_known == 0


async def test_a_live_validator_that_does_not_apply_it_is_told_as_a_broken_promise(
    brisk: Service,
) -> None:
    async with reporting(brisk, never):
        probe = await probed(brisk)

    assert not probe.held
    assert probe.applied_seconds > brisk.settings.staleness_bound_seconds
    assert probe.validators_known == 2
    assert probe.refused_seconds < brisk.settings.staleness_bound_seconds


async def test_a_validator_that_vanished_is_waited_for_until_it_is_harmless(
    brisk: Service, owner: asyncpg.Connection
) -> None:
    def is_revoked() -> Awaitable[object]:
        return owner.fetchval("SELECT count(*) FROM outbox_event WHERE confirmed_at IS NOT NULL")

    async with reporting(brisk, is_revoked):
        probe = await probed(brisk)

    assert probe.held
    assert LIVE_SECONDS_MAX - 0.1 < probe.applied_seconds <= brisk.settings.staleness_bound_seconds


async def test_a_token_that_was_never_accepted_proves_nothing(
    brisk: Service, settings: Settings, clock: FrozenClock
) -> None:
    """A validator whose clock is an hour ahead refuses the token from the beginning."""
    del clock
    ahead = FrozenClock()
    ahead.advance(hours=1)
    opening = partial(open_validator, settings, clock=ahead)

    probe = await replace(brisk.canary, opening=opening).probe()

    assert probe is not None
    assert not probe.held


async def test_without_redis_nothing_is_claimed(brisk: Service, settings: Settings) -> None:
    """Whoever watches sees that no probe is told any more."""
    before = await last_probe(brisk.cache.redis)
    nowhere = {"redis_url": SecretStr("redis://127.0.0.1:9/0"), "lease_seconds": LEASE}
    changed = settings.model_copy(update=nowhere)
    async with open_cache(changed) as cache:
        blind = compose(changed, cache, brisk.clock, passwords=brisk.accounts.passwords)

        with pytest.raises(Failed):
            await replace(blind.canary, opening=brisk.canary.opening).probe()

    assert await last_probe(brisk.cache.redis) == before == {}


async def test_where_the_truth_is_not_known_nothing_is_claimed_either(
    brisk: Service, settings: Settings
) -> None:
    """A slow read is no broken promise; the task is tried again."""
    away = settings.model_copy(update={"database_url": SecretStr("postgres://x@127.0.0.1:9/x")})
    opening = partial(open_validator, away, clock=brisk.clock)

    with pytest.raises(Unavailable):
        await replace(brisk.canary, opening=opening).probe()

    assert await last_probe(brisk.cache.redis) == {}
