"""Use cases of tokens: create, read, rename, update, suspend, resume, revoke."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from service import addresses, scopes, token_rules
from service.access.accounts import Account, find_account
from service.access.actor import Actor
from service.access.door import open_door
from service.access.secrets import Secret, digests_of_token, secrets_of_tokens
from service.access.tokens import (
    Token,
    TokenFilter,
    TokenOrder,
    TokenStatus,
    change_token,
    find_token,
    insert_token,
    list_tokens,
    lock_token,
    sweep_namesake,
)
from service.cache import Drop
from service.clock import Clock, new_id
from service.errors import (
    AccountInactive,
    InvalidInput,
    TokenEnded,
)
from service.names import check_search, clean_token_name
from service.paging import Page, PageRequest
from service.receipts import Propagation, PropagationWait
from service.replays import Replays, Request
from service.secret_format import NewSecret, make_secret
from service.settings import Settings
from service.verdict import CredentialKind
from service.work import Unit, Work

READ = "tokens:read"
WRITE = "tokens:write"


class RevocationReason(StrEnum):
    """Why a credential was revoked."""

    USER_REQUEST = "USER_REQUEST"
    LEAKED = "LEAKED"
    POLICY = "POLICY"
    SIGNED_OUT = "SIGNED_OUT"


class TokenWarning(StrEnum):
    """What was done although it is advised against."""

    NEVER_EXPIRES = "NEVER_EXPIRES"
    FULL_ACCESS = "FULL_ACCESS"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewToken:
    """What a caller wants of a new token.

    Attributes:
        account_id: Whose it shall be; None is the actor's own account.
        expires_at: An aware instant in the future; None is never, against advice.
        allowed_ip_ranges: CIDR ranges; empty is anywhere.
        audiences: Who may accept it; empty is everybody.
    """

    name: str
    scopes: tuple[str, ...]
    account_id: UUID | None = None
    expires_at: datetime | None = None
    not_before: datetime | None = None
    allowed_ip_ranges: tuple[str, ...] = ()
    audiences: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Created:
    """A new token, with its secret for the only time.

    Attributes:
        is_replay: Whether it was made before, under the same idempotency key.
    """

    token: Token
    secret: str
    is_replay: bool = False

    @property
    def warnings(self) -> tuple[TokenWarning, ...]:
        """What was done although it is advised against."""
        told = {
            TokenWarning.NEVER_EXPIRES: self.token.expires_at is None,
            TokenWarning.FULL_ACCESS: scopes.EVERYTHING in self.token.scopes,
        }
        return tuple(warning for warning, is_so in told.items() if is_so)

    def __repr__(self) -> str:
        return f"Created({self.token.id})"


@dataclass(frozen=True, slots=True)
class Changed:
    """A token after a change, and the receipt if the change narrowed it."""

    token: Token
    propagation: Propagation | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenChanges:
    """A narrowing. None leaves a field as it is; that is why nothing here can be unset."""

    scopes: tuple[str, ...] | None = None
    allowed_ip_ranges: tuple[str, ...] | None = None
    audiences: tuple[str, ...] | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens within an actor's reach; beyond it, everything reads as missing."""

    work: Work
    replays: Replays
    clock: Clock
    settings: Settings

    async def get(self, actor: Actor, token_id: UUID) -> Token:
        """Return a token.

        Raises:
            InsufficientScope: Without ``tokens:read``.
            NotFound: If it is not within reach.
        """
        actor.require(READ)
        async with open_door(actor.reach) as door:
            return await find_token(door, token_id)

    async def secrets_of(self, actor: Actor, token_ids: list[UUID]) -> list[list[Secret]]:
        """Return the secrets of each of some tokens, the current one first; none beyond reach.

        Raises:
            InsufficientScope: Without ``tokens:read``.
        """
        actor.require(READ)
        found: dict[UUID, list[Secret]] = {token_id: [] for token_id in token_ids}
        async with open_door(actor.reach) as door:
            for secret in await secrets_of_tokens(door, token_ids):
                found[secret.token_id].append(secret)
        return [found[token_id] for token_id in token_ids]

    async def page(
        self,
        actor: Actor,
        request: PageRequest,
        *,
        only: TokenFilter | None = None,
        order: TokenOrder = TokenOrder.CREATED_AT,
        descending: bool = True,
    ) -> Page[Token]:
        """Return one page of tokens; the same cost however many there are.

        Raises:
            InsufficientScope: Without ``tokens:read``.
            InvalidInput: If the cursor or the search text is not usable.
        """
        actor.require(READ)
        only = only or TokenFilter()
        if only.name_contains is not None:
            check_search(only.name_contains, field="nameContains")
        async with open_door(actor.reach) as door:
            return await list_tokens(
                door, only, order, request, descending=descending, now=self.clock.now()
            )

    async def create(
        self, actor: Actor, wanted: NewToken, *, idempotency_key: str | None = None
    ) -> Created:
        """Create a token and return its secret, which is told this once.

        Args:
            actor: Who asks.
            wanted: What it shall be.
            idempotency_key: Under which a lost answer can be had again for ten minutes.

        Raises:
            InsufficientScope: Without ``tokens:write``.
            NotFound: If the account is not within reach.
            AccountInactive: If it, or its reseller, is suspended or closed.
            InvalidInput: If a value is not allowed.
            ScopeNotGrantable: If the account, or the actor's own credential, may not grant a scope.
            NameTaken: If a token that has not ended bears the name.
            IdempotencyConflict: If the key was used for something else.
        """
        actor.require(WRITE)
        secret = make_secret(self.settings.token_label, self.settings.pepper_keys)
        async with self.work.begin(actor.reach, actor) as unit:
            token_id, replay = new_id(), None
            if idempotency_key is not None:
                request = Request(idempotency_key, "createToken", wanted)
                replay = await self.replays.claim(unit, actor, request, token_id, secret.text)
            if replay is None:
                token = await self._create(unit, actor, wanted, token_id, secret)
            else:
                token = await find_token(unit.door, replay.token_id)
                unit.audit("token.secret_replayed", token.id, token.owner)
        text = secret.text if replay is None else replay.secret
        return Created(token, text, replay is not None)

    async def _create(
        self, unit: Unit, actor: Actor, wanted: NewToken, token_id: UUID, secret: NewSecret
    ) -> Token:
        account = await find_account(unit.door, wanted.account_id or actor.account_id)
        if not account.is_usable:
            raise AccountInactive
        row = {"id": token_id} | self._row(wanted, account, actor, unit.now)
        await insert_token(unit.door, row, secret, new_id())
        told = {name: row[name] for name in ("name", "scopes")}
        unit.audit("token.created", token_id, account.owner, **told)
        return await find_token(unit.door, token_id)

    def _row(
        self, wanted: NewToken, account: Account, actor: Actor, now: datetime
    ) -> dict[str, Any]:
        """Return the columns of a new token, or refuse what may not be."""
        if not wanted.scopes:
            raise InvalidInput("A token needs a scope.", field="scopes")
        not_before, expires_at = token_rules.clean_span(
            wanted.not_before,
            wanted.expires_at,
            now=now,
            lifetime_days_max=self.settings.max_lifetime_days,
        )
        return {
            "account_id": account.id,
            "reseller_id": account.reseller_id,
            "kind": CredentialKind.API_TOKEN.value,
            "member_id": actor.member_id if actor.account_id == account.id else None,
            "name": clean_token_name(wanted.name),
            # The actor's own credential caps too: else a narrow token would mint a wide one.
            "scopes": token_rules.clean_scopes(
                wanted.scopes,
                catalogue=self.settings.scope_catalogue,
                caps=(account.grantable_scopes, actor.scopes),
                field="scopes",
            ),
            "allowed_ip_ranges": list(addresses.clean_ranges(wanted.allowed_ip_ranges)),
            "audiences": token_rules.clean_audiences(wanted.audiences),
            "created_at": now,
            "not_before": not_before,
            "expires_at": expires_at,
            "version": 1,
        }

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
        """Narrow a token: fewer scopes, fewer addresses, an earlier expiry. Counts as a revoke.

        Raises:
            WideningRefused: If any change would give the token more than it has.
            InsufficientScope, NotFound, TokenEnded, VersionConflict, InvalidInput: See
                service.errors.
        """
        actor.require(WRITE)
        async with self.work.begin(actor.reach, actor, wait_for=wait_for) as unit:
            before = await lock_token(unit.door, token_id)
            if before.status(unit.now) in {TokenStatus.REVOKED, TokenStatus.EXPIRED}:
                raise TokenEnded
            columns = _narrowings(before, changes, unit.now)
            if not columns:
                raise InvalidInput("Name something to change.")
            token = await change_token(
                unit.door, token_id, columns, now=unit.now, expected_version=expected_version
            )
            unit.audit("token.updated", token_id, token.owner, **columns)
            await self._drop(unit, token)
        return Changed(token, unit.propagation)

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
        async with self.work.begin(actor.reach, actor, wait_for=wait_for) as unit:
            token = await lock_token(unit.door, token_id)
            if token.status(unit.now) not in {TokenStatus.REVOKED, TokenStatus.EXPIRED}:
                columns = {"revoked_at": unit.now, "revocation_reason": reason.value}
                token = await change_token(unit.door, token_id, columns, now=unit.now)
                unit.audit("token.revoked", token_id, token.owner, reason=reason.value)
            await self._drop(unit, token)
        return Changed(token, unit.propagation)

    async def _set_suspended(
        self, actor: Actor, token_id: UUID, wait_for: PropagationWait | None, *, suspended: bool
    ) -> Changed:
        actor.require(WRITE)
        async with self.work.begin(actor.reach, actor, wait_for=wait_for) as unit:
            token = await lock_token(unit.door, token_id)
            if token.status(unit.now) in {TokenStatus.REVOKED, TokenStatus.EXPIRED}:
                raise TokenEnded
            if suspended is (token.suspended_at is None):
                columns = {"suspended_at": unit.now if suspended else None}
                token = await change_token(unit.door, token_id, columns, now=unit.now)
                action = "token.suspended" if suspended else "token.resumed"
                unit.audit(action, token_id, token.owner)
            await self._drop(unit, token)
        return Changed(token, unit.propagation)

    async def _drop(self, unit: Unit, token: Token) -> None:
        for digest in await digests_of_token(unit.door, token.id):
            unit.drop(Drop.of_secret(digest), token.owner)


def _narrowings(token: Token, changes: TokenChanges, now: datetime) -> dict[str, Any]:
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
    if changes.expires_at is not None:
        columns["expires_at"] = token_rules.earlier_expiry(
            changes.expires_at, not_before=token.not_before, previous=token.expires_at, now=now
        )
    return columns
