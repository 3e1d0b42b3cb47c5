"""Use case of new tokens: what one may be, and its secret, told once."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from service import addresses, scopes, token_rules
from service.access.accounts import Account
from service.access.actor import Actor
from service.access.policies import find_bound_account
from service.access.tokens import Token, find_token, insert_token
from service.clock import new_id
from service.errors import AccountInactive, InvalidInput
from service.names import clean_token_name
from service.policies import check_token
from service.policy_rules import Grant
from service.replays import Replays, Request
from service.secret_format import NewSecret, make_secret
from service.settings import Settings
from service.token_changes import WRITE, refuse_beyond
from service.token_notes import clean_description, clean_metadata
from service.verdict import CredentialKind
from service.work import Unit, Work, encode_json


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
        description: For people; None is none.
        metadata: For programs; one flat JSON object, None is an empty one.
    """

    name: str
    scopes: tuple[str, ...]
    account_id: UUID | None = None
    expires_at: datetime | None = None
    not_before: datetime | None = None
    allowed_ip_ranges: tuple[str, ...] = ()
    audiences: tuple[str, ...] = ()
    description: str | None = None
    metadata: object = None


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
class TokenCreation:
    """Makes tokens within an actor's reach."""

    work: Work
    replays: Replays
    settings: Settings

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
            PolicyViolation: If a policy does not allow it, or one more of the account's.
            DelegationRefused: If the account does not let its reseller make tokens for it.
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
                # What has been taken away since is not told once more.
                token = await find_token(unit.door, replay.token_id)
                await refuse_beyond(unit, actor, token)
                unit.audit("token.secret_replayed", token.id, token.owner)
        text = secret.text if replay is None else replay.secret
        return Created(token, text, replay is not None)

    async def _create(
        self, unit: Unit, actor: Actor, wanted: NewToken, token_id: UUID, secret: NewSecret
    ) -> Token:
        account_id = wanted.account_id or actor.account_id
        account, policy = await find_bound_account(unit.door, account_id)
        if not account.is_usable:
            raise AccountInactive
        row = {"id": token_id} | self._row(wanted, account, actor, unit.now)
        grant = Grant(row["scopes"], row["allowed_ip_ranges"], row["expires_at"])
        await check_token(unit, account, policy, grant, is_new=True)
        told = {"name": row["name"], "scopes": row["scopes"]}
        event = unit.event("token.created", token_id, account.owner, **told)
        return await insert_token(unit.door, row, secret, new_id(), event)

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
            "description": clean_description(wanted.description or ""),
            "metadata": encode_json(
                clean_metadata({} if wanted.metadata is None else wanted.metadata)
            ),
            "created_by_account_id": actor.account_id,
            # A token carries the person who made it; it does not act as that person.
            "created_by_member_id": (
                actor.member_id if actor.kind is CredentialKind.SESSION else None
            ),
            "version": 1,
        }
