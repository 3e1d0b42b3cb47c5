"""What a resolver may reach: the use cases, who is calling, and loaders; built once per request."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TypeVar, cast
from uuid import UUID

import strawberry
from starlette.responses import Response
from starlette.types import Scope
from strawberry.dataloader import DataLoader

from service.access.accounts import Account
from service.access.actor import Actor
from service.access.fleet import Counts
from service.access.jobs import Job, JobItem, JobItemState
from service.access.members import Member
from service.access.secrets import Secret
from service.access.sessions import Session
from service.access.token_lists import TokenListing
from service.access.tokens import Token
from service.access.trail import Event
from service.auth import client_address, session_cookie
from service.composition import Service
from service.errors import Unauthenticated
from service.paging import Page, PageRequest
from service.receipts import Propagation
from service.sessions import SignedIn
from service.streams import Streams

Item = TypeVar("Item")
Told = TypeVar("Told")

ItemsKey = tuple[UUID, PageRequest, JobItemState | None]
"""A job, and which page of its items."""


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
    counts: DataLoader[UUID, Counts | None] = field(init=False)
    secrets: DataLoader[UUID, list[Secret]] = field(init=False)
    members: DataLoader[UUID, Member | None] = field(init=False)
    sessions: DataLoader[UUID, Session | None] = field(init=False)
    tokens: DataLoader[UUID, Token | None] = field(init=False)
    emails: DataLoader[UUID, str | None] = field(init=False)
    propagations: DataLoader[UUID, Propagation | None] = field(init=False)
    events: DataLoader[UUID, Event | None] = field(init=False)
    tokens_of_accounts: DataLoader[tuple[UUID, TokenListing], Page[Token]] = field(init=False)
    jobs: DataLoader[UUID, Job | None] = field(init=False)
    items_of_jobs: DataLoader[ItemsKey, Page[JobItem]] = field(init=False)

    def __post_init__(self) -> None:
        """Bind the loaders to this request and this caller; they are never shared."""
        self.accounts = DataLoader(load_fn=self._load_accounts)
        self.counts = DataLoader(load_fn=self._load_counts)
        self.secrets = DataLoader(load_fn=self._load_secrets)
        self.members = DataLoader(load_fn=self._load_members)
        self.sessions = DataLoader(load_fn=self._load_sessions)
        self.tokens = DataLoader(load_fn=self._load_tokens)
        self.emails = DataLoader(load_fn=self._load_emails)
        self.propagations = DataLoader(load_fn=self._load_propagations)
        self.events = DataLoader(load_fn=self._load_events)
        self.tokens_of_accounts = DataLoader(load_fn=self._load_tokens_of_accounts)
        self.jobs = DataLoader(load_fn=self._load_jobs)
        self.items_of_jobs = DataLoader(load_fn=self._load_items_of_jobs)

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

    async def follow(
        self, needs: str, source: AsyncGenerator[Item, None], tell: Callable[[Item], Told]
    ) -> AsyncGenerator[Told, None]:
        """Tell what a source yields, for as long as the caller may see it.

        Args:
            needs: The scope that a subscription needs, from its beginning to its last item.
            source: A use case's; closed at the end.
            tell: Makes GraphQL's words of an item.

        Raises:
            Unauthenticated, Unavailable, InsufficientScope, TooManyStreams: As
                :meth:`service.streams.Streams.keep`.
        """
        streams = cast(Streams, self.scope["app"].state.streams)
        standing = streams.standing(self.scope, self.request_id)
        async with aclosing(streams.keep(standing, self.actor, needs, source)) as kept:
            async for item in kept:
                self.__post_init__()  # what was loaded for the last item may not be so any more
                yield tell(item)

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

    async def _load_counts(self, ids: list[UUID]) -> list[Counts | None]:
        return await self.service.fleet.counts_of(self.actor, ids)

    async def _load_members(self, ids: list[UUID]) -> list[Member | None]:
        return await self.service.members.get_many(self.actor, ids)

    async def _load_sessions(self, ids: list[UUID]) -> list[Session | None]:
        return await self.service.sessions.get_many(self.actor, ids)

    async def _load_secrets(self, ids: list[UUID]) -> list[list[Secret]]:
        return await self.service.tokens.secrets_of(self.actor, ids)

    async def _load_tokens(self, ids: list[UUID]) -> list[Token | None]:
        return await self.service.tokens.get_many(self.actor, ids)

    async def _load_emails(self, ids: list[UUID]) -> list[str | None]:
        return await self.service.tokens.emails_of(self.actor, ids)

    async def _load_events(self, ids: list[UUID]) -> list[Event | None]:
        return await self.service.trail.get_many(self.actor, ids)

    async def _load_propagations(self, ids: list[UUID]) -> list[Propagation | None]:
        return await self.service.receipts.get_many(self.actor, ids)

    async def _load_tokens_of_accounts(
        self, keys: list[tuple[UUID, TokenListing]]
    ) -> list[Page[Token]]:
        found: dict[tuple[UUID, TokenListing], Page[Token]] = {}
        for listing in {listing: None for _, listing in keys}:  # one statement for each alias
            ids = [account_id for account_id, wanted in keys if wanted == listing]
            pages = await self.service.tokens.pages_of(self.actor, ids, listing)
            found |= dict(zip([(account_id, listing) for account_id in ids], pages, strict=True))
        return [found[key] for key in keys]

    async def _load_jobs(self, ids: list[UUID]) -> list[Job | None]:
        return await self.service.jobs.get_many(self.actor, ids)

    async def _load_items_of_jobs(self, keys: list[ItemsKey]) -> list[Page[JobItem]]:
        found: dict[ItemsKey, Page[JobItem]] = {}
        for page, state in {(page, state): None for _, page, state in keys}:  # for each alias
            ids = [key[0] for key in keys if key[1:] == (page, state)]
            pages = await self.service.jobs.pages_of_items(self.actor, ids, page, state=state)
            found |= {(job_id, page, state): one for job_id, one in zip(ids, pages, strict=True)}
        return [found[key] for key in keys]


Info = strawberry.Info[Context, None]
