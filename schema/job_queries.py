"""Queries of jobs."""

from typing import Annotated

import strawberry

from schema import node_ids
from schema.context import Info
from schema.job_types import Job, JobConnection
from schema.relay import After, First
from schema.results import MissingIsNull
from service.paging import PageRequest


@strawberry.type(description="What can be read of jobs.")
class JobQueries:
    """Reading jobs."""

    @strawberry.field(
        description="A job within reach; null where there is none. Needs `tokens:read`.",
        extensions=[MissingIsNull()],
    )
    async def job(
        self,
        info: Info,
        id: Annotated[strawberry.ID, strawberry.argument(description="The job's id.")],  # noqa: A002 - GraphQL's word
    ) -> Job | None:
        """Read one job."""
        job_id = node_ids.decode(node_ids.JOB, id)
        return Job.of(await info.context.service.jobs.get(info.context.actor, job_id))

    @strawberry.field(
        description="The jobs within reach: those that the account and, for a reseller, its "
        "sub-accounts asked for, the newest first. Needs `tokens:read`."
    )
    async def jobs(self, info: Info, first: First, after: After = None) -> JobConnection:
        """Read one page of jobs."""
        page = await info.context.service.jobs.page(info.context.actor, PageRequest(first, after))
        return JobConnection.of(page)
