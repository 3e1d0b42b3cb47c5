"""Threads without an event loop get the same verdicts, and never wait for ever."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pytest
from conftest import FrozenClock
from factories import Platform, make_token
from pydantic import SecretStr
from redis import Redis

from service.addresses import parse_address
from service.blocking import ANSWER_SECONDS_MAX, BlockingValidator, open_blocking_validator
from service.cache import CHANNEL, REPORTS
from service.composition import Service
from service.settings import Settings
from service.tokens import Created
from service.usage import flush_usage
from service.validator import Validator
from service.verdict import CredentialKind, Status, Verdict

NOWHERE = "127.0.0.1:9"  # the discard port: nothing listens
THREAD = "tokenward-validator"


@pytest.fixture
async def token(service: Service, platform: Platform) -> Created:
    return await make_token(service, platform.customer)


@pytest.fixture
def blocking(settings: Settings, service: Service) -> Iterator[BlockingValidator]:
    """A validator for the threads of this test."""
    with open_blocking_validator(settings, clock=service.clock) as validator:
        yield validator


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == THREAD]


async def in_thread(check: Callable[..., Verdict], *args: Any, **fields: Any) -> Status:
    """Ask from another thread than the tests' own."""
    return (await asyncio.to_thread(check, *args, **fields)).status


async def test_the_verdicts_are_those_of_the_validator(
    service: Service,
    platform: Platform,
    clock: FrozenClock,
    validator: Validator,
    blocking: BlockingValidator,
) -> None:
    actor, now = platform.customer, clock.now()
    live = await make_token(service, actor)
    revoked = await make_token(service, actor)
    await service.tokens.revoke(actor, revoked.token.id)
    ending = await make_token(service, actor, expires_at=now + timedelta(minutes=1))
    suspended = await make_token(service, actor)
    await service.tokens.suspend(actor, suspended.token.id)
    pending = await make_token(service, actor, not_before=now + timedelta(days=1))
    limited = await make_token(service, actor, allowed_ip_ranges=("198.51.100.0/24",))
    clock.advance(minutes=1)
    secrets = [made.secret for made in (live, revoked, ending, suspended, pending, limited)]
    secrets += ["", "x", live.secret + "\n", "\ud800", "tw_live_" + "0" * 36]
    told = []

    for secret in secrets:
        for address in ("198.51.100.7", "192.0.2.7", "nonsense", None):
            for scope in (None, "dns:read", "dns:read mail:read"):
                parsed = None if address is None else parse_address(address)
                verdict = await validator.check(secret, address=parsed, scope=scope)
                same = await asyncio.to_thread(blocking.check, secret, address=address, scope=scope)
                assert same == verdict
                told.append(same.status)

    assert set(told) == set(Status) - {Status.UNAVAILABLE, Status.AUDIENCE_NOT_ALLOWED}


async def test_an_address_may_be_parsed_already_and_a_kind_asked_for(
    service: Service, platform: Platform, blocking: BlockingValidator
) -> None:
    ranges = ("198.51.100.0/24",)
    limited = await make_token(service, platform.customer, allowed_ip_ranges=ranges)

    inside = parse_address("198.51.100.7")

    assert await in_thread(blocking.check, limited.secret, address=inside) is Status.VALID
    session = CredentialKind.SESSION
    assert await in_thread(blocking.check, limited.secret, kind=session) is Status.UNKNOWN


async def test_a_revoke_is_seen(
    token: Created, service: Service, platform: Platform, blocking: BlockingValidator
) -> None:
    assert await in_thread(blocking.check, token.secret) is Status.VALID

    await service.tokens.revoke(platform.customer, token.token.id)

    until = time.monotonic() + service.settings.staleness_bound_seconds
    while await in_thread(blocking.check, token.secret) is Status.VALID:
        assert time.monotonic() < until


def test_many_threads_may_ask_at_once(token: Created, blocking: BlockingValidator) -> None:
    secrets = [token.secret, "x"] * 100

    with ThreadPoolExecutor(max_workers=16) as pool:
        verdicts = list(pool.map(blocking.check, secrets))

    assert [verdict.status for verdict in verdicts] == [Status.VALID, Status.UNKNOWN] * 100


