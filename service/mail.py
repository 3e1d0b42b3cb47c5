"""E-mail: how one is made, and how it is handed to a relay.

No header holds people's own words but the recipient's address, which service.names.clean_email
has checked.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Protocol
from urllib.parse import urlsplit
from uuid import UUID

import aiosmtplib

from service.names import clean_email
from service.settings import Settings

TIMEOUT_SECONDS = 20.0
WHOLE_TIMEOUT_SECONDS = 60.0
REASON_CHARACTERS_MAX = 200
PERMANENT = 500


class MailRefused(Exception):
    """A relay did not accept an e-mail.

    Attributes:
        permanent: Whether it is about this recipient or content, so that trying again is in vain.
        reason: The relay's words or ours, printable, at most 200 characters.
    """

    def __init__(self, reason: str, *, permanent: bool) -> None:
        printable = "".join(letter if letter.isprintable() else " " for letter in reason)
        self.permanent = permanent
        self.reason = printable[:REASON_CHARACTERS_MAX]
        super().__init__(self.reason)


class Mailer(Protocol):
    """Hands over e-mails. Tests may bring their own."""

    async def send(self, message: EmailMessage) -> None:
        """Return once the message is accepted.

        Raises:
            MailRefused: If it is not; whether it arrived is unknown where the answer was lost.
        """
        ...


@dataclass(frozen=True, slots=True)
class SmtpMailer:
    """Hands over e-mails by SMTP (RFC 5321), each on a connection of its own."""

    settings: Settings

    async def send(self, message: EmailMessage) -> None:
        """Return once the relay has accepted the message; a minute at the longest.

        Raises:
            MailRefused: Permanent only where a 5xx is about the recipient or the content. One at
                sign-in or about the sender is a mistake of the operator's, who can mend it.
        """
        settings = self.settings
        try:
            async with asyncio.timeout(WHOLE_TIMEOUT_SECONDS):
                await aiosmtplib.send(
                    message,
                    hostname=settings.smtp_host,
                    port=settings.smtp_port,
                    username=settings.smtp_user or None,
                    password=settings.smtp_password.get_secret_value() or None,
                    use_tls=settings.smtp_tls == "tls",
                    start_tls=settings.smtp_tls == "starttls",
                    timeout=TIMEOUT_SECONDS,
                )
        except aiosmtplib.SMTPRecipientsRefused as refused:
            [first, *_] = refused.recipients
            raise MailRefused(_told(first), permanent=first.code >= PERMANENT) from None
        except aiosmtplib.SMTPDataError as refused:
            raise MailRefused(_told(refused), permanent=refused.code >= PERMANENT) from None
        except aiosmtplib.SMTPResponseException as refused:
            raise MailRefused(_told(refused), permanent=False) from None
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as failure:
            reason = f"{type(failure).__name__}: {failure}"
            raise MailRefused(reason, permanent=False) from None


def make_message(
    settings: Settings, *, message_id: UUID, recipient: str, subject: str, now: datetime
) -> EmailMessage:
    """Return an e-mail without a body.

    Args:
        settings: The sender, and the host that completes the Message-ID.
        message_id: The same id makes the same Message-ID, by which mailboxes know a duplicate.
        recipient: One plain address.
        subject: Of our own words and numbers only.
        now: Its date.

    Raises:
        InvalidInput: If the recipient is not one plain address.
    """
    message = EmailMessage()
    message["From"] = settings.mail_from
    message["To"] = clean_email(recipient)
    message["Subject"] = subject
    message["Date"] = format_datetime(now)
    message["Message-ID"] = f"<{message_id}@{urlsplit(settings.public_url).hostname}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's holiday answers it
    return message


def set_bodies(message: EmailMessage, *, text: str, html: str) -> None:
    """Give an e-mail its text, and the same as HTML; both in seven bits for any relay."""
    message.set_content(text, cte="quoted-printable")
    message.add_alternative(html, subtype="html", cte="quoted-printable")


def _told(refused: aiosmtplib.SMTPResponseException) -> str:
    return f"{refused.code} {refused.message}"
