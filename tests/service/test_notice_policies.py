"""Policies add days before an expiry at which people are told, for all below them."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from conftest import FrozenClock
from factories import Platform
from notice_scene import Scene, open_scene

from service.access import notices as rows
from service.access.actor import Actor
from service.composition import Service
from service.policy_rules import PolicyRule


@pytest.fixture
async def scene(
    service: Service, clock: FrozenClock, platform: Platform, owner: asyncpg.Connection
) -> AsyncIterator[Scene]:
    async with open_scene(service, clock, platform, owner) as opened:
        yield opened


async def tell_at(scene: Scene, actor: Actor, *days: int) -> None:
    changes = {PolicyRule.NOTICE_THRESHOLD_DAYS: days}
    await scene.service.policies.set(actor, None, changes)


async def tell_after(scene: Scene, days: float) -> set[tuple[str, int]]:
    """Let time go by and a run tell people; return who has been told by now, and which day."""
    scene.clock.advance(days=days)
    await scene.notices.send_due()
    return {(row["recipient"], row["threshold_days"]) for row in await scene.ledger.read()}


async def make_one_each(scene: Scene) -> list[str]:
    """Create tokens of a year for a customer, its sibling, their reseller and a stranger."""
    platform = scene.platform
    owners = (platform.customer, platform.sibling, platform.reseller, platform.stranger)
    for actor in owners:
        await scene.make_aging(actor)
    return [await scene.ledger.email_of(actor) for actor in owners]


async def test_a_policy_adds_days_for_its_own_fleet_alone(scene: Scene) -> None:
    customer, sibling, reseller, stranger = await make_one_each(scene)
    await tell_at(scene, scene.platform.operator, 20)
    await tell_at(scene, scene.platform.reseller, 14)
    await tell_at(scene, scene.platform.customer, 10)

    told = await tell_after(scene, 365 - 9)

    # The platform's 30 is long past, its 7 is to come.
    assert told == {(customer, 10), (sibling, 14), (reseller, 14), (stranger, 20)}


async def test_a_policy_can_tell_earlier_than_the_platform_does(scene: Scene) -> None:
    customer, sibling, reseller, stranger = await make_one_each(scene)
    await tell_at(scene, scene.platform.reseller, 60)
    await tell_at(scene, scene.platform.customer, 200, 90)

    assert await tell_after(scene, 365 - 201) == set()
    first = {(customer, 200)}
    assert await tell_after(scene, 1) == first
    assert await tell_after(scene, 100) == first
    second = first | {(customer, 90)}
    assert await tell_after(scene, 10) == second
    third = second | {(customer, 60), (sibling, 60), (reseller, 60)}
    assert await tell_after(scene, 30) == third
    assert await tell_after(scene, 29) == third
    fourth = third | {(email, 30) for email in (customer, sibling, reseller, stranger)}
    assert await tell_after(scene, 1) == fourth
    assert len(scene.relay.messages) == 1 + 1 + 3 + 4


async def test_a_schedule_beyond_the_platforms_is_read_in_batches_and_for_its_account_alone(
    scene: Scene,
) -> None:
    await tell_at(scene, scene.platform.customer, 364)
    for number in range(5):
        await scene.make_aging(name=f"token {number}")
        await scene.make_aging(scene.platform.stranger, name=f"token {number}")
    scene.clock.advance(days=2)
    [schedule] = await rows.system_find_wide_schedules(30)
    assert (schedule.is_fleet, schedule.widest_days) == (False, 364)

    read, place = [], None
    for _ in range(4):
        now = scene.clock.now()
        place = await rows.system_claim_crossings(
            now, (30,), after=place, limit=2, schedule=schedule
        )
        read.append(len(await scene.ledger.read()))

    assert (read, place) == ([2, 4, 5, 5], None)