def test_where_the_truth_is_not_known_the_verdict_is_unavailable(
    token: Created, settings: Settings
) -> None:
    nothing = {
        "redis_url": SecretStr(f"redis://{NOWHERE}/0"),
        "database_url": SecretStr(f"postgres://nobody@{NOWHERE}/nothing"),
    }

    with open_blocking_validator(settings.model_copy(update=nothing)) as validator:
        assert validator.check(token.secret).status is Status.UNAVAILABLE
        assert validator.check("x").status is Status.UNKNOWN

    assert threads() == []


class StuckClock(FrozenClock):
    """A clock that holds up whoever asks it, as a starved loop would."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()

    def now(self) -> datetime:
        self.go_on.wait(10)
        return super().now()


def test_a_loop_that_stands_still_holds_nobody_up_for_ever(
    token: Created, settings: Settings
) -> None:
    clock = StuckClock()

    with open_blocking_validator(settings, clock=clock) as validator:
        began = time.monotonic()
        verdict = validator.check(token.secret)
        waited = time.monotonic() - began
        clock.go_on.set()

        assert verdict.status is Status.UNAVAILABLE
        assert waited < ANSWER_SECONDS_MAX + 1
        assert validator.check(token.secret).status is Status.VALID


def test_what_is_remembered_is_answered_while_the_loop_stands_still(
    token: Created, settings: Settings
) -> None:
    redis = Redis.from_url(settings.redis_url.get_secret_value(), decode_responses=True)
    now = int(redis.time()[0]) * 1000
    redis.hset(CHANNEL, mapping={"epoch": "0" * 32, "began": 1, "seen": now, "revision": 7})
    with open_blocking_validator(settings) as validator:
        until = time.monotonic() + 5
        while not any(" 7 " in str(told) for told in redis.hvals(REPORTS)):
            assert time.monotonic() < until  # it listens, and so forgets nothing any more
            time.sleep(0.01)
        assert validator.check(token.secret).status is Status.VALID
        go_on = threading.Event()
        validator._loop.call_soon_threadsafe(go_on.wait, 10)  # noqa: SLF001 - nothing of ours blocks it

        verdicts = {validator.check(token.secret).status for _ in range(100)}
        go_on.set()

    assert verdicts == {Status.VALID}


def test_whoever_asks_after_the_end_is_told_that_nothing_is_known(
    token: Created, settings: Settings
) -> None:
    with open_blocking_validator(settings) as validator:
        pass

    assert validator.check(token.secret).status is Status.UNAVAILABLE
    assert threads() == []
    validator.end()


def test_whoever_waits_when_it_ends_is_told_so(token: Created, settings: Settings) -> None:
    clock = StuckClock()
    with ThreadPoolExecutor() as pool, open_blocking_validator(settings, clock=clock) as validator:
        waiting = [pool.submit(validator.check, token.secret) for _ in range(8)]
        validator.end()
        clock.go_on.set()

        told = {asked.result().status for asked in waiting}

    assert told <= {Status.VALID, Status.UNAVAILABLE}
    assert threads() == []


async def test_last_uses_are_handed_on_at_the_end(
    token: Created, settings: Settings, service: Service, owner: asyncpg.Connection
) -> None:
    def use() -> None:
        with open_blocking_validator(settings, clock=service.clock) as validator:
            validator.check(token.secret, address="198.51.100.9")

    await asyncio.to_thread(use)

    await flush_usage(service.cache.redis)
    query = "SELECT last_used_address FROM api_token WHERE id = $1"
    assert await owner.fetchval(query, token.token.id) == "198.51.100.9"


def test_what_cannot_be_opened_is_told_to_whoever_opens_it(settings: Settings) -> None:
    senseless = settings.model_copy(update={"redis_url": SecretStr("nonsense://x")})

    with pytest.raises(ValueError, match="scheme"), open_blocking_validator(senseless):
        pytest.fail("it opened")

    assert threads() == []


def test_a_failure_of_whoever_asks_ends_the_thread_too(settings: Settings) -> None:
    with pytest.raises(KeyError), open_blocking_validator(settings):
        raise KeyError("theirs")

    assert threads() == []
