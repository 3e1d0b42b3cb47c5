"""The sweep marks what time has ended, once, and tells it."""

import asyncio
from datetime import timedelta
from typing import Any

from conftest import FrozenClock
from factories import Platform, make_token

from service.access.actor import EVERYTHING, Actor
from service.access.door import Statement, open_door
from service.composition import Service
from service.sweep import sweep_expired

LIFETIME = timedelta(hours=1)  # shorter than a session's


async def read(sql: str) -> list[dict[str, Any]]:
    async with open_door(EVERYTHING) as door:
        return await door.query(Statement(sql))


async def make_tokens(service: Service, actor: Actor, count: int) -> None:
    for number in range(count):
        expires_at = service.clock.now() + LIFETIME
        await make_token(service, actor, name=f"token {number}", expires_at=expires_at)


async def test_everything_expired_is_marked_in_batches(
    service: Service, clock: FrozenClock, platform: Platform
) -> None:
    await make_tokens(service, platform.customer, 5)
    await make_token(service, platform.customer, name="for ever", expires_at=None)
    clock.advance(hours=1)

    swept = await sweep_expired(clock, batch=2)

    assert swept == 5
    marks = await read("SELECT name, swept_at FROM api_token WHERE kind = 'API_TOKEN'")
    assert {row["name"] for row in marks if row["swept_at"] is None} == {"for ever"}
    assert {row["swept_at"] for row in marks} == {None, clock.now()}


async def test_nothing_is_marked_before_its_time(
    service: Service, clock: FrozenClock, platform: Platform
) -> None:
    await make_tokens(service, platform.customer, 1)
    clock.advance(hours=1, microseconds=-1)

    assert await sweep_expired(clock) == 0


async def test_sweeping_again_or_side_by_side_marks_and_tells_once(
    service: Service, clock: FrozenClock, platform: Platform
) -> None:
    await make_tokens(service, platform.customer, 6)
    clock.advance(hours=2)

    counts = await asyncio.gather(*(sweep_expired(clock, batch=2) for _ in range(3)))
    again = await sweep_expired(clock)

    assert sum(counts) + again == 6
    events = await read("SELECT subject_id FROM audit_event WHERE action = 'token.expired'")
    assert len(events) == len({row["subject_id"] for row in events}) == 6


async def test_an_expiry_is_told_in_the_trail_of_its_account(
    service: Service, clock: FrozenClock, platform: Platform
) -> None:
    created = await make_token(service, platform.customer, expires_at=clock.now() + LIFETIME)
    clock.advance(hours=3)

    await sweep_expired(clock)

    [event] = await read("SELECT * FROM audit_event WHERE action = 'token.expired'")
    assert str(event["subject_id"]) == str(created.token.id)
    assert str(event["account_id"]) == str(platform.customer.account_id)
    assert event["occurred_at"] == clock.now()
    assert event["actor_account_id"] is None


async def test_a_swept_token_frees_its_name(
    service: Service, clock: FrozenClock, platform: Platform
) -> None:
    await make_tokens(service, platform.customer, 1)
    clock.advance(hours=1)

    await sweep_expired(clock)

    assert (await make_token(service, platform.customer, name="token 0")).token.name == "token 0"
