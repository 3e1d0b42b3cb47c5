"""A real SMTP server of the tests, which answers as a test wishes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage

from aiosmtpd.smtp import SMTP, Envelope, Session

ACCEPTED = "250 Accepted"


class Relay:
    """What arrived, and what is answered.

    Attributes:
        answers: Used up first, one for each message; then every message is accepted.
        sender_answer: To each MAIL.
        recipient_answer: To each RCPT.
    """

    def __init__(self) -> None:
        self.answers: list[str] = []
        self.sender_answer = "250 OK"
        self.recipient_answer = "250 OK"
        self.messages: list[EmailMessage] = []
        self.port = 0

    async def handle_MAIL(  # noqa: N802 - aiosmtpd's name
        self,
        _server: SMTP,
        _session: Session,
        envelope: Envelope,
        address: str,
        _options: list[str],
    ) -> str:
        if self.sender_answer.startswith("2"):
            envelope.mail_from = address
        return self.sender_answer

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self,
        _server: SMTP,
        _session: Session,
        envelope: Envelope,
        address: str,
        _options: list[str],
    ) -> str:
        if self.recipient_answer.startswith("2"):
            envelope.rcpt_tos.append(address)
        return self.recipient_answer

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        answer = self.answers.pop(0) if self.answers else ACCEPTED
        if answer.startswith("2"):
            assert isinstance(envelope.content, bytes)
            self.messages.append(message_from_bytes(envelope.content, policy=policy.default))
        return answer

    def texts(self) -> list[str]:
        return [body_of(message, "plain") for message in self.messages]


@asynccontextmanager
async def open_relay() -> AsyncIterator[Relay]:
    relay = Relay()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(relay, hostname="localhost", loop=loop), "127.0.0.1", 0
    )
    relay.port = server.sockets[0].getsockname()[1]
    async with server:
        yield relay


def body_of(message: EmailMessage, subtype: str) -> str:
    part = message.get_body((subtype,))
    assert part is not None
    return str(part.get_content())
