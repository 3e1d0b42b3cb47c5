"""Jobs to run, and what they leave."""

from collections import Counter
from typing import Any
from uuid import UUID

import asyncpg
from factories import make_token

from service.access.actor import Actor
from service.access.jobs import Job, JobKind
from service.access.selections import Selection
from service.access.tokens import TokenFilter
from service.composition import Service
from service.job_requests import NewJob
from service.tokens import Created

EVERY = TokenFilter()


def job_of(kind: JobKind = JobKind.REVOKE, *ids: UUID, **fields: Any) -> NewJob:
    """Return a wish: about named tokens, or about what a filter finds."""
    account_id = fields.pop("account_id", None)
    only = fields.pop("only", None)
    selection = Selection(ids=ids or None, only=only, account_id=account_id)
    if kind is JobKind.REVOKE:
        fields.setdefault("reason", "LEAKED")
    return NewJob(kind=kind, selection=selection, **fields)


async def begin(service: Service, actor: Actor, kind: JobKind, *ids: UUID, **fields: Any) -> Job:
    """Make a job."""
    return (await service.jobs.begin(actor, job_of(kind, *ids, **fields))).job


async def make_tokens(service: Service, actor: Actor, count: int) -> list[Created]:
    """Create tokens."""
    return [await make_token(service, actor) for _ in range(count)]


def ids_of(tokens: list[Created]) -> list[UUID]:
    """Return the ids of tokens."""
    return [made.token.id for made in tokens]


async def outcomes(owner: asyncpg.Connection, job_id: UUID) -> Counter[tuple[str, str | None]]:
    """Return how many items of a job came to which end, read behind the door."""
    rows = await owner.fetch("SELECT state, error_code FROM job_item WHERE job_id = $1", job_id)
    return Counter((row["state"], row["error_code"]) for row in rows)


async def told(owner: asyncpg.Connection, action: str) -> list[dict[str, Any]]:
    """Return the events of an action, read behind the door."""
    found = await owner.fetch("SELECT * FROM audit_event WHERE action = $1 ORDER BY id", action)
    return [dict(row) for row in found]
