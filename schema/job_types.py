"""A job as it is told, what became of each of its tokens, and what one would do."""

from datetime import datetime
from typing import Annotated, Self

import strawberry

from schema import node_ids
from schema.account_types import Account
from schema.context import Info
from schema.enums import JobItemState, JobKind, JobState, RevocationReason
from schema.propagation_types import Propagation
from schema.relay import After, Edge, First, Node, PageInfo
from schema.results import ErrorCode
from schema.token_types import ApiToken
from service.access.jobs import Job as JobRow
from service.access.jobs import JobItem as JobItemRow
from service.errors import NotFound
from service.jobs import Previewed
from service.paging import Page, PageRequest


@strawberry.type(description="What became of one token of a job.")
class JobItem:
    """One token of a job."""

    row: strawberry.Private[JobItemRow]
    token_id: strawberry.ID = strawberry.field(description="The token's id.")
    state: JobItemState = strawberry.field(description="What became of it.")
    error_code: ErrorCode | None = strawberry.field(
        description="Why it was not changed, where that has a name: `TOKEN_ENDED`, `NOT_FOUND` or, "
        "of an extension, what a single one would have been refused with."
    )

    @strawberry.field(description="The token; null where it is no longer within reach.")
    async def token(self, info: Info) -> ApiToken | None:
        """Load it with the others of this page."""
        row = await info.context.tokens.load(self.row.token_id)
        return None if row is None else ApiToken.of(row)

    @classmethod
    def of(cls, row: JobItemRow) -> Self:
        """Build one."""
        return cls(
            row=row,
            token_id=strawberry.ID(node_ids.encode(node_ids.TOKEN, row.token_id)),
            state=row.state,
            error_code=None if row.error_code is None else ErrorCode[row.error_code],
        )


@strawberry.type(name="JobItemConnection", description="One page of a job's items (Relay).")
class JobItemConnection:
    """A page of items."""

    edges: list[Edge[JobItem]] = strawberry.field(description="The items with their cursors.")
    page_info: PageInfo = strawberry.field(description="Where the page stands.")

    @classmethod
    def of(cls, page: Page[JobItemRow]) -> Self:
        """Build one."""
        items = zip(page.items, page.cursors, strict=True)
        return cls(
            edges=[Edge(node=JobItem.of(row), cursor=cursor) for row, cursor in items],
            page_info=PageInfo.of(page),
        )


