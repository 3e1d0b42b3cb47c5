"""Streams are bounded, and what is not known to be allowed is not told."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import ExitStack, aclosing, suppress
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from conftest import FrozenClock
from stores import eventually
from strategies import record

from service import streams
from service.access.actor import Actor
from service.cache import Cache, hot_client
from service.errors import TooManyStreams, Unauthenticated, Unavailable
from service.secret_format import make_secret
from service.settings import Settings, read_settings
from service.streams import Places, Streams
from service.validator import Validator
from service.verdict import Record

PEPPERS = {7: b"p" * 32}
NOWHERE = "redis://127.0.0.1:1/0"
LEASE_SECONDS = 0.2


class Source:
    """A database with one record in it, which can go away; there is no Redis beside it."""

    def __init__(self, one: Record) -> None:
        self.secret = make_secret("test", PEPPERS)
        self.record: Record | None = one
        self.is_down = False

    async def find(self, _: bytes) -> Record | None:
        if self.is_down:
            raise Unavailable
        return self.record

    @property
    def scope(self) -> dict[str, object]:
        authorization = f"Bearer {self.secret.text}".encode()
        return {"type": "http", "headers": [(b"authorization", authorization)], "client": None}


@pytest.fixture
def source(clock: FrozenClock) -> Source:
    ends_at = clock.now() + timedelta(hours=1)
    return Source(replace(record(), expires_at=ends_at, scopes=("dns:read",)))


@pytest.fixture
def short() -> Settings:
    return read_settings(environment="test", lease_seconds=LEASE_SECONDS)


@pytest.fixture
async def opened(source: Source, short: Settings, clock: FrozenClock) -> AsyncIterator[Streams]:
    redis = hot_client(NOWHERE)
    validator = Validator(
        Cache(redis, b"k" * 32, LEASE_SECONDS),
        source.find,
        PEPPERS,
        clock=clock,
        lease_seconds=LEASE_SECONDS,
    )
    yield Streams(validator, short)
    await redis.aclose()


class News:
    """Something to watch, which tells when it was closed."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[str] = asyncio.Queue()
        self.is_closed = False

    async def told(self) -> AsyncGenerator[str, None]:
        try:
            while (item := await self.queue.get()) != "end":
                yield item
        finally:
            for _ in range(5):  # closing takes a moment, as a transaction's end does
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(0)
            self.is_closed = True


async def kept(opened: Streams, source: Source, news: News) -> AsyncGenerator[str, None]:
    standing = opened.standing(source.scope, None)
    begun = await standing.begin()
    async with aclosing(opened.keep(standing, begun, "dns:read", news.told())) as items:
        async for item in items:
            yield item


async def test_where_the_truth_is_not_known_nothing_is_told_until_it_is(
    opened: Streams, source: Source
) -> None:
    news = News()
    async with aclosing(kept(opened, source, news)) as items:
        await news.queue.put("before")
        assert await anext(items) == "before"

        source.is_down = True
        await forgotten(opened)
        await news.queue.put("meanwhile")
        waiting = asyncio.create_task(anext(items))
        done, _ = await asyncio.wait({waiting}, timeout=LEASE_SECONDS)
        assert not done
        source.is_down = False

        assert await waiting == "meanwhile"


