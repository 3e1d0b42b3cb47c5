"""The answer to "may this secret be used now, from here, for this?", and how it is reached. Pure.

A refusal is data, not an exception: a bad token is expected. Only the pair (record, moment of use)
decides, so that the near-cache, Redis and the database can never answer differently.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from ipaddress import ip_network
from typing import Any, Self
from uuid import UUID

from service import scopes
from service.addresses import Address, Network, is_within


class Status(StrEnum):
    """What a validator says. Only VALID opens anything."""

    VALID = "VALID"
    UNKNOWN = "UNKNOWN"
    REVOKED = "REVOKED"
    EXPIRED = "EXPIRED"
    SUSPENDED = "SUSPENDED"
    NOT_YET_VALID = "NOT_YET_VALID"
    IP_NOT_ALLOWED = "IP_NOT_ALLOWED"
    INSUFFICIENT_SCOPE = "INSUFFICIENT_SCOPE"
    UNAVAILABLE = "UNAVAILABLE"


class CredentialKind(StrEnum):
    """Who holds the secret: a program, or a person signed in to the console."""

    API_TOKEN = "API_TOKEN"  # noqa: S105 - the name of a kind
    SESSION = "SESSION"


class AccountKind(StrEnum):
    """The three levels of tenancy."""

    OPERATOR = "OPERATOR"
    RESELLER = "RESELLER"
    CUSTOMER = "CUSTOMER"


@dataclass(frozen=True)
class Record:
    """What a validator knows of one secret: never the secret itself.

    Attributes:
        scopes: The effective ones: the token's own ∩ its account's ∩ its reseller's.
        ranges: CIDR ranges; empty means anywhere.
        expires_at: The earlier of the token's expiry and this secret's retirement.
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

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        """Build one from a row of ``credential_by_digest``."""
        own = row["token_scopes"]
        for cap in (row["account_scopes"], row["reseller_scopes"]):
            if cap is not None:
                own = scopes.intersect(own, cap)
        ends = [instant for instant in (row["expires_at"], row["retires_at"]) if instant]
        return cls(
            token_id=row["token_id"],
            secret_id=row["secret_id"],
            kind=CredentialKind(row["kind"]),
            account_id=row["account_id"],
            account_kind=AccountKind(row["account_kind"]),
            reseller_id=row["reseller_id"],
            member_id=row["member_id"],
            scopes=tuple(sorted(own)),
            ranges=tuple(row["allowed_ip_ranges"]),
            issued_at=row["created_at"],
            not_before=row["not_before"],
            expires_at=min(ends, default=None),
            revoked=row["revoked"],
            suspended=row["suspended"],
        )

    @cached_property
    def networks(self) -> tuple[Network, ...]:
        """The ranges, parsed once."""
        return tuple(ip_network(text) for text in self.ranges)

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
    def decode(cls, payload: bytes) -> Self:
        """Build one from :meth:`encode`'s JSON; the caller has verified its signature."""
        fields = json.loads(payload)
        for name in ("token_id", "secret_id", "account_id", "reseller_id", "member_id"):
            fields[name] = fields[name] and UUID(fields[name])
        for name in ("issued_at", "not_before", "expires_at"):
            fields[name] = fields[name] and datetime.fromisoformat(fields[name])
        fields["kind"] = CredentialKind(fields["kind"])
        fields["account_kind"] = AccountKind(fields["account_kind"])
        fields["scopes"] = tuple(fields["scopes"])
        fields["ranges"] = tuple(fields["ranges"])
        return cls(**fields)

    def has_ended(self, now: datetime) -> bool:
        """Return whether the record can never be valid again as it stands."""
        return self.revoked or (self.expires_at is not None and now >= self.expires_at)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A status and, where the secret is known, its record."""

    status: Status
    record: Record | None = None

    @property
    def is_valid(self) -> bool:
        """Whether the secret may be used."""
        return self.status is Status.VALID


UNKNOWN = Verdict(Status.UNKNOWN)
UNAVAILABLE = Verdict(Status.UNAVAILABLE)


def judge(
    record: Record, now: datetime, *, address: Address | None = None, scope: str | None = None
) -> Verdict:
    """Return whether a record may be used at a moment, from an address, for a scope.

    What has ended comes first, then what may come back, then what depends on the request. A token
    that is limited to addresses is refused where the address is not known. A scope may be several,
    separated by spaces (RFC 6749 §3.3); all are asked for.
    """
    return Verdict(_status(record, now, address, scope), record)


def _status(record: Record, now: datetime, address: Address | None, scope: str | None) -> Status:
    status = Status.VALID
    if record.revoked:
        status = Status.REVOKED
    elif record.expires_at is not None and now >= record.expires_at:
        status = Status.EXPIRED
    elif record.suspended:
        status = Status.SUSPENDED
    elif record.not_before is not None and now < record.not_before:
        status = Status.NOT_YET_VALID
    elif record.ranges and (address is None or not is_within(address, record.networks)):
        status = Status.IP_NOT_ALLOWED
    elif scope is not None and not scopes.covers_all(record.scopes, scope.split()):
        status = Status.INSUFFICIENT_SCOPE
    return status


def _encode_value(value: object) -> str:
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    raise TypeError(f"a record holds no {type(value).__name__}")
