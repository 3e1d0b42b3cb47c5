"""What happens, as it is told to whoever watches."""

from typing import Self

import strawberry

from schema.account_types import Account
from schema.audit_types import AuditEvent
from schema.token_types import ApiToken
from service.trail_steps import Step

_CURSOR = (
    "Behind which to go on, as `after`, when the stream was cut: nothing is lost or comes twice."
)
_EVENT = (
    "What happened; null in the first message, which tells where the stream begins. Without "
    "`audit:read` it says neither who did it, from where, nor its details."
)


_NOW = "now; null in the first message, and where it is not within reach any more."


@strawberry.type(description="Something that happened to a token.")
class TokenEvent:
    """A step in the trail of tokens."""

    cursor: str = strawberry.field(description=_CURSOR)
    event: AuditEvent | None = strawberry.field(description=_EVENT)
    token: ApiToken | None = strawberry.field(description=f"The token as it is {_NOW}")

    @classmethod
    def of(cls, step: Step) -> Self:
        """Build one."""
        event = None if step.event is None else AuditEvent.of(step.event)
        token = None if step.token is None else ApiToken.of(step.token)
        return cls(cursor=step.cursor, event=event, token=token)


@strawberry.type(description="Something that happened to an account.")
class AccountEvent:
    """A step in the trail of accounts."""

    cursor: str = strawberry.field(description=_CURSOR)
    event: AuditEvent | None = strawberry.field(description=_EVENT)
    account: Account | None = strawberry.field(description=f"The account as it is {_NOW}")

    @classmethod
    def of(cls, step: Step) -> Self:
        """Build one."""
        event = None if step.event is None else AuditEvent.of(step.event)
        account = None if step.account is None else Account.of(step.account)
        return cls(cursor=step.cursor, event=event, account=account)