async def test_after_the_bound_a_stream_ends_whose_credential_nobody_knows(
    opened: Streams, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    news = News()
    monkeypatch.setattr(Settings, "staleness_bound_seconds", LEASE_SECONDS)
    items = kept(opened, source, news)
    await news.queue.put("before")
    await anext(items)
    source.is_down = True
    await forgotten(opened)
    await news.queue.put("never told")

    with pytest.raises(Unavailable):
        await anext(items)

    assert news.is_closed
    assert len(opened.places) == 0


async def test_what_arrives_after_the_end_is_not_told_and_the_source_is_closed(
    opened: Streams, source: Source, clock: FrozenClock
) -> None:
    news = News()
    items = kept(opened, source, news)
    await news.queue.put("before")
    await anext(items)
    clock.advance(hours=2)
    await news.queue.put("after")

    with pytest.raises(Unauthenticated):
        await anext(items)

    assert news.is_closed
    assert len(opened.places) == 0


async def test_an_end_of_the_source_ends_the_stream(opened: Streams, source: Source) -> None:
    news = News()
    for item in ("one", "two", "end"):
        await news.queue.put(item)

    assert [item async for item in kept(opened, source, news)] == ["one", "two"]
    assert news.is_closed


async def test_a_stream_that_waits_is_closed_however_often_it_is_cancelled(
    opened: Streams, source: Source
) -> None:
    """anyio cancels again and again, and a generator that runs cannot be closed."""
    news = News()

    async def watch() -> None:
        async for _ in kept(opened, source, news):
            pass

    watching = asyncio.create_task(watch())
    await eventually(lambda: taken(opened, 1), seconds=5)
    while not watching.done():
        watching.cancel()
        await asyncio.sleep(0)

    assert watching.cancelled()
    assert news.is_closed
    assert len(opened.places) == 0


async def test_being_watched_is_no_use_of_a_credential(
    opened: Streams, source: Source, short: Settings
) -> None:
    usage = opened._validator.usage  # noqa: SLF001 - what it hands on goes to a Redis that is not there
    standing = opened.standing(source.scope, None)
    await standing.begin()
    assert len(usage._uses) == 1  # noqa: SLF001 - as above
    usage._uses.clear()  # noqa: SLF001 - as above

    assert await standing.judge() is not None
    assert short.lease_seconds == LEASE_SECONDS
    assert usage._uses == {}  # noqa: SLF001 - as above


def test_places_are_bounded_for_each_credential_each_account_and_in_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streams, "PER_CREDENTIAL_MAX", 2)
    monkeypatch.setattr(streams, "PER_ACCOUNT_MAX", 3)
    monkeypatch.setattr(streams, "IN_ALL_MAX", 4)
    places = Places()
    one, two, other = actor(), actor(), replace(actor(), account_id=uuid4())
    two = replace(two, account_id=one.account_id)

    with ExitStack() as held:
        for who in (one, one, two):
            held.enter_context(places.taken(who))
        for who in (one, two):  # of this credential; of this account
            with pytest.raises(TooManyStreams), places.taken(who):
                pass
        held.enter_context(places.taken(other))
        with pytest.raises(TooManyStreams), places.taken(replace(actor(), account_id=uuid4())):
            pass

    assert len(places) == 0
    assert not places._taken  # noqa: SLF001 - it holds nobody who has gone


@pytest.mark.parametrize(
    ("limit", "also_full", "free"),
    [
        ("UNKNOWN_SOCKETS_MAX", "192.0.2.1", None),
        # A subscriber's IPv6 addresses are as many as they like.
        ("UNKNOWN_PER_ADDRESS_MAX", "2001:db8::2", "192.0.2.1"),
    ],
)
def test_sockets_of_nobody_known_are_bounded_in_all_and_by_address(
    opened: Streams,
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    also_full: str,
    free: str | None,
) -> None:
    monkeypatch.setattr(streams, limit, 1)

    with opened.unknown_socket(calling("2001:db8::1")):
        with pytest.raises(TooManyStreams), opened.unknown_socket(calling(also_full)):
            pass
        if free is not None:
            with opened.unknown_socket(calling(free)):
                pass
    with opened.unknown_socket(calling(also_full)):
        pass


def calling(address: str) -> dict[str, object]:
    return {"type": "websocket", "headers": [], "client": (address, 40_000)}


def actor() -> Actor:
    return replace(Actor.of(record()), token_id=uuid4())


async def taken(opened: Streams, count: int) -> bool:
    return len(opened.places) == count


async def forgotten(opened: Streams) -> None:
    """Have the validator know nothing any more."""
    opened._validator.forget()  # noqa: SLF001 - it is the process' own
