"""An event of the audit trail as it is told."""

from datetime import datetime
from typing import Self

import strawberry
from strawberry.scalars import JSON

from schema import node_ids
from schema.account_types import Account
from schema.context import Info
from schema.enums import AccountKind
from schema.relay import Edge, Node, PageInfo
from service.access.trail import Event, EventActor
from service.paging import Page

# By the action, or by its noun; what is in none of these has no global id.
_SUBJECTS = {
    "account": node_ids.ACCOUNT,
    "job": node_ids.JOB,
    "member": node_ids.MEMBER,
    "notice": node_ids.TOKEN,
    "policy": node_ids.ACCOUNT,
    "scope_template": node_ids.SCOPE_TEMPLATE,
    "session": node_ids.SESSION,
    "session.refused": node_ids.MEMBER,
    "token": node_ids.TOKEN,
}


@strawberry.type(description="Who did something, as far as the caller may know.")
class AuditActor:
    """Who did something."""

    row: strawberry.Private[EventActor]
    account_name: str = strawberry.field(
        description="The acting account's name, which is told wherever its act is seen."
    )
    account_kind: AccountKind = strawberry.field(description="At which level of tenancy it is.")
    email: str | None = strawberry.field(
        description="The person; null where a token acted, and where the acting account is beyond "
        "the caller's reach."
    )
    token_id: strawberry.ID | None = strawberry.field(
        description="The credential that was used, an API token or a session; null where the "
        "acting account is beyond the caller's reach."
    )

    @strawberry.field(
        description="The acting account; null where it is beyond the caller's reach, as its "
        "reseller and the operator are. Another than the caller's own needs `accounts:read`."
    )
    async def account(self, info: Info) -> Account | None:
        """Load it with the others of this page."""
        if not self.row.is_within_reach:
            return None
        row = await info.context.accounts.load(self.row.account_id)
        return None if row is None else Account.of(row)

    @classmethod
    def of(cls, actor: EventActor) -> Self:
        """Build one."""
        token_id = actor.token_id
        type_name = node_ids.SESSION if actor.is_person else node_ids.TOKEN
        return cls(
            row=actor,
            account_name=actor.account_name,
            account_kind=actor.account_kind,
            email=actor.email,
            token_id=None
            if token_id is None
            else strawberry.ID(node_ids.encode(type_name, token_id)),
        )


@strawberry.type(description="Something that happened, and was told in the same transaction.")
class AuditEvent(Node):
    """An entry of the trail."""

    row: strawberry.Private[Event]
    occurred_at: datetime = strawberry.field(description="When.")
    action: str = strawberry.field(
        description="What, as `noun.verb` in the past tense, such as `token.revoked`; at most 40 "
        "characters. New ones may come."
    )
    subject_id: strawberry.ID | None = strawberry.field(
        description="The global id of what it was done to; null where that is no object of this "
        "schema."
    )
    actor: AuditActor | None = strawberry.field(
        description="Who did it; null where the service did it by itself, as when a token expires."
    )
    address: str | None = strawberry.field(
        description="The client's address; null where it is not known, and where the acting "
        "account is beyond the caller's reach."
    )
    request_id: str | None = strawberry.field(
        description="The request that did it, as in its answer's `X-Request-Id`; null where none "
        "did."
    )
    details: JSON = strawberry.field(
        description="An object with what is worth knowing of this action; never a secret."
    )
    sequence: int | None = strawberry.field(
        description="Its place in the account's chain: 1, 2, 3 and so on; null for a moment, until "
        "it is sealed."
    )
    hash: str | None = strawberry.field(
        description="SHA-256 over it and the account's event before it, 64 hexadecimal digits; "
        "null until it is sealed. An export has all that is needed to check it."
    )

    @strawberry.field(
        description="Whose trail it is in; null where the account is not within reach any more. "
        "Another than the caller's own needs `accounts:read`."
    )
    async def account(self, info: Info) -> Account | None:
        """Load it with the others of this page."""
        row = await info.context.accounts.load(self.row.account_id)
        return None if row is None else Account.of(row)

    @strawberry.field(
        description="The account on whose behalf somebody above it did this; null where nobody "
        "did. Needs what `account` needs."
    )
    async def on_behalf_of(self, info: Info) -> Account | None:
        """Load it with the others of this page."""
        if self.row.actor is None or self.row.actor.account_id == self.row.account_id:
            return None
        row = await info.context.accounts.load(self.row.account_id)
        return None if row is None else Account.of(row)

    @classmethod
    def of(cls, row: Event) -> Self:
        """Build one."""
        return cls(
            id=strawberry.ID(node_ids.encode(node_ids.AUDIT_EVENT, row.id)),
            row=row,
            occurred_at=row.occurred_at,
            action=row.action,
            subject_id=_subject(row),
            actor=None if row.actor is None else AuditActor.of(row.actor),
            address=row.address,
            request_id=row.request_id,
            details=JSON(row.details),
            sequence=row.sequence,
            hash=None if row.hash is None else row.hash.hex(),
        )


def _subject(row: Event) -> strawberry.ID | None:
    type_name = _SUBJECTS.get(row.action) or _SUBJECTS.get(row.action.partition(".")[0])
    if type_name is None:
        return None
    return strawberry.ID(node_ids.encode(type_name, row.subject_id))


@strawberry.type(name="AuditEventConnection", description="One page of the audit trail (Relay).")
class AuditEventConnection:
    """A page of events."""

    edges: list[Edge[AuditEvent]] = strawberry.field(description="The items with their cursors.")
    page_info: PageInfo = strawberry.field(description="Where the page stands.")

    @classmethod
    def of(cls, page: Page[Event]) -> Self:
        """Build one."""
        items = zip(page.items, page.cursors, strict=True)
        return cls(
            edges=[Edge(node=AuditEvent.of(row), cursor=cursor) for row, cursor in items],
            page_info=PageInfo.of(page),
        )
