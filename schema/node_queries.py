"""Anything by its global id alone (Relay): ``node`` and ``nodes``."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated
from uuid import UUID

import strawberry

from schema import node_ids
from schema.account_types import Account
from schema.audit_types import AuditEvent
from schema.context import Info
from schema.job_types import Job
from schema.member_types import Member
from schema.propagation_types import Propagation
from schema.relay import Node
from schema.scope_template_types import ScopeTemplate
from schema.session_types import Session
from schema.token_types import ApiToken
from service.errors import InvalidInput, NotFound

NODES_MAX = 100


async def _token(info: Info, token_id: UUID) -> Node | None:
    row = await info.context.tokens.load(token_id)
    return None if row is None else ApiToken.of(row)


async def _account(info: Info, account_id: UUID) -> Node | None:
    row = await info.context.accounts.load(account_id)
    return None if row is None else Account.of(row)


async def _propagation(info: Info, receipt_id: UUID) -> Node | None:
    return Propagation.of_optional(await info.context.propagations.load(receipt_id))


async def _event(info: Info, event_id: UUID) -> Node | None:
    row = await info.context.events.load(event_id)
    return None if row is None else AuditEvent.of(row)


async def _scope_template(info: Info, template_id: UUID) -> Node | None:
    templates = info.context.service.scope_templates
    return ScopeTemplate.of(await templates.get(info.context.actor, template_id))


async def _member(info: Info, member_id: UUID) -> Node | None:
    row = await info.context.members.load(member_id)
    return None if row is None else Member.of(row)


async def _session(info: Info, session_id: UUID) -> Node | None:
    row = await info.context.sessions.load(session_id)
    return None if row is None else Session.of(row, info.context.actor.token_id)


async def _job(info: Info, job_id: UUID) -> Node | None:
    row = await info.context.jobs.load(job_id)
    return None if row is None else Job.of(row)


# Each type registers itself here: how one is loaded, with the others of the request, under the
# scopes of its own query. What is not within reach is None or NotFound.
LOADERS: dict[str, Callable[[Info, UUID], Awaitable[Node | None]]] = {
    node_ids.TOKEN: _token,
    node_ids.ACCOUNT: _account,
    node_ids.PROPAGATION: _propagation,
    node_ids.SCOPE_TEMPLATE: _scope_template,
    node_ids.AUDIT_EVENT: _event,
    node_ids.MEMBER: _member,
    node_ids.SESSION: _session,
    node_ids.JOB: _job,
}


async def load_node(info: Info, global_id: str) -> Node | None:
    """Return what a global id names; None where that is nothing within reach, or no id at all."""
    _ = info.context.actor
    found = node_ids.split(global_id)
    load = None if found is None else LOADERS.get(found[0])
    if found is None or load is None:
        return None
    try:
        return await load(info, found[1])
    except NotFound:
        return None


@strawberry.type(description="What can be read by its global id alone.")
class NodeQueries:
    """Reading by global id."""

    @strawberry.field(
        description="Anything within reach by its global id; null where there is none. Needs the "
        "scope of that type's own query."
    )
    async def node(
        self,
        info: Info,
        id: Annotated[strawberry.ID, strawberry.argument(description="Its global id.")],  # noqa: A002 - Relay's word
    ) -> Node | None:
        """Read one node."""
        return await load_node(info, id)

    @strawberry.field(
        description="Things within reach by their global ids, in the order of these; null in the "
        "place of each that there is none of. Needs the scopes of these types' own queries."
    )
    async def nodes(
        self,
        info: Info,
        ids: Annotated[
            list[strawberry.ID], strawberry.argument(description="At most 100 global ids.")
        ],
    ) -> list[Node | None]:
        """Read some nodes."""
        if len(ids) > NODES_MAX:
            raise InvalidInput(f"Ask for at most {NODES_MAX} nodes.", field="ids")
        return await asyncio.gather(*(load_node(info, global_id) for global_id in ids))
