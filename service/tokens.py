"""Use cases of tokens: read, rename, suspend, resume, revoke; and the way to the others."""

from dataclasses import dataclass, replace
from enum import StrEnum
from uuid import UUID

from service import scopes
from service.access.actor import Actor
from service.access.door import open_door
from service.access.secrets import Secret, secrets_of_tokens
from service.access.token_lists import TokenListing, list_tokens, list_tokens_of_accounts
from service.access.tokens import (
    Token,
    TokenFilter,
    TokenOrder,
    TokenStatus,
    change_token,
    find_emails,
    find_token,
    find_tokens,
    lock_token,
    sweep_namesake,
)
from service.clock import Clock
from service.errors import Forbidden, InvalidInput
from service.names import clean_token_name
from service.paging import Page, PageRequest
from service.receipts import PropagationWait
from service.token_changes import (
    READ,
    WRITE,
    Changed,
    TokenChanges,
    TokenUpdates,
    drop_token,
    refuse_ended,
)
from service.token_creation import Created, NewToken, TokenCreation, TokenWarning
from service.token_widening import Widening
from service.verdict import CredentialKind
from service.work import Work

__all__ = [
    "READ",
    "WRITE",
    "Changed",
    "Created",
    "NewToken",
    "RevocationReason",
    "TokenChanges",
    "TokenWarning",
    "Tokens",
    "Widening",
]

READ_MEMBERS = "members:read"
NESTED_TOKENS_MAX = 1_000


