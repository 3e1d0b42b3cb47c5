"""Refusals that belong in the trail: wrong passwords, and attempts at what one may not do.

Each is told once a minute per who, where and what, so that whoever repeats one cannot flood the
trail. That is counted in Redis; without Redis nothing is told. A refusal that could not be told is
in the log alone, and the answer to the caller is the same.
"""

import asyncio
from dataclasses import dataclass, field
from hashlib import blake2b

import structlog
from redis.asyncio import Redis

from service.access.actor import EVERYTHING, Actor
from service.access.refusals import system_find_person
from service.addresses import counted_as
from service.errors import Forbidden, InsufficientScope, ServiceError, WideningRefused
from service.work import Work

QUIET_SECONDS = 60
TELL_SECONDS_MAX = 1.0
TELLING_MAX = 100

TOLD = (Forbidden, InsufficientScope, WideningRefused)
"""What is told of a request. Those of queries are not: reading is the hot path."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Refusals:
    """Tells the trail what was refused."""

    work: Work
    redis: Redis
    _telling: set[asyncio.Task[None]] = field(default_factory=set)

    def tell_sign_in(self, email: str, *, address: str | None, request_id: str | None) -> None:
        """Tell a wrong password to the trail of the account whose member it was tried for.

        It returns at once and is told behind the answer, which must not take longer for an address
        that is somebody's than for one that is nobody's.

        Args:
            email: As it was tried, in the form in which it is stored.
            address: The client's.
            request_id: The request's.
        """
        if len(self._telling) >= TELLING_MAX:
            log.warning("refusal.untold", reason="too many at once")
            return
        telling = asyncio.create_task(self._tell_sign_in(email, address, request_id))
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)

    async def tell_request(
        self, actor: Actor | None, refused: ServiceError, operation: str
    ) -> None:
        """Tell that a mutation was refused for want of rights, to the trail of who asked for it.

        Args:
            actor: Who asked; nobody's trail is told where nobody did.
            refused: Why; most refusals are no matter for a trail.
            operation: The mutation's name.
        """
        if actor is None or not isinstance(refused, TOLD):
            return
        try:
            async with asyncio.timeout(TELL_SECONDS_MAX):
                if not await self._is_first(f"{actor.token_id}:{refused.code}"):
                    return
                # It is told of a credential that has ended meanwhile, too: of that above all.
                async with self.work.begin(actor.reach, None) as unit:
                    unit.actor = actor
                    owner = (actor.account_id, actor.reseller_id)
                    details = {"code": refused.code, "operation": operation}
                    unit.audit("request.refused", actor.token_id, owner, **details)
        except Exception as failure:  # noqa: BLE001 - the answer is the refusal, told or not
            log.warning("refusal.untold", reason=type(failure).__name__)

    async def settle(self) -> None:
        """Wait until what is being told is told."""
        if self._telling:
            await asyncio.wait(self._telling, timeout=2 * TELL_SECONDS_MAX)

    async def _tell_sign_in(self, email: str, address: str | None, request_id: str | None) -> None:
        who = blake2b(email.encode(), digest_size=12).hexdigest()
        try:
            async with asyncio.timeout(TELL_SECONDS_MAX):
                if not await self._is_first(f"{who}:{counted_as(address)}"):
                    return
                async with self.work.begin(EVERYTHING, None) as unit:
                    person = await system_find_person(unit.door, email)
                    if person is not None:
                        told = {"address": address, "request_id": request_id}
                        unit.audit("session.refused", person.id, person.owner, **told)
        except Exception as failure:  # noqa: BLE001 - nobody waits for it
            log.warning("refusal.untold", reason=type(failure).__name__)

    async def _is_first(self, what: str) -> bool:
        """Return whether this was not told within the last minute; it counts as told now."""
        return bool(await self.redis.set(f"refused:{what}", b"", nx=True, ex=QUIET_SECONDS))
