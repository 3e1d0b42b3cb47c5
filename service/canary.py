"""The canary: a token of our own, revoked every minute in production, and how long that took.

It opens nothing: it has no scopes, and validators answer UNKNOWN to everybody who does not ask for
its kind. The idea is Meta's Polaris ("Cache made consistent", 2022): what is promised is measured,
all the time, by somebody who does not believe it.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import cast
from uuid import UUID

import structlog
from redis.asyncio import Redis

from service.access.actor import EVERYTHING
from service.access.canary import (
    system_end_canary,
    system_find_operator,
    system_forget_canaries,
    system_insert_canary,
)
from service.cache import Drop
from service.clock import Clock, boottime, new_id
from service.errors import Unavailable
from service.receipts import Propagation, PropagationState
from service.secret_format import make_secret
from service.settings import Settings
from service.validator import Validator
from service.verdict import CredentialKind, Status
from service.work import Work

KEY = "canary"
KEPT_SECONDS = 3600
LIFETIME = timedelta(minutes=5)
FORGOTTEN_AFTER = timedelta(hours=1)
POLL_SECONDS = 0.002

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What one revocation of our own came to.

    Attributes:
        probed_at_seconds: When, in seconds since 1970.
        refused_seconds: From the revoke's call to the prober's own validator's no.
        applied_seconds: From the call until its receipt is ``APPLIED``. The bound, where a
            validator had vanished or none is known; more, where a live one has not applied it.
        validators_known: How many were known.
        held: Whether both were within the bound of the revoke's return, from which the promise is
            counted, and the token was accepted before.
    """

    probed_at_seconds: float
    refused_seconds: float
    applied_seconds: float
    validators_known: int
    held: bool


@dataclass(frozen=True, slots=True)
class Canary:
    """Probes the promise.

    Attributes:
        opening: Opens a validator of the prober's own.
    """

    work: Work
    redis: Redis
    clock: Clock
    settings: Settings
    opening: Callable[[], AbstractAsyncContextManager[Validator]]

    async def probe(self) -> Probe | None:
        """Make a token, use it, revoke it, and tell how long it was accepted.

        Harmless to repeat, or to run twice at once: each run has a token of its own.

        Returns:
            None where the platform has no operator yet.

        Raises:
            Unavailable, service.cache.Failed: If the database or Redis does not answer.
        """
        operator_id = await system_find_operator()
        if operator_id is None:
            return None
        async with self.opening() as validator:
            probe = await self._probe(validator, operator_id)
        await self.redis.hset(KEY, mapping={name: str(v) for name, v in asdict(probe).items()})
        await self.redis.expire(KEY, KEPT_SECONDS)
        await system_forget_canaries(self.clock.now() - FORGOTTEN_AFTER)
        (log.info if probe.held else log.error)("canary.probed", **asdict(probe))
        return probe

    async def _probe(self, validator: Validator, operator_id: UUID) -> Probe:
        secret = make_secret(self.settings.token_label, self.settings.pepper_keys)
        token_id = new_id()
        async with self.work.begin(EVERYTHING, None) as unit:
            await system_insert_canary(
                unit.door, operator_id, token_id, secret, unit.now, unit.now + LIFETIME
            )
        status = await _status(validator, secret.text)
        if status is Status.UNAVAILABLE:
            raise Unavailable  # nothing is proved, and nothing claimed
        called_at = boottime()
        async with self.work.begin(EVERYTHING, None) as unit:
            await system_end_canary(unit.door, token_id, unit.now)
            unit.drop(Drop.of_secret(secret.digest), (operator_id, None))
        ended_at = boottime()
        refused, (applied, known) = await asyncio.gather(
            self._until_refused(validator, secret.text, ended_at),
            self._until_applied(unit.propagation, ended_at),
        )
        bound = self.settings.staleness_bound_seconds
        took = ended_at - called_at
        return Probe(
            probed_at_seconds=self.clock.now().timestamp(),
            refused_seconds=took + refused,
            applied_seconds=bound if applied is None else took + applied,
            validators_known=known,
            held=status is Status.VALID and max(refused, applied or 0.0) <= bound,
        )

    async def _until_refused(self, validator: Validator, secret: str, ended_at: float) -> float:
        """Return after how many seconds the token was refused; past the bound, when it gave up."""
        give_up = 2 * self.settings.staleness_bound_seconds
        accepted = True
        while accepted and boottime() - ended_at < give_up:
            accepted = await _status(validator, secret) is Status.VALID
            await asyncio.sleep(POLL_SECONDS if accepted else 0)
        return boottime() - ended_at

    async def _until_applied(
        self, propagation: Propagation | None, ended_at: float
    ) -> tuple[float | None, int]:
        """Return after how many seconds every validator had applied it, and how many there are.

        None where the bound passed, and nobody is left who has not applied it and still lives.
        """
        known = 0
        bound = self.settings.staleness_bound_seconds
        while propagation is not None:
            known = max(known, propagation.known)
            passed = boottime() - ended_at
            if propagation.state is PropagationState.APPLIED:
                return passed, known
            if passed > bound:
                is_harmless = propagation.known == propagation.applied + len(propagation.vanished)
                return None if is_harmless else passed, known
            await asyncio.sleep(POLL_SECONDS)
            propagation = await self.work.receipts.progress(propagation.receipt)
        return None, known


async def last_probe(redis: Redis) -> dict[str, str]:
    """Return what the last probe told, by the names of :class:`Probe`; empty where there is none.

    Raises:
        service.cache.Failed: If Redis does not answer.
    """
    told = await redis.hgetall(KEY)
    return {cast(bytes, name).decode(): cast(bytes, value).decode() for name, value in told.items()}


async def _status(validator: Validator, secret: str) -> Status:
    verdict = await validator.check(secret, kind=CredentialKind.CANARY, is_use=False)
    return verdict.status
