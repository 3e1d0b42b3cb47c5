"""Use cases that change a token: an update only narrows, a widening only widens."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from service import scopes, token_rules
from service.access.actor import Actor
from service.access.secrets import digests_of_token
from service.access.tokens import Token, TokenStatus, change_token, lock_token
from service.cache import Drop
from service.errors import (
    Forbidden,
    InvalidInput,
    ScopeNotGrantable,
    TokenEnded,
    VersionConflict,
)
from service.policies import check_delegation
from service.receipts import Propagation, PropagationWait
from service.settings import Settings
from service.step_up import require_recent_password
from service.token_notes import clean_description, clean_metadata
from service.token_widening import Widening, judge_widening
from service.verdict import CredentialKind
from service.work import Unit, Work, encode_json

READ = "tokens:read"
WRITE = "tokens:write"

NOTES = {"description", "metadata"}
"""The columns that say nothing of what a token may do."""


@dataclass(frozen=True, slots=True)
class Changed:
    """A token after a change, and the receipt if the change narrowed it."""

    token: Token
    propagation: Propagation | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenChanges:
    """A narrowing, or other notes. None leaves a field as it is: what narrows cannot be unset.

    Attributes:
        description: Empty takes it away.
        metadata: Takes the place of all that was there.
    """

    scopes: tuple[str, ...] | None = None
    allowed_ip_ranges: tuple[str, ...] | None = None
    audiences: tuple[str, ...] | None = None
    expires_at: datetime | None = None
    not_before: datetime | None = None
    description: str | None = None
    metadata: object = None


@dataclass(frozen=True, slots=True)
class TokenUpdates:
    """Changes of tokens within an actor's reach; beyond it, everything reads as missing."""

    work: Work
    settings: Settings

    async def update(
        self,
        actor: Actor,
        token_id: UUID,
        changes: TokenChanges,
        *,
        expected_version: int | None = None,
        wait_for: PropagationWait | None = None,
    ) -> Changed:
        """Narrow a token, which counts as a revoke, or write something else about it.

        Fewer scopes, addresses or audiences, an earlier expiry, a later beginning; a description
        and metadata alone narrow nothing, and leave no receipt.

        Raises:
            WideningRefused: If any change would give the token more than it has.
            InsufficientScope, NotFound, TokenEnded, VersionConflict, InvalidInput: See
                service.errors.
        """
        actor.require(WRITE)
        notes = _notes(changes)
        async with self.work.begin(actor.reach, actor, wait_for=wait_for) as unit:
            before = await lock_token(unit.door, token_id)
            refuse_ended(unit, before)
            columns = narrowings(before, changes, unit.now) | notes
            if not columns:
                raise InvalidInput("Name something to change.")
            token = await _change(unit, before, columns, expected_version)
            unit.audit("token.updated", token_id, token.owner, **_told(before, columns))
            if not columns.keys() <= NOTES:
                await drop_token(unit, token)
        return Changed(token, unit.propagation)

    async def widen(
        self,
        actor: Actor,
        token_id: UUID,
        widening: Widening,
        *,
        expected_version: int,
        wait_for: PropagationWait | None = None,
    ) -> Changed:
        """Give a token more than it has; a person's act, never a program's.

        Each field that is given must include all of the old value, so that nothing is taken away
        in passing. Nobody gives what they, or the account, may not give; and nobody widens a token
        that may do more than they: else its longer life would be a right they do not have.

        Raises:
            Forbidden: If a token asks.
            PasswordRequired: If the person has not entered their password within ten minutes.
            ScopeNotGrantable: If the account, or the actor, may not grant a scope.
            InvalidInput: If nothing is given, or a field would take something away.
            PolicyViolation: If a policy does not allow what the token would be afterwards.
            DelegationRefused: If the account does not let its reseller widen its tokens.
            InsufficientScope, NotFound, AccountInactive, TokenEnded, VersionConflict: See
                service.errors.
        """
        actor.require(WRITE)
        if actor.kind is not CredentialKind.SESSION:
            raise Forbidden("Only a person who is signed in can widen a token.")
        async with self.work.begin(actor.reach, actor, wait_for=wait_for) as unit:
            await require_recent_password(unit.door, actor, unit.now)
            before = await lock_token(unit.door, token_id)
            refuse_ended(unit, before)
            # What the person saw decides what they widen; so it is asked for before it is judged.
            if before.version != expected_version:
                raise VersionConflict
            columns = await judge_widening(unit, actor, before, widening, self.settings)
            token = await _change(unit, before, columns, expected_version)
            unit.audit("token.widened", token_id, token.owner, **_told(before, columns))
            await drop_token(unit, token)
        return Changed(token, unit.propagation)


def refuse_ended(unit: Unit, token: Token) -> None:
    """Let a token pass that is neither revoked nor expired.

    Raises:
        TokenEnded: If it is.
    """
    if token.status(unit.now) in {TokenStatus.REVOKED, TokenStatus.EXPIRED}:
        raise TokenEnded


async def refuse_beyond(unit: Unit, actor: Actor, token: Token) -> None:
    """Let an actor pass who may have a token's secret told.

    Raises:
        ScopeNotGrantable: If the token may do what the actor's own credential may not.
        DelegationRefused: If the token's account does not let its reseller have secrets.
    """
    # Else a narrow token would get hold of a wide one's secret.
    if not scopes.covers_all(actor.scopes, token.scopes):
        raise ScopeNotGrantable("The token may do what the caller may not.")
    await check_delegation(unit.door, actor, token.account_id)


async def drop_token(unit: Unit, token: Token) -> None:
    """Have validators look up anew what each live secret of a token opens."""
    for digest in await digests_of_token(unit.door, token.id):
        unit.drop(Drop.of_secret(digest), token.owner)


def _notes(changes: TokenChanges) -> dict[str, Any]:
    """Return the columns that other notes set."""
    columns: dict[str, Any] = {}
    if changes.description is not None:
        columns["description"] = clean_description(changes.description)
    if changes.metadata is not None:
        columns["metadata"] = clean_metadata(changes.metadata)
    return columns


def narrowings(token: Token, changes: TokenChanges, now: datetime) -> dict[str, Any]:
    """Return the columns that a narrowing sets."""
    columns: dict[str, Any] = {}
    if changes.scopes is not None:
        columns["scopes"] = token_rules.narrower_scopes(token.scopes, changes.scopes)
    if changes.allowed_ip_ranges is not None:
        columns["allowed_ip_ranges"] = token_rules.narrower_ranges(
            token.allowed_ip_ranges, changes.allowed_ip_ranges
        )
    if changes.audiences is not None:
        columns["audiences"] = token_rules.narrower_audiences(token.audiences, changes.audiences)
    if changes.not_before is not None:
        columns["not_before"] = token_rules.later_begin(
            changes.not_before, previous=token.not_before, expires_at=token.expires_at
        )
    if changes.expires_at is not None:
        columns["expires_at"] = token_rules.earlier_expiry(
            changes.expires_at,
            not_before=columns.get("not_before", token.not_before),
            previous=token.expires_at,
            now=now,
        )
    return columns


async def _change(
    unit: Unit, token: Token, columns: Mapping[str, Any], expected_version: int | None
) -> Token:
    stored = dict(columns)
    if "metadata" in stored:
        stored["metadata"] = encode_json(stored["metadata"])
    return await change_token(
        unit.door, token.id, stored, now=unit.now, expected_version=expected_version
    )


def _told(before: Token, columns: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the trail tells of a change: the new values, and those they took the place of."""
    return {**columns, "previous": {name: getattr(before, name) for name in columns}}
