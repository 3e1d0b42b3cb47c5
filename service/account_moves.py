"""Use case of the operator: a customer changes hands."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from service.access.account_moves import change_reseller, lock_customer
from service.access.accounts import find_account
from service.access.actor import Actor
from service.accounts import WRITE, Changed
from service.cache import Drop
from service.errors import AccountClosed, AccountInactive, Forbidden, InvalidInput, Unavailable
from service.receipts import PropagationWait
from service.step_up import require_recent_password
from service.verdict import AccountKind
from service.work import Work

TRIES_MAX = 10


@dataclass(frozen=True, slots=True)
class AccountMoves:
    """Moves customers between resellers."""

    work: Work

    async def move(
        self,
        actor: Actor,
        account_id: UUID,
        reseller_id: UUID | None,
        *,
        wait_for: PropagationWait | None = None,
    ) -> Changed:
        """Make a customer another reseller's, or the operator's own. Harmless to repeat.

        From then on the old reseller sees and reaches nothing of it but the trail of its own time,
        and the new one's caps and suspension hold. Validators look every token of it up again: what
        they knew named the old reseller. What the customer may grant stays as it is, so that a move
        never gives it more; the new reseller's caps may leave it less.

        Args:
            actor: A person of the operator, who has entered the password lately: the old reseller's
                caps, which may have been narrower than the account's own, end with the move.
            account_id: A customer.
            reseller_id: Whose it shall be; None is the operator's own.
            wait_for: What to wait for before it returns.

        Raises:
            InsufficientScope: Without ``accounts:write``.
            Forbidden: If the actor is not the operator.
            PasswordRequired: If the password was not entered lately.
            NotFound: If either account is missing.
            InvalidInput: If one is no customer, or the other no reseller.
            AccountClosed: If the customer is closed.
            AccountInactive: If the reseller is suspended or closed.
            Unavailable: If others write to the customer without a pause. Try again.
        """
        actor.require(WRITE)
        if actor.account_kind is not AccountKind.OPERATOR:
            raise Forbidden
        for _ in range(TRIES_MAX - 1):
            with suppress(Unavailable):  # somebody else was at one of the rows
                return await self._move(actor, account_id, reseller_id, wait_for)
        return await self._move(actor, account_id, reseller_id, wait_for)

    async def _move(
        self,
        actor: Actor,
        account_id: UUID,
        reseller_id: UUID | None,
        wait_for: PropagationWait | None,
    ) -> Changed:
        async with self.work.begin(actor.reach, actor, wait_for=wait_for) as unit:
            await require_recent_password(unit.door, actor, unit.now)
            if reseller_id is not None:
                # First the reseller, by a share that keeps it from being closed meanwhile.
                above = await find_account(unit.door, reseller_id, locking="FOR SHARE OF a")
                if above.kind is not AccountKind.RESELLER:
                    raise InvalidInput("That account is not a reseller.", field="resellerId")
                if not above.is_usable:
                    raise AccountInactive
            account = await lock_customer(unit.door, account_id)
            if account.kind is not AccountKind.CUSTOMER:
                raise InvalidInput("Only a customer can be moved.", field="id")
            if account.closed_at is not None:
                raise AccountClosed
            if account.reseller_id != reseller_id:
                previous = account.reseller_id
                account = await change_reseller(unit.door, account_id, reseller_id)
                told: dict[str, Any] = {
                    "reseller_id": reseller_id,
                    "previous_reseller_id": previous,
                }
                unit.audit("account.moved", account_id, account.owner, **told)
                if previous is not None:  # whose customer is gone, and its trail out of reach
                    unit.audit("account.moved", account_id, (previous, previous), **told)
            unit.drop(Drop.of_account(account_id), account.owner)
        return Changed(account, unit.propagation)
