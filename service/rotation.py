"""Use cases of rotation: a new secret for the same token, the old one valid for a while.

Two secrets may open a token at once, never three. A grace only ever shortens the old secret's
life, so that it is a narrowing like any other; the token's own expiry stays as it is.
"""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from service.access.actor import EVERYTHING, Actor
from service.access.door import as_uuid
from service.access.secrets import (
    Secret,
    insert_secret,
    keep_secret,
    retire_secret,
    retire_secrets,
    secrets_of_tokens,
)
from service.access.system import system_find_due_secrets
from service.access.tokens import Token, TokenStatus, change_token, find_token, lock_token
from service.cache import Drop
from service.clock import Clock, new_id
from service.errors import (
    Forbidden,
    InvalidInput,
    NoRotation,
    NotFound,
    RotationInProgress,
    TokenEnded,
)
from service.receipts import Propagation, PropagationWait
from service.replays import Replays, Request
from service.secret_format import NewSecret, make_secret
from service.settings import Settings
from service.token_changes import refuse_beyond
from service.tokens import WRITE, Changed
from service.verdict import CredentialKind
from service.work import Unit, Work

GRACE_SECONDS_MAX = 30 * 24 * 3600
BATCH = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRotation:
    """What a caller wants of a rotation.

    Attributes:
        grace_period_seconds: How long the old secret stays valid; 0 ends it now, as after a leak.
        expected_version: Refuse if somebody else was faster; None does not ask.
    """

    token_id: UUID
    grace_period_seconds: int
    expected_version: int | None = None


@dataclass(frozen=True, slots=True)
class Rotated:
    """A token and its new secret.

    Attributes:
        propagation: How far the end of the old secret has come.
        is_replay: Whether it was made before, under the same idempotency key.
    """

    token: Token
    secret: str
    propagation: Propagation | None
    is_replay: bool = False

    def __repr__(self) -> str:
        return f"Rotated({self.token.id})"


