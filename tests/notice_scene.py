"""A small world in which notices are sent to a real SMTP server, and its ledger."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from email.message import EmailMessage
from typing import Any
from uuid import UUID

import asyncpg
from conftest import FrozenClock
from factories import Platform, make_token
from smtp_relay import Relay, open_relay
from stores import keep_signed_in

from service.access.actor import Actor
from service.access.notices import system_claim_crossings
from service.composition import Service
from service.mail import SmtpMailer
from service.notices import Notices
from service.settings import Settings

YEAR = timedelta(days=365)


class Ledger:
    """The ledger and the people, seen from behind the door."""

    def __init__(self, owner: asyncpg.Connection) -> None:
        self._owner = owner

    async def read(self) -> list[asyncpg.Record]:
        return await self._owner.fetch("SELECT * FROM notice ORDER BY created_at, threshold_days")

    async def states(self) -> list[tuple[int, str, str | None]]:
        return [(row["threshold_days"], row["state"], row["reason"]) for row in await self.read()]

    async def audited(self, action: str = "notice.sent") -> list[UUID]:
        rows = await self._owner.fetch(
            "SELECT subject_id FROM audit_event WHERE action = $1 ORDER BY 1", action
        )
        return [UUID(str(row["subject_id"])) for row in rows]

    async def email_of(self, actor: Actor) -> str:
        email = await self._owner.fetchval(
            "SELECT email FROM member WHERE account_id = $1", actor.account_id
        )
        return str(email)

    async def change(self, sql: str, *values: object) -> None:
        await self._owner.execute(sql, *values)

    async def keep_signed_in(self) -> None:
        await keep_signed_in(self._owner)

    async def disable(self, actor: Actor) -> None:
        await self.change(
            "UPDATE member SET disabled_at = now() WHERE account_id = $1", actor.account_id
        )


class CrashAfterAccept:
    """A process that dies between the relay's yes and the note of it."""

    def __init__(self, settings: Settings) -> None:
        self._mailer = SmtpMailer(settings)

    async def send(self, message: EmailMessage) -> None:
        await self._mailer.send(message)
        raise ConnectionAbortedError


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that a test of notices touches.

    Attributes:
        crashing: Like ``notices``, but its process dies after each accept.
    """

    service: Service
    clock: FrozenClock
    platform: Platform
    notices: Notices
    crashing: Notices
    relay: Relay
    ledger: Ledger

    async def make_aging(self, actor: Actor | None = None, **fields: Any) -> UUID:
        """Create a token that lives for a year; the customer's unless told otherwise."""
        wanted = {"expires_at": self.clock.now() + YEAR} | fields
        created = await make_token(self.service, actor or self.platform.customer, **wanted)
        return created.token.id

    async def claim_crossings(self, *, limit: int = 500) -> None:
        """Fill the ledger without sending anything."""
        now, thresholds = self.clock.now(), self.service.settings.notice_threshold_days
        place = await system_claim_crossings(now, thresholds, after=None, limit=limit)
        while place is not None:
            place = await system_claim_crossings(now, thresholds, after=place, limit=limit)

    def recipients(self) -> list[str]:
        return [str(message["To"]) for message in self.relay.messages]


@asynccontextmanager
async def open_scene(
    service: Service, clock: FrozenClock, platform: Platform, owner: asyncpg.Connection
) -> AsyncIterator[Scene]:
    async with open_relay() as relay:
        settings = service.settings.model_copy(update={"smtp_port": relay.port})
        yield Scene(
            service=service,
            clock=clock,
            platform=platform,
            notices=Notices(clock, settings),
            crashing=Notices(clock, settings, CrashAfterAccept(settings)),
            relay=relay,
            ledger=Ledger(owner),
        )
