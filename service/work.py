"""Units of work: one transaction = the change + its audit events + its outbox rows.

What must happen after the commit (the drop in Redis) is noted here and forgotten on a rollback.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from service.access.actor import Actor, Reach
from service.access.door import Door, Statement, open_door
from service.cache import Drop
from service.clock import Clock, new_id
from service.outbox import Relay
from service.receipts import Propagation, PropagationWait, Receipt, Receipts
from service.sealer import Sealer


@dataclass
class Unit:
    """One unit of work while it is under way.

    Attributes:
        door: The transaction.
        now: The instant of everything in it.
        propagation: After the end, how far it has come, if anything was dropped.
        receipt_id: By which that can be asked for later.
    """

    door: Door
    now: datetime
    actor: Actor | None
    propagation: Propagation | None = None
    receipt_id: UUID = field(default_factory=new_id)
    _audit_rows: list[dict[str, Any]] = field(default_factory=list)
    _outbox_rows: list[dict[str, Any]] = field(default_factory=list)
    _drops: list[Drop] = field(default_factory=list)
    _tells: bool = False

    def audit(
        self,
        action: str,
        subject_id: UUID,
        owner: tuple[UUID, UUID | None],
        *,
        address: str | None = None,
        request_id: str | None = None,
        **details: Any,
    ) -> None:
        """Tell a change, at the end of the unit; the arguments are those of :meth:`event`."""
        self._audit_rows.append(
            self.event(action, subject_id, owner, address=address, request_id=request_id, **details)
        )

    def event(
        self,
        action: str,
        subject_id: UUID,
        owner: tuple[UUID, UUID | None],
        *,
        address: str | None = None,
        request_id: str | None = None,
        **details: Any,
    ) -> dict[str, Any]:
        """Return the trail's row of a change, for the statement that makes the change to add.

        Args:
            action: ``noun.verb`` in the past tense.
            subject_id: What was changed.
            owner: The account whose trail it is, and its reseller.
            address: From where, where nobody is signed in who could tell.
            request_id: By which request, where nobody is.
            details: Values that JSON can hold; never a secret.
        """
        actor = self.actor
        self._tells = True
        return {
            "id": new_id(),
            "account_id": owner[0],
            "reseller_id": owner[1],
            "occurred_at": self.now,
            "action": action,
            "subject_id": subject_id,
            "actor_account_id": actor and actor.account_id,
            "actor_member_id": actor and actor.member_id,
            "actor_token_id": actor and actor.token_id,
            "address": actor.address if actor else address,
            "request_id": actor.request_id if actor else request_id,
            "details": encode_json(details),
        }

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
                "receipt_id": self.receipt_id,
            }
        )

    async def write(self) -> None:
        """Add the audit events and outbox rows, in the last statement before the commit."""
        statement = Statement()
        told = {"audit_event": self._audit_rows, "outbox_event": self._outbox_rows}
        texts = [statement.insert(table, rows).text for table, rows in told.items() if rows]
        if texts:
            *first, last = texts
            statement.text = "".join(f"WITH told AS ({text}) " for text in first) + last
            await self.door.query(statement)

    @property
    def tells(self) -> bool:
        """Whether it adds to the audit trail."""
        return self._tells

    @property
    def drops(self) -> list[Drop]:
        """What is dropped after the commit."""
        return self._drops

    @property
    def outbox_ids(self) -> list[UUID]:
        """The outbox row of each drop."""
        return [row["id"] for row in self._outbox_rows]


@dataclass(frozen=True, slots=True)
class Work:
    """Begins units of work."""

    relay: Relay
    receipts: Receipts
    clock: Clock
    sealer: Sealer

    @asynccontextmanager
    async def begin(
        self, reach: Reach, actor: Actor | None, *, wait_for: PropagationWait | None = None
    ) -> AsyncIterator[Unit]:
        """Open a unit; commit at its end, then drop in Redis what it narrowed.

        A revoke never fails because Redis does: the outbox has it, and the lease ends it.

        It begins only while the actor's credential lives in the database: what a validator
        believes may be as old as a lease, and what is made on the strength of that would live on.

        Args:
            reach: What may be seen and changed.
            actor: Who asks; None is the service itself.
            wait_for: What to wait for after a narrowing; None does not wait.

        Raises:
            Unauthenticated: If the credential has ended.
            InsufficientScope: If it has lost a scope since the actor was judged.
        """
        proof = None if actor is None else actor.proof(self.clock.now())
        async with open_door(reach, proof) as door:
            unit = Unit(door, self.clock.now(), actor)
            yield unit
            await unit.write()
        if unit.tells:
            self.sealer.wake()
        if unit.drops:
            committed_at = self.clock.now()
            revisions = await self.relay.deliver(unit.outbox_ids, unit.drops, committed_at)
            confirmed_at = None if revisions is None else self.clock.now()
            receipt = Receipt(unit.receipt_id, committed_at, confirmed_at, revisions)
            propagation = await self.receipts.progress(receipt)
            unit.propagation = await self.receipts.wait(propagation, wait_for)


def encode_json(value: dict[str, Any]) -> str:
    """Return compact JSON for a ``jsonb`` column."""
    return json.dumps(value, default=str, separators=(",", ":"))