@dataclass(frozen=True, slots=True)
class Rotations:
    """Rotations within an actor's reach; beyond it, every token reads as missing."""

    work: Work
    replays: Replays
    clock: Clock
    settings: Settings

    async def begin(
        self,
        actor: Actor,
        wanted: NewRotation,
        *,
        idempotency_key: str | None = None,
        wait_for: PropagationWait | None = None,
    ) -> Rotated:
        """Give a token a new secret, which is told this once.

        Args:
            actor: Who asks.
            wanted: Which token, and how long the old secret stays.
            idempotency_key: Under which a lost answer can be had again for ten minutes.
            wait_for: What to wait for before it returns.

        Raises:
            ScopeNotGrantable: If the token may do what the actor's own credential may not.
            RotationInProgress: If an old secret is retiring already, unless somebody else than the
                token itself allows no grace.
            DelegationRefused, InsufficientScope, NotFound, TokenEnded, VersionConflict,
                InvalidInput, IdempotencyConflict: See service.errors.
        """
        actor.require(WRITE)
        if not 0 <= wanted.grace_period_seconds <= GRACE_SECONDS_MAX:
            raise InvalidInput("The grace is 0 to 30 days.", field="gracePeriodSeconds")
        secret = make_secret(self.settings.token_label, self.settings.pepper_keys)
        async with self.work.begin(actor.reach, actor, wait_for=wait_for) as unit:
            token = await lock_token(unit.door, wanted.token_id)
            await refuse_beyond(unit, actor, token)
            replay = None
            if idempotency_key is not None:
                request = Request(idempotency_key, "rotateToken", wanted)
                replay = await self.replays.claim(unit, actor, request, token.id, secret.text)
            if replay is None:
                await self._begin(unit, token, wanted, secret)
            else:
                unit.audit("token.secret_replayed", token.id, token.owner)
            # Whoever waited for the lock has read the secret from before it.
            token = await find_token(unit.door, token.id)
        text, propagation = secret.text, unit.propagation
        if replay is not None:
            text = replay.secret
            propagation = await self._propagation(actor, replay.receipt_id, wait_for)
        return Rotated(token, text, propagation, replay is not None)

    async def _begin(
        self, unit: Unit, token: Token, wanted: NewRotation, secret: NewSecret
    ) -> None:
        _refuse_ended(unit, token)
        grace = timedelta(seconds=wanted.grace_period_seconds)
        itself = unit.actor is not None and unit.actor.token_id == token.id
        # Else whoever found the old secret would put one of their own in the new one's place.
        if (grace or itself) and await _find_retiring(unit, token.id):
            raise RotationInProgress
        ends = [unit.now + grace, *filter(None, [token.expires_at])]
        await change_token(
            unit.door, token.id, {}, now=unit.now, expected_version=wanted.expected_version
        )
        for digest in await retire_secrets(unit.door, token.id, now=unit.now, at=min(ends)):
            unit.drop(Drop.of_secret(digest), token.owner)
        row = {"id": token.id, "account_id": token.account_id, "reseller_id": token.reseller_id}
        await insert_secret(unit.door, row, secret, new_id(), now=unit.now)
        unit.audit(
            "token.rotated",
            token.id,
            token.owner,
            grace_period_seconds=wanted.grace_period_seconds,
            last_four=secret.last_four,
        )

    async def complete(
        self, actor: Actor, token_id: UUID, *, wait_for: PropagationWait | None = None
    ) -> Changed:
        """End the old secret now.

        Raises:
            NoRotation: If none is retiring.
            InsufficientScope, NotFound, TokenEnded: See service.errors.
        """
        actor.require(WRITE)
        async with self.work.begin(actor.reach, actor, wait_for=wait_for) as unit:
            token = await lock_token(unit.door, token_id)
            _refuse_ended(unit, token)
            retiring = await _find_retiring(unit, token_id)
            if retiring is None:
                raise NoRotation
            await retire_secret(unit.door, retiring.id, now=unit.now)
            token = await change_token(unit.door, token_id, {}, now=unit.now)
            unit.audit("token.rotation_completed", token_id, token.owner, by="request")
            unit.drop(Drop.of_secret(retiring.digest), token.owner)
        return Changed(token, unit.propagation)

    async def cancel(
        self, actor: Actor, token_id: UUID, *, wait_for: PropagationWait | None = None
    ) -> Changed:
        """End the new secret now and keep the old one, as before the rotation.

        Raises:
            Forbidden: If a token asks: whoever found the old secret must not save it, be it by a
                token that was made with it.
            NoRotation: If none is retiring.
            InsufficientScope, NotFound, TokenEnded: See service.errors.
        """
        actor.require(WRITE)
        if actor.kind is not CredentialKind.SESSION:
            raise Forbidden("Only a person who is signed in can call off a rotation.")
        async with self.work.begin(actor.reach, actor, wait_for=wait_for) as unit:
            token = await lock_token(unit.door, token_id)
            _refuse_ended(unit, token)
            retiring = await _find_retiring(unit, token_id)
            if retiring is None:
                raise NoRotation
            [current, *_] = await secrets_of_tokens(unit.door, [token_id])
            await retire_secret(unit.door, current.id, now=unit.now)
            if not await keep_secret(unit.door, retiring.id):
                raise NoRotation
            token = await change_token(unit.door, token_id, {}, now=unit.now)
            unit.audit("token.rotation_cancelled", token_id, token.owner)
            for secret in (current, retiring):
                unit.drop(Drop.of_secret(secret.digest), token.owner)
        return Changed(token, unit.propagation)

    async def complete_due(self) -> int:
        """End old secrets whose grace is over, or that nobody uses any more; return how many.

        Validators enforce the grace's end themselves, each by its own clock; this makes it hold by
        everybody's. Harmless to repeat, or to run twice at once: a secret is ended once, and one
        that somebody else holds is skipped.
        """
        quiet = timedelta(seconds=self.settings.rotation_quiet_seconds)
        total = 0
        while True:
            async with self.work.begin(EVERYTHING, None) as unit:
                found = await system_find_due_secrets(
                    unit.door, unit.now, silent_since=unit.now - quiet, limit=BATCH
                )
                for row in found:
                    owner = (as_uuid(row["account_id"]), row["reseller_id"])
                    await retire_secret(unit.door, as_uuid(row["id"]), now=unit.now)
                    unit.audit(
                        "token.rotation_completed",
                        as_uuid(row["token_id"]),
                        owner,
                        by="silence" if row["is_silent"] else "grace",
                    )
                    unit.drop(Drop.of_secret(bytes(row["digest"])), owner)
            total += len(found)
            if len(found) < BATCH:
                return total

    async def _propagation(
        self, actor: Actor, receipt_id: UUID | None, wait_for: PropagationWait | None
    ) -> Propagation | None:
        """Return how far a replayed rotation has come; None where its receipt is gone."""
        if receipt_id is None:
            return None
        try:
            propagation = await self.work.receipts.find(actor, receipt_id)
        except NotFound:
            return None
        return await self.work.receipts.wait(propagation, wait_for)


async def _find_retiring(unit: Unit, token_id: UUID) -> Secret | None:
    for secret in await secrets_of_tokens(unit.door, [token_id]):
        if secret.is_retiring(unit.now):
            return secret
    return None


def _refuse_ended(unit: Unit, token: Token) -> None:
    if token.status(unit.now) in {TokenStatus.REVOKED, TokenStatus.EXPIRED}:
        raise TokenEnded
