"""A notice arrives whatever crashes or refuses; the ledger tells the truth of it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest
from conftest import FrozenClock
from factories import Platform
from notice_scene import YEAR, Scene, open_scene

from service.access.notices import system_claim_digest, system_mark_failed, system_mark_sent
from service.composition import Service


@pytest.fixture
async def scene(
    service: Service, clock: FrozenClock, platform: Platform, owner: asyncpg.Connection
) -> AsyncIterator[Scene]:
    async with open_scene(service, clock, platform, owner) as scene:
        yield scene


async def test_a_crash_after_the_accept_costs_one_duplicate_of_the_same_id(scene: Scene) -> None:
    token = await scene.make_aging()
    scene.clock.advance(days=335)
    with pytest.raises(ConnectionAbortedError):
        await scene.crashing.send_due()

    assert await scene.notices.send_due() == 0  # the claim of the dead process still holds
    scene.clock.advance(minutes=5)
    assert await scene.notices.send_due() == 1
    assert await scene.notices.send_due() == 0

    first, second = scene.relay.messages
    assert first["Message-ID"] == second["Message-ID"]
    assert await scene.ledger.states() == [(30, "SENT", None)]
    assert await scene.ledger.audited() == [token]


async def test_a_retry_is_the_same_message_and_what_is_new_comes_in_another(scene: Scene) -> None:
    await scene.make_aging(name="first")
    late = scene.clock.now() + YEAR + timedelta(minutes=4)
    await scene.make_aging(name="second", expires_at=late)
    scene.clock.advance(days=335)
    with pytest.raises(ConnectionAbortedError):
        await scene.crashing.send_due()
    scene.clock.advance(minutes=5)

    assert await scene.notices.send_due() == 2

    identifiers = [message["Message-ID"] for message in scene.relay.messages]
    assert identifiers[0] == identifiers[1] != identifiers[2]
    contents = [("first" in text, "second" in text) for text in scene.relay.texts()]
    assert contents == [(True, False), (True, False), (False, True)]


async def test_a_transient_refusal_is_tried_again_after_twice_as_long_each_time(
    scene: Scene,
) -> None:
    await scene.make_aging()
    scene.clock.advance(days=335)
    scene.relay.answers = ["451 Later", "421 Busy"]

    await scene.notices.send_due()
    assert await scene.ledger.states() == [(30, "PENDING", "451 Later")]
    scene.clock.advance(minutes=5)
    await scene.notices.send_due()
    assert await scene.ledger.states() == [(30, "PENDING", "421 Busy")]
    scene.clock.advance(minutes=9)
    assert await scene.notices.send_due() == 0
    scene.clock.advance(minutes=1)
    assert await scene.notices.send_due() == 1

    assert await scene.ledger.states() == [(30, "SENT", None)]
    assert len(scene.relay.messages) == 1


async def test_a_permanent_refusal_is_recorded_and_not_tried_again(scene: Scene) -> None:
    token = await scene.make_aging()
    scene.clock.advance(days=335)
    scene.relay.answers = ["550 No such user"]

    await scene.notices.send_due()
    scene.clock.advance(days=1)

    assert await scene.notices.send_due() == 0
    assert await scene.ledger.states() == [(30, "FAILED", "550 No such user")]
    assert await scene.ledger.audited() == []
    assert await scene.ledger.audited("notice.failed") == [token]


async def test_ten_attempts_are_the_end(scene: Scene) -> None:
    await scene.make_aging()
    scene.clock.advance(days=335)
    scene.relay.answers = ["451 Later"] * 20

    for _ in range(20):
        await scene.notices.send_due()
        scene.clock.advance(hours=22)

    assert await scene.ledger.states() == [(30, "FAILED", "451 Later")]
    assert len(scene.relay.answers) == 10


async def test_ten_crashes_are_the_end(scene: Scene) -> None:
    token = await scene.make_aging()
    scene.clock.advance(days=335)
    crashing = scene.crashing
    for _ in range(10):
        with pytest.raises(ConnectionAbortedError):
            await crashing.send_due()
        scene.clock.advance(minutes=5)

    assert await scene.notices.send_due() == 0
    assert await scene.ledger.states() == [(30, "FAILED", "GIVEN_UP")]
    assert await scene.ledger.audited("notice.failed") == [token]


async def test_a_relay_that_fails_three_times_in_a_row_is_left_alone(scene: Scene) -> None:
    for actor in (
        scene.platform.customer,
        scene.platform.sibling,
        scene.platform.stranger,
        scene.platform.reseller,
    ):
        await scene.make_aging(actor)
    scene.clock.advance(days=335)
    scene.relay.answers = ["451 Later"] * 4

    assert await scene.notices.send_due() == 0
    assert len(scene.relay.answers) == 1


async def test_each_who_claims_gets_another_recipient(scene: Scene) -> None:
    people = scene.platform
    for actor in (people.customer, people.sibling, people.stranger):
        await scene.make_aging(actor)
    scene.clock.advance(days=335)
    await scene.claim_crossings()

    now = scene.clock.now()
    digests = await asyncio.gather(*(system_claim_digest(now) for _ in range(8)))

    claimed = [digest.recipient for digest in digests if digest is not None]
    assert len(claimed) == len(set(claimed)) == 3


async def test_what_was_sent_is_noted_and_audited_once(scene: Scene) -> None:
    token = await scene.make_aging()
    scene.clock.advance(days=335)
    await scene.claim_crossings()
    digest = await system_claim_digest(scene.clock.now())
    assert digest is not None

    await system_mark_sent(digest, scene.clock.now())
    sent_at = scene.clock.now()
    scene.clock.advance(hours=1)
    await system_mark_sent(digest, scene.clock.now())
    await system_mark_failed(digest, "too late", scene.clock.now())

    [row] = await scene.ledger.read()
    assert (row["state"], row["sent_at"], row["reason"]) == ("SENT", sent_at, None)
    assert await scene.ledger.audited() == [token]
