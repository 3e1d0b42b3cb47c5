"""A platform to try things on: an operator, resellers, customers, tokens in every state."""

from datetime import timedelta
from typing import Any

from service.access.actor import Actor
from service.access.system import CredentialSource, system_has_operator
from service.accounts import NewAccount
from service.composition import Service
from service.tokens import NewToken, RevocationReason
from service.verdict import AccountKind

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
    created = await service.tokens.create(
        olsen, NewToken(name="try me", scopes=("dns:*",), expires_at=_in(service, days=365))
    )
    await service.notices.send_due()  # so that the mail page has something to show
    return created.secret


async def _fill_account(service: Service, actor: Actor) -> None:
    """Give an account a token in every state."""
    tokens = service.tokens
    await tokens.create(
        actor,
        NewToken(name="website deploy", scopes=("files:*",), expires_at=_in(service, days=90)),
    )
    for days in (1, 6, 29):
        name = f"expires in {days} days" if days > 1 else "expires tomorrow"
        span = NewToken(name=name, scopes=("dns:read",), expires_at=_in(service, days=days))
        await tokens.create(actor, span)
    await tokens.create(actor, NewToken(name="never expires", scopes=("mail:read",)))
    await tokens.create(
        actor,
        NewToken(
            name="from next week",
            scopes=("databases:read",),
            not_before=_in(service, days=7),
            expires_at=_in(service, days=60),
        ),
    )
    await tokens.create(
        actor,
        NewToken(name="ends at once", scopes=("dns:read",), expires_at=_in(service, seconds=2)),
    )
    paused = await tokens.create(
        actor, NewToken(name="paused", scopes=("dns:*",), expires_at=_in(service, days=200))
    )
    await tokens.suspend(actor, paused.token.id)
    leaked = await tokens.create(
        actor, NewToken(name="leaked", scopes=("*",), expires_at=_in(service, days=300))
    )
    await tokens.revoke(actor, leaked.token.id, reason=RevocationReason.LEAKED)


def _in(service: Service, **span: float) -> Any:
    return service.clock.now() + timedelta(**span)


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
