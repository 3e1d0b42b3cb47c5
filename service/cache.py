"""Redis as the validators share it; its keys are spelled here alone.

``tk:<digest>``    one record: state, as-of, epoch, chain, payload, signature; or its tombstone
``cut:<account>``  when everything of an account was dropped
``rv``             the epoch and the revision of the last drop; as a channel, the drops themselves
``validators``     what each validator has applied, and when it last said so

Safety never depends on anything here arriving, staying or being true (DECISIONS, D-001). What
comes back is believed only with a signature over all of it, so that write access to Redis alone
mints nothing.
"""

import hmac
import re
import secrets
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from hashlib import blake2b
from importlib import resources
from math import inf
from typing import Any, cast
from uuid import UUID

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from service.batches import Batches
from service.clock import boottime
from service.settings import Settings

CALL_TIMEOUT_SECONDS = 0.15
BREAK_SECONDS = 0.25
STEP_SECONDS = 0.5  # more than a round trip, and than clocks drift apart between two of them
CHANNEL = "rv"
REPORTS = "validators"

_SUBJECTS = {
    "TOKEN": re.compile("[0-9a-f]{64}"),
    "ACCOUNT": re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
}

_MESSAGE = re.compile("(TOKEN|ACCOUNT) ([0-9a-f-]+) ([0-9a-f]+) ([0-9]{1,16})", re.ASCII)
_REPORT = re.compile(rb"([0-9]{1,16}) (.*)", re.DOTALL)
_TERMS = re.compile(rb"(.*) ([0-9]{1,5}) [0-9a-f]{8}", re.DOTALL)
_REVISION = re.compile(rb"([0-9a-f]{1,32}|-) ([0-9]{1,16})")

Failed = (RedisError, OSError, TimeoutError, RuntimeError)
"""What a call of Redis may raise when Redis is not well; redis-py raises no one class.

RuntimeError is uvloop's, for a connection that the other side has reset in the same instant.
"""


@dataclass(frozen=True, slots=True)
class Drop:
    """What must be looked up again: one secret, or everything of an account."""

    kind: str
    subject: str

    @classmethod
    def of_secret(cls, digest: bytes) -> "Drop":
        """Return the drop of one secret's record."""
        return cls("TOKEN", digest.hex())

    @classmethod
    def of_account(cls, account_id: UUID) -> "Drop":
        """Return the cut-off of an account, or of a reseller with its fleet."""
        return cls("ACCOUNT", str(account_id))


@dataclass(frozen=True, slots=True)
class Revision:
    """Which drop; a later one of the same epoch has a greater number.

    Attributes:
        epoch: Redis' memory of itself; numbers of two epochs cannot be compared.
    """

    epoch: str
    number: int

    def covers(self, other: "Revision") -> bool:
        """Return whether who has applied this drop has also applied another one."""
        return self.epoch == other.epoch and self.number >= other.number


NOTHING_DROPPED = Revision("-", 0)


