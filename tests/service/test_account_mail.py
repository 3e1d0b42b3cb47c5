"""E-mails with a link: one for each wish, by whichever worker, and tried again for a while."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import asyncpg
import pytest
from conftest import FrozenClock
from edge_scene import People
from people_scene import OTHER_PASSWORD, Postbox, invite, mail, secret_of
from smtp_relay import Relay, body_of, open_relay
from stores import one_row

from service.access.password_resets import ATTEMPTS_MAX, CLAIM
from service.account_mail import AccountMail
from service.accounts import AccountChanges
from service.composition import Service
from service.errors import LinkEnded
from service.roles import Role

ROW = "SELECT * FROM password_reset"


@pytest.fixture
async def people(service: Service) -> People:
    return await People.make(service)


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    async with open_relay() as opened:
        yield opened


@pytest.fixture
def worker(service: Service, relay: Relay) -> AccountMail:
    settings = service.settings.model_copy(
        update={"smtp_port": relay.port, "public_url": "https://tokens.example.com"}
    )
    return AccountMail(service.clock, settings)


async def want(service: Service, email: str) -> None:
    await service.password_changes.want_reset(email, address=None)


async def test_an_invitation_arrives_with_its_link_behind_a_fragment(
    service: Service, people: People, worker: AccountMail, relay: Relay, clock: FrozenClock
) -> None:
    member = await invite(service, people.customer.actor, Role.VIEWER)

    assert await worker.send_due() == 1

    [message] = relay.messages
    secret = secret_of(message)
    link = f"https://tokens.example.com/reset-password#{secret}"
    assert message["To"] == member.email
    assert message["Subject"] == "You are invited to manage API tokens"
    assert link in body_of(message, "plain")
    assert f'href="{link}"' in body_of(message, "html")
    assert secret not in str([value for _, value in message.items()])
    [told] = await service.members.get_many(people.customer.actor, [member.id])
    assert told is not None
    assert told.invitation_sent_at == clock.now()
    assert told.invitation_expires_at == clock.now() + timedelta(days=7)
    assert await worker.send_due() == 0
    await service.password_changes.reset(secret, OTHER_PASSWORD, address=None)


async def test_a_name_of_an_account_forges_nothing(
    service: Service, people: People, worker: AccountMail, relay: Relay
) -> None:
    name = '<script>alert(1)</script> <a href="//evil.example">'
    await service.accounts.update(
        people.reseller.actor, people.customer.actor.account_id, AccountChanges(name=name)
    )
    await want(service, people.customer.email)

    await worker.send_due()

    [message] = relay.messages
    assert message["Subject"] == "Set a new password"
    assert name not in str([value for _, value in message.items()])
    assert "<script" not in body_of(message, "html")
    assert "&lt;script&gt;" in body_of(message, "html")


async def test_three_workers_at_once_send_each_link_once(
    service: Service, people: People, worker: AccountMail, relay: Relay
) -> None:
    everybody = (people.customer, people.sibling, people.stranger, people.reseller)
    for person in everybody:
        await want(service, person.email)

    sent = await asyncio.gather(*(worker.send_due() for _ in range(3)))

    assert sum(sent) == len(everybody)
    assert sorted(str(message["To"]) for message in relay.messages) == sorted(
        person.email for person in everybody
    )


async def test_what_a_relay_puts_off_is_tried_again_ever_later_and_then_given_up(
    service: Service,
    people: People,
    worker: AccountMail,
    relay: Relay,
    clock: FrozenClock,
    owner: asyncpg.Connection,
) -> None:
    await want(service, people.customer.email)
    relay.answers = ["451 not now"] * (ATTEMPTS_MAX + 1)

    for attempt in range(ATTEMPTS_MAX):
        assert await worker.send_due() == 0
        row = await one_row(owner, ROW)
        assert (row["attempts"], row["failure"]) == (attempt + 1, "451 not now")
        wait = CLAIM * 2**attempt
        if attempt + 1 < ATTEMPTS_MAX:
            assert row["due_at"] == clock.now() + wait
            clock.advance(seconds=wait.total_seconds() - 1)
            assert await worker.send_due() == 0
            assert len(relay.answers) == ATTEMPTS_MAX - attempt
            clock.advance(seconds=1)

    assert (await one_row(owner, ROW))["due_at"] is None
    clock.advance(days=1)
    assert await worker.send_due() == 0
    assert len(relay.answers) == 1


async def test_what_a_relay_refuses_for_good_is_told_and_not_tried_again(
    service: Service, people: People, worker: AccountMail, relay: Relay, clock: FrozenClock
) -> None:
    member = await invite(service, people.customer.actor, Role.VIEWER)
    relay.recipient_answer = "550 no such mailbox"

    await worker.send_due()

    clock.advance(hours=1)
    relay.recipient_answer = "250 OK"
    assert await worker.send_due() == 0
    [told] = await service.members.get_many(people.customer.actor, [member.id])
    assert told is not None
    assert told.invitation_failure == "550 no such mailbox"
    # Whoever invites may try once more, and that is a new beginning.
    await service.members.invite_again(people.customer.actor, member.id)
    assert await worker.send_due() == 1


async def test_after_a_lost_answer_the_newer_e_mail_works_and_is_no_duplicate(
    service: Service, people: People, clock: FrozenClock
) -> None:
    await want(service, people.customer.email)
    postbox = Postbox()

    class CrashesAfterIt(Postbox):
        async def send(self, message: object) -> None:
            await postbox.send(message)  # type: ignore[arg-type] # only passed on
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await replace(service.account_mail, mailer=CrashesAfterIt()).send_due()
    clock.advance(seconds=CLAIM.total_seconds())
    postbox.messages += (await mail(service)).messages

    old, new = postbox.messages
    assert old["Message-ID"] != new["Message-ID"]
    reset = service.password_changes.reset
    with pytest.raises(LinkEnded):
        await reset(secret_of(old), OTHER_PASSWORD, address=None)
    await reset(secret_of(new), OTHER_PASSWORD, address=None)


async def test_a_link_that_was_wanted_again_while_one_was_sent_is_sent_too(
    service: Service, people: People, clock: FrozenClock
) -> None:
    email = people.customer.email
    await want(service, email)

    class WantsAnother(Postbox):
        async def send(self, message: object) -> None:
            if not self.messages:
                clock.advance(minutes=1)
                await want(service, email)
            self.messages.append(message)  # type: ignore[arg-type] # only kept

    postbox = WantsAnother()
    assert await replace(service.account_mail, mailer=postbox).send_due() == 2

    _, new = postbox.secrets(email)
    await service.password_changes.reset(new, OTHER_PASSWORD, address=None)


async def test_a_link_is_forgotten_a_while_after_its_end(
    service: Service, people: People, clock: FrozenClock, owner: asyncpg.Connection
) -> None:
    await invite(service, people.customer.actor, Role.VIEWER)
    await mail(service)
    clock.advance(days=8)
    await mail(service)
    assert len(await owner.fetch(ROW)) == 1

    clock.advance(seconds=1)
    await mail(service)

    assert await owner.fetch(ROW) == []