@strawberry.type(
    description="A change of many tokens, made by workers in batches, in the name of whoever asked "
    "for it. Which tokens was decided when the job was made. It goes on when that person signs "
    "out; it stops when the person is removed or the session is ended otherwise, when the token "
    "that asked for it is revoked or suspended, when `tokens:write` is taken away, and when the "
    "account is suspended or closed. "
    "Kept for 30 days after its end."
)
class Job(Node):
    """A job."""

    row: strawberry.Private[JobRow]
    kind: JobKind = strawberry.field(description="What it does to each token.")
    state: JobState = strawberry.field(description="How far it has come.")
    reason: RevocationReason | None = strawberry.field(description="Of a revocation: why.")
    expires_at: datetime | None = strawberry.field(description="Of an extension: to when.")
    by_days: int | None = strawberry.field(description="Of an extension: by how many days.")
    total: int = strawberry.field(description="How many tokens it is about.")
    succeeded: int = strawberry.field(description="How many it has changed.")
    skipped: int = strawberry.field(description="How many there was nothing to do about.")
    failed: int = strawberry.field(description="How many might not be changed.")
    created_at: datetime = strawberry.field(description="When it was asked for.")
    started_at: datetime | None = strawberry.field(description="When the first batch was done.")
    finished_at: datetime | None = strawberry.field(description="When it was over.")
    error_code: ErrorCode | None = strawberry.field(
        description="Why it was stopped, where it FAILED; what was done until then stays done. "
        "`UNAVAILABLE` where a batch has failed five times in a row."
    )

    @strawberry.field(
        description="From when every validator knows what the job did; null while it is not over. "
        "In health, each batch is known everywhere within milliseconds of its end."
    )
    def effective_everywhere_by(self, info: Info) -> datetime | None:
        """Tell the end of the staleness bound."""
        return info.context.service.jobs.effective_everywhere_by(self.row)

    @strawberry.field(
        description="The receipt of all that it changes, and how far that has come: `PENDING` "
        "until the job is over, `APPLIED` once every known validator has applied the changes of "
        "every batch. Null where it is over and has changed nothing. Needs `tokens:read`."
    )
    async def propagation(self, info: Info) -> Propagation | None:
        """Load it with the other jobs' of this page."""
        return Propagation.of_optional(await info.context.propagations.load(self.row.id))

    @strawberry.field(description="Who asked for it.")
    async def account(self, info: Info) -> Account:
        """Load it with the others of this page."""
        row = await info.context.accounts.load(self.row.account_id)
        if row is None:
            raise NotFound("There is no such account.")
        return Account.of(row)

    @strawberry.field(description="What became of each token, by token.")
    async def items(
        self,
        info: Info,
        first: First,
        after: After = None,
        state: Annotated[
            JobItemState | None, strawberry.argument(description="Those of one outcome alone.")
        ] = None,
    ) -> JobItemConnection:
        """Load them with the other jobs' of this page."""
        key = (self.row.id, PageRequest(first, after), state)
        return JobItemConnection.of(await info.context.items_of_jobs.load(key))

    @classmethod
    def of(cls, row: JobRow) -> Self:
        """Build one."""
        told = row.parameters
        return cls(
            id=strawberry.ID(node_ids.encode(node_ids.JOB, row.id)),
            row=row,
            kind=row.kind,
            state=row.state,
            reason=RevocationReason(told["reason"]) if "reason" in told else None,
            expires_at=(datetime.fromisoformat(told["expiresAt"]) if "expiresAt" in told else None),
            by_days=told.get("byDays"),
            total=row.total,
            succeeded=row.succeeded,
            skipped=row.skipped,
            failed=row.failed,
            created_at=row.created_at,
            started_at=row.started_at,
            finished_at=row.finished_at,
            error_code=None if row.error_code is None else ErrorCode[row.error_code],
        )


@strawberry.type(name="JobConnection", description="One page of jobs (Relay).")
class JobConnection:
    """A page of jobs."""

    edges: list[Edge[Job]] = strawberry.field(description="The items with their cursors.")
    page_info: PageInfo = strawberry.field(description="Where the page stands.")

    @classmethod
    def of(cls, page: Page[JobRow]) -> Self:
        """Build one."""
        items = zip(page.items, page.cursors, strict=True)
        return cls(
            edges=[Edge(node=Job.of(row), cursor=cursor) for row, cursor in items],
            page_info=PageInfo.of(page),
        )


@strawberry.type(description="Who would notice a change of many tokens.")
class BreakingChange:
    """What would break."""

    tokens_used_within_last7_days: int = strawberry.field(
        description="Tokens that were used within the last 7 days."
    )
    accounts_touched: int = strawberry.field(description="Accounts whose tokens they are.")


@strawberry.type(description="What a change of many tokens would be about, now.")
class JobPreview:
    """What a dry run tells."""

    count: int = strawberry.field(
        description="How many tokens are selected, counted up to 10,000; for `expectedCount`."
    )
    count_is_exact: bool = strawberry.field(
        description="False where there are more: then each number here means at least so many."
    )
    sample: list[ApiToken] = strawberry.field(
        description="At most 20 of them, those that were used last first."
    )
    breaking: BreakingChange = strawberry.field(description="Who would notice.")

    @classmethod
    def of(cls, row: Previewed) -> Self:
        """Build one."""
        return cls(
            count=row.preview.count,
            count_is_exact=row.preview.count_is_exact,
            sample=[ApiToken.of(token) for token in row.sample],
            breaking=BreakingChange(
                tokens_used_within_last7_days=row.preview.used_recently,
                accounts_touched=row.preview.accounts,
            ),
        )
