"""The answer to "may this secret be used now, from here, for this?", and how it is reached. Pure.

A refusal is data, not an exception: a bad token is expected. Only the pair (record, moment of use)
decides, so that the near-cache, Redis and the database can never answer differently.
"""

import json
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple, Self, TypeVar
from uuid import UUID

from service import scopes
from service.addresses import Address, Network, is_within, parse_networks

ANSWERS_MAX = 64
SHARED_MAX = 16_384

Shared = TypeVar("Shared", bound=Hashable)


class Status(StrEnum):
    """What a validator says. Only VALID opens anything."""

    VALID = "VALID"
    UNKNOWN = "UNKNOWN"
    REVOKED = "REVOKED"
    EXPIRED = "EXPIRED"
    SUSPENDED = "SUSPENDED"
    NOT_YET_VALID = "NOT_YET_VALID"
    AUDIENCE_NOT_ALLOWED = "AUDIENCE_NOT_ALLOWED"
    IP_NOT_ALLOWED = "IP_NOT_ALLOWED"
    INSUFFICIENT_SCOPE = "INSUFFICIENT_SCOPE"
    UNAVAILABLE = "UNAVAILABLE"


VALID = Status.VALID  # a constant is read several times as fast as a member


class CredentialKind(StrEnum):
    """Who holds the secret: a program, a person signed in to the console, or our own prober."""

    API_TOKEN = "API_TOKEN"  # noqa: S105 - the name of a kind
    SESSION = "SESSION"
    CANARY = "CANARY"


class AccountKind(StrEnum):
    """The three levels of tenancy."""

    OPERATOR = "OPERATOR"
    RESELLER = "RESELLER"
    CUSTOMER = "CUSTOMER"


