"""A token as it is told, its secrets, and why a validator says what it says."""

from datetime import datetime
from typing import Self

import strawberry
from strawberry.scalars import JSON

from schema import node_ids
from schema.account_types import Account
from schema.context import Info
from schema.enums import RevocationReason, Status, TokenStatus
from schema.relay import Edge, Node, PageInfo
from service.access.secrets import Secret as SecretRow
from service.access.tokens import Token as TokenRow
from service.errors import NotFound
from service.explanation import Check as CheckRow
from service.explanation import Explanation
from service.paging import Page


@strawberry.type(
    description="A secret of a token, without the secret: the current one, one that is being "
    "replaced, or one that has been."
)
class ApiTokenSecret:
    """A secret's record."""

    prefix: str = strawberry.field(description="How it begins, as in `tw_live_`.")
    last_four: str = strawberry.field(description="How it ends.")
    created_at: datetime = strawberry.field(description="When it was made.")
    retires_at: datetime | None = strawberry.field(
        description="From when it opens nothing, because another one has taken its place; null for "
        "the current one."
    )
    last_used_at: datetime | None = strawberry.field(
        description="When it was last accepted; up to about 15 seconds late."
    )
    reused_at: datetime | None = strawberry.field(
        description="When it was last tried after its end: somebody still has it, or has found it."
    )
    reused_address: str | None = strawberry.field(description="From where.")

    @classmethod
    def of(cls, row: SecretRow) -> Self:
        """Build one."""
        return cls(
            prefix=row.prefix,
            last_four=row.last_four,
            created_at=row.created_at,
            retires_at=row.retires_at,
            last_used_at=row.last_used_at,
            reused_at=row.reused_at,
            reused_address=row.reused_address,
        )


@strawberry.type(description="Who made a token.")
class TokenCreator:
    """Who made a token."""

    token: strawberry.Private[TokenRow]
    is_delegated: bool = strawberry.field(
        description="Whether an account above the token's made it, on its behalf."
    )

    @strawberry.field(
        description="The account that acted; null where it is above the caller's. Another than "
        "the caller's own needs `accounts:read`."
    )
    async def account(self, info: Info) -> Account | None:
        """Load it with the others of this page."""
        account_id = self.token.creator_within(info.context.actor.reach)
        if account_id is None:
            return None
        row = await info.context.accounts.load(account_id)
        return None if row is None else Account.of(row)

    @strawberry.field(
        description="The person who was signed in; null where a token acted, where the person is "
        "of an account above the caller's, and without `members:read`."
    )
    async def email(self, info: Info) -> str | None:
        """Load it with the others of this page."""
        member_id = self.token.created_by_member_id
        return None if member_id is None else await info.context.emails.load(member_id)


