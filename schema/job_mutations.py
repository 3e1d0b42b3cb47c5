"""Mutations of many tokens at once."""

from typing import Annotated, Self

import strawberry

from schema import node_ids
from schema.context import Info
from schema.job_inputs import (
    BulkInput,
    CancelJobInput,
    ExtendTokensInput,
    ResumeTokensInput,
    RevokeTokensInput,
    SuspendTokensInput,
)
from schema.job_types import Job, JobPreview
from schema.results import TellsRefusals, UserError, user_errors_field
from service.job_requests import NewJob

_HOW = (
    " A dry run tells in `preview` what that would be; else workers do it as a `job`, which begins "
    "within seconds. Needs `tokens:write`."
)


@strawberry.type
class _Asked:
    """What changes of many tokens have in common; each payload is a type of its own."""

    preview: JobPreview | None = strawberry.field(
        default=None, description="What it would be about; null unless it was a dry run."
    )
    job: Job | None = strawberry.field(
        default=None, description="The job; null where it was a dry run."
    )
    missing_ids: list[strawberry.ID] = strawberry.field(
        default_factory=list,
        description="Those of the ids that were named behind which there is no token within reach.",
    )
    user_errors: list[UserError] = user_errors_field()

    @classmethod
    async def of(cls, info: Info, asked: BulkInput, wanted: NewJob) -> Self:
        """Look, or make the job."""
        jobs, actor = info.context.service.jobs, info.context.actor
        if asked.dry_run:
            previewed = await jobs.preview(actor, wanted)
            missing = asked.selection.missing(previewed.missing_ids)
            return cls(preview=JobPreview.of(previewed), missing_ids=missing)
        made = await jobs.begin(actor, wanted, idempotency_key=asked.idempotency_key)
        return cls(job=Job.of(made.job), missing_ids=asked.selection.missing(made.missing_ids))


@strawberry.type(description="Which tokens would end, or the job that ends them.")
class RevokeTokensPayload(_Asked):
    """An end of many tokens."""


@strawberry.type(description="Which tokens would be suspended, or the job that does it.")
class SuspendTokensPayload(_Asked):
    """A suspension of many tokens."""


@strawberry.type(description="Which tokens would be resumed, or the job that does it.")
class ResumeTokensPayload(_Asked):
    """A resumption of many tokens."""


@strawberry.type(description="Which tokens would live longer, or the job that extends them.")
class ExtendTokensPayload(_Asked):
    """An extension of many tokens."""


@strawberry.type(description="A job that was called off.")
class CancelJobPayload:
    """A job that was called off."""

    job: Job | None = strawberry.field(
        default=None, description="The job; as it was, where it was over already."
    )
    user_errors: list[UserError] = user_errors_field()


@strawberry.type(description="Changes of many tokens.")
class JobMutations:
    """What is done to many tokens."""

    @strawberry.mutation(
        description="End many tokens for good; those that have ended are skipped." + _HOW,
        extensions=[TellsRefusals(RevokeTokensPayload)],
    )
    async def revoke_tokens(
        self,
        info: Info,
        input: Annotated[RevokeTokensInput, strawberry.argument(description="Which, why.")],  # noqa: A002 - Relay's word
    ) -> RevokeTokensPayload:
        """Revoke many tokens."""
        return await RevokeTokensPayload.of(info, input, input.to_job())

    @strawberry.mutation(
        description="Refuse many tokens until they are resumed; those that are suspended, or have "
        "ended, are skipped." + _HOW,
        extensions=[TellsRefusals(SuspendTokensPayload)],
    )
    async def suspend_tokens(
        self,
        info: Info,
        input: Annotated[SuspendTokensInput, strawberry.argument(description="Which.")],  # noqa: A002 - Relay's word
    ) -> SuspendTokensPayload:
        """Suspend many tokens."""
        return await SuspendTokensPayload.of(info, input, input.to_job())

    @strawberry.mutation(
        description="Let many suspended tokens be used again; those that are not suspended, or "
        "have ended, are skipped." + _HOW,
        extensions=[TellsRefusals(ResumeTokensPayload)],
    )
    async def resume_tokens(
        self,
        info: Info,
        input: Annotated[ResumeTokensInput, strawberry.argument(description="Which.")],  # noqa: A002 - Relay's word
    ) -> ResumeTokensPayload:
        """Resume many tokens."""
        return await ResumeTokensPayload.of(info, input, input.to_job())

    @strawberry.mutation(
        description="Let many tokens live longer, each as far as platform, policies and the "
        "caller's own rights allow; what they do not is told item by item. What has ended is never "
        "revived. Only a person can do this who entered the password within ten minutes." + _HOW,
        extensions=[TellsRefusals(ExtendTokensPayload)],
    )
    async def extend_tokens(
        self,
        info: Info,
        input: Annotated[ExtendTokensInput, strawberry.argument(description="Which, how far.")],  # noqa: A002 - Relay's word
    ) -> ExtendTokensPayload:
        """Extend many tokens."""
        return await ExtendTokensPayload.of(info, input, input.to_job())

    @strawberry.mutation(
        description="Call a job off: once this returns it changes no more tokens; what it has "
        "changed stays so. Harmless to repeat. Needs `tokens:write`.",
        extensions=[TellsRefusals(CancelJobPayload)],
    )
    async def cancel_job(
        self,
        info: Info,
        input: Annotated[CancelJobInput, strawberry.argument(description="Which.")],  # noqa: A002 - Relay's word
    ) -> CancelJobPayload:
        """Cancel a job."""
        job_id = node_ids.decode(node_ids.JOB, input.id)
        return CancelJobPayload(
            job=Job.of(await info.context.service.jobs.cancel(info.context.actor, job_id))
        )
