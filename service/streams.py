"""Streams that stay open: how many there may be, and whether each may go on.

A request is judged once, when it begins. A stream is judged again before everything it tells and at
least every second, as a request at that moment would be; so after a revoke it ends when every
validator has to refuse the credential, and in health within a second. Where the truth is not known
nothing is told, and after the published bound the stream ends.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import AbstractContextManager, aclosing, contextmanager, suppress
from typing import TypeVar

from starlette.types import Scope

from service.access.actor import Actor
from service.addresses import counted_as
from service.auth import authenticate, client_address
from service.background import end
from service.clock import boottime
from service.errors import TooManyStreams, Unauthenticated, Unavailable
from service.settings import Settings
from service.validator import Validator

# A stream that waits holds two tasks, some 50 KiB, and no connection of any pool. A console has one
# or two in each window; who needs more has lost count of them.
PER_CREDENTIAL_MAX = 20
PER_ACCOUNT_MAX = 200
IN_ALL_MAX = 2_000
UNKNOWN_SOCKETS_MAX = 500  # they have ten seconds to say who they are
UNKNOWN_PER_ADDRESS_MAX = 50  # or one address could keep everybody else out
EXPORTS_PER_ACCOUNT_MAX = 2  # each asks the database again and again
EXPORTS_IN_ALL_MAX = 50

JUDGED_SECONDS_MAX = 1.0
MESSAGE_BYTES_MAX = 64 * 1024  # as much as a request's body

CHANGED = "What your credential may do has changed. Subscribe again."

Item = TypeVar("Item")


class Places:
    """How many of a kind are open in this process, in all and for each caller."""

    def __init__(self) -> None:
        self._taken: Counter[object] = Counter()

    def taken(self, actor: Actor) -> AbstractContextManager[None]:
        """Hold a place, for as long as the context lasts.

        Raises:
            TooManyStreams: If there is none left for the credential, the account or anybody.
        """
        return self.within(
            {
                "all": IN_ALL_MAX,
                ("account", actor.account_id): PER_ACCOUNT_MAX,
                ("credential", actor.token_id): PER_CREDENTIAL_MAX,
            }
        )

    @contextmanager
    def within(self, limits: dict[object, int]) -> Iterator[None]:
        """Hold a place that counts for several, each with a limit of its own.

        Raises:
            TooManyStreams: If there is none left for one of them.
        """
        if any(self._taken[whose] >= limit for whose, limit in limits.items()):
            raise TooManyStreams
        self._taken.update(limits.keys())
        try:
            yield
        finally:
            self._taken.subtract(limits.keys())
            self._taken = +self._taken  # so that it does not grow with everybody who ever came

    def __len__(self) -> int:
        return self._taken["all"]


class Standing:
    """Whether a credential may go on, judged anew each time it is asked.

    Args:
        scope: The request's, or the WebSocket's: what it brought stays what it is judged by.
        validator: The process' own.
        settings: The process' own.
        request_id: Told in the audit trail.
    """

    def __init__(
        self, scope: Scope, validator: Validator, settings: Settings, request_id: str | None
    ) -> None:
        self._scope = scope
        self._validator = validator
        self._settings = settings
        self._request_id = request_id
        self._known_at = boottime()

    async def judge(self, *, is_use: bool = False) -> Actor | None:
        """Return whose the credential is now, or None where that is not known for a moment.

        Raises:
            Unauthenticated: If it has ended, or there was none.
            Unavailable: If the truth has not been known for longer than the published bound.
        """
        try:
            actor = await authenticate(
                self._scope,
                self._validator,
                self._settings,
                request_id=self._request_id,
                is_use=is_use,
            )
        except Unavailable:
            if boottime() - self._known_at > self._settings.staleness_bound_seconds:
                raise
            return None
        self._known_at = boottime()
        if actor is None:
            raise Unauthenticated
        return actor

    async def begin(self) -> Actor:
        """Return whose the credential is; it counts as used.

        Raises:
            Unauthenticated, Unavailable: If that cannot be said at once.
        """
        actor = await self.judge(is_use=True)
        if actor is None:
            raise Unavailable
        return actor

    async def keep_judging(self) -> None:
        """Return never; raise as soon as the credential has ended.

        Raises:
            Unauthenticated, Unavailable: As :meth:`judge`.
        """
        while True:
            await asyncio.sleep(self.interval_seconds)
            await self.judge()

    @property
    def interval_seconds(self) -> float:
        """How long a stream that has nothing to tell goes unjudged."""
        return min(JUDGED_SECONDS_MAX, self._settings.lease_seconds / 4)


class Streams:
    """The streams and WebSockets of one process.

    Attributes:
        places: Those of streams.
        sockets: Those of WebSockets whose caller is known.
    """

    def __init__(self, validator: Validator, settings: Settings) -> None:
        self._validator = validator
        self._settings = settings
        self.places = Places()
        self.sockets = Places()
        self._exports = Places()
        self._unknown_sockets = Places()

    def unknown_socket(self, scope: Scope) -> AbstractContextManager[None]:
        """Hold a place for a WebSocket whose caller has not said who they are.

        Raises:
            TooManyStreams: If there is none left for its address, or anybody.
        """
        address = client_address(scope, self._settings.trusted_proxies)
        whose = counted_as(None if address is None else str(address))
        return self._unknown_sockets.within(
            {"all": UNKNOWN_SOCKETS_MAX, ("address", whose): UNKNOWN_PER_ADDRESS_MAX}
        )

    def export(self, actor: Actor) -> AbstractContextManager[None]:
        """Hold a place for a file that is written while it is read.

        Raises:
            TooManyStreams: If there is none left for the account, or anybody.
        """
        account = ("account", actor.account_id)
        return self._exports.within({"all": EXPORTS_IN_ALL_MAX, account: EXPORTS_PER_ACCOUNT_MAX})

    def standing(self, scope: Scope, request_id: str | None) -> Standing:
        """Return how the caller of a request stands."""
        return Standing(scope, self._validator, self._settings, request_id)

    async def keep(
        self, standing: Standing, begun: Actor, needs: str, source: AsyncGenerator[Item, None]
    ) -> AsyncGenerator[Item, None]:
        """Yield what a source yields, for as long as its caller may do what it could at first.

        Args:
            standing: The caller's.
            begun: The caller, by whose rights the source decides what it tells.
            needs: The scope without which the stream ends.
            source: A use case's; closed at the end.

        Raises:
            Unauthenticated: If the credential has ended.
            InsufficientScope: If it has lost the scope, or never had it.
            Unavailable: If its rights have changed, or the truth was not known for too long.
            TooManyStreams: If too many are open.
        """
        begun.require(needs)
        async with aclosing(source) as items:
            with self.places.taken(begun):
                while True:
                    try:
                        item = await _next(items, standing, begun, needs)
                    except StopAsyncIteration:
                        return
                    yield item


async def _next(
    items: AsyncGenerator[Item, None], standing: Standing, begun: Actor, needs: str
) -> Item:
    """Return what arrives; what is not known to be allowed waits.

    A source goes on by the rights that it began with. So the stream ends when they become others,
    wider ones too, and whoever begins anew has those.
    """
    arriving = asyncio.create_task(anext(items))
    try:
        while True:
            await asyncio.wait({arriving}, timeout=standing.interval_seconds)
            actor = await standing.judge()
            if actor is None:
                await asyncio.sleep(standing.interval_seconds / 4)
                continue
            actor.require(needs)
            if actor != begun:
                raise Unavailable(CHANGED)
            if arriving.done():
                return arriving.result()
    finally:
        await _settle(arriving)


async def _settle(arriving: "asyncio.Task[Item]") -> None:
    """End a task, however often this is cancelled meanwhile: its generator cannot be closed before.

    Where a client goes away anyio cancels whoever serves it again and again.
    """
    while not arriving.done():
        with suppress(Exception, asyncio.CancelledError):
            await end(arriving)
