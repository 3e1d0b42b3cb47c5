"""After a restore: what an export of the trail tells was taken away since, is taken away again.

A backup forgets what came after it, and so tokens live that were revoked. Only what takes away is
repeated, in the order of the file: a resumption or a widening in it undoes what it undid then, and
whatever the restored trail holds has its effect there already. Where it cannot be repeated to the
letter, the token is suspended: whatever ended one of its secrets, that one must not live on.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from service.access.accounts import change_account, find_accounts, lock_account
from service.access.actor import EVERYTHING
from service.access.door import open_door
from service.access.tokens import Token, TokenStatus, change_token, find_tokens, lock_token
from service.access.trail import find_events
from service.cache import Drop
from service.errors import InvalidInput, ServiceError
from service.token_changes import TokenChanges, drop_token, narrowings
from service.tokens import RevocationReason
from service.trail_export import Exported, read_line, verify_lines
from service.work import Unit, Work

BATCH = 500
ENDED = {TokenStatus.REVOKED, TokenStatus.EXPIRED}

ROTATIONS = {"token.rotated", "token.rotation_cancelled", "token.rotation_completed"}
"""What ended a secret, which an export does not name."""

LISTS, INSTANTS = ("scopes", "allowed_ip_ranges", "audiences"), ("expires_at", "not_before")

BY_HAND = {
    "account.moved",
    "account.updated",
    "member.password_changed",
    "member.password_reset",
    "member.removed",
    "member.updated",
    "policy.changed",
    "session.ended",
}
"""What may have taken something away, and is not repeated."""


@dataclass
class Loss:
    """What was taken away from one token or account.

    Attributes:
        reason: Why it was revoked; None where it was not.
        suspended: Whether it was suspended, and not resumed.
        is_unrepeatable: Whether it lost what cannot be taken away again alone; no resumption gave
            that back.
        narrowed: Its narrower values, as the trail tells them.
    """

    reason: str | None = None
    suspended: bool = False
    is_unrepeatable: bool = False
    narrowed: dict[str, Any] = field(default_factory=dict)

    @property
    def suspends(self) -> bool:
        """Whether it is to be suspended."""
        return self.suspended or self.is_unrepeatable


@dataclass
class Losses:
    """What the restored database does not know of.

    Attributes:
        by_hand: How many events of which kind are left to a person.
    """

    tokens: dict[UUID, Loss] = field(default_factory=dict)
    accounts: dict[UUID, Loss] = field(default_factory=dict)
    by_hand: Counter[str] = field(default_factory=Counter)

    def note(self, event: Exported) -> None:
        """Add an event that the database has lost."""
        action, details = str(event["action"]), event.get("details") or {}
        subject = UUID(event["subject_id"])
        if action in BY_HAND:
            self.by_hand[action] += 1
        elif action in {"account.suspended", "account.closed", "account.resumed"}:
            self.accounts.setdefault(subject, Loss()).suspended = action != "account.resumed"
        elif action.startswith("token."):
            _note_token(self.tokens.setdefault(subject, Loss()), action, details)


def _note_token(loss: Loss, action: str, details: dict[str, Any]) -> None:
    if action == "token.revoked":
        reason = details.get("reason")
        known = {one.value for one in RevocationReason}
        loss.reason = reason if reason in known else RevocationReason.USER_REQUEST.value
    elif action in ROTATIONS:
        loss.is_unrepeatable = True
    elif action == "token.suspended":
        loss.suspended = True
    elif action == "token.resumed":
        loss.suspended = False
    elif action == "token.updated":
        loss.narrowed |= {name: details[name] for name in (*LISTS, *INSTANTS) if name in details}
        loss.is_unrepeatable |= not details  # an export that withholds what it was
    elif action == "token.widened":
        loss.narrowed = {name: had for name, had in loss.narrowed.items() if name not in details}


async def read_losses(lines: Iterable[str]) -> Losses:
    """Return what an export tells that the database has lost; the export's chains are checked.

    Args:
        lines: Of JSON Lines, from before the backup to the end.

    Raises:
        InvalidInput: If a line is not one of an export, or was altered, or one is missing.
    """
    lines = list(lines)
    _, broken = verify_lines(lines, {})
    if broken is not None:
        raise InvalidInput(f"Account {broken.account_id}, event {broken.sequence}: {broken.what}")
    losses = Losses()
    for start in range(0, len(lines), BATCH):
        events = [read_line(line) for line in lines[start : start + BATCH]]
        async with open_door(EVERYTHING) as door:
            found = await find_events(door, [UUID(event["id"]) for event in events])
        known = {str(event.id) for event in found}
        for event in events:
            if event["id"] not in known:
                losses.note(event)
    await _forget_strangers(losses)
    return losses


async def _forget_strangers(losses: Losses) -> None:
    """Leave out what the restored database does not have, and what has nothing to lose."""
    losses.tokens = {one: loss for one, loss in losses.tokens.items() if loss != Loss()}
    losses.accounts = {one: loss for one, loss in losses.accounts.items() if loss != Loss()}
    async with open_door(EVERYTHING) as door:
        tokens = await find_tokens(door, list(losses.tokens))
        accounts = await find_accounts(door, list(losses.accounts))
    losses.tokens = {one: losses.tokens[one] for one in losses.tokens if one in tokens}
    losses.accounts = {one: losses.accounts[one] for one in losses.accounts if one in accounts}


async def take_away(work: Work, losses: Losses) -> None:
    """Repeat the losses, each in a unit of its own. Harmless to repeat.

    Raises:
        Unavailable: If the database does not answer; run it again.
    """
    for account_id in losses.accounts:
        async with work.begin(EVERYTHING, None) as unit:
            await _suspend_account(unit, account_id)
    for token_id, loss in losses.tokens.items():
        async with work.begin(EVERYTHING, None) as unit:
            await _take_from_token(unit, token_id, loss)


async def _suspend_account(unit: Unit, account_id: UUID) -> None:
    account = await lock_account(unit.door, account_id)
    if account.suspended_at is None and account.closed_at is None:
        await change_account(unit.door, account_id, {"suspended_at": unit.now})
        unit.audit("account.suspended", account_id, account.owner, by="trail")
    unit.drop(Drop.of_account(account_id), account.owner)


async def _take_from_token(unit: Unit, token_id: UUID, loss: Loss) -> None:
    token = await lock_token(unit.door, token_id)
    columns: dict[str, Any] = {}
    if token.status(unit.now) not in ENDED:
        try:
            columns = narrowings(token, _changes(loss.narrowed), unit.now)
        except (ServiceError, ValueError, TypeError):
            loss.is_unrepeatable = True
        columns = {name: new for name, new in columns.items() if _differs(token, name, new)}
        if columns:
            unit.audit("token.updated", token_id, token.owner, by="trail", **columns)
        if loss.reason is not None:
            columns |= {"revoked_at": unit.now, "revocation_reason": loss.reason}
            unit.audit("token.revoked", token_id, token.owner, by="trail", reason=loss.reason)
        elif loss.suspends and token.suspended_at is None:
            columns["suspended_at"] = unit.now
            unit.audit("token.suspended", token_id, token.owner, by="trail")
    if columns:
        token = await change_token(unit.door, token_id, columns, now=unit.now)
    await drop_token(unit, token)


def _differs(token: Token, name: str, new: Any) -> bool:
    had = getattr(token, name)
    return bool(tuple(new) != tuple(had) if name in LISTS else new != had)


def _changes(told: dict[str, Any]) -> TokenChanges:
    """Return a narrowing as it was asked for, of the values that the trail tells."""
    changes: dict[str, Any] = {name: tuple(told[name]) for name in LISTS if name in told}
    changes |= {name: datetime.fromisoformat(told[name]) for name in INSTANTS if name in told}
    return TokenChanges(**changes)
