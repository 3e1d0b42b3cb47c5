"""E-mails: nothing of a stranger's in a header, and a refusal that tells whether to try again."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.message import EmailMessage
from uuid import UUID

import pytest
from smtp_relay import Relay, body_of, open_relay

from service.errors import InvalidInput
from service.mail import MailRefused, SmtpMailer, make_message, set_bodies
from service.settings import Settings, read_settings

MESSAGE_ID = UUID("01980000-0000-7000-8000-000000000001")
NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    async with open_relay() as relay:
        yield relay


def mail_settings(**overrides: object) -> Settings:
    return read_settings(public_url="https://tokens.example.com:8443", **overrides)


def make_mail(recipient: str = "ada@example.com") -> EmailMessage:
    message = make_message(
        mail_settings(), message_id=MESSAGE_ID, recipient=recipient, subject="2 expire", now=NOW
    )
    set_bodies(message, text="Grüße\n", html="<p>Grüße</p>\n")
    return message


async def test_a_message_arrives_whole(relay: Relay) -> None:
    await SmtpMailer(mail_settings(smtp_port=relay.port)).send(make_mail())

    [message] = relay.messages
    assert message["To"] == "ada@example.com"
    assert message["From"] == "Tokenward <no-reply@tokenward.example>"
    assert message["Subject"] == "2 expire"
    assert message["Date"] == "Tue, 01 Jan 2030 12:00:00 +0000"
    assert message["Message-ID"] == f"<{MESSAGE_ID}@tokens.example.com>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert body_of(message, "plain").strip() == "Grüße"
    assert body_of(message, "html").strip() == "<p>Grüße</p>"


async def test_a_message_needs_no_eight_bit_relay() -> None:
    assert make_mail().as_bytes().isascii()


@pytest.mark.parametrize(
    "recipient",
    [
        "ada@example.com\nBcc: eve@example.com",
        "ada@example.com, eve@example.com",
        "Ada <ada@example.com>",
    ],
)
async def test_one_recipient_never_becomes_two(recipient: str) -> None:
    with pytest.raises(InvalidInput):
        make_mail(recipient)


@pytest.mark.parametrize(
    ("answer", "permanent"),
    [("554 5.7.1 Spam", True), ("451 4.3.0 Try later", False)],
)
async def test_a_refused_content_tells_whether_it_is_for_good(
    relay: Relay, answer: str, *, permanent: bool
) -> None:
    relay.answers = [answer]

    with pytest.raises(MailRefused) as refused:
        await SmtpMailer(mail_settings(smtp_port=relay.port)).send(make_mail())

    assert (refused.value.permanent, refused.value.reason) == (permanent, answer)
    assert relay.messages == []


@pytest.mark.parametrize(
    ("answer", "permanent"),
    [("550 5.1.1 No such user", True), ("450 4.2.1 Greylisted", False)],
)
async def test_a_refused_recipient_tells_whether_it_is_for_good(
    relay: Relay, answer: str, *, permanent: bool
) -> None:
    relay.recipient_answer = answer

    with pytest.raises(MailRefused) as refused:
        await SmtpMailer(mail_settings(smtp_port=relay.port)).send(make_mail())

    assert (refused.value.permanent, refused.value.reason) == (permanent, answer)


async def test_a_relay_that_is_away_is_tried_again(relay: Relay, unused_tcp_port: int) -> None:
    with pytest.raises(MailRefused) as refused:
        await SmtpMailer(mail_settings(smtp_port=unused_tcp_port)).send(make_mail())

    assert not refused.value.permanent
    assert relay.messages == []


async def test_a_refused_sender_condemns_no_recipient(relay: Relay) -> None:
    relay.sender_answer = "550 5.7.1 Not your domain"

    with pytest.raises(MailRefused) as refused:
        await SmtpMailer(mail_settings(smtp_port=relay.port)).send(make_mail())

    assert (refused.value.permanent, refused.value.reason) == (False, relay.sender_answer)


async def test_a_wrong_sign_in_condemns_no_recipient(relay: Relay) -> None:
    settings = mail_settings(smtp_port=relay.port, smtp_user="tokenward", smtp_password="wrong")

    with pytest.raises(MailRefused) as refused:
        await SmtpMailer(settings).send(make_mail())

    assert not refused.value.permanent
    assert relay.messages == []


async def test_a_relay_without_the_wanted_tls_gets_nothing(relay: Relay) -> None:
    with pytest.raises(MailRefused) as refused:
        await SmtpMailer(mail_settings(smtp_port=relay.port, smtp_tls="starttls")).send(make_mail())

    assert not refused.value.permanent
    assert relay.messages == []


async def test_a_reason_is_one_printable_line_that_fits_the_ledger() -> None:
    refused = MailRefused("550 no\r\nway " + "x" * 300, permanent=True)

    assert refused.reason.startswith("550 no  way x")
    assert len(refused.reason) == 200
