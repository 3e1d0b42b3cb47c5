"""People are told of an expiry once per threshold: who, of what, and when not any more."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest
from conftest import FrozenClock
from factories import Platform
from notice_scene import YEAR, Scene, open_scene
from smtp_relay import body_of

from service.access.notices import DIGEST_LINES_MAX
from service.composition import Service
from service.notices import remaining
from service.tokens import TokenChanges


@pytest.fixture
async def scene(
    service: Service, clock: FrozenClock, platform: Platform, owner: asyncpg.Connection
) -> AsyncIterator[Scene]:
    async with open_scene(service, clock, platform, owner) as scene:
        yield scene


async def test_a_notice_arrives_once_although_three_run_at_once(scene: Scene) -> None:
    actors = [
        scene.platform.customer,
        scene.platform.sibling,
        scene.platform.stranger,
        scene.platform.reseller,
    ]
    tokens = [await scene.make_aging(actor) for actor in actors for _ in range(2)]
    scene.clock.advance(days=335)

    counts = await asyncio.gather(*(scene.notices.send_due() for _ in range(3)))

    assert sum(counts) == 4
    assert sorted(scene.recipients()) == sorted(
        [await scene.ledger.email_of(actor) for actor in actors]
    )
    assert await scene.ledger.states() == [(30, "SENT", None)] * 8
    assert await scene.ledger.audited() == sorted(tokens)


async def test_nothing_is_told_before_its_time(scene: Scene) -> None:
    await scene.make_aging()
    scene.clock.advance(days=335, microseconds=-1)

    assert await scene.notices.send_due() == 0
    scene.clock.advance(microseconds=1)
    assert await scene.notices.send_due() == 1
    assert len(scene.relay.messages) == 1


async def test_each_threshold_is_told_once(scene: Scene) -> None:
    await scene.make_aging()

    for _ in range(366):
        scene.clock.advance(days=1)
        await scene.notices.send_due()

    assert await scene.ledger.states() == [(30, "SENT", None), (7, "SENT", None), (1, "SENT", None)]


async def test_missed_runs_are_made_up_for_by_the_tightest_threshold_alone(scene: Scene) -> None:
    await scene.make_aging()
    scene.clock.advance(days=360)

    await scene.notices.send_due()
    await scene.notices.send_due()

    assert await scene.ledger.states() == [(7, "SENT", None)]


async def test_a_wider_notice_still_unsent_gives_way_to_a_tighter_one(scene: Scene) -> None:
    await scene.make_aging()
    scene.clock.advance(days=335)
    scene.relay.answers = ["451 Later"]
    await scene.notices.send_due()
    scene.clock.advance(days=23)

    await scene.notices.send_due()

    assert await scene.ledger.states() == [(30, "SUPPRESSED", "SUPERSEDED"), (7, "SENT", None)]
    assert len(scene.relay.messages) == 1


@pytest.mark.parametrize(("days", "threshold"), [(31, 30), (30, 7), (8, 7), (7, 1), (5, 1)])
async def test_a_threshold_is_shorter_than_the_whole_life(
    scene: Scene, days: int, threshold: int
) -> None:
    await scene.make_aging(expires_at=scene.clock.now() + timedelta(days=days))

    assert await scene.notices.send_due() == 0
    scene.clock.advance(days=days - threshold, microseconds=-1)
    assert await scene.notices.send_due() == 0
    scene.clock.advance(microseconds=1)
    assert await scene.notices.send_due() == 1

    assert await scene.ledger.states() == [(threshold, "SENT", None)]


async def test_one_day_tokens_are_born_in_silence(scene: Scene) -> None:
    await scene.make_aging(expires_at=scene.clock.now() + timedelta(days=1))

    for _ in range(24):
        await scene.notices.send_due()
        scene.clock.advance(hours=1)

    assert await scene.ledger.read() == []


async def test_crossings_are_found_in_batches_however_many_expire_at_once(scene: Scene) -> None:
    tokens = [await scene.make_aging() for _ in range(5)]
    scene.clock.advance(days=335)

    await scene.claim_crossings(limit=2)
    await scene.claim_crossings(limit=3)

    assert sorted(row["token_id"] for row in await scene.ledger.read()) == sorted(tokens)


async def test_sessions_are_not_told_of(scene: Scene) -> None:
    ends = scene.clock.now() + YEAR
    await scene.ledger.change("UPDATE api_token SET expires_at = $1 WHERE kind = 'SESSION'", ends)
    scene.clock.advance(days=335)

    assert await scene.notices.send_due() == 0
    assert await scene.ledger.read() == []


async def test_one_digest_tells_all_tokens_of_a_recipient(scene: Scene) -> None:
    tokens = [await scene.make_aging(name=f"deploy {n}") for n in range(3)]
    scene.clock.advance(days=336)

    await scene.notices.send_due()

    [message] = scene.relay.messages
    assert message["Subject"] == "3 API tokens expire soon"
    for part in (body_of(message, "plain"), body_of(message, "html")):
        for number, token in enumerate(tokens):
            assert f"deploy {number}" in part
            assert f"{scene.service.settings.public_url}/#/tokens/{token}" in part
        assert "2031-01-15 12:00 UTC" in part
        assert "in 29 days" in part
        assert part.count("tw_live_…") == 3
        assert "extend it" in part
        assert "Rotate it" in part


async def test_a_digest_never_grows_beyond_what_people_read(scene: Scene) -> None:
    for number in range(DIGEST_LINES_MAX + 1):
        await scene.make_aging(name=f"token {number}")
    scene.clock.advance(days=335)

    assert await scene.notices.send_due() == 2
    assert {str(message["Subject"]) for message in scene.relay.messages} == {
        f"{DIGEST_LINES_MAX} API tokens expire soon",
        "1 API token expires soon",
    }
    assert len(set(await scene.ledger.audited())) == DIGEST_LINES_MAX + 1


async def test_a_token_name_writes_neither_a_header_nor_markup(scene: Scene) -> None:
    name = "<b>x</b> Bcc: eve@example.com {{ 7 * 7 }}"
    await scene.make_aging(name=name)
    scene.clock.advance(days=335)

    await scene.notices.send_due()

    [message] = scene.relay.messages
    assert "eve" not in "".join(f"{header}{value}" for header, value in message.items())
    assert name in body_of(message, "plain")
    html = body_of(message, "html")
    assert "&lt;b&gt;x&lt;/b&gt; Bcc: eve@example.com {{ 7 * 7 }}" in html


async def test_a_token_revoked_before_the_send_is_not_told_of(scene: Scene) -> None:
    revoked = await scene.make_aging(name="revoked")
    await scene.make_aging(name="kept")
    await scene.ledger.keep_signed_in()
    scene.clock.advance(days=335)
    scene.relay.answers = ["451 Later"]
    await scene.notices.send_due()
    await scene.service.tokens.revoke(scene.platform.customer, revoked)
    scene.clock.advance(minutes=5)

    await scene.notices.send_due()

    [text] = scene.relay.texts()
    assert "kept" in text
    assert "revoked\n" not in text
    states = {
        str(row["token_id"]): (row["state"], row["reason"]) for row in await scene.ledger.read()
    }
    assert states.pop(str(revoked)) == ("SUPPRESSED", "REVOKED")
    assert list(states.values()) == [("SENT", None)]


async def test_a_token_that_expired_before_the_send_is_not_told_of(scene: Scene) -> None:
    await scene.make_aging()
    scene.clock.advance(days=364)
    scene.relay.answers = ["451 Later"]
    await scene.notices.send_due()
    scene.clock.advance(days=1)

    await scene.notices.send_due()

    assert await scene.ledger.states() == [(1, "SUPPRESSED", "EXPIRED")]
    assert scene.relay.messages == []


async def test_a_changed_expiry_is_told_anew(scene: Scene) -> None:
    token = await scene.make_aging()
    await scene.ledger.keep_signed_in()
    scene.clock.advance(days=335)
    await scene.notices.send_due()
    earlier = scene.clock.now() + timedelta(days=20)
    await scene.service.tokens.update(
        scene.platform.customer, token, TokenChanges(expires_at=earlier)
    )

    await scene.notices.send_due()

    assert await scene.ledger.states() == [(30, "SENT", None), (30, "SENT", None)]
    assert "in 20 days" in scene.relay.texts()[1]


async def test_a_notice_of_an_expiry_that_changed_is_suppressed(scene: Scene) -> None:
    token = await scene.make_aging()
    await scene.ledger.keep_signed_in()
    scene.clock.advance(days=335)
    scene.relay.answers = ["451 Later"]
    await scene.notices.send_due()
    earlier = scene.clock.now() + timedelta(days=5)
    await scene.service.tokens.update(
        scene.platform.customer, token, TokenChanges(expires_at=earlier)
    )
    scene.clock.advance(minutes=5)

    await scene.notices.send_due()

    assert await scene.ledger.states() == [(30, "SUPPRESSED", "EXPIRY_CHANGED"), (7, "SENT", None)]
    assert len(scene.relay.messages) == 1


@pytest.mark.parametrize("column", ["suspended_at", "closed_at"])
@pytest.mark.parametrize("whose", ["customer", "reseller"])
async def test_nobody_is_told_for_an_inactive_account(
    scene: Scene, column: str, whose: str
) -> None:
    await scene.make_aging()
    account_id = getattr(scene.platform, whose).account_id
    await scene.ledger.change(f"UPDATE account SET {column} = now() WHERE id = $1", account_id)  # noqa: S608 - a column from above
    scene.clock.advance(days=335)

    assert await scene.notices.send_due() == 0
    assert await scene.ledger.states() == [(30, "SUPPRESSED", "ACCOUNT_INACTIVE")]


async def test_a_suspended_token_is_still_told_of(scene: Scene) -> None:
    token = await scene.make_aging()
    await scene.service.tokens.suspend(scene.platform.customer, token)
    scene.clock.advance(days=335)

    assert await scene.notices.send_due() == 1


async def test_without_a_person_of_the_account_those_above_are_told(scene: Scene) -> None:
    await scene.make_aging()
    await scene.make_aging(expires_at=scene.clock.now() + timedelta(days=366))
    await scene.ledger.disable(scene.platform.customer)
    scene.clock.advance(days=335)
    await scene.notices.send_due()
    await scene.ledger.disable(scene.platform.reseller)
    scene.clock.advance(days=1)
    await scene.notices.send_due()

    above = [
        await scene.ledger.email_of(scene.platform.reseller),
        await scene.ledger.email_of(scene.platform.operator),
    ]
    assert scene.recipients() == above
    assert {row["account_id"] for row in await scene.ledger.read()} == {
        scene.platform.customer.account_id
    }


async def test_a_person_who_was_disabled_before_the_send_gets_nothing(scene: Scene) -> None:
    await scene.make_aging()
    scene.clock.advance(days=335)
    scene.relay.answers = ["451 Later"]
    await scene.notices.send_due()
    await scene.ledger.disable(scene.platform.customer)
    scene.clock.advance(minutes=5)

    await scene.notices.send_due()

    assert await scene.ledger.states() == [(30, "SUPPRESSED", "RECIPIENT_DISABLED")]
    assert scene.relay.messages == []


@pytest.mark.parametrize(
    ("span", "words"),
    [
        (timedelta(days=30), "in 30 days"),
        (timedelta(days=6, hours=23), "in 7 days"),
        (timedelta(days=1), "in 24 hours"),
        (timedelta(minutes=61), "in 2 hours"),
        (timedelta(seconds=1), "in 1 hour"),
    ],
)
def test_the_time_that_remains_is_told_in_words(scene: Scene, span: timedelta, words: str) -> None:
    assert remaining(scene.clock.now() + span, scene.clock.now()) == words
