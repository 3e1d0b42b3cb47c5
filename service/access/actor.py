"""Who is calling, and how far that reaches."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Self
from uuid import UUID

from service import scopes
from service.addresses import parse_address
from service.errors import InsufficientScope
from service.verdict import AccountKind, CredentialKind, Record


class Extent(StrEnum):
    """The three widths of a reach; row-level security knows the same words."""

    ALL = "all"
    FLEET = "fleet"
    ACCOUNT = "account"


@dataclass(frozen=True, slots=True)
class Reach:
    """The rows that may be seen and changed."""

    extent: Extent
    id: UUID | None = None

    def includes(self, account_id: UUID, reseller_id: UUID | None) -> bool:
        """Return whether a row of an account, in a reseller's fleet, is within this reach."""
        if self.extent is Extent.ALL:
            return True
        return self.id == (reseller_id if self.extent is Extent.FLEET else account_id)

    def opening(self) -> str:
        """Return the SQL that tells row-level security of this reach, until the transaction ends.

        Both values are of closed types, so that nothing can be smuggled into the text.
        """
        identifier = "" if self.id is None else str(UUID(int=self.id.int))
        return (
            f"SELECT set_config('tokenward.reach', '{self.extent.value}', true), "
            f"set_config('tokenward.reach_id', '{identifier}', true)"
        )


EVERYTHING = Reach(Extent.ALL)


def reach_of(kind: AccountKind, account_id: UUID) -> Reach:
    """Return how far an account reaches: the operator to everything, a reseller over its fleet."""
    if kind is AccountKind.OPERATOR:
        return EVERYTHING
    return Reach(Extent.FLEET if kind is AccountKind.RESELLER else Extent.ACCOUNT, account_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """The account acting, the credential it used, and from where.

    Attributes:
        scopes: The effective ones of the credential.
        token_id: The credential, a session or an API token.
        secret_id: The secret of it that was sent; None where nobody sends one, as for a job.
        member_id: The person, where it is a session.
    """

    account_id: UUID
    account_kind: AccountKind
    reseller_id: UUID | None
    token_id: UUID
    secret_id: UUID | None
    kind: CredentialKind
    member_id: UUID | None = None
    scopes: tuple[str, ...] = ()
    address: str | None = None
    request_id: str | None = None

    @classmethod
    def of(
        cls, record: Record, *, address: str | None = None, request_id: str | None = None
    ) -> Self:
        """Return the actor behind a credential that was judged VALID."""
        return cls(
            account_id=record.account_id,
            account_kind=record.account_kind,
            reseller_id=record.reseller_id,
            token_id=record.token_id,
            secret_id=record.secret_id,
            kind=record.kind,
            member_id=record.member_id,
            scopes=record.scopes,
            address=address,
            request_id=request_id,
        )

    @property
    def reach(self) -> Reach:
        """What the actor may see and change."""
        return reach_of(self.account_kind, self.account_id)

    def proof(self, now: datetime) -> str:
        """Return the SQL that raises unless the credential may still be used as it was judged.

        The judgement may be as old as a lease; a change must not rest on it. Without a secret it
        always raises. Every value is of a closed type, so that nothing can be smuggled into the
        text.

        Args:
            now: The instant by which it must not have ended.
        """
        # Those of its role a person keeps, whatever the accounts above may grant.
        kept = scopes.CONSOLE if self.kind is CredentialKind.SESSION else ()
        held = (scope for scope in self.scopes if scope not in kept and scopes.is_scope(scope))
        address = parse_address(self.address or "")
        values = (
            _quoted(UUID(int=self.token_id.int)),
            _quoted(self.secret_id and UUID(int=self.secret_id.int)),
            _quoted(datetime.isoformat(now.astimezone(UTC))),
            _quoted(address),
            f"'{{{','.join(held)}}}'",
        )
        return f"require_credential({', '.join(values)})"

    def require(self, scope: str) -> None:
        """Let the actor pass if its credential has a scope.

        Raises:
            InsufficientScope: If not. Decided before any look-up, so that it tells of no object.
        """
        if not scopes.covers(self.scopes, scope):
            raise InsufficientScope(f"This needs the scope `{scope}`.")


def _quoted(value: object) -> str:
    return "NULL" if value is None else f"'{value}'"
