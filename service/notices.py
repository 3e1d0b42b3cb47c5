"""Expiry notices: people are told by e-mail before a token ends, once per threshold."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from functools import partial

import structlog
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from service.access.notices import (
    ATTEMPTS_MAX,
    CLAIM,
    Digest,
    WideSchedule,
    system_claim_crossings,
    system_claim_digest,
    system_find_platform_thresholds,
    system_find_wide_schedules,
    system_mark_failed,
    system_mark_sent,
    system_postpone,
)
from service.clock import Clock, boottime
from service.mail import Mailer, MailRefused, SmtpMailer, make_message, set_bodies
from service.settings import Settings

BATCH = 500
RUN_SECONDS_MAX = 200.0  # below the 300 after which a broker hands the task to somebody else
FAILURES_IN_A_ROW_MAX = 3

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Notices:
    """Tells people what is about to expire.

    Attributes:
        mailer: Where e-mails go; None is the relay of the settings.
    """

    clock: Clock
    settings: Settings
    mailer: Mailer | None = None

    async def send_due(self) -> int:
        """Tell everybody who is to be told by now; return how many e-mails were accepted.

        A second run, or three at once, is harmless: a crossing is a row that can exist once per
        token, expiry, threshold and recipient, and an e-mail is claimed under a lock before it is
        sent. A run that comes late tells late, never not at all. A crash between the relay's yes
        and our note of it costs one duplicate, with the same Message-ID.

        A run ends after 200 seconds, or when the relay fails three times in a row; what is left is
        the next one's.
        """
        await self._claim_crossings()
        mailer = self.mailer or SmtpMailer(self.settings)
        deadline = boottime() + RUN_SECONDS_MAX
        sent = failures = 0
        while failures < FAILURES_IN_A_ROW_MAX and boottime() < deadline:
            digest = await system_claim_digest(self.clock.now())
            if digest is None:
                break
            message = compose_message(digest, self.settings, self.clock.now())
            try:
                await mailer.send(message)
            except MailRefused as refused:
                failures += not refused.permanent
                await self._note_refusal(digest, refused)
            else:
                failures = 0
                sent += 1
                await system_mark_sent(digest, self.clock.now())
        return sent

    async def _claim_crossings(self) -> None:
        own = await system_find_platform_thresholds()
        thresholds = tuple({*self.settings.notice_threshold_days, *own})
        await self._claim(thresholds, None)
        for schedule in await system_find_wide_schedules(max(thresholds)):
            await self._claim(thresholds, schedule)

    async def _claim(self, thresholds: tuple[int, ...], schedule: WideSchedule | None) -> None:
        claim = partial(
            system_claim_crossings, self.clock.now(), thresholds, limit=BATCH, schedule=schedule
        )
        place = await claim(after=None)
        while place is not None:
            place = await claim(after=place)

    async def _note_refusal(self, digest: Digest, refused: MailRefused) -> None:
        """Give up what cannot arrive; try the rest again, each time after twice as long."""
        ends = refused.permanent or digest.attempts >= ATTEMPTS_MAX
        log.warning("notice.refused", digest=str(digest.id), reason=refused.reason, final=ends)
        if ends:
            await system_mark_failed(digest, refused.reason, self.clock.now())
        else:
            until = self.clock.now() + CLAIM * 2 ** (digest.attempts - 1)
            await system_postpone(digest, until, refused.reason)


def compose_message(digest: Digest, settings: Settings, now: datetime) -> EmailMessage:
    """Return the e-mail of a digest. The subject only counts: names are other people's words."""
    count = len(digest.tokens)
    subject = "1 API token expires soon" if count == 1 else f"{count} API tokens expire soon"
    message = make_message(
        settings, message_id=digest.id, recipient=digest.recipient, subject=subject, now=now
    )
    values = {"tokens": digest.tokens, "public_url": settings.public_url, "now": now}
    set_bodies(
        message,
        text=_templates.get_template("expiry_notice.txt").render(values),
        html=_templates.get_template("expiry_notice.html").render(values),
    )
    return message


def remaining(instant: datetime, now: datetime) -> str:
    """Return in words how long it is until an instant, in hours when it is less than two days."""
    span = instant - now
    if span < timedelta(days=2):
        hours = max(1, math.ceil(span / timedelta(hours=1)))
        return "in 1 hour" if hours == 1 else f"in {hours} hours"
    return f"in {round(span / timedelta(days=1))} days"


def format_instant(instant: datetime) -> str:
    """Return an instant as people read it, to the minute, in UTC."""
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


_templates = Environment(
    loader=PackageLoader("service"),
    autoescape=select_autoescape(["html"]),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_templates.filters |= {"remaining": remaining, "instant": format_instant}
