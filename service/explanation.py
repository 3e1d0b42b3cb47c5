"""Why a token is accepted or not: every check in order, for those who may see the token.

The verdict stays the validators': :func:`checks` asks what :func:`service.verdict.judge` asks, in
the same order, and goes on after the first refusal.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from service import secret_format
from service.access.actor import Actor
from service.access.door import open_door
from service.access.secrets import find_record, find_token_of, secrets_of_tokens
from service.access.tokens import Token, find_token
from service.addresses import Address, is_within, parse_address
from service.clock import Clock
from service.errors import InvalidInput, NotFound
from service.settings import Settings
from service.tokens import READ
from service.verdict import Record, Status


@dataclass(frozen=True, slots=True)
class Check:
    """One question on the way to a verdict.

    Attributes:
        status: What a validator says where this is the first question that fails.
        detail: One sentence about the token, and nothing but it.
    """

    status: Status
    passed: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a token is asked for; see :meth:`service.validator.Validator.check`.

    Attributes:
        token_id: Which token, by its current secret; or:
        secret: Which token, by this secret.
    """

    token_id: UUID | None = None
    secret: str | None = None
    address: str | None = None
    scope: str | None = None
    audience: str | None = None

    def __repr__(self) -> str:
        return f"Question({self.token_id})"


@dataclass(frozen=True, slots=True)
class Explanation:
    """Every check; the first that fails is the verdict."""

    token: Token
    checks: tuple[Check, ...]

    @property
    def first_failure(self) -> Check | None:
        """What a validator says no for, or None."""
        return next((check for check in self.checks if not check.passed), None)

    @property
    def status(self) -> Status:
        """What a validator says that reads the database now."""
        return Status.VALID if self.first_failure is None else self.first_failure.status


@dataclass(frozen=True, slots=True)
class Explanations:
    """Explains tokens within an actor's reach; beyond it, every one reads as missing."""

    clock: Clock
    settings: Settings

    async def explain(self, actor: Actor, question: Question) -> Explanation:
        """Return what a validator would say of a token, and why.

        Raises:
            InsufficientScope: Without ``tokens:read``.
            InvalidInput: If not exactly one of token and secret is named, or the address is none.
            NotFound: If the token is not within reach.
        """
        actor.require(READ)
        if (question.token_id is None) == (question.secret is None):
            raise InvalidInput("Name either the token or a secret of it.")
        address = None if question.address is None else parse_address(question.address)
        if question.address is not None and address is None:
            raise InvalidInput("That is no IP address.", field="address")
        async with open_door(actor.reach) as door:
            if question.token_id is not None:
                token = await find_token(door, question.token_id)
                [current, *_] = await secrets_of_tokens(door, [token.id])
                digest = current.digest
            else:
                token_id, digest = await find_token_of(door, self._digests(question.secret or ""))
                token = await find_token(door, token_id)
            record = await find_record(door, digest)
        if record is None:
            raise NotFound("There is no such token.")
        return Explanation(token, tuple(checks(record, self.clock.now(), question, address)))

    def _digests(self, secret: str) -> list[bytes]:
        if not secret_format.is_well_formed(secret):
            raise NotFound("There is no such token.")
        peppers = self.settings.pepper_keys.values()
        return [secret_format.digest_of(secret, pepper) for pepper in peppers]


def checks(
    record: Record, now: datetime, question: Question, address: Address | None
) -> Iterator[Check]:
    """Yield every check of a record in the order in which a validator makes them."""
    yield Check(
        Status.REVOKED,
        not record.revoked,
        "It was revoked." if record.revoked else "It is not revoked.",
    )
    yield Check(
        Status.EXPIRED,
        record.ends_at is None or now < record.ends_at,
        _tell_end(record, now),
    )
    yield Check(
        Status.SUSPENDED,
        not record.suspended,
        "It, its account or its reseller is suspended or closed."
        if record.suspended
        else "Neither it nor its account nor its reseller is suspended or closed.",
    )
    yield Check(
        Status.NOT_YET_VALID,
        record.not_before is None or now >= record.not_before,
        "It has no beginning."
        if record.not_before is None
        else f"It begins at {record.not_before.isoformat()}.",
    )
    yield Check(
        Status.AUDIENCE_NOT_ALLOWED,
        not record.audiences or question.audience in record.audiences,
        f"It is for {', '.join(record.audiences) or 'everybody'}.",
    )
    yield Check(
        Status.IP_NOT_ALLOWED,
        not record.ranges or (address is not None and is_within(address, record.networks)),
        f"It may be used from {', '.join(record.ranges) or 'anywhere'}.",
    )
    yield Check(
        Status.INSUFFICIENT_SCOPE,
        question.scope is None or record.allows(question.scope),
        f"It may do {', '.join(record.scopes) or 'nothing'}, as its account and reseller allow.",
    )


def _tell_end(record: Record, now: datetime) -> str:
    if record.is_retired(now):
        return "This secret was replaced by a rotation."
    if record.ends_at is None:
        return "It never expires."
    return f"It ends at {record.ends_at.isoformat()}."
