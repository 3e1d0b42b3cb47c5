"""What a resolver may reach: the use cases, who is calling, and loaders; built once per request."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar, cast
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
from service.addresses import counted_as
from service.auth import client_address, session_cookie
from service.budget import Balance
from service.composition import Service
from service.errors import Unauthenticated
from service.paging import Page, PageRequest
from service.receipts import Propagation
from service.sessions import SignedIn
from service.streams import Streams

Key = TypeVar("Key")
Value = TypeVar("Value")
Item = TypeVar("Item")
Told = TypeVar("Told")

ItemsKey = tuple[UUID, PageRequest, JobItemState | None]
"""A job, and which page of its items."""


class Loader(Generic[Key, Value]):
    """A batch loader of each request, made when it is first asked for; most need one or two.

    Args:
        load: The method of the context that loads a batch.
    """

    def __init__(self, load: Callable[[Any, list[Key]], Awaitable[list[Value]]]) -> None:
        self._load = load

    def __get__(self, context: "Context", _: type) -> DataLoader[Key, Value]:
        """Return the loader of a request."""
        loader = context.loaders.get(self._load)
        if loader is None:
            loader = DataLoader(load_fn=partial(self._load, context))
            context.loaders[self._load] = loader
        return loader


@dataclass
class Context:
    """One request's world.

    Attributes:
        caller: Who is calling; None is nobody.
        response: Takes the session's cookie.
        loaders: Those that were asked for; of this request and this caller, never shared.
    """

    service: Service
    caller: Actor | None
    scope: Scope
    response: Response
    request_id: str | None
    loaders: dict[object, DataLoader[Any, Any]] = field(default_factory=dict, repr=False)

    @property
    def actor(self) -> Actor:
        """Who is calling.

        Raises:
            Unauthenticated: If nobody is.
        """
        if self.caller is None:
            raise Unauthenticated
        return self.caller

    def require_caller(self) -> None:
        """Let the request pass if somebody is calling.

        Raises:
            Unauthenticated: If nobody is.
        """
        _ = self.actor

    @property
    def address(self) -> str | None:
        """The client's address, as trusted proxies tell it."""
        address = client_address(self.scope, self.service.settings.trusted_proxies)
        return None if address is None else str(address)

    async def pay(self, points: int) -> Balance:
        """Take what the operation costs from the caller's points, and return what is left.

        A stranger's are those of the address.
        """
        self.points = points
        payer = counted_as(self.address) if self.caller is None else str(self.caller.token_id)
        return await self.service.budget.spend(payer, points)

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
        paid = self._paid(source)
        async with aclosing(streams.keep(standing, self.actor, needs, paid)) as kept:
            async for item in kept:
                self.loaders.clear()  # what was loaded for the last item may not be so any more
                yield tell(item)

    async def _paid(self, source: AsyncGenerator[Item, None]) -> AsyncGenerator[Item, None]:
        """Ask for an item when it is paid for; who has no points left waits until there are some.

        The operation has paid for the first one.
        """
        async with aclosing(source) as items:
            async for item in items:
                yield item
                while seconds := (await self.pay(self.points)).retry_after_seconds:  # noqa: ASYNC110 - points come back by themselves
                    await asyncio.sleep(seconds)

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

    @Loader
    async def accounts(self, ids: list[UUID]) -> list[Account | None]:
        """Accounts by id; None beyond reach."""
        return await self.service.accounts.get_many(self.actor, ids)

    @Loader
    async def counts(self, ids: list[UUID]) -> list[Counts | None]:
        """Counts of tokens, by account."""
        return await self.service.fleet.counts_of(self.actor, ids)

    @Loader
    async def members(self, ids: list[UUID]) -> list[Member | None]:
        """People by id."""
        return await self.service.members.get_many(self.actor, ids)

    @Loader
    async def sessions(self, ids: list[UUID]) -> list[Session | None]:
        """Sessions by id."""
        return await self.service.sessions.get_many(self.actor, ids)

    @Loader
    async def secrets(self, ids: list[UUID]) -> list[list[Secret]]:
        """Secrets of tokens, by token."""
        return await self.service.tokens.secrets_of(self.actor, ids)

    @Loader
    async def tokens(self, ids: list[UUID]) -> list[Token | None]:
        """Tokens by id; None beyond reach."""
        return await self.service.tokens.get_many(self.actor, ids)

    @Loader
    async def emails(self, ids: list[UUID]) -> list[str | None]:
        """Addresses of people, by id."""
        return await self.service.tokens.emails_of(self.actor, ids)

    @Loader
    async def events(self, ids: list[UUID]) -> list[Event | None]:
        """Events of the trail, by id."""
        return await self.service.trail.get_many(self.actor, ids)

    @Loader
    async def propagations(self, ids: list[UUID]) -> list[Propagation | None]:
        """How far narrowings have come, by receipt."""
        return await self.service.receipts.get_many(self.actor, ids)

    @Loader
    async def tokens_of_accounts(self, keys: list[tuple[UUID, TokenListing]]) -> list[Page[Token]]:
        """Pages of tokens, by account and listing."""
        found: dict[tuple[UUID, TokenListing], Page[Token]] = {}
        for listing in {listing: None for _, listing in keys}:  # one statement for each alias
            ids = [account_id for account_id, wanted in keys if wanted == listing]
            pages = await self.service.tokens.pages_of(self.actor, ids, listing)
            found |= dict(zip([(account_id, listing) for account_id in ids], pages, strict=True))
        return [found[key] for key in keys]

    @Loader
    async def jobs(self, ids: list[UUID]) -> list[Job | None]:
        """Jobs by id."""
        return await self.service.jobs.get_many(self.actor, ids)

    @Loader
    async def items_of_jobs(self, keys: list[ItemsKey]) -> list[Page[JobItem]]:
        """Pages of items, by job, page and state."""
        found: dict[ItemsKey, Page[JobItem]] = {}
        for page, state in {(page, state): None for _, page, state in keys}:  # for each alias
            ids = [key[0] for key in keys if key[1:] == (page, state)]
            pages = await self.service.jobs.pages_of_items(self.actor, ids, page, state=state)
            found |= {(job_id, page, state): one for job_id, one in zip(ids, pages, strict=True)}
        return [found[key] for key in keys]


Info = strawberry.Info[Context, None]
