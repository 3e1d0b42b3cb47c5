"""More than one person at an account: invited, by mail, with a password, signed in."""

import re
from dataclasses import dataclass, field, replace
from email.message import EmailMessage
from itertools import count
from typing import Any

import asyncpg
from edge_scene import Person, fingerprint
from factories import PASSWORD, actor_of, sign_in
from smtp_relay import body_of

from service.access.actor import Actor
from service.access.members import Member
from service.composition import Service
from service.roles import Role

OTHER_PASSWORD = "battery horse correct"

_numbers = count(1)
_LINK = re.compile(r"/reset-password#(\S+)")


@dataclass
class Postbox:
    """Takes every e-mail."""

    messages: list[EmailMessage] = field(default_factory=list)

    async def send(self, message: EmailMessage) -> None:
        self.messages.append(message)

    def secrets(self, email: str) -> list[str]:
        """Return the secrets of the links that somebody was sent, the oldest first."""
        return [secret_of(message) for message in self.messages if message["To"] == email]


def secret_of(message: EmailMessage) -> str:
    found = _LINK.search(body_of(message, "plain"))
    assert found is not None
    return found[1]


async def mail(service: Service) -> Postbox:
    """Send what is due."""
    postbox = Postbox()
    await replace(service.account_mail, mailer=postbox).send_due()
    return postbox


async def invite(service: Service, by: Actor, role: Role, **wanted: object) -> Member:
    email = f"colleague{next(_numbers)}@example.com"
    return await service.members.invite(by, email, role, **wanted)  # type: ignore[arg-type] # only account_id


async def join(service: Service, by: Actor, role: Role, **wanted: object) -> Person:
    """Invite somebody, who accepts and signs in."""
    member = await invite(service, by, role, **wanted)
    [secret] = (await mail(service)).secrets(member.email)
    await service.password_changes.reset(secret, PASSWORD, address="192.0.2.9")
    actor, session = await sign_in(service, member.email)
    return Person(actor, session, member.email)


async def rows_of_people(owner: asyncpg.Connection) -> dict[str, list[Any]]:
    """Return people, credentials and links; the trail hears of a wrong password later."""
    rows = await fingerprint(owner)
    return {table: rows[table] for table in ("member", "api_token", "secret", "password_reset")}


async def sign_in_again(service: Service, person: Person, password: str = PASSWORD) -> Person:
    """Begin a further session of somebody's."""
    signed_in = await service.sessions.sign_in(
        person.email, password, address="192.0.2.8", request_id="test"
    )
    secret = signed_in.secret.text
    return Person(await actor_of(service, secret), secret, person.email)
