"""What a resolver may reach: the use cases, who is calling, and loaders; built once per request."""

from dataclasses import dataclass, field
from uuid import UUID

import strawberry
from starlette.responses import Response
from starlette.types import Scope
from strawberry.dataloader import DataLoader

from service.access.accounts import Account
from service.access.actor import Actor
from service.access.secrets import Secret
from service.auth import client_address, session_cookie
from service.composition import Service
from service.errors import Unauthenticated
from service.sessions import SignedIn


@dataclass
class Context:
    """One request's world.

    Attributes:
        caller: Who is calling; None is nobody.
        response: Takes the session's cookie.
    """

    service: Service
    caller: Actor | None
    scope: Scope
    response: Response
    request_id: str | None
    accounts: DataLoader[UUID, Account | None] = field(init=False)
    secrets: DataLoader[UUID, list[Secret]] = field(init=False)

    def __post_init__(self) -> None:
        """Bind the loaders to this request and this caller; they are never shared."""
        self.accounts = DataLoader(load_fn=self._load_accounts)
        self.secrets = DataLoader(load_fn=self._load_secrets)

    @property
    def actor(self) -> Actor:
        """Who is calling.

        Raises:
            Unauthenticated: If nobody is.
        """
        if self.caller is None:
            raise Unauthenticated
        return self.caller

    @property
    def address(self) -> str | None:
        """The client's address, as trusted proxies tell it."""
        address = client_address(self.scope, self.service.settings.trusted_proxies)
        return None if address is None else str(address)

    def set_session_cookie(self, signed_in: SignedIn) -> None:
        """Hand the session to the browser, out of reach of its scripts."""
        settings = self.service.settings
        self.response.set_cookie(
            session_cookie(settings),
            signed_in.secret.text,
            max_age=signed_in.lifetime_seconds,
            path="/",
            secure=settings.uses_tls,
            httponly=True,
            samesite="lax",
        )

    def clear_session_cookie(self) -> None:
        """Have the browser forget the session."""
        settings = self.service.settings
        self.response.delete_cookie(
            session_cookie(settings), path="/", secure=settings.uses_tls, httponly=True
        )

    async def _load_accounts(self, ids: list[UUID]) -> list[Account | None]:
        return await self.service.accounts.get_many(self.actor, ids)

    async def _load_secrets(self, ids: list[UUID]) -> list[list[Secret]]:
        return await self.service.tokens.secrets_of(self.actor, ids)


Info = strawberry.Info[Context, None]