@dataclass(frozen=True, slots=True)
class Record:
    """What a validator knows of one secret: never the secret itself.

    Attributes:
        scopes: The effective ones: the token's own ∩ its account's ∩ its reseller's. A session
            keeps those of its role by which people look after their account: else a narrow account
            could not even see its tokens, or end one.
        ranges: CIDR ranges; empty means anywhere.
        audiences: Who may accept it; empty means everybody.
        expires_at: The token's.
        retires_at: This secret's own end, where another one has taken its place.
        suspended: Whether the token, its account or its reseller is suspended or closed.
    """

    token_id: UUID
    secret_id: UUID
    kind: CredentialKind
    account_id: UUID
    account_kind: AccountKind
    reseller_id: UUID | None
    member_id: UUID | None
    scopes: tuple[str, ...]
    ranges: tuple[str, ...]
    issued_at: datetime
    not_before: datetime | None
    expires_at: datetime | None
    revoked: bool
    suspended: bool
    audiences: tuple[str, ...] = ()
    retires_at: datetime | None = None

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        """Build one from a row of ``credential_by_digest``."""
        kept = scopes.CONSOLE if row["kind"] == CredentialKind.SESSION else ()
        return cls(
            token_id=row["token_id"],
            secret_id=row["secret_id"],
            kind=CredentialKind(row["kind"]),
            account_id=_shared(row["account_id"]),
            account_kind=AccountKind(row["account_kind"]),
            reseller_id=_shared(row["reseller_id"]),
            member_id=row["member_id"],
            scopes=_effective(
                tuple(row["token_scopes"]),
                _cap(row["account_scopes"], kept),
                _cap(row["reseller_scopes"], kept),
            ),
            ranges=_shared(tuple(row["allowed_ip_ranges"])),
            audiences=_shared(tuple(row["audiences"])),
            issued_at=row["created_at"],
            not_before=row["not_before"],
            expires_at=row["expires_at"],
            retires_at=row["retires_at"],
            revoked=row["revoked"],
            suspended=row["suspended"],
        )

    @property
    def networks(self) -> tuple[Network, ...]:
        """The ranges, parsed once."""
        return parse_networks(self.ranges)

    @property
    def ends_at(self) -> datetime | None:
        """From when this secret opens nothing: its own end or the token's, whichever is first."""
        if self.retires_at is None or self.expires_at is None:
            return self.retires_at or self.expires_at
        return min(self.retires_at, self.expires_at)

    @property
    def _answers(self) -> dict[str, bool]:
        return _answers_of(self.scopes)

    def allows(self, wanted: str) -> bool:
        """Return whether its scopes cover all of some, separated by spaces (RFC 6749 §3.3)."""
        answer = self._answers.get(wanted)
        if answer is None:
            answer = scopes.covers_all(self.scopes, wanted.split())
            if len(self._answers) < ANSWERS_MAX:
                self._answers[wanted] = answer
        return answer

    @property
    def chain(self) -> tuple[UUID, ...]:
        """The account and its reseller: whoever's cut-off ends this record."""
        if self.reseller_id is None or self.reseller_id == self.account_id:
            return (self.account_id,)
        return (self.account_id, self.reseller_id)

    def encode(self) -> bytes:
        """Return the record as JSON, for the shared cache."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return json.dumps(fields, default=_encode_value, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, payload: bytes, *, identifier: Callable[[str], UUID] = UUID) -> Self:
        """Build one from :meth:`encode`'s JSON; the caller has verified its signature.

        Args:
            payload: The JSON.
            identifier: Makes an id of a text.
        """
        fields = json.loads(payload.decode())
        for name in ("token_id", "secret_id", "account_id", "reseller_id", "member_id"):
            fields[name] = fields[name] and identifier(fields[name])
        for name in ("account_id", "reseller_id"):
            fields[name] = _shared(fields[name])
        for name in ("issued_at", "not_before", "expires_at", "retires_at"):
            fields[name] = fields[name] and datetime.fromisoformat(fields[name])
        fields["kind"] = CredentialKind[fields["kind"]]
        fields["account_kind"] = AccountKind[fields["account_kind"]]
        fields["scopes"] = _shared(tuple(fields["scopes"]))
        fields["ranges"] = _shared(tuple(fields["ranges"]))
        fields["audiences"] = _shared(tuple(fields["audiences"]))
        return cls(**fields)

    def has_ended(self, now: datetime) -> bool:
        """Return whether the record can never be valid again as it stands."""
        return self.revoked or (self.ends_at is not None and now >= self.ends_at)

    def is_retired(self, now: datetime) -> bool:
        """Return whether a live token was asked for with a secret that has been replaced."""
        return (
            not self.revoked
            and self.retires_at is not None
            and now >= self.retires_at
            and (self.expires_at is None or now < self.expires_at)
        )


@dataclass(frozen=True, slots=True)
class Leased:
    """A record, or that there is none, from somebody who has known it for a while.

    Attributes:
        seconds: For how long it may be used after the question was sent.
    """

    record: Record | None
    seconds: float


class Verdict(NamedTuple):  # one is made for each request
    """A status and, where the secret is known, its record."""

    status: Status
    record: Record | None = None

    @property
    def is_valid(self) -> bool:
        """Whether the secret may be used."""
        return self.status is VALID


UNKNOWN = Verdict(Status.UNKNOWN)
UNAVAILABLE = Verdict(Status.UNAVAILABLE)


def judge(
    record: Record,
    now: datetime,
    *,
    address: Address | None = None,
    scope: str | None = None,
    audience: str | None = None,
) -> Verdict:
    """Return whether a record may be used at a moment, from an address, for a scope, by whom.

    What has ended comes first, then what may come back, then what depends on the request. A token
    that is limited to addresses or audiences is refused where the one in question is not told.
    """
    status = VALID
    if record.revoked:
        status = Status.REVOKED
    elif record.ends_at is not None and now >= record.ends_at:
        status = Status.EXPIRED
    elif record.suspended:
        status = Status.SUSPENDED
    elif record.not_before is not None and now < record.not_before:
        status = Status.NOT_YET_VALID
    elif record.audiences and audience not in record.audiences:
        status = Status.AUDIENCE_NOT_ALLOWED
    elif record.ranges and (address is None or not is_within(address, record.networks)):
        status = Status.IP_NOT_ALLOWED
    elif scope is not None and not record.allows(scope):
        status = Status.INSUFFICIENT_SCOPE
    return Verdict(status, record)


# Records are many, and what they hold is much the same: it is kept once, and so is what scopes
# were asked for.


_shared: Callable[[Shared], Shared] = lru_cache(maxsize=SHARED_MAX)(lambda value: value)


@lru_cache(maxsize=SHARED_MAX)
def _answers_of(_: tuple[str, ...]) -> dict[str, bool]:
    return {}


@lru_cache(maxsize=SHARED_MAX)
def _effective(own: tuple[str, ...], *caps: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return a token's scopes under its account's and its reseller's; None caps nothing."""
    left: Iterable[str] = own
    for cap in caps:
        if cap is not None:
            left = scopes.intersect(left, cap)
    return _shared(tuple(sorted(left)))


def _cap(values: Iterable[str] | None, kept: Iterable[str]) -> tuple[str, ...] | None:
    return None if values is None else (*values, *kept)


def _encode_value(value: object) -> str:
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    raise TypeError(f"a record holds no {type(value).__name__}")