@dataclass(frozen=True, slots=True)
class Report:
    """What a validator says of itself.

    Attributes:
        name: Random, new with each process.
        silent_seconds: How long ago it was heard.
        applied: The last drop that it has applied.
        lease_seconds: For how long it uses an answer; 0 where it has not said so.
    """

    name: str
    silent_seconds: float
    applied: Revision
    lease_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Fleet:
    """The validators that were heard, and the last drop that Redis knows of."""

    last: Revision
    reports: tuple[Report, ...]
    age_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a look-up said.

    Attributes:
        asof_ms: With a payload, when the database read behind it began; without one, now, before
            the read that must follow. On Redis' clock.
        age_seconds: How old the payload is; 0 without one.
        payload: The record as it was filled, its signature verified; None is a miss.
    """

    asof_ms: int
    epoch: bytes
    age_seconds: float = 0.0
    payload: bytes | None = None


class Cache:
    """The shared cache of records."""

    def __init__(self, redis: Redis, signing_key: bytes, lease_seconds: float) -> None:
        self.redis = redis
        self._signing_key = blake2b(
            key=signing_key, digest_size=32, person=b"tokenward-cache"
        ).digest()
        self._lease_ms = int(lease_seconds * 1000)
        pepper = blake2b(key=signing_key, digest_size=4, person=b"tokenward-print").hexdigest()
        self.terms = f"{self._lease_ms} {pepper}"
        self._looking_up = Batches(redis, _script("look_up"), CHANNEL, _candidate)
        self._report = redis.register_script(_script("report"))
        self._fleet = redis.register_script(_script("fleet"))
        self._fill = redis.register_script(_script("fill"))
        self._revoke = redis.register_script(_script("revoke"))
        self._broken_until = 0.0
        self._behind_seconds = inf
        self._epoch = self._dead_epoch = b""

    async def look_up(self, digest: bytes, *, age_seconds_max: float) -> Answer | None:
        """Return what Redis knows of a digest, or None where Redis does not answer in time.

        Args:
            digest: 32 bytes.
            age_seconds_max: How long ago the database read behind an answer may have begun.
        """
        asked_at = boottime()
        if asked_at < self._broken_until:
            return None
        try:
            now_ms, epoch, found = await self._looking_up.ask(
                _key(digest), int(age_seconds_max * 1000)
            )
        except Failed:
            # Do not let each request wait for a Redis that does not answer.
            self._broken_until = boottime() + BREAK_SECONDS
            return None
        if self._has_stepped(now_ms, epoch, asked_at) or epoch == self._dead_epoch:
            await self._end_epoch(epoch)
            return None
        if found is None:
            return Answer(now_ms, epoch)
        asof, chain, payload, signature = found
        if signature is None or not hmac.compare_digest(
            signature, self._sign(digest, epoch, asof, chain, payload)
        ):
            return Answer(now_ms, epoch)
        return Answer(int(asof), epoch, (now_ms - int(asof)) / 1000, payload)

    def _has_stepped(self, now_ms: int, epoch: bytes, asked_at: float) -> bool:
        """Return whether Redis' clock went back within an epoch, by our own clock.

        Redis notices most steps itself and begins a new epoch (epoch.lua), but none that it slept
        through: a machine that was suspended goes on where it stood, and what it holds is older
        than its clock tells.
        """
        now = now_ms / 1000
        stepped = asked_at - now > self._behind_seconds + STEP_SECONDS and epoch == self._epoch
        self._behind_seconds, self._epoch = boottime() - now, epoch
        return stepped

    async def _end_epoch(self, epoch: bytes) -> None:
        """Have Redis forget an epoch, and believe nothing of it any more."""
        self._dead_epoch = epoch
        with suppress(*Failed):
            await self.redis.delete(CHANNEL)

    async def fill(
        self, digest: bytes, answer: Answer, chain: tuple[UUID, ...], payload: bytes
    ) -> str:
        """Store a record that was read after a miss; return OK, or why it was refused.

        Args:
            digest: 32 bytes.
            answer: The miss before the database read: its as-of and epoch.
            chain: The account and its reseller.
            payload: The record.

        Returns:
            ``OK``, ``SLOW``, ``EPOCH``, ``STALE``, or ``UNREACHABLE``.
        """
        asof = str(answer.asof_ms).encode()
        joined = ",".join(str(identifier) for identifier in chain).encode()
        signature = self._sign(digest, answer.epoch, asof, joined, payload)
        try:
            reply = await self._fill(
                keys=[_key(digest), CHANNEL],
                args=[
                    _candidate(),
                    asof,
                    answer.epoch,
                    self._lease_ms,
                    joined,
                    payload,
                    signature,
                ],
            )
        except Failed:
            return "UNREACHABLE"
        return bytes(reply).decode()

    async def revoke(self, drops: list[Drop]) -> list[Revision] | None:
        """Drop records everywhere, after the commit behind it; return what Redis made of each.

        Harmless to repeat. Never raises: where it returns None, the outbox holds what is not
        confirmed.
        """
        try:
            async with self.redis.pipeline(transaction=False) as pipeline:
                for drop in drops:
                    key = f"tk:{drop.subject}" if drop.kind == "TOKEN" else f"cut:{drop.subject}"
                    await self._revoke(
                        keys=[key, CHANNEL],
                        args=[
                            _candidate(),
                            drop.kind,
                            drop.subject,
                            self._lease_ms,
                            channel_of(self.redis),
                        ],
                        client=pipeline,
                    )
                replies = await pipeline.execute()
        except Failed:
            return None
        return [Revision(epoch.decode(), int(number)) for epoch, number in replies]

    async def last_revision(self) -> Revision:
        """Return the last drop that Redis knows of.

        Raises:
            Failed: If Redis does not answer.
        """
        told = await cast(Awaitable[list[Any]], self.redis.hmget(CHANNEL, ["epoch", "revision"]))
        return _revision(b" ".join(part or b"" for part in told))

    async def report(self, name: str, applied: Revision) -> str:
        """Tell what a validator has applied, and by which lease and pepper it goes.

        Returns:
            Lease in milliseconds and print of the pepper of who reported last.

        Raises:
            Failed: If Redis does not answer.
        """
        asked_at = boottime()
        said = f"{applied.epoch} {applied.number} {self.terms}"
        now_ms, epoch, terms = await self._report(
            keys=[REPORTS, CHANNEL], args=[_candidate(), name, said]
        )
        if self._has_stepped(now_ms, epoch, asked_at):
            await self._end_epoch(epoch)
        return bytes(terms).decode(errors="replace")

    async def forget_report(self, name: str) -> None:
        """Take back what a validator told that closes.

        Raises:
            Failed: If Redis does not answer.
        """
        await self.redis.hdel(REPORTS, name)

    async def fleet(self, *, silent_seconds_max: float) -> Fleet | None:
        """Return what each validator has applied, or None where Redis does not answer.

        Args:
            silent_seconds_max: Who was not heard for longer is forgotten; who has a longer lease,
                after a bound of its own.
        """
        try:
            now_ms, last, age_ms, *told = await self._fleet(
                keys=[REPORTS, CHANNEL],
                args=[_candidate(), int(silent_seconds_max * 1000)],
            )
        except Failed:
            return None
        found = []
        for name, report in zip(told[::2], told[1::2], strict=True):
            if match := _REPORT.fullmatch(report):
                silent_seconds = (int(now_ms) - int(match[1])) / 1000
                found.append(_report(name.decode(errors="replace"), silent_seconds, match[2]))
        return Fleet(_revision(last), tuple(found), age_ms / 1000)

    def _sign(self, digest: bytes, *parts: bytes) -> bytes:
        """Return 16 bytes over everything that an answer depends on, each part with its length."""
        signed = blake2b(digest, key=self._signing_key, digest_size=16)
        for part in parts:
            signed.update(len(part).to_bytes(4) + part)
        return signed.digest()


def hot_client(url: str, *, timeout_seconds: float = CALL_TIMEOUT_SECONDS) -> Redis:
    """Return a client for request paths: one try and a deadline.

    redis-py 8.1's own defaults wait up to a minute for a server that hangs.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=64,
        timeout=timeout_seconds,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        retry=Retry(NoBackoff(), 0),
    )
    return Redis.from_pool(pool)


