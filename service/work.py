"""Units of work: one transaction = the change + its audit events + its outbox rows.

What must happen after the commit (the drop in Redis) is noted here and forgotten on a rollback.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from service.access.actor import Actor, Reach
from service.access.door import Door, Statement, open_door
from service.cache import Cache, Drop
from service.clock import Clock, new_id


class PropagationState(StrEnum):
    """Whether Redis has confirmed a drop, so that every listening validator was told."""

    CONFIRMED = "CONFIRMED"
    PENDING = "PENDING"


@dataclass(frozen=True, slots=True)
class Propagation:
    """The receipt of a narrowing.

    Attributes:
        effective_everywhere_by: The instant after which no validator says VALID, whatever fails.
    """

    state: PropagationState
    confirmed_at: datetime | None
    effective_everywhere_by: datetime


@dataclass
class Unit:
    """One unit of work while it is under way.

    Attributes:
        door: The transaction.
        now: The instant of everything in it.
        propagation: After the end, the receipt, if anything was dropped.
    """

    door: Door
    now: datetime
    actor: Actor | None
    propagation: Propagation | None = None
    _audit_rows: list[dict[str, Any]] = field(default_factory=list)
    _outbox_rows: list[dict[str, Any]] = field(default_factory=list)
    _drops: list[Drop] = field(default_factory=list)

    def audit(
        self, action: str, subject_id: UUID, owner: tuple[UUID, UUID | None], **details: Any
    ) -> None:
        """Tell a change.

        Args:
            action: ``noun.verb`` in the past tense.
            subject_id: What was changed.
            owner: The account whose trail it is, and its reseller.
            details: Values that JSON can hold; never a secret.
        """
        actor = self.actor
        self._audit_rows.append(
            {
                "id": new_id(),
                "account_id": owner[0],
                "reseller_id": owner[1],
                "occurred_at": self.now,
                "action": action,
                "subject_id": subject_id,
                "actor_account_id": actor and actor.account_id,
                "actor_member_id": actor and actor.member_id,
                "actor_token_id": actor and actor.token_id,
                "address": actor and actor.address,
                "request_id": actor and actor.request_id,
                "details": encode_json(details),
            }
        )

    def drop(self, drop: Drop, owner: tuple[UUID, UUID | None]) -> None:
        """Have validators look something up again, after the commit and until confirmed."""
        self._drops.append(drop)
        self._outbox_rows.append(
            {
                "id": new_id(),
                "account_id": owner[0],
                "reseller_id": owner[1],
                "kind": drop.kind,
                "subject": drop.subject,
                "created_at": self.now,
                "due_at": self.now,
                "stage": 0,
            }
        )

    async def write(self) -> None:
        """Add the audit events and outbox rows; the last statements before the commit."""
        if self._audit_rows:
            await self.door.query(Statement().insert("audit_event", self._audit_rows))
        if self._outbox_rows:
            await self.door.query(Statement().insert("outbox_event", self._outbox_rows))

    @property
    def drops(self) -> list[Drop]:
        """What is dropped after the commit."""
        return self._drops


@dataclass(frozen=True, slots=True)
class Work:
    """Begins units of work.

    Attributes:
        bound_seconds: The published staleness bound.
    """

    cache: Cache
    clock: Clock
    bound_seconds: float

    @asynccontextmanager
    async def begin(self, reach: Reach, actor: Actor | None) -> AsyncIterator[Unit]:
        """Open a unit; commit at its end, then drop in Redis what it narrowed.

        A revoke never fails because Redis does: the outbox has it, and the lease ends it.
        """
        async with open_door(reach) as door:
            unit = Unit(door, self.clock.now(), actor)
            yield unit
            await unit.write()
        if unit.drops:
            confirmed = await self.cache.revoke(unit.drops)
            now = self.clock.now()
            unit.propagation = Propagation(
                PropagationState.CONFIRMED if confirmed else PropagationState.PENDING,
                now if confirmed else None,
                now + timedelta(seconds=self.bound_seconds),
            )


def encode_json(value: dict[str, Any]) -> str:
    """Return compact JSON for a ``jsonb`` column."""
    return json.dumps(value, default=str, separators=(",", ":"))
