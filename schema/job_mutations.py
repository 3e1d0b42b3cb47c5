"""Mutations of many tokens at once."""

from typing import Annotated

import strawberry

from schema import node_ids
from schema.context import Info
from schema.enums import JobKind
from schema.job_inputs import (
    BulkInput,
    ExtendTokensInput,
    JobIdInput,
    RevokeTokensInput,
    TokensInput,
)
from schema.job_types import Job, JobPreview
from schema.results import TellsRefusals, UserError, user_errors_field
from service.job_requests import NewJob

_HOW = (
    " A dry run tells in `preview` what that would be; else workers do it as a `job`, which begins "
    "within seconds. Needs `tokens:write`."
)


@strawberry.type(
    description="What a change of many tokens would be about, or the job that does it."
)
class ChangeTokensPayload:
    """A change of many tokens."""

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


@strawberry.type(description="A job that was called off.")
class CancelJobPayload:
    """A job that was called off."""

    job: Job | None = strawberry.field(
        default=None, description="The job; as it was, where it was over already."
    )
    user_errors: list[UserError] = user_errors_field()


async def _change(info: Info, asked: BulkInput, wanted: NewJob) -> ChangeTokensPayload:
    """Look, or make the job."""
    jobs, actor = info.context.service.jobs, info.context.actor
    if asked.dry_run:
        previewed = await jobs.preview(actor, wanted)
        return ChangeTokensPayload(
            preview=JobPreview.of(previewed),
            missing_ids=asked.selection.missing(previewed.missing_ids),
        )
    made = await jobs.begin(actor, wanted, idempotency_key=asked.idempotency_key)
    return ChangeTokensPayload(
        job=Job.of(made.job), missing_ids=asked.selection.missing(made.missing_ids)
    )


@strawberry.type(description="Changes of many tokens.")
class JobMutations:
    """What is done to many tokens."""

    @strawberry.mutation(
        description="End many tokens for good; those that have ended are skipped." + _HOW,
        extensions=[TellsRefusals(ChangeTokensPayload)],
    )
    async def revoke_tokens(
        self,
        info: Info,
        input: Annotated[RevokeTokensInput, strawberry.argument(description="Which, why.")],  # noqa: A002 - Relay's word
    ) -> ChangeTokensPayload:
        """Revoke many tokens."""
        return await _change(info, input, input.to_job())

    @strawberry.mutation(
        description="Refuse many tokens until they are resumed; those that are suspended, or have "
        "ended, are skipped." + _HOW,
        extensions=[TellsRefusals(ChangeTokensPayload)],
    )
    async def suspend_tokens(
        self,
        info: Info,
        input: Annotated[TokensInput, strawberry.argument(description="Which.")],  # noqa: A002 - Relay's word
    ) -> ChangeTokensPayload:
        """Suspend many tokens."""
        return await _change(info, input, input.to_job(JobKind.SUSPEND))

    @strawberry.mutation(
        description="Let many suspended tokens be used again; those that are not suspended, or "
        "have ended, are skipped." + _HOW,
        extensions=[TellsRefusals(ChangeTokensPayload)],
    )
    async def resume_tokens(
        self,
        info: Info,
        input: Annotated[TokensInput, strawberry.argument(description="Which.")],  # noqa: A002 - Relay's word
    ) -> ChangeTokensPayload:
        """Resume many tokens."""
        return await _change(info, input, input.to_job(JobKind.RESUME))

    @strawberry.mutation(
        description="Let many tokens live longer, each as far as platform, policies and the "
        "caller's own rights allow; what they do not is told item by item. What has ended is never "
        "revived. Only a person can do this who entered the password within ten minutes." + _HOW,
        extensions=[TellsRefusals(ChangeTokensPayload)],
    )
    async def extend_tokens(
        self,
        info: Info,
        input: Annotated[ExtendTokensInput, strawberry.argument(description="Which, how far.")],  # noqa: A002 - Relay's word
    ) -> ChangeTokensPayload:
        """Extend many tokens."""
        return await _change(info, input, input.to_job())

    @strawberry.mutation(
        description="Call a job off: once this returns it changes no more tokens; what it has "
        "changed stays so. Harmless to repeat. Needs `tokens:write`.",
        extensions=[TellsRefusals(CancelJobPayload)],
    )
    async def cancel_job(
        self,
        info: Info,
        input: Annotated[JobIdInput, strawberry.argument(description="Which.")],  # noqa: A002 - Relay's word
    ) -> CancelJobPayload:
        """Cancel a job."""
        job_id = node_ids.decode(node_ids.JOB, input.id)
        return CancelJobPayload(
            job=Job.of(await info.context.service.jobs.cancel(info.context.actor, job_id))
        )
