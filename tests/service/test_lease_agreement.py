"""A validator with a longer lease than the service's makes no receipt and no gauge lie."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
import structlog
from conftest import FrozenClock
from factories import Platform, make_token
from stores import begin_long_ago, eventually

from service import bound
from service.access.system import CredentialSource
from service.background import end
from service.cache import NOTHING_DROPPED, REPORTS, Cache, open_cache
from service.clock import SystemClock, boottime
from service.composition import Service, compose
from service.listener import Listener
from service.metrics import exposition
from service.receipts import LIVE_SECONDS_MAX, Propagation, PropagationState
from service.settings import Settings
from service.validator import Validator, open_validator
from service.verdict import Status

LEASE, LONGER, SHORTER = 4.0, 9.0, 1.0
QUICK, LESS_QUICK = 0.2, 0.8
SOON = 2.0
OTHER_PEPPER = "1:" + 32 * "x"


@pytest.fixture(autouse=True)
async def old_epoch(service: Service) -> None:
    """Everybody has had the time to report since Redis began to remember."""
    await begin_long_ago(service.cache.redis)


def with_lease(settings: Settings, seconds: float) -> Settings:
    return settings.model_copy(update={"lease_seconds": seconds})


@asynccontextmanager
async def deaf(settings: Settings) -> AsyncIterator[Validator]:
    """Open a validator that hears of nothing, and reports."""
    async with open_cache(settings) as cache, CredentialSource.open(settings) as source:
        validator = Validator(
            cache,
            source.find,
            settings.pepper_keys,
            clock=SystemClock(),
            lease_seconds=settings.lease_seconds,
        )
        listener = Listener(validator, cache, settings)
        reporting = asyncio.create_task(listener.keep_reporting())
        try:
            yield validator
        finally:
            await end(reporting)


@asynccontextmanager
async def cache_of(settings: Settings, seconds: float) -> AsyncIterator[Cache]:
    async with open_cache(with_lease(settings, seconds)) as cache:
        yield cache


async def revoke(service: Service, platform: Platform) -> Propagation:
    created = await make_token(service, platform.customer)
    propagation = (await service.tokens.revoke(platform.customer, created.token.id)).propagation
    assert propagation is not None
    return propagation


async def test_no_receipt_is_effective_while_a_deaf_validator_with_a_longer_lease_says_valid(
    service: Service, platform: Platform, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bound, "MARGIN_SECONDS", 0)  # it would hide what is looked at
    quick = with_lease(settings, QUICK)
    async with open_cache(quick) as cache, deaf(with_lease(settings, LESS_QUICK)) as astray:
        remote = compose(quick, cache, SystemClock(), passwords=service.accounts.passwords)
        created = await make_token(remote, platform.customer)
        assert (await astray.check(created.secret)).is_valid
        told = (await remote.tokens.revoke(platform.customer, created.token.id)).propagation
        assert told is not None
        revoked_at = boottime()

        accepted_at = revoked_at
        while told.state is not PropagationState.EFFECTIVE:
            told = await remote.receipts.progress(told.receipt)
            if (await astray.check(created.secret)).status is Status.VALID:
                accepted_at = boottime()
                assert told.state is PropagationState.CONFIRMED
            await asyncio.sleep(0.01)

    assert accepted_at - revoked_at > quick.staleness_bound_seconds, "else it proves nothing"
    assert told.effective_everywhere_by - told.receipt.committed_at == timedelta(
        seconds=2 * LESS_QUICK
    )


async def test_what_a_validator_with_a_longer_lease_has_applied_does_not_count(
    service: Service, platform: Platform, settings: Settings
) -> None:
    told = await revoke(service, platform)
    assert told.receipt.revisions is not None
    [revision] = told.receipt.revisions

    counted = {}
    for seconds in (SHORTER, LEASE, LONGER):
        async with cache_of(settings, seconds) as cache:
            await cache.report("one", revision)
        found = await service.receipts.progress(told.receipt)
        after = found.effective_everywhere_by - told.receipt.committed_at
        counted[seconds] = (found.state, found.applied, after.total_seconds())

    assert counted == {
        SHORTER: (PropagationState.APPLIED, 1, 10),
        LEASE: (PropagationState.APPLIED, 1, 10),
        LONGER: (PropagationState.CONFIRMED, 0, 20),
    }


async def test_one_that_has_vanished_is_waited_for_as_long_as_its_own_lease_asks(
    service: Service, platform: Platform, settings: Settings, clock: FrozenClock
) -> None:
    redis = service.cache.redis
    told = await revoke(service, platform)
    states = []
    for silent_seconds in (LIVE_SECONDS_MAX + 0.5, 10.5, 19.5, 20.5):
        async with cache_of(settings, LONGER) as cache:
            await cache.report("gone", NOTHING_DROPPED)
        said = await redis.hget(REPORTS, "gone")
        assert isinstance(said, bytes)
        at, _, rest = said.partition(b" ")
        await redis.hset(REPORTS, "gone", b"%d " % (int(at) - 1000 * silent_seconds) + rest)
        clock.advance(seconds=10 if silent_seconds == 10.5 else 0)

        found = await service.receipts.progress(told.receipt)
        states.append((found.state, len(found.vanished)))

    confirmed = PropagationState.CONFIRMED
    assert states == [(confirmed, 1)] * 3 + [(PropagationState.EFFECTIVE, 0)]


async def test_who_does_not_tell_a_lease_has_applied_nothing(
    service: Service, platform: Platform
) -> None:
    """As a version from before it was told."""
    redis = service.cache.redis
    told = await revoke(service, platform)
    assert told.receipt.revisions is not None
    [revision] = told.receipt.revisions
    seconds, _ = await redis.time()

    for rest in ("", f" {LEASE}", f" {10**6}", " 4000", " 4000 x"):
        applied = f"{seconds * 1000} {revision.epoch} {revision.number}{rest}"
        await redis.hset(REPORTS, "old", applied)
        found = await service.receipts.progress(told.receipt)

        assert (found.state, found.known, found.applied) == (PropagationState.CONFIRMED, 1, 0)


async def test_monitoring_counts_validators_with_a_longer_lease(
    service: Service, settings: Settings
) -> None:
    for name, seconds in {"one": SHORTER, "two": LEASE, "three": LONGER}.items():
        async with cache_of(settings, seconds) as cache:
            await cache.report(name, NOTHING_DROPPED)

    assert "\ntokenward_validators_beyond_lease 1" in await exposition(service)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, set()),
        ({"lease_seconds": LONGER}, {"validator.other_lease"}),
        ({"peppers": OTHER_PEPPER}, {"validator.other_pepper"}),
    ],
)
async def test_who_opens_beside_others_with_another_lease_or_pepper_tells_it_in_the_log(
    service: Service,
    settings: Settings,
    validator: Validator,
    changes: dict[str, object],
    words: set[str],
) -> None:
    del validator  # it has opened before
    values = {name: value for name, value in settings if name not in changes}
    other = Settings(**(values | changes))

    with structlog.testing.capture_logs() as logged:

        async def told() -> bool:
            await service.cache.report("a third one", NOTHING_DROPPED)
            return {entry["event"] for entry in logged if entry["log_level"] == "error"} == words

        async with open_validator(other, clock=service.clock):
            await eventually(told, seconds=SOON)
            await asyncio.sleep(0)
            assert await told()
