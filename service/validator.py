"""The hot path: a secret → a verdict, under the as-of lease rule.

Every VALID is a lease: it dies ``lease_seconds`` after the *start* of the database read behind it,
in every tier, and tiers never stack. Drops only make it faster. Where neither Redis nor the
database can answer in time the verdict is UNAVAILABLE: never VALID, and never UNKNOWN either.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple

import structlog
from asyncpg.pgproto.pgproto import UUID

from service import secret_format
from service.access.system import CredentialSource
from service.addresses import Address
from service.background import end
from service.cache import Answer, Cache, Drop, open_cache
from service.clock import Clock, SystemClock, boottime
from service.errors import Unavailable
from service.listener import Listener
from service.near_cache import REFRESH_SHARE, NearCache
from service.preflight import require
from service.settings import Settings
from service.upstream import Upstream
from service.usage import UsageBuffer, keep_flushing
from service.verdict import (
    UNAVAILABLE,
    UNKNOWN,
    VALID,
    CredentialKind,
    Leased,
    Record,
    Verdict,
    judge,
)

log = structlog.get_logger()

Find = Callable[[bytes], Awaitable[Record | Leased | None]]


@dataclass(frozen=True, slots=True)
class Found:
    """A record, or the knowledge that there is none, and until when that may be used."""

    record: Record | None
    deadline: float


class Request(NamedTuple):  # a frozen dataclass takes twice as long to make
    """What a secret is wanted for; see :meth:`Validator.check`."""

    address: Address | None = None
    scope: str | None = None
    audience: str | None = None
    kind: CredentialKind = CredentialKind.API_TOKEN
    is_use: bool = True


class Validator:
    """Answers "may this secret be used now, from here, for this?".

    One per process; safe for concurrent use on one event loop. Open it with
    :func:`open_validator`, or bring the parts.

    Args:
        cache: The shared cache.
        find: Reads the primary database, or asks somebody who does; raises Unavailable where it
            cannot. It must answer, or give up, well within the lease.
        peppers: Keys by id; a secret is looked up under each.
        clock: Decides expiry; leases have their own.
        lease_seconds: L. The published bound is 2 L and a margin.
        capacity: Records that the near-cache may hold.
    """

    def __init__(
        self,
        cache: Cache,
        find: Find,
        peppers: Mapping[int, bytes],
        *,
        clock: Clock,
        lease_seconds: float,
        capacity: int = 100_000,
    ) -> None:
        self._cache = cache
        self._find = find
        self._peppers = tuple(peppers.values())
        self._clock = clock
        self._lease = lease_seconds
        self._flights: dict[bytes, asyncio.Task[Found]] = {}
        self.near = NearCache(capacity)
        self.usage = UsageBuffer()

    async def check(
        self,
        secret: str,
        *,
        address: Address | None = None,
        scope: str | None = None,
        audience: str | None = None,
        kind: CredentialKind = CredentialKind.API_TOKEN,
        is_use: bool = True,
    ) -> Verdict:
        """Return whether a secret may be used now, from an address, for a scope. Never raises.

        Args:
            secret: As the client sent it; anything at all.
            address: The client's; None fails tokens that are limited to addresses.
            scope: ``noun:verb``, or several with spaces between them; None asks for none.
            audience: Who is asking; None fails tokens that are limited to audiences.
            kind: A secret of another kind is UNKNOWN: a person's session opens no API.
            is_use: Whether a yes is told as the token's last use; see :meth:`note_use`.
        """
        wanted = Request(address, scope, audience, kind, is_use)
        near = self.check_near(secret, wanted)
        return near if near is not None else await self.look_up(secret, wanted)

    async def look_up(self, secret: str, wanted: "Request") -> Verdict:
        """Return what :meth:`check` returns where :meth:`check_near` knows none. Never raises."""
        try:
            record = await self._record(secret)
        except Unavailable:
            return UNAVAILABLE
        return self._judge(record, wanted)

    def check_near(self, secret: str, wanted: "Request") -> Verdict | None:
        """Return a verdict out of this process's own memory; None where :meth:`check` must look.

        It awaits nothing and may be called from any thread.
        """
        if len(secret) > secret_format.LENGTH_MAX or not secret.isascii():
            return UNKNOWN
        record = None
        for pepper in self._peppers:
            entry = self.near.fresh(secret_format.digest_of(secret, pepper))
            if entry is None:
                return None
            if (record := entry.record) is not None:
                break
        return self._judge(record, wanted)

    def _judge(self, record: Record | None, wanted: "Request") -> Verdict:
        if record is None or record.kind is not wanted.kind:
            return UNKNOWN
        now = self._clock.now()
        verdict = judge(
            record, now, address=wanted.address, scope=wanted.scope, audience=wanted.audience
        )
        if wanted.is_use:
            if verdict.status is VALID:
                self.usage.note(record, now, wanted.address)
            elif record.is_retired(now):
                self.usage.note_reuse(record, now, wanted.address)
        return verdict

    def note_use(self, record: Record, address: Address | None) -> None:
        """Tell a use that :meth:`check` was asked to leave out."""
        self.usage.note(record, self._clock.now(), address)

    async def lease(self, digest: bytes) -> Leased:
        """Return what is behind a digest and for how long that may be used, for another validator.

        It reads past this process's memory: who asks may have applied a drop that is on its way
        here.

        Raises:
            Unavailable: If neither Redis nor the database answers.
        """
        found = await self._fetch(digest, self._lease)
        return Leased(found.record, max(0.0, found.deadline - boottime()))

    def drop(self, drop: Drop) -> None:
        """Forget what a drop names; whoever asks from now on joins no read that began before."""
        self.near.drop(drop)
        if drop.kind == "TOKEN":
            self._flights.pop(bytes.fromhex(drop.subject), None)
        else:
            self._flights.clear()

    def forget(self) -> None:
        """Forget everything; whoever asks from now on joins no read that began before."""
        self.near.clear()
        self._flights.clear()

    async def _record(self, secret: str) -> Record | None:
        if not secret_format.is_well_formed(secret):
            return None
        for pepper in self._peppers:
            digest = secret_format.digest_of(secret, pepper)
            entry = self.near.find(digest)
            if entry is None:
                record = await self._fetch_once(digest)
            else:
                record = entry.record
                if boottime() >= entry.refresh_at:
                    self._refresh_ahead(digest)
            if record is not None:
                return record
        return None

    async def _fetch_once(self, digest: bytes) -> Record | None:
        """Fetch a record, one flight per digest; a caller that goes away does not end it."""
        found = await asyncio.shield(self._flight(digest, age_seconds_max=self._lease))
        if boottime() >= found.deadline:
            raise Unavailable  # this process stood still meanwhile; the answer has died
        return found.record

    def _refresh_ahead(self, digest: bytes) -> None:
        """Fetch a younger answer beside this one, so that a busy record never waits."""
        if digest not in self._flights:
            self._flight(digest, age_seconds_max=self._lease * REFRESH_SHARE)

    def _flight(self, digest: bytes, *, age_seconds_max: float) -> "asyncio.Task[Found]":
        flight = self._flights.get(digest)
        if flight is None:
            flight = asyncio.create_task(self._fetch(digest, age_seconds_max))
            self._flights[digest] = flight
            flight.add_done_callback(lambda done: self._land(digest, done))
        return flight

    def _land(self, digest: bytes, flight: "asyncio.Task[Found]") -> None:
        if self._flights.get(digest) is flight:
            del self._flights[digest]
        if not flight.cancelled():
            flight.exception()  # looked at, should every caller have gone away

    async def _fetch(self, digest: bytes, age_seconds_max: float) -> Found:
        asked_at = boottime()
        answer = await self._cache.look_up(digest, age_seconds_max=age_seconds_max)
        record: Record | None
        lease, overtaken = self._lease, False
        shared = _decode(answer)
        if answer is not None and shared is not None:
            record = shared
            lease -= answer.age_seconds
        else:
            if answer is None or answer.payload is not None:
                answer, asked_at = None, boottime()
            read = await self._find(digest)
            if isinstance(read, Leased):
                # Not shared: who answered has done so, and knows when its read began.
                record, lease = read.record, min(lease, read.seconds)
            else:
                record = read
                if answer is not None and record is not None:
                    overtaken = await self._share(digest, answer, record)
        if not overtaken:
            self.near.store(digest, record, asked_at=asked_at, lease=lease)
        return Found(record, asked_at + lease)

    async def _share(self, digest: bytes, answer: Answer, record: Record) -> bool:
        """Fill a live record into Redis; return whether a drop overtook the read."""
        if record.suspended or record.has_ended(self._clock.now()):
            return False
        outcome = await self._cache.fill(digest, answer, record.chain, record.encode())
        return outcome == "STALE"


def _decode(answer: Answer | None) -> Record | None:
    """Return the record of an answer; what another version has written is a miss."""
    if answer is None or answer.payload is None:
        return None
    try:
        # As the database's own records have them: half the memory, a tenth of the time.
        return Record.decode(answer.payload, identifier=UUID)
    except (ValueError, TypeError, KeyError):
        return None


@asynccontextmanager
async def open_validator(
    settings: Settings, *, clock: Clock | None = None
) -> AsyncIterator[Validator]:
    """Open a validator for this process; at the end hand on its last uses and close.

    Raises:
        SettingsRefused: If no Redis is named, or neither a database nor a service.

    Example:
        ``async with open_validator(read_settings()) as validator:``
        ``    verdict = await validator.check(secret, scope="dns:write")``
    """
    require(settings, "redis_url", *(() if settings.service_url else ("database_url",)))
    clock = clock or SystemClock()
    opening = Upstream.open if settings.service_url else CredentialSource.open
    async with open_cache(settings) as cache, opening(settings) as source:
        validator = Validator(
            cache,
            source.find,
            settings.pepper_keys,
            clock=clock,
            lease_seconds=settings.lease_seconds,
            capacity=settings.near_cache_entries,
        )
        listener = Listener(validator, cache, settings)
        log.info("validator.opened", name=listener.name)
        tasks = [
            asyncio.create_task(listener.keep_following()),
            asyncio.create_task(listener.keep_reporting()),
            asyncio.create_task(keep_flushing(validator.usage, cache.redis)),
        ]
        try:
            yield validator
        finally:
            for task in tasks:
                await end(task)
