"""The queue of jobs, which no actor asks for: workers look across all tenants."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from service.access.actor import EVERYTHING, Reach, reach_of
from service.access.door import Statement, as_uuid, open_door
from service.verdict import AccountKind

FORGOTTEN_AT_ONCE = 10  # a job may have 100,000 items


@dataclass(frozen=True, slots=True)
class Due:
    """A job whose turn it is.

    Attributes:
        reach: Its actor's.
        attempts: How often in a row it has failed.
    """

    id: UUID
    reach: Reach
    attempts: int


async def system_find_due_jobs(now: datetime, *, limit: int) -> list[Due]:
    """Return unfinished jobs that are due, whose turn it is longest first; none is held."""
    async with open_door(EVERYTHING) as door:
        statement = Statement()
        statement.text = (
            "SELECT j.id, j.account_id, j.attempts, a.kind FROM job j"
            " JOIN account a ON a.id = j.account_id WHERE j.finished_at IS NULL"
            f" AND j.due_at <= {statement.bind(now)}"
            f" ORDER BY j.due_at, j.id LIMIT {statement.bind(limit)}"
        )
        return [
            Due(
                as_uuid(row["id"]),
                reach_of(AccountKind(row["kind"]), as_uuid(row["account_id"])),
                row["attempts"],
            )
            for row in await door.query(statement)
        ]


async def system_postpone_job(
    due: Due, now: datetime, *, due_at: datetime, error_code: str | None
) -> None:
    """Note that a batch of a job has failed, unless somebody else had a turn at it meanwhile.

    A job is never over before a batch of it was committed: receipts count from its end.

    Args:
        due: The job as it was before the batch.
        now: This instant.
        due_at: When to try again.
        error_code: Give the job up for this reason; None tries again.
    """
    async with open_door(EVERYTHING) as door:
        statement = Statement()
        ended = ""
        if error_code is not None:
            ended = (
                f", state = 'FAILED', error_code = {statement.bind(error_code)},"
                f" finished_at = {statement.bind(now)}"
            )
        statement.text = (
            f"UPDATE job SET attempts = attempts + 1, due_at = {statement.bind(due_at)}{ended}"
            f" WHERE id = {statement.bind(due.id)} AND attempts = {statement.bind(due.attempts)}"
            " AND finished_at IS NULL"
        )
        await door.query(statement)


async def system_forget_jobs(finished_before: datetime) -> int:
    """Delete some jobs that were over long ago, with their items; return how many."""
    async with open_door(EVERYTHING) as door:
        statement = Statement()
        statement.text = (
            "DELETE FROM job WHERE id IN (SELECT id FROM job"
            f" WHERE finished_at < {statement.bind(finished_before)}"
            f" ORDER BY finished_at LIMIT {statement.bind(FORGOTTEN_AT_ONCE)}) RETURNING id"
        )
        return len(await door.query(statement))


async def system_jobs_lag(now: datetime) -> float:
    """Return for how many seconds the job that waits longest has not been served; 0 if none."""
    async with open_door(EVERYTHING) as door:
        row = await door.one(
            Statement("SELECT min(due_at) AS longest FROM job WHERE finished_at IS NULL")
        )
    if row is None or row["longest"] is None:
        return 0.0
    return max(0.0, float((now - row["longest"]).total_seconds()))
