"""Redis as the validators share it; records and cut-offs are spelled here alone.

``tk:<digest>``  one record: state, as-of, epoch, chain, payload, signature
``rv``           the epoch, and a cut-off per account

Safety never depends on anything here arriving, staying or being true (DECISIONS, D-001). What
comes back is believed only with a signature over all of it, so that write access to Redis alone
mints nothing.
"""

import hmac
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import blake2b
from importlib import resources
from typing import Any, cast
from uuid import UUID

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from service.clock import boottime
from service.settings import Settings

CALL_TIMEOUT_SECONDS = 0.15
BREAK_SECONDS = 0.25
CHANNEL = "rv"

_SUBJECTS = {
    "TOKEN": re.compile("[0-9a-f]{64}"),
    "ACCOUNT": re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
}

Failed = (RedisError, OSError, TimeoutError)
"""What a call of Redis may raise when Redis is not well; redis-py raises no one class."""


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
        self._look_up = redis.register_script(_script("look_up"))
        self._fill = redis.register_script(_script("fill"))
        self._revoke = redis.register_script(_script("revoke"))
        self._broken_until = 0.0

    async def look_up(self, digest: bytes, *, age_seconds_max: float) -> Answer | None:
        """Return what Redis knows of a digest, or None where Redis does not answer in time.

        Args:
            digest: 32 bytes.
            age_seconds_max: How long ago the database read behind an answer may have begun.
        """
        if boottime() < self._broken_until:
            return None
        try:
            reply = await self._look_up(
                keys=[_key(digest), CHANNEL],
                args=[secrets.token_hex(16), int(age_seconds_max * 1000)],
            )
        except Failed:
            # Do not let each request wait for a Redis that does not answer.
            self._broken_until = boottime() + BREAK_SECONDS
            return None
        now_ms, epoch = int(reply[1]), bytes(reply[2])
        if reply[0] != b"HIT":
            return Answer(now_ms, epoch)
        asof, chain, payload, signature = reply[3:]
        if signature is None or not hmac.compare_digest(
            signature, self._sign(digest, epoch, asof, chain, payload)
        ):
            return Answer(now_ms, epoch)
        return Answer(int(asof), epoch, (now_ms - int(asof)) / 1000, payload)

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
                args=[asof, answer.epoch, self._lease_ms, joined, payload, signature],
            )
        except Failed:
            return "UNREACHABLE"
        return bytes(reply).decode()

    async def revoke(self, drops: list[Drop]) -> bool:
        """Drop records everywhere, after the commit behind it; return whether Redis confirmed.

        Harmless to repeat. Never raises: the outbox holds what is not confirmed here.
        """
        try:
            async with self.redis.pipeline(transaction=False) as pipeline:
                for drop in drops:
                    key = f"tk:{drop.subject}" if drop.kind == "TOKEN" else CHANNEL
                    await self._revoke(
                        keys=[key, CHANNEL],
                        args=[drop.kind, drop.subject, self._lease_ms, CHANNEL],
                        client=pipeline,
                    )
                await pipeline.execute()
        except Failed:
            return False
        return True

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


@asynccontextmanager
async def open_cache(settings: Settings) -> AsyncIterator[Cache]:
    """Open this process's cache, and close its connections at the end."""
    redis = hot_client(settings.redis_url.get_secret_value())
    try:
        yield Cache(redis, next(iter(settings.pepper_keys.values())), settings.lease_seconds)
    finally:
        await redis.aclose()


@asynccontextmanager
async def subscription(settings: Settings) -> AsyncIterator[PubSub]:
    """Listen to drops on a connection of its own, which fails rather than hangs."""
    redis = hot_client(settings.redis_url.get_secret_value(), timeout_seconds=1.0)
    pubsub = redis.pubsub()
    try:
        await pubsub.subscribe(CHANNEL)
        yield pubsub
    finally:
        await pubsub.aclose()  # type: ignore[no-untyped-call] # redis-py leaves it unannotated
        await redis.aclose()


def read_drop(message: dict[str, Any]) -> Drop | None:
    """Return the drop that a message of the subscription tells, or None where it tells none."""
    kind, _, subject = cast(bytes, message["data"]).decode(errors="replace").partition(" ")
    known = _SUBJECTS.get(kind)
    return Drop(kind, subject) if known is not None and known.fullmatch(subject) else None


def _key(digest: bytes) -> str:
    return f"tk:{digest.hex()}"


def _script(name: str) -> str:
    return resources.files("service").joinpath(f"{name}.lua").read_text(encoding="utf-8")