def channel_of(redis: Redis) -> str:
    """Return the channel of drops; a server shares its channels among all its databases."""
    return f"{CHANNEL}@{redis.connection_pool.connection_kwargs.get('db') or 0}"


@asynccontextmanager
async def open_cache(settings: Settings) -> AsyncIterator[Cache]:
    """Open this process's cache, and close its connections at the end."""
    redis = hot_client(settings.redis_url.get_secret_value())
    try:
        yield Cache(redis, next(iter(settings.pepper_keys.values())), settings.lease_seconds)
    finally:
        await redis.aclose()


def read_drop(message: dict[str, Any]) -> tuple[Drop, Revision] | None:
    """Return the drop that a message of the subscription tells, or None where it tells none."""
    match = _MESSAGE.fullmatch(cast(bytes, message["data"]).decode(errors="replace"))
    if match is None:
        return None
    kind, subject, epoch, number = match.groups()
    if not _SUBJECTS[kind].fullmatch(subject):
        return None
    return Drop(kind, subject), Revision(epoch, int(number))


def _revision(told: bytes) -> Revision:
    """Return the revision that Redis holds; what none of us wrote there is none."""
    match = _REVISION.fullmatch(told)
    return Revision(match[1].decode(), int(match[2])) if match else NOTHING_DROPPED


def _report(name: str, silent_seconds: float, told: bytes) -> Report:
    """Return what a validator said; one that does not tell its lease has applied nothing."""
    match = _TERMS.fullmatch(told)
    if match is None:
        return Report(name, silent_seconds, NOTHING_DROPPED)
    return Report(name, silent_seconds, _revision(match[1]), int(match[2]) / 1000)


def _key(digest: bytes) -> str:
    return f"tk:{digest.hex()}"


def _candidate() -> str:
    """Return what an epoch is called that begins now: never twice the same, or it would return."""
    return secrets.token_hex(16)


def _script(name: str) -> str:
    """Return a script with what stands before each."""
    return "\n".join(
        resources.files("service").joinpath(f"{part}.lua").read_text(encoding="utf-8")
        for part in ("epoch", name)
    )
