"""E-mails with a link to set a password: for whoever was invited or has forgotten theirs."""

import secrets
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage

import structlog
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from service.access.members import LinkPurpose
from service.access.password_resets import (
    ATTEMPTS_MAX,
    ClaimedLink,
    system_claim_link,
    system_forget_links,
    system_note_link_failed,
    system_note_link_sent,
)
from service.clock import Clock, boottime, new_id
from service.mail import Mailer, MailRefused, SmtpMailer, make_message, set_bodies
from service.secret_format import digest_of
from service.settings import Settings

RUN_SECONDS_MAX = 200.0  # below the 300 after which a broker hands the task to somebody else
FAILURES_IN_A_ROW_MAX = 3
SECRET_BYTES = 32

_SUBJECTS = {
    LinkPurpose.RESET: "Set a new password",
    LinkPurpose.INVITATION: "You are invited to manage API tokens",
}

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class AccountMail:
    """Sends links to set a password.

    Attributes:
        mailer: Where e-mails go; None is the relay of the settings.
    """

    clock: Clock
    settings: Settings
    mailer: Mailer | None = None

    async def send_due(self) -> int:
        """Send every link that is due; return how many e-mails were accepted.

        A second run, or three at once, is harmless: a link is claimed under a lock before it is
        sent. A crash between the claim and the relay's yes costs two minutes: then it is sent with
        another secret, and if both arrive the newer one works.

        A run ends after 200 seconds, or when the relay fails three times in a row.
        """
        mailer = self.mailer or SmtpMailer(self.settings)
        deadline = boottime() + RUN_SECONDS_MAX
        sent = failures = 0
        while failures < FAILURES_IN_A_ROW_MAX and boottime() < deadline:
            secret = secrets.token_urlsafe(SECRET_BYTES)
            link = await system_claim_link(self._digest(secret), self.clock.now())
            if link is None:
                break
            try:
                await mailer.send(self._compose(link, secret))
            except MailRefused as refused:
                failures += not refused.permanent
                await self._note_refusal(link, refused)
            else:
                failures = 0
                sent += 1
                await system_note_link_sent(link, self.clock.now())
        await system_forget_links(self.clock.now())
        return sent

    def _digest(self, secret: str) -> bytes:
        return digest_of(secret, next(iter(self.settings.pepper_keys.values())))

    def _compose(self, link: ClaimedLink, secret: str) -> EmailMessage:
        url = f"{self.settings.public_url}/reset-password#{secret}"
        return compose_message(link, url, self.settings, self.clock.now())

    async def _note_refusal(self, link: ClaimedLink, refused: MailRefused) -> None:
        """Give up what cannot arrive; the rest is due again, each time after twice as long."""
        ends = refused.permanent or link.attempts >= ATTEMPTS_MAX
        log.warning("account_mail.refused", link=str(link.id), reason=refused.reason, final=ends)
        await system_note_link_failed(link, refused.reason, final=ends)


def compose_message(link: ClaimedLink, url: str, settings: Settings, now: datetime) -> EmailMessage:
    """Return the e-mail that carries a link.

    Its Message-ID is new for each attempt: unlike a notice that is sent again, it holds another
    secret, and a mailbox must not take it for the one before.
    """
    message = make_message(
        settings,
        message_id=new_id(),
        recipient=link.email,
        subject=_SUBJECTS[link.purpose],
        now=now,
    )
    values = {
        "is_invitation": link.purpose is LinkPurpose.INVITATION,
        "account_name": link.account_name,
        "url": url,
        "expires_at": link.expires_at,
        "public_url": settings.public_url,
    }
    set_bodies(
        message,
        text=_templates.get_template("password_link.txt").render(values),
        html=_templates.get_template("password_link.html").render(values),
    )
    return message


_templates = Environment(
    loader=PackageLoader("service"),
    autoescape=select_autoescape(["html"]),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
