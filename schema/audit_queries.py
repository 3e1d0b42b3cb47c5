"""Queries of the audit trail."""

from typing import Annotated

import strawberry

from schema.audit_inputs import AuditEventFilter
from schema.audit_types import AuditEventConnection
from schema.context import Info
from schema.relay import After, First
from service.access.trail import EventFilter
from service.paging import PageRequest


@strawberry.type(description="What can be read of the audit trail.")
class AuditQueries:
    """Reading the trail."""

    @strawberry.field(
        description="What happened within reach, newest first: an account's own trail, a "
        "reseller's with those of its sub-accounts, the operator's all. What a reseller did on "
        "behalf of a sub-account is in the sub-account's trail, where both see it. Needs "
        "`audit:read`."
    )
    async def audit_events(
        self,
        info: Info,
        first: First,
        after: After = None,
        filter: Annotated[  # noqa: A002 - the field's common word
            AuditEventFilter | None, strawberry.argument(description="Which of them.")
        ] = None,
    ) -> AuditEventConnection:
        """Read one page of events."""
        page = await info.context.service.trail.page(
            info.context.actor,
            filter.to_filter() if filter else EventFilter(),
            PageRequest(first, after),
        )
        return AuditEventConnection.of(page)
