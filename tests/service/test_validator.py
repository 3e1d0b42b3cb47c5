"""The hot path: one read for many, leases that never stack, and no answer but a true one."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from conftest import FrozenClock
from factories import Platform, make_token
from redis.asyncio import Redis
from stores import eventually
from strategies import record

from service.cache import Cache, Drop, hot_client
from service.clock import boottime
from service.composition import Service, compose
from service.errors import Unavailable
from service.near_cache import REFRESH_SHARE, NearCache
from service.secret_format import digest_of, make_secret
from service.settings import Settings
from service.validator import Validator, open_validator
from service.verdict import CredentialKind, Record, Status

LEASE = 4.0
PEPPERS = {7: b"p" * 32}


class Source:
    """A database with one record in it, which counts its reads and can be held up."""

    def __init__(self) -> None:
        self.secret = make_secret("test", PEPPERS)
        self.records: dict[bytes, Record] = {}
        self.reads: list[float] = []
        self.held = asyncio.Event()
        self.held.set()
        self.down = False

    async def find(self, digest: bytes) -> Record | None:
        self.reads.append(boottime())
        found = self.records.get(digest)  # what the database's snapshot saw when the read began
        await self.held.wait()
        if self.down:
            raise Unavailable
        return found


@pytest.fixture
def source(one: Record) -> Source:
    made = Source()
    made.records[made.secret.digest] = one
    return made


@pytest.fixture
def one(clock: FrozenClock) -> Record:
    """A record that is valid for an hour."""
    return replace(record(), expires_at=clock.now() + timedelta(hours=1))


@pytest.fixture
async def redis(settings: Settings, clean: None) -> AsyncIterator[Redis]:  # noqa: ARG001 - an empty Redis
    client = Redis.from_url(settings.redis_url.get_secret_value())
    yield client
    await client.aclose()


Make = Callable[..., Validator]


@pytest.fixture
async def make(
    settings: Settings,
    source: Source,
    clock: FrozenClock,
    redis: Redis,  # noqa: ARG001 - it is empty
) -> AsyncIterator[Make]:
    """Make validators over the source, each with a connection to Redis of its own."""
    clients = []

    def made(*, lease: float = LEASE, url: str | None = None) -> Validator:
        client = hot_client(url or settings.redis_url.get_secret_value(), timeout_seconds=2)
        clients.append(client)
        cache = Cache(client, b"k" * 32, lease)
        return Validator(cache, source.find, PEPPERS, clock=clock, lease_seconds=lease)

    yield made
    for client in clients:
        await client.aclose()


NOWHERE = "redis://127.0.0.1:1"


async def reaches(instant: float) -> None:
    """Return once the clock of the leases has reached an instant."""

    async def reached() -> bool:
        return boottime() >= instant

    await eventually(reached, seconds=2)


async def read_begins(source: Source) -> None:
    """Return once somebody reads the source."""

    async def reading() -> bool:
        return bool(source.reads)

    await eventually(reading, seconds=2)


async def status(validator: Validator, source: Source) -> Status:
    return (await validator.check(source.secret.text)).status


async def test_many_checks_of_one_secret_are_one_read(make: Make, source: Source) -> None:
    validator = make()
    source.held.clear()
    checks = [asyncio.create_task(status(validator, source)) for _ in range(200)]
    await read_begins(source)
    source.held.set()

    assert await asyncio.gather(*checks) == [Status.VALID] * 200
    assert len(source.reads) == 1


async def test_a_caller_who_goes_away_takes_nobodys_answer_along(
    make: Make, source: Source
) -> None:
    validator = make()
    source.held.clear()
    first, second = (asyncio.create_task(status(validator, source)) for _ in range(2))
    await read_begins(source)
    first.cancel()
    source.held.set()

    assert await second is Status.VALID
    assert len(source.reads) == 1


async def test_what_one_validator_read_the_next_finds_in_redis(make: Make, source: Source) -> None:
    for _ in range(5):
        assert await status(make(), source) is Status.VALID

    assert len(source.reads) == 1


async def test_a_near_hit_needs_neither_redis_nor_database(make: Make, source: Source) -> None:
    validator = make(url=NOWHERE)
    assert await status(validator, source) is Status.VALID

    source.down = True

    assert await status(validator, source) is Status.VALID
    assert len(source.reads) == 1


@pytest.mark.parametrize("url", [None, NOWHERE], ids=["redis", "no redis"])
async def test_a_lease_runs_from_before_the_read_in_every_tier_and_tiers_never_stack(
    make: Make, source: Source, url: str | None
) -> None:
    first, second = make(url=url), make(url=url)
    began = boottime()
    await status(first, source)
    read_at = source.reads[0]
    await reaches(began + 0.05)
    await status(second, source)

    digest = source.secret.digest
    near = [validator.near.find(digest) for validator in (first, second)]
    deadlines = [entry.deadline for entry in near if entry]
    assert len(deadlines) == 2
    assert began <= deadlines[0] - LEASE <= read_at
    if url is None:
        assert len(source.reads) == 1
        # To Redis' millisecond: the second tier has not begun a lease of its own.
        assert deadlines[1] - LEASE <= read_at + 0.001
    else:
        assert deadlines[1] - LEASE <= source.reads[1]


async def test_an_entry_that_has_died_is_looked_up_again(make: Make, source: Source) -> None:
    validator = make(url=NOWHERE)
    seconds = [boottime()]
    validator.near = NearCache(10, now=lambda: seconds[0])
    await status(validator, source)

    seconds[0] = source.reads[0] + LEASE
    source.down = True

    assert await status(validator, source) is Status.UNAVAILABLE
    assert len(source.reads) == 2


async def test_a_busy_record_is_looked_up_ahead_and_never_waited_for(
    make: Make, source: Source
) -> None:
    lease = 10.0
    validator = make(url=NOWHERE, lease=lease)
    await status(validator, source)
    read = validator.near.find(source.secret.digest)
    assert read is not None
    older = boottime() - lease * REFRESH_SHARE
    validator.near.store(source.secret.digest, read.record, asked_at=older, lease=lease)
    source.held.clear()

    assert await status(validator, source) is Status.VALID  # although the source is held up

    async def reading_again() -> bool:
        return len(source.reads) == 2

    await eventually(reading_again, seconds=2)
    source.held.set()

    async def younger() -> bool:
        entry = validator.near.find(source.secret.digest)
        return entry is not None and entry.deadline > older + lease

    await eventually(younger, seconds=2)


async def test_an_answer_whose_flight_stood_still_is_not_used(source: Source) -> None:
    """As when the process was stopped, or the machine slept, between the read and its use."""
    lease = 0.05

    async def stand_still(digest: bytes) -> Record | None:
        found = await source.find(digest)
        while boottime() < source.reads[-1] + lease:
            pass
        return found

    cache = Cache(hot_client(NOWHERE), b"k" * 32, lease)
    validator = Validator(cache, stand_still, PEPPERS, clock=FrozenClock(), lease_seconds=lease)

    assert await status(validator, source) is Status.UNAVAILABLE
    assert validator.near.find(source.secret.digest) is None


@pytest.mark.parametrize("word", ["clear", "token", "account", "reseller"])
@pytest.mark.parametrize("url", [None, NOWHERE], ids=["redis", "no redis"])
async def test_a_read_begun_before_a_drop_is_not_remembered(
    make: Make, source: Source, one: Record, word: str, url: str | None
) -> None:
    validator = make(url=url)
    source.held.clear()
    check = asyncio.create_task(status(validator, source))
    await read_begins(source)
    if word == "clear":
        validator.near.clear()
    else:
        assert one.reseller_id is not None
        whose = one.account_id if word == "account" else one.reseller_id
        digest = source.secret.digest
        validator.near.drop(Drop.of_secret(digest) if word == "token" else Drop.of_account(whose))
    source.held.set()

    assert await check is Status.VALID
    assert len(validator.near) == 0


async def test_a_read_that_redis_calls_overtaken_is_not_remembered(
    make: Make, source: Source
) -> None:
    """Also where the word of the drop itself has not come."""
    validator, elsewhere = make(), make()
    source.held.clear()
    check = asyncio.create_task(status(validator, source))
    await read_begins(source)
    await elsewhere._cache.revoke([Drop.of_secret(source.secret.digest)])  # noqa: SLF001 - the part it was made of
    source.held.set()
    await check

    assert len(validator.near) == 0
    await status(validator, source)
    assert len(source.reads) == 2


async def test_without_redis_the_database_answers(make: Make, source: Source, one: Record) -> None:
    assert await status(make(url=NOWHERE), source) is Status.VALID

    source.records[source.secret.digest] = replace(one, revoked=True)

    assert await status(make(url=NOWHERE), source) is Status.REVOKED


@pytest.mark.parametrize("url", [None, NOWHERE], ids=["redis", "no redis"])
async def test_where_nobody_answers_nothing_is_claimed(
    make: Make, source: Source, url: str | None
) -> None:
    validator = make(url=url)
    source.down = True
    nobody = make_secret("test", PEPPERS)

    assert await status(validator, source) is Status.UNAVAILABLE
    assert (await validator.check(nobody.text)).status is Status.UNAVAILABLE
    source.down = False
    assert await status(validator, source) is Status.VALID
    assert (await validator.check(nobody.text)).status is Status.UNKNOWN


async def test_an_unknown_secret_is_read_once_and_left_out_of_redis(
    make: Make, source: Source, redis: Redis
) -> None:
    validator = make()
    nobody = make_secret("test", PEPPERS)

    for _ in range(5):
        assert (await validator.check(nobody.text)).status is Status.UNKNOWN

    assert len(source.reads) == 1
    assert await redis.keys("tk:*") == []


@pytest.mark.parametrize(
    "junk", ["", "tw_live_", "x" * 1_000_000, "tw_test_\0", "ｔｗ_test_a", "\ud800"]
)
async def test_junk_costs_no_look_up(make: Make, source: Source, junk: str) -> None:
    validator = make()
    good = source.secret.text

    for text in (junk, good + " ", good + "\n", good[:-1], good.swapcase(), good[:-1] + "!"):
        assert (await validator.check(text)).status is Status.UNKNOWN

    assert source.reads == []
    assert len(validator.near) == 0


@pytest.mark.parametrize("state", ["revoked", "suspended", "expired"])
async def test_what_is_not_valid_is_never_in_redis(
    make: Make, source: Source, one: Record, redis: Redis, clock: FrozenClock, state: str
) -> None:
    changed = {"revoked": {"revoked": True}, "suspended": {"suspended": True}}.get(
        state, {"expires_at": clock.now()}
    )
    source.records[source.secret.digest] = replace(one, **changed)

    assert (await status(make(), source)).value == state.upper()

    assert await redis.keys("tk:*") == []


async def test_an_expiry_takes_effect_at_its_instant_also_from_a_warm_cache(
    make: Make, source: Source, clock: FrozenClock
) -> None:
    validator = make()
    clock.advance(minutes=60, microseconds=-1)
    assert await status(validator, source) is Status.VALID

    clock.advance(microseconds=1)

    assert await status(validator, source) is Status.EXPIRED
    assert len(source.reads) == 1


async def test_a_secret_of_the_other_kind_is_unknown(make: Make, source: Source) -> None:
    verdict = await make().check(source.secret.text, kind=CredentialKind.SESSION)

    assert verdict.status is Status.UNKNOWN
    assert verdict.record is None


async def test_an_entry_that_another_version_wrote_is_read_anew(make: Make, source: Source) -> None:
    """While a fleet is updated, old and new processes share one Redis."""
    validator = make()
    cache, digest = validator._cache, source.secret.digest  # noqa: SLF001 - the part it was made of
    miss = await cache.look_up(digest, age_seconds_max=LEASE)
    assert miss is not None
    for payload in (b'{"a_field":"of tomorrow"}', b"[]", b"not JSON"):
        assert await cache.fill(digest, miss, (), payload) in {"OK", "STALE"}

        assert await status(validator, source) is Status.VALID
        validator.near.clear()


async def test_an_old_peppers_secrets_still_verify_and_new_ones_use_the_first(
    service: Service, settings: Settings, platform: Platform
) -> None:
    old = await make_token(service, platform.customer)
    both = "9:a-pepper-of-the-next-year-32-bytes-long," + settings.peppers.get_secret_value()
    rotated = settings.model_copy(update={"peppers": type(settings.peppers)(both)})
    rotated.__dict__.pop("pepper_keys", None)  # what the copy remembers of the original
    after = compose(rotated, service.cache, service.clock, passwords=service.accounts.passwords)

    new = await make_token(after, platform.customer)

    async with open_validator(rotated, clock=service.clock) as validator:
        for secret in (old.secret, new.secret):
            assert (await validator.check(secret)).status is Status.VALID
    async with open_validator(settings, clock=service.clock) as behind:
        assert (await behind.check(old.secret)).status is Status.VALID
        assert (await behind.check(new.secret)).status is Status.UNKNOWN
    assert digest_of(new.secret, rotated.pepper_keys[9]) != digest_of(
        new.secret, settings.pepper_keys[1]
    )