@strawberry.type(
    description="A token's record. A secret is told once, by `createToken` and `rotateToken`."
)
class ApiToken(Node):
    """A token."""

    row: strawberry.Private[TokenRow]
    name: str = strawberry.field(
        description="1–50 characters, unique among the account's tokens that have not ended."
    )
    prefix: str = strawberry.field(description="How the secret begins, as in `tw_live_`.")
    last_four: str = strawberry.field(description="How the secret ends.")
    scopes: list[str] = strawberry.field(
        description="Its own rights. The account and its reseller cap them, live."
    )
    allowed_ip_ranges: list[str] = strawberry.field(
        description="CIDR ranges it may be used from; empty is anywhere."
    )
    audiences: list[str] = strawberry.field(
        description="Who may accept it, as they name themselves; empty is everybody."
    )
    created_at: datetime = strawberry.field(description="When it was created.")
    not_before: datetime | None = strawberry.field(description="From when it is valid.")
    expires_at: datetime | None = strawberry.field(
        description="From when it is no longer valid; null is never, against advice."
    )
    suspended_at: datetime | None = strawberry.field(description="Since when it is suspended.")
    revoked_at: datetime | None = strawberry.field(description="When it was revoked, for good.")
    revocation_reason: RevocationReason | None = strawberry.field(description="Why.")
    last_used_at: datetime | None = strawberry.field(
        description="When it was last accepted; up to about 15 seconds late."
    )
    last_used_address: str | None = strawberry.field(description="From where.")
    version: int = strawberry.field(description="Grows with each change; for `expectedVersion`.")
    description: str | None = strawberry.field(
        description="What people write about it; 1–500 characters, some of them new lines."
    )
    metadata: JSON = strawberry.field(
        description="What programs write about it: one object of at most 50 keys and 4,096 bytes, "
        "whose values are texts, numbers, true, false or null. Empty is `{}`."
    )

    @strawberry.field(description="What it is now.")
    def status(self, info: Info) -> TokenStatus:
        """Read it off the instants, now."""
        return self.row.status(info.context.service.clock.now())

    @strawberry.field(
        description="Its secrets, the current one first, at most 20: those that open it (two while "
        "it is rotated), those that were tried after their end, and the newest."
    )
    async def secrets(self, info: Info) -> list[ApiTokenSecret]:
        """Load them with the others of this page."""
        return [ApiTokenSecret.of(row) for row in await info.context.secrets.load(self.row.id)]

    @strawberry.field(
        description="When a secret that a rotation has retired was last tried. Not null is a sign "
        "of a leak, or of a program that still holds the old secret."
    )
    async def secret_reused_at(self, info: Info) -> datetime | None:
        """Read it off the secrets."""
        found = [row.reused_at for row in await info.context.secrets.load(self.row.id)]
        return max((instant for instant in found if instant is not None), default=None)

    @strawberry.field(description="Who made it; null for what is older than this field.")
    def created_by(self) -> TokenCreator | None:
        """Read it off the row."""
        account_id = self.row.created_by_account_id
        if account_id is None:
            return None
        return TokenCreator(token=self.row, is_delegated=account_id != self.row.account_id)

    @strawberry.field(description="Whose it is.")
    async def account(self, info: Info) -> Account:
        """Load it with the others of this page."""
        row = await info.context.accounts.load(self.row.account_id)
        if row is None:
            raise NotFound("There is no such account.")
        return Account.of(row)

    @classmethod
    def of(cls, row: TokenRow) -> Self:
        """Build one."""
        return cls(
            id=strawberry.ID(node_ids.encode(node_ids.TOKEN, row.id)),
            row=row,
            name=row.name,
            prefix=row.prefix,
            last_four=row.last_four,
            scopes=list(row.scopes),
            allowed_ip_ranges=list(row.allowed_ip_ranges),
            audiences=list(row.audiences),
            created_at=row.created_at,
            not_before=row.not_before,
            expires_at=row.expires_at,
            suspended_at=row.suspended_at,
            revoked_at=row.revoked_at,
            revocation_reason=(
                RevocationReason(row.revocation_reason) if row.revocation_reason else None
            ),
            last_used_at=row.last_used_at,
            last_used_address=row.last_used_address,
            version=row.version,
            description=row.description,
            metadata=JSON(row.metadata),
        )


@strawberry.type(name="ApiTokenConnection", description="One page of tokens (Relay).")
class ApiTokenConnection:
    """A page of tokens."""

    edges: list[Edge[ApiToken]] = strawberry.field(description="The items with their cursors.")
    page_info: PageInfo = strawberry.field(description="Where the page stands.")

    @classmethod
    def of(cls, page: Page[TokenRow]) -> Self:
        """Build one."""
        items = zip(page.items, page.cursors, strict=True)
        return cls(
            edges=[Edge(node=ApiToken.of(row), cursor=cursor) for row, cursor in items],
            page_info=PageInfo.of(page),
        )


@strawberry.type(description="One question on the way to a verdict.")
class TokenCheck:
    """One check."""

    status: Status = strawberry.field(
        description="What a validator says where this is the first check that fails."
    )
    passed: bool = strawberry.field(description="Whether it passed.")
    detail: str = strawberry.field(description="One sentence about the token, for people.")

    @classmethod
    def of(cls, row: CheckRow) -> Self:
        """Build one."""
        return cls(status=row.status, passed=row.passed, detail=row.detail)


@strawberry.type(description="What a validator would say of a token now, and why.")
class TokenExplanation:
    """A verdict with its reasons."""

    token: ApiToken = strawberry.field(description="The token.")
    status: Status = strawberry.field(description="What a validator would say.")
    first_failure: TokenCheck | None = strawberry.field(
        description="The check that decides; null where all pass."
    )
    checks: list[TokenCheck] = strawberry.field(description="Every check, in order.")

    @classmethod
    def of(cls, row: Explanation) -> Self:
        """Build one."""
        failure = row.first_failure
        return cls(
            token=ApiToken.of(row.token),
            status=row.status,
            first_failure=None if failure is None else TokenCheck.of(failure),
            checks=[TokenCheck.of(check) for check in row.checks],
        )
