"""People, accounts and tokens for tests: short to write, made through the use cases alone."""

from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from typing import Any

from service import database
from service.access.actor import Actor
from service.accounts import NewAccount
from service.composition import Service
from service.secret_format import digest_of
from service.tokens import Created, NewToken
from service.verdict import AccountKind, Record

PASSWORD = "correct horse battery"

_numbers = count(1)


async def sign_in(service: Service, email: str) -> tuple[Actor, str]:
    """Sign a person in; return the actor, as a request would make it, and the session's secret."""
    signed_in = await service.sessions.sign_in(
        email, PASSWORD, address="192.0.2.7", request_id="test"
    )
    secret = signed_in.secret.text
    return await actor_of(service, secret), secret


async def actor_of(service: Service, secret: str) -> Actor:
    """Return the actor behind a secret."""
    digest = digest_of(secret, next(iter(service.settings.pepper_keys.values())))
    rows = await database.query("SELECT * FROM credential_by_digest($1)", digest)
    return Actor.of(Record.from_row(rows[0]), address="192.0.2.7", request_id="test")


async def create_operator(service: Service) -> str:
    """Create the operator; return its person's address."""
    email = f"operator{next(_numbers)}@example.com"
    await service.accounts.create_operator("Operator", email, PASSWORD)
    return email


async def make_operator(service: Service) -> Actor:
    """Create the operator and sign its person in."""
    return (await sign_in(service, await create_operator(service)))[0]


async def create_account(service: Service, above: Actor, kind: AccountKind, **fields: Any) -> str:
    """Create an account below another; return its person's address."""
    number = next(_numbers)
    email: str = fields.pop("email", f"person{number}@example.com")
    wanted = {"name": f"{kind.value.title()} {number}", "password": PASSWORD} | fields
    await service.accounts.create(above, NewAccount(kind=kind, email=email, **wanted))
    return email


async def make_account(
    service: Service, above: Actor, kind: AccountKind, **fields: Any
) -> tuple[Actor, str]:
    """Create an account below another and sign its person in; return the actor and the address."""
    email = await create_account(service, above, kind, **fields)
    return (await sign_in(service, email))[0], email


async def make_reseller(service: Service, operator: Actor, **fields: Any) -> Actor:
    """Create a reseller."""
    return (await make_account(service, operator, AccountKind.RESELLER, **fields))[0]


async def make_customer(service: Service, above: Actor, **fields: Any) -> Actor:
    """Create a customer of a reseller, or of the operator."""
    return (await make_account(service, above, AccountKind.CUSTOMER, **fields))[0]


async def make_token(service: Service, actor: Actor, **fields: Any) -> Created:
    """Create a token that lives for 30 days unless told otherwise."""
    wanted: dict[str, Any] = {
        "name": f"token {next(_numbers)}",
        "scopes": ("dns:read",),
        "expires_at": service.clock.now() + timedelta(days=30),
    }
    return await service.tokens.create(actor, NewToken(**(wanted | fields)))


@dataclass(frozen=True, slots=True)
class Platform:
    """A small world: whose is whose is in the names."""

    operator: Actor
    reseller: Actor
    customer: Actor
    sibling: Actor
    other_reseller: Actor
    stranger: Actor

    @classmethod
    async def make(cls, service: Service) -> "Platform":
        """Create it."""
        operator = await make_operator(service)
        reseller = await make_reseller(service, operator)
        other_reseller = await make_reseller(service, operator)
        return cls(
            operator=operator,
            reseller=reseller,
            customer=await make_customer(service, reseller),
            sibling=await make_customer(service, reseller),
            other_reseller=other_reseller,
            stranger=await make_customer(service, other_reseller),
        )
