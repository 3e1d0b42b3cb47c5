"""Which members of an account are told of an expiry: whoever can sign in, and nobody else."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from conftest import FrozenClock
from factories import Platform, sign_in
from notice_scene import Scene, open_scene
from people_scene import invite, join

from service.composition import Service
from service.roles import Role


@pytest.fixture
async def scene(
    service: Service, clock: FrozenClock, platform: Platform, owner: asyncpg.Connection
) -> AsyncIterator[Scene]:
    async with open_scene(service, clock, platform, owner) as scene:
        yield scene


async def test_every_role_is_told_but_not_who_was_removed_or_never_came(
    scene: Scene, service: Service
) -> None:
    owner = scene.platform.customer
    told = {await scene.ledger.email_of(owner)}
    told |= {(await join(service, owner, role)).email for role in (Role.VIEWER, Role.MANAGER)}
    removed = await join(service, owner, Role.OWNER)
    assert removed.actor.member_id is not None
    await service.members.remove(owner, removed.actor.member_id)
    # An address that was invited may be somebody else's.
    await invite(service, owner, Role.OWNER)
    await scene.make_aging()
    scene.clock.advance(days=335)

    assert await scene.notices.send_due() == len(told)

    assert set(scene.recipients()) == told


async def test_a_notice_does_not_follow_an_address_to_another_account(
    scene: Scene, service: Service
) -> None:
    leaver = await join(service, scene.platform.customer, Role.VIEWER)
    await scene.make_aging()
    await scene.ledger.keep_signed_in()
    scene.clock.advance(days=335)
    scene.relay.answers = ["451 Later"] * 9
    await scene.notices.send_due()
    assert leaver.actor.member_id is not None
    await service.members.remove(scene.platform.customer, leaver.actor.member_id)
    stranger, _ = await sign_in(service, await scene.ledger.email_of(scene.platform.stranger))
    back = await service.members.invite(stranger, leaver.email, Role.VIEWER)
    await scene.ledger.change("UPDATE member SET password_hash = 'set' WHERE id = $1", back.id)
    scene.relay.answers = []
    scene.clock.advance(hours=1)

    await scene.notices.send_due()

    assert leaver.email not in scene.recipients()
    states = {
        (row["recipient"], row["reason"])
        for row in await scene.ledger.read()
        if row["state"] == "SUPPRESSED"
    }
    assert states == {(leaver.email, "RECIPIENT_DISABLED")}
