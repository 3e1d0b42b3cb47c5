"""Followers get what is sealed within their reach: all of it, once, in order, and at once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from factories import Platform, actor_of, make_token
from stores import eventually
from trail_scene import actions

from service.access.actor import EVERYTHING, Actor
from service.access.trail import Event
from service.cache import hot_client
from service.composition import Service
from service.errors import InsufficientScope
from service.news import LOOK_AT_MAX, LOOK_SECONDS, News
from service.sealer import channel_of
from service.trail import BATCH, Subject, Trail


@asynccontextmanager
async def following(
    service: Service, actor: Actor, after: str | None = None, subject: Subject | None = None
) -> AsyncIterator[list[Event]]:
    """Follow in the background; what was received is in the list."""
    received: list[Event] = []
    events = service.trail.follow(actor, after, subject)

    async def receive() -> None:
        async for event in events:
            received.append(event)  # noqa: PERF401 - it never ends, and is looked at meanwhile

    receiving = asyncio.create_task(receive())
    try:
        yield received
    finally:
        receiving.cancel()
        await asyncio.wait([receiving])
        await events.aclose()


async def settled(service: Service, followers: int) -> None:
    """Return when as many followers have looked, and the process listens."""
    news = service.trail.news

    async def ready() -> bool:
        waiting = [one for one in news._followers if one._news._waiters]  # noqa: SLF001 - nothing else tells
        return len(waiting) == followers and news.position is not None

    await eventually(ready, seconds=5)


def count_of(received: list[Event], count: int) -> Callable[[], Awaitable[bool]]:
    async def reached() -> bool:
        return len(received) >= count

    return reached


async def test_a_follower_gets_what_is_sealed_from_now_on_at_once_and_in_order(
    service: Service, platform: Platform
) -> None:
    await service.sealer.seal()

    async with following(service, platform.customer) as received:
        await settled(service, 1)
        for _ in range(3):
            await make_token(service, platform.customer)
            await make_token(service, platform.stranger)
            count = len(received)
            await service.sealer.seal()
            await eventually(count_of(received, count + 1), seconds=LOOK_SECONDS / 2)

    assert actions(received) == ["token.created"] * 3
    assert {event.account_id for event in received} == {platform.customer.account_id}
    positions = [event.position or 0 for event in received]
    assert positions == sorted(set(positions))


async def test_each_follower_of_a_process_gets_its_own_over_one_listener(
    service: Service, platform: Platform
) -> None:
    await service.sealer.seal()
    people = (platform.operator, platform.reseller, platform.customer, platform.stranger)

    async with (
        following(service, people[0]) as operator,
        following(service, people[1]) as reseller,
        following(service, people[2]) as customer,
        following(service, people[3]) as stranger,
    ):
        await settled(service, 4)
        listeners = await service.cache.redis.pubsub_numsub(_channel(service))
        await make_token(service, platform.customer)
        await make_token(service, platform.sibling)
        await make_token(service, platform.stranger)
        await service.sealer.seal()
        await eventually(count_of(operator, 3), seconds=5)
        await eventually(count_of(reseller, 2), seconds=5)
        await eventually(count_of(customer, 1), seconds=5)
        await eventually(count_of(stranger, 1), seconds=5)

    assert dict(listeners)[_channel(service).encode()] == 1
    counts = [len(events) for events in (operator, reseller, customer, stranger)]
    assert counts == [3, 2, 1, 1]


def _channel(service: Service) -> str:
    return channel_of(service.cache.redis)


async def test_who_goes_on_behind_a_cursor_misses_nothing_and_gets_nothing_twice(
    service: Service, platform: Platform
) -> None:
    await service.sealer.seal()
    async with following(service, platform.customer) as first:
        await settled(service, 1)
        await make_token(service, platform.customer)
        await service.sealer.seal()
        await eventually(count_of(first, 1), seconds=5)
    for _ in range(BATCH + 1):  # more than one look brings
        await make_token(service, platform.customer)
    await service.sealer.seal()

    async with following(service, platform.customer, first[-1].cursor) as second:
        await eventually(count_of(second, BATCH + 1), seconds=5)
        await make_token(service, platform.customer)
        await service.sealer.seal()
        await eventually(count_of(second, BATCH + 2), seconds=5)

    sequences = [event.sequence or 0 for event in (*first, *second)]
    assert sequences == list(range(sequences[0], sequences[0] + BATCH + 3))


async def test_one_noun_can_be_followed_alone_and_then_needs_its_own_scope(
    service: Service, platform: Platform
) -> None:
    created = await make_token(service, platform.reseller, scopes=("tokens:read",))
    narrow = await actor_of(service, created.secret)
    await service.sealer.seal()

    async with (
        following(service, narrow, subject="token") as tokens,
        following(service, platform.reseller, subject="account") as accounts,
    ):
        await settled(service, 2)
        token = (await make_token(service, platform.customer)).token
        await service.accounts.suspend(platform.reseller, platform.customer.account_id)
        await service.sealer.seal()
        await eventually(count_of(tokens, 1), seconds=5)
        await eventually(count_of(accounts, 1), seconds=5)

    [of_token], [of_account] = tokens, accounts
    assert (of_token.action, of_token.subject_id) == ("token.created", token.id)
    # Without audit:read it tells what happened, not who did it.
    assert (of_token.actor, of_token.address, of_token.request_id) == (None, None, None)
    assert of_token.details == {}
    assert of_account.action == "account.suspended"
    assert of_account.actor is not None
    with pytest.raises(InsufficientScope):
        await anext(service.trail.follow(narrow, subject="account"))


@pytest.mark.usefixtures("platform")
async def test_who_looked_before_the_process_listened_is_told_to_look_again(
    service: Service,
) -> None:
    """What was sealed between the two would else be seen with the next event only."""
    async with service.trail.news.follower(EVERYTHING) as follower:
        follower.forget()

        await asyncio.wait_for(follower.wait(), 5)


async def test_without_redis_a_follower_is_told_by_looking(
    service: Service, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.news.LOOK_SECONDS", 0.05)
    deaf = replace(service, trail=Trail(News(hot_client("redis://127.0.0.1:1"))))
    await service.sealer.seal()

    async with following(deaf, platform.customer) as received:
        await settled(deaf, 1)
        await make_token(service, platform.customer)
        await service.sealer.seal()
        await eventually(count_of(received, 1), seconds=5)

    assert actions(received) == ["token.created"]


async def test_a_hint_that_was_lost_costs_a_look_at_the_most(
    service: Service, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.news.LOOK_SECONDS", 0.05)
    silent = type(service.sealer)(hot_client("redis://127.0.0.1:1"))
    await service.sealer.seal()

    async with following(service, platform.customer) as received:
        await settled(service, 1)
        await make_token(service, platform.customer)
        await silent.seal()
        await eventually(count_of(received, 1), seconds=5)

    assert actions(received) == ["token.created"]


async def test_the_last_follower_ends_the_listening(service: Service, platform: Platform) -> None:
    async with following(service, platform.customer), following(service, platform.operator):
        await settled(service, 2)

    assert service.trail.news._listening is None  # noqa: SLF001 - nothing else tells
    channels = await service.cache.redis.pubsub_numsub(_channel(service))
    assert dict(channels)[_channel(service).encode()] == 0


async def test_more_news_than_one_look_takes_are_all_seen(
    service: Service, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert LOOK_AT_MAX > BATCH
    monkeypatch.setattr("service.news.LOOK_AT_MAX", 2)
    await service.sealer.seal()

    async with following(service, platform.customer) as received:
        await settled(service, 1)
        for _ in range(5):
            await make_token(service, platform.stranger)
        await make_token(service, platform.customer)
        await service.sealer.seal()
        await eventually(count_of(received, 1), seconds=5)

    assert actions(received) == ["token.created"]