class RevocationReason(StrEnum):
    """Why a credential was revoked."""

    USER_REQUEST = "USER_REQUEST"
    LEAKED = "LEAKED"
    POLICY = "POLICY"
    SIGNED_OUT = "SIGNED_OUT"


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens within an actor's reach; beyond it, everything reads as missing."""

    work: Work
    clock: Clock
    creation: TokenCreation
    updates: TokenUpdates

    async def get(self, actor: Actor, token_id: UUID) -> Token:
        """Return a token.

        Raises:
            InsufficientScope: Without ``tokens:read``.
            NotFound: If it is not within reach.
        """
        actor.require(READ)
        async with open_door(actor.reach) as door:
            return await find_token(door, token_id)

    async def get_many(self, actor: Actor, token_ids: list[UUID]) -> list[Token | None]:
        """Return some tokens in the order of their ids; None where one is not within reach.

        Raises:
            InsufficientScope: Without ``tokens:read``.
        """
        actor.require(READ)
        async with open_door(actor.reach) as door:
            found = await find_tokens(door, token_ids)
        return [found.get(token_id) for token_id in token_ids]

    async def own(self, actor: Actor) -> Token | None:
        """Return the token that acts, whatever its scopes; None where a person does."""
        if actor.kind is not CredentialKind.API_TOKEN:
            return None
        async with open_door(actor.reach) as door:
            return await find_token(door, actor.token_id)

    async def secrets_of(self, actor: Actor, token_ids: list[UUID]) -> list[list[Secret]]:
        """Return the secrets of each of some tokens, the current one first; none beyond reach.

        Raises:
            InsufficientScope: If another than the acting token is among them, without
                ``tokens:read``.
        """
        if any(token_id != actor.token_id for token_id in token_ids):
            actor.require(READ)
        found: dict[UUID, list[Secret]] = {token_id: [] for token_id in token_ids}
        async with open_door(actor.reach) as door:
            for secret in await secrets_of_tokens(door, token_ids):
                found[secret.token_id].append(secret)
        return [found[token_id] for token_id in token_ids]

    async def emails_of(self, actor: Actor, member_ids: list[UUID]) -> list[str | None]:
        """Return the addresses of people in the actor's account or below; None for all others.

        All are None without ``members:read``: reading tokens is no right to read of people.
        """
        if not scopes.covers(actor.scopes, READ_MEMBERS):
            return [None] * len(member_ids)
        async with open_door(actor.reach) as door:
            found = await find_emails(door, member_ids)
        return [found.get(member_id) for member_id in member_ids]

    async def page(
        self,
        actor: Actor,
        request: PageRequest,
        *,
        only: TokenFilter | None = None,
        order: TokenOrder = TokenOrder.CREATED_AT,
        descending: bool = True,
    ) -> Page[Token]:
        """Return one page of tokens, along one index.

        Raises:
            InsufficientScope: Without ``tokens:read``.
            InvalidInput: If the cursor is not from this list.
            Unavailable: If so few tokens pass the filter that they are not found in time.
        """
        actor.require(READ)
        listing = TokenListing(
            page=request, only=only or TokenFilter(), order=order, descending=descending
        )
        async with open_door(actor.reach) as door:
            return await list_tokens(door, listing, now=self.clock.now())

    async def pages_of(
        self, actor: Actor, account_ids: list[UUID], listing: TokenListing
    ) -> list[Page[Token]]:
        """Return one page of the tokens of each of some accounts; empty ones beyond reach.

        Raises:
            InsufficientScope: Without ``tokens:read``.
            InvalidInput: If that may be more than 1,000 tokens, or as :meth:`page`.
        """
        actor.require(READ)
        if len(account_ids) * listing.page.first > NESTED_TOKENS_MAX:
            raise InvalidInput(
                f"Ask for at most {NESTED_TOKENS_MAX:,} tokens over all accounts.", field="first"
            )
        async with open_door(actor.reach) as door:
            found = await list_tokens_of_accounts(door, account_ids, listing, now=self.clock.now())
        return [found[account_id] for account_id in account_ids]

    async def create(
        self, actor: Actor, wanted: NewToken, *, idempotency_key: str | None = None
    ) -> Created:
        """Create a token: see :meth:`TokenCreation.create`."""
        return await self.creation.create(actor, wanted, idempotency_key=idempotency_key)

    async def rename(
        self, actor: Actor, token_id: UUID, name: str, *, expected_version: int | None = None
    ) -> Changed:
        """Change a token's name, and nothing else of it.

        Raises:
            InsufficientScope, NotFound, TokenEnded, VersionConflict, NameTaken, InvalidInput: See
                service.errors.
        """
        actor.require(WRITE)
        name = clean_token_name(name)
        async with self.work.begin(actor.reach, actor) as unit:
            before = await lock_token(unit.door, token_id)
            await sweep_namesake(unit.door, before.account_id, name, now=unit.now)
            token = await change_token(
                unit.door,
                token_id,
                {"name": name},
                now=unit.now,
                expected_version=expected_version,
            )
            unit.audit("token.renamed", token_id, token.owner, name=name, previous_name=before.name)
        return Changed(token, None)

    async def update(
        self,
        actor: Actor,
        token_id: UUID,
        changes: TokenChanges,
        *,
        expected_version: int | None = None,
        wait_for: PropagationWait | None = None,
    ) -> Changed:
        """Narrow a token: see :meth:`TokenUpdates.update`."""
        return await self.updates.update(
            actor, token_id, changes, expected_version=expected_version, wait_for=wait_for
        )

    async def widen(
        self,
        actor: Actor,
        token_id: UUID,
        widening: Widening,
        *,
        expected_version: int,
        wait_for: PropagationWait | None = None,
    ) -> Changed:
        """Give a token more than it has: see :meth:`TokenUpdates.widen`."""
        return await self.updates.widen(
            actor, token_id, widening, expected_version=expected_version, wait_for=wait_for
        )

    async def suspend(
        self, actor: Actor, token_id: UUID, *, wait_for: PropagationWait | None = None
    ) -> Changed:
        """Refuse a token until it is resumed. Harmless to repeat."""
        return await self._set_suspended(actor, token_id, wait_for, suspended=True)

    async def resume(
        self, actor: Actor, token_id: UUID, *, wait_for: PropagationWait | None = None
    ) -> Changed:
        """Let a suspended token be used again. Harmless to repeat."""
        return await self._set_suspended(actor, token_id, wait_for, suspended=False)

    async def revoke(
        self,
        actor: Actor,
        token_id: UUID,
        *,
        reason: RevocationReason = RevocationReason.USER_REQUEST,
        wait_for: PropagationWait | None = None,
    ) -> Changed:
        """End a token for good; every validator refuses it within the published bound.

        Harmless to repeat: a token that is revoked already stays as it is, and is dropped again.

        Args:
            actor: Who asks.
            token_id: Which token.
            reason: Why.
            wait_for: What to wait for before it returns.

        Raises:
            InsufficientScope: Without ``tokens:write``.
            NotFound: If it is not within reach.
        """
        actor.require(WRITE)
        return await self._revoke(actor, token_id, reason, wait_for)

    async def revoke_own(
        self,
        actor: Actor,
        *,
        reason: RevocationReason = RevocationReason.USER_REQUEST,
        wait_for: PropagationWait | None = None,
    ) -> Changed:
        """End the token that acts, whatever its scopes: who holds it may always give it up.

        Raises:
            Forbidden: If a person acts, whose session is signed out instead.
        """
        if actor.kind is not CredentialKind.API_TOKEN:
            raise Forbidden("Only a token can revoke itself. Sign out instead.")
        actor = replace(actor, scopes=())  # it needs none, so that none can be missing
        return await self._revoke(actor, actor.token_id, reason, wait_for)

    async def _revoke(
        self,
        actor: Actor,
        token_id: UUID,
        reason: RevocationReason,
        wait_for: PropagationWait | None,
    ) -> Changed:
        async with self.work.begin(actor.reach, actor, wait_for=wait_for) as unit:
            token = await lock_token(unit.door, token_id)
            if token.status(unit.now) not in {TokenStatus.REVOKED, TokenStatus.EXPIRED}:
                columns = {"revoked_at": unit.now, "revocation_reason": reason.value}
                token = await change_token(unit.door, token_id, columns, now=unit.now)
                unit.audit("token.revoked", token_id, token.owner, reason=reason.value)
            await drop_token(unit, token)
        return Changed(token, unit.propagation)

    async def _set_suspended(
        self, actor: Actor, token_id: UUID, wait_for: PropagationWait | None, *, suspended: bool
    ) -> Changed:
        actor.require(WRITE)
        async with self.work.begin(actor.reach, actor, wait_for=wait_for) as unit:
            token = await lock_token(unit.door, token_id)
            refuse_ended(unit, token)
            if suspended is (token.suspended_at is None):
                columns = {"suspended_at": unit.now if suspended else None}
                token = await change_token(unit.door, token_id, columns, now=unit.now)
                action = "token.suspended" if suspended else "token.resumed"
                unit.audit(action, token_id, token.owner)
            await drop_token(unit, token)
        return Changed(token, unit.propagation)
