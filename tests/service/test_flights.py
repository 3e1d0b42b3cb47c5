"""Whoever asks after a drop was applied gets what was read after it, and shares that read."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address

import pytest
from conftest import FrozenClock
from redis.asyncio import Redis
from stores import eventually
from strategies import record

from service.cache import Cache, Drop, hot_client
from service.clock import boottime
from service.near_cache import REFRESH_SHARE
from service.secret_format import digest_of, make_secret
from service.settings import Settings
from service.validator import Request, Validator
from service.verdict import CredentialKind, Record, Status

LEASE = 4.0
PEPPERS = {7: b"p" * 32, 8: b"q" * 32}
NOWHERE = "redis://127.0.0.1:1"


class HeldSource:
    """A database whose every read sees its moment, and answers when it is let go."""

    def __init__(self) -> None:
        self.records: dict[bytes, Record] = {}
        self.reads: list[tuple[bytes, asyncio.Event]] = []
        self.held = True

    async def find(self, digest: bytes) -> Record | None:
        found, let_go = self.records.get(digest), asyncio.Event()
        self.reads.append((digest, let_go))
        if self.held:
            await let_go.wait()
        return found

    async def is_read(self, count: int) -> None:
        """Return once so many reads have begun."""

        async def begun() -> bool:
            return len(self.reads) >= count

        await eventually(begun, seconds=2)
        assert len(self.reads) == count

    def let_go(self, number: int) -> None:
        """Let the read of a number, from 0, answer with what it saw."""
        self.reads[number][1].set()


class Scene:
    """A validator over a held source, with two secrets of one fleet."""

    def __init__(self, url: str, clock: FrozenClock) -> None:
        self.clock = clock
        self.source = HeldSource()
        self.client = hot_client(url, timeout_seconds=2)
        self.cache = Cache(self.client, b"k" * 32, LEASE)
        self.validator = Validator(
            self.cache,
            self.source.find,
            {7: PEPPERS[7]},
            clock=clock,
            lease_seconds=LEASE,
        )
        self.one = replace(record(), expires_at=clock.now() + timedelta(hours=1))
        self.secret, self.other = (make_secret("test", {7: PEPPERS[7]}) for _ in range(2))
        for secret in (self.secret, self.other):
            self.source.records[secret.digest] = self.one

    def ask(self, text: str | None = None) -> "asyncio.Task[Status]":
        """Begin a check."""

        async def status() -> Status:
            return (await self.validator.check(text or self.secret.text)).status

        return asyncio.create_task(status())

    def revoke(self) -> None:
        """Revoke the token in the database; nobody has heard of it."""
        self.source.records[self.secret.digest] = replace(self.one, revoked=True)

    async def apply(self, word: str) -> None:
        """Drop the token, its account or its reseller, or forget everything after such a drop."""
        assert self.one.reseller_id is not None
        drop = {
            "account": Drop.of_account(self.one.account_id),
            "reseller": Drop.of_account(self.one.reseller_id),
        }.get(word, Drop.of_secret(self.secret.digest))
        if await self.cache.revoke([drop]) is not None:
            dropped_at = await self.client.time()

            async def is_past() -> bool:
                seconds, micros = await self.client.time()
                return (int(seconds), int(micros) // 1000) > (
                    int(dropped_at[0]),
                    int(dropped_at[1]) // 1000,
                )

            await eventually(is_past, seconds=2)  # reads of one millisecond with it are refused
        if word == "forget":
            self.validator.forget()
        else:
            self.validator.drop(drop)


@pytest.fixture(params=["redis", "no redis"])
async def scene(
    request: pytest.FixtureRequest,
    settings: Settings,
    clean: None,  # noqa: ARG001 - an empty Redis
    clock: FrozenClock,
) -> AsyncIterator[Scene]:
    url = settings.redis_url.get_secret_value() if request.param == "redis" else NOWHERE
    made = Scene(url, clock)
    yield made
    await made.client.aclose()


WORDS = ["token", "account", "reseller", "forget"]


@pytest.mark.parametrize("word", WORDS)
async def test_who_asks_after_a_drop_joins_no_read_that_began_before_it(
    scene: Scene, word: str
) -> None:
    before = scene.ask()
    await scene.source.is_read(1)
    scene.revoke()
    await scene.apply(word)

    after = [scene.ask() for _ in range(20)]
    await scene.source.is_read(2)
    scene.source.let_go(1)

    assert await asyncio.gather(*after) == [Status.REVOKED] * 20
    assert not before.done()
    scene.source.let_go(0)
    assert await before is Status.VALID  # it asked before anything was applied
    entry = scene.validator.near.find(scene.secret.digest)
    assert entry is not None
    assert entry.record is not None
    assert entry.record.revoked


@pytest.mark.parametrize("word", WORDS)
async def test_a_read_that_lands_after_its_drop_takes_no_younger_one_along(
    scene: Scene, word: str
) -> None:
    before = scene.ask()
    await scene.source.is_read(1)
    scene.revoke()
    await scene.apply(word)
    after = scene.ask()
    await scene.source.is_read(2)

    scene.source.let_go(0)
    await before
    joined = scene.ask()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    scene.source.let_go(1)

    assert [await after, await joined] == [Status.REVOKED] * 2
    assert len(scene.source.reads) == 2


async def test_a_drop_of_one_token_leaves_the_reads_of_others_shared(scene: Scene) -> None:
    first = scene.ask(scene.other.text)
    await scene.source.is_read(1)

    await scene.apply("token")
    second = scene.ask(scene.other.text)
    await asyncio.sleep(0)
    scene.source.let_go(0)

    assert [await first, await second] == [Status.VALID] * 2
    assert len(scene.source.reads) == 1


@pytest.mark.parametrize("word", WORDS)
async def test_a_look_ahead_that_began_before_a_drop_is_not_remembered(
    scene: Scene, word: str
) -> None:
    older = boottime() - LEASE * REFRESH_SHARE
    scene.validator.near.store(scene.secret.digest, scene.one, asked_at=older, lease=LEASE)
    assert await scene.ask() is Status.VALID
    await scene.source.is_read(1)
    scene.revoke()
    await scene.apply(word)

    scene.source.let_go(0)
    after = scene.ask()
    await scene.source.is_read(2)
    scene.source.let_go(1)

    assert await after is Status.REVOKED
    assert await scene.ask() is Status.REVOKED
    assert len(scene.source.reads) == 2


async def test_a_near_answer_is_the_same_as_one_that_is_looked_up(scene: Scene) -> None:
    validator, near = scene.validator, scene.validator.check_near
    scene.source.held = False
    text = scene.secret.text
    assert near(text, Request()) is None
    await scene.ask()

    questions = [
        Request(),
        Request(scope="dns:read"),
        Request(audience="dns-api"),
        Request(address=ip_address("192.0.2.1")),
        Request(kind=CredentialKind.SESSION),
    ]
    for wanted in questions:
        looked_up = await validator.check(
            text,
            address=wanted.address,
            scope=wanted.scope,
            audience=wanted.audience,
            kind=wanted.kind,
        )
        assert near(text, wanted) == looked_up
    assert len(scene.source.reads) == 1
    scene.clock.advance(hours=1)
    told = near(text, Request())
    assert told is not None
    assert told.status is Status.EXPIRED


@pytest.mark.parametrize("word", [*WORDS, "refresh", "dead"])
async def test_where_memory_may_not_answer_it_does_not(scene: Scene, word: str) -> None:
    asked_at = {
        "refresh": boottime() - LEASE * REFRESH_SHARE,
        "dead": boottime() - LEASE,
    }.get(word, boottime())
    scene.validator.near.store(scene.secret.digest, scene.one, asked_at=asked_at, lease=LEASE)

    if word in WORDS:
        assert scene.validator.check_near(scene.secret.text, Request()) is not None
        await scene.apply(word)

    assert scene.validator.check_near(scene.secret.text, Request()) is None


async def test_memory_tells_a_use_as_a_use_alone(scene: Scene, redis_of: Redis) -> None:
    scene.source.held = False
    await scene.validator.check(scene.secret.text, is_use=False)

    scene.validator.check_near(scene.secret.text, Request(is_use=False))
    await scene.validator.usage.hand_on(redis_of)
    assert await redis_of.exists("usage") == 0
    scene.validator.check_near(scene.secret.text, Request())
    await scene.validator.usage.hand_on(redis_of)

    assert await redis_of.hkeys("usage") == [str(scene.one.secret_id).encode()]


@pytest.fixture
async def redis_of(settings: Settings) -> AsyncIterator[Redis]:
    client = Redis.from_url(settings.redis_url.get_secret_value())
    yield client
    await client.aclose()


async def test_memory_answers_for_a_secret_of_an_old_pepper_only_once_it_knows_of_both(
    scene: Scene, clock: FrozenClock
) -> None:
    scene.source.held = False
    validator = Validator(
        Cache(scene.client, b"k" * 32, LEASE),
        scene.source.find,
        {8: PEPPERS[8], 7: PEPPERS[7]},
        clock=clock,
        lease_seconds=LEASE,
    )
    text = scene.secret.text
    validator.near.store(digest_of(text, PEPPERS[7]), scene.one, asked_at=boottime(), lease=LEASE)
    assert validator.check_near(text, Request()) is None

    assert (await validator.check(text)).status is Status.VALID

    told = validator.check_near(text, Request())
    assert told is not None
    assert told.status is Status.VALID
    assert [digest for digest, _ in scene.source.reads] == [digest_of(text, PEPPERS[8])]


@pytest.mark.parametrize("junk", ["", "x" * 100_000, "tw_test_\0", "ｔｗ_test_a", "\ud800"])
async def test_junk_asks_nobody_also_from_memory(scene: Scene, junk: str) -> None:
    told = scene.validator.check_near(junk, Request())

    assert told is None or told.status is Status.UNKNOWN
    assert (await scene.validator.check(junk)).status is Status.UNKNOWN
    assert scene.source.reads == []
