"""A platform whose people can be called by their secrets, and a print of every row it stores."""

from dataclasses import dataclass
from itertools import count
from typing import Any

import asyncpg
import httpx2
from factories import create_account, create_operator, sign_in
from stores import REFUSALS

from schema import node_ids
from service.access.actor import Actor
from service.composition import Service
from service.edge import Edge
from service.migration import TABLES
from service.verdict import AccountKind

# What comes later by itself: uses, and the place of an event in the trail.
LATER = {"last_used_at", "last_used_address", "position", "sequence", "hash"}

FORBIDDEN_WORDS = (
    "Traceback",
    "asyncpg",
    "tortoise",
    "strawberry",
    "redis",
    "psycopg",
    "SELECT ",
    "INSERT ",
    'File "',
    "line ",
    " at 0x",
    "Error(",
    "Exception",
    "Did you mean",
)
"""What no answer may hold: our insides, a driver's words, a hint at names that were not asked."""

_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody signed in: as the domain sees them, and the secret of their session."""

    actor: Actor
    secret: str
    email: str

    @property
    def account_id(self) -> str:
        """The global id of their account."""
        return node_ids.encode(node_ids.ACCOUNT, self.actor.account_id)


@dataclass(frozen=True, slots=True)
class People:
    """A small world: whose is whose is in the names."""

    operator: Person
    reseller: Person
    customer: Person
    sibling: Person
    other_reseller: Person
    stranger: Person

    @classmethod
    async def make(cls, service: Service) -> "People":
        """Create it."""
        operator = await _signed_in(service, await create_operator(service))
        reseller = await make_person(service, operator.actor, AccountKind.RESELLER)
        other_reseller = await make_person(service, operator.actor, AccountKind.RESELLER)
        customer = await make_person(service, reseller.actor, AccountKind.CUSTOMER)
        sibling = await make_person(service, reseller.actor, AccountKind.CUSTOMER)
        stranger = await make_person(service, other_reseller.actor, AccountKind.CUSTOMER)
        return cls(
            operator=operator,
            reseller=reseller,
            customer=customer,
            sibling=sibling,
            other_reseller=other_reseller,
            stranger=stranger,
        )


async def make_person(service: Service, above: Actor, kind: AccountKind, **fields: Any) -> Person:
    """Create an account below another and sign its person in."""
    return await _signed_in(service, await create_account(service, above, kind, **fields))


async def _signed_in(service: Service, email: str) -> Person:
    actor, secret = await sign_in(service, email)
    return Person(actor, secret, email)


async def fingerprint(owner: asyncpg.Connection) -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of every table, without what comes later and told refusals."""
    rows = {}
    for table in TABLES:
        found = await owner.fetch(f"SELECT * FROM {table} ORDER BY id")  # noqa: S608 - our own names
        rows[table] = [
            tuple((name, value) for name, value in row.items() if name not in LATER)
            for row in found
            if row.get("action") not in REFUSALS
        ]
    return rows


def assert_leaks_nothing(text: str) -> None:
    """Fail if an answer tells of our insides."""
    told = [word for word in FORBIDDEN_WORDS if word in text]
    assert told == [], text


def bearer(secret: str) -> dict[str, str]:
    """Return the header that carries a secret."""
    return {"Authorization": f"Bearer {secret}"}


def client_of(app: Edge, **options: Any) -> httpx2.AsyncClient:
    """Return a client that calls an application without a socket."""
    transport = httpx2.ASGITransport(app=app, client=("192.0.2.7", 40_000), **options)
    return httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000")
