"""A platform to try things on: an operator, resellers, customers, tokens in every state."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from service.access.actor import Actor
from service.access.system import CredentialSource, system_has_operator
from service.accounts import NewAccount
from service.clock import Clock
from service.composition import Service, compose
from service.tokens import NewToken, RevocationReason
from service.verdict import AccountKind

AGE = timedelta(days=60)
PASSWORD = "a demo, not a secret"  # noqa: S105 - that is what it is

RESELLERS = {"Nordhost": "nordhost", "Blue Harbor": "blueharbor"}
CUSTOMERS = {
    "Bakery Olsen": ("olsen", "nordhost"),
    "Fjord Media": ("fjord", "nordhost"),
    "Studio Kiwi": ("kiwi", "blueharbor"),
    "Harbor Cafe": ("cafe", "blueharbor"),
    "Indie Press": ("indie", None),
}


def _email(who: str) -> str:
    return f"{who}@demo.example"


async def seed(service: Service) -> dict[str, Any]:
    """Fill an empty platform; on one with an operator change nothing.

    Returns:
        ``signIns`` (who, email, password) and ``secret``, one usable token's, or None.
    """
    sign_ins = [
        {"who": who, "email": _email(name), "password": PASSWORD}
        for who, name in [
            ("operator", "operator"),
            ("reseller Nordhost", "nordhost"),
            ("customer Bakery Olsen", "olsen"),
        ]
    ]
    secret = None if await system_has_operator() else await _fill(service)
    return {"signIns": sign_ins, "secret": secret}


async def _fill(service: Service) -> str:
    await service.accounts.create_operator("Demo Platform", _email("operator"), PASSWORD)
    operator = await _sign_in(service, "operator")
    for name, who in RESELLERS.items():
        await _create_account(service, operator, name, who, AccountKind.RESELLER)
    for name, (who, reseller) in CUSTOMERS.items():
        above = operator if reseller is None else await _sign_in(service, reseller)
        await _create_account(service, above, name, who, AccountKind.CUSTOMER)
    for who, _ in CUSTOMERS.values():
        await _fill_account(service, await _sign_in(service, who))
    olsen = await _sign_in(service, "olsen")
    expires_at = service.clock.now() + timedelta(days=365)
    wanted = NewToken(name="try me", scopes=("dns:*",), expires_at=expires_at)
    created = await service.tokens.create(olsen, wanted)
    await service.notices.send_due()  # so that the mail page has something to show
    return created.secret


async def _fill_account(service: Service, actor: Actor) -> None:
    """Give an account a token in every state, all from two months ago."""
    now = service.clock.now()
    past = compose(service.settings, service.cache, Earlier(service.clock, AGE))

    async def create(
        name: str, *scopes: str, days: int | None, not_before: datetime | None = None
    ) -> UUID:
        expires_at = None if days is None else now + timedelta(days=days)
        wanted = NewToken(name=name, scopes=scopes, expires_at=expires_at, not_before=not_before)
        return (await past.tokens.create(actor, wanted)).token.id

    await create("website deploy", "files:*", days=90)
    await create("dns updates", "dns:write", days=1)
    await create("nightly backup", "databases:read", "files:read", days=6)
    await create("mail import", "mail:*", days=29)
    await create("legacy script", "mail:read", days=None)
    await create("new shop", "databases:read", days=60, not_before=now + timedelta(days=7))
    await create("summer campaign", "dns:read", days=-3)
    paused = await create("partner integration", "dns:*", days=200)
    await service.tokens.suspend(actor, paused)
    leaked = await create("old laptop", "*", days=300)
    await service.tokens.revoke(actor, leaked, reason=RevocationReason.LEAKED)


@dataclass(frozen=True, slots=True)
class Earlier:
    """Another clock, some time ago."""

    clock: Clock
    by: timedelta

    def now(self) -> datetime:
        """Return that clock's instant, earlier."""
        return self.clock.now() - self.by


async def _create_account(
    service: Service, above: Actor, name: str, who: str, kind: AccountKind
) -> None:
    await service.accounts.create(
        above, NewAccount(name=name, kind=kind, email=_email(who), password=PASSWORD)
    )


async def _sign_in(service: Service, who: str) -> Actor:
    """Sign a demo person in and return the actor, as a request would."""
    signed_in = await service.sessions.sign_in(
        _email(who), PASSWORD, address="127.0.0.1", request_id="demo"
    )
    async with CredentialSource.open(service.settings) as source:
        record = await source.find(signed_in.secret.digest)
    if record is None:
        raise TypeError("a session that has just begun is known")
    return Actor.of(record, address="127.0.0.1", request_id="demo")
