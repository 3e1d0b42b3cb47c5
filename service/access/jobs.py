"""Rows of jobs and of their items: a change of many tokens, and what became of each."""

import json
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Self
from uuid import UUID

from service.access.door import Door, Statement, as_uuid
from service.errors import NotFound
from service.paging import Cursor, Page, PageRequest
from service.roles import Role
from service.verdict import CredentialKind


class JobKind(StrEnum):
    """What a job does to each of its tokens."""

    REVOKE = "REVOKE"
    SUSPEND = "SUSPEND"
    RESUME = "RESUME"
    EXTEND = "EXTEND"


class JobState(StrEnum):
    """How far a job has come; the last three are final."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    DONE = "DONE"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class JobItemState(StrEnum):
    """What became of one token of a job; all but the first are final."""

    PENDING = "PENDING"
    SUCCEEDED = "SUCCEEDED"
    SKIPPED = "SKIPPED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job.

    Attributes:
        parameters: What it does beside its kind: ``reason``, ``expiresAt`` or ``byDays``.
        total: How many tokens it is about, frozen when it was made.
        error_code: Why it was stopped, where it FAILED.
        actor_member_id: The person in whose name it runs, where it was a session.
        actor_token_id: The credential that it was made with.
    """

    id: UUID
    account_id: UUID
    reseller_id: UUID | None
    kind: JobKind
    state: JobState
    parameters: dict[str, Any]
    request_digest: bytes
    total: int
    succeeded: int
    failed: int
    skipped: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    attempts: int
    error_code: str | None
    actor_member_id: UUID | None
    actor_token_id: UUID
    address: str | None
    request_id: str | None

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        """Build one from a row of the table."""
        fields = {name: row[name] for name in cls.__dataclass_fields__}
        for name in ("id", "account_id", "reseller_id", "actor_member_id", "actor_token_id"):
            fields[name] = row[name] and as_uuid(row[name])
        told = row["parameters"]
        fields |= {
            "kind": JobKind(row["kind"]),
            "state": JobState(row["state"]),
            "parameters": json.loads(told) if isinstance(told, str) else told,
            "request_digest": bytes(row["request_digest"]),
        }
        return cls(**fields)

    @property
    def owner(self) -> tuple[UUID, UUID | None]:
        """Whose trail it belongs to: the actor's account and its reseller."""
        return self.account_id, self.reseller_id

    @property
    def is_finished(self) -> bool:
        """Whether nothing more will come of it."""
        return self.finished_at is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobItem:
    """One token of a job.

    Attributes:
        error_code: Why it was not changed, where that has a name.
    """

    id: UUID
    token_id: UUID
    state: JobItemState
    error_code: str | None

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        """Build one from a row of the table."""
        return cls(
            id=as_uuid(row["id"]),
            token_id=as_uuid(row["token_id"]),
            state=JobItemState(row["state"]),
            error_code=row["error_code"],
        )


async def insert_job(door: Door, row: dict[str, Any]) -> Job:
    """Add a job whose items are there already, and return it."""
    statement = Statement().insert("job", [row])
    statement.text += " RETURNING *"
    [added] = await door.query(statement)
    return Job.from_row(added)


async def find_job(door: Door, job_id: UUID, *, locking: str = "") -> Job:
    """Return a job within reach.

    Raises:
        NotFound: If there is none, or it is another tenant's.
    """
    statement = Statement()
    reach = statement.within(door.reach, account="account_id", reseller="reseller_id")
    statement.text = f"SELECT * FROM job WHERE id = {statement.bind(job_id)} AND {reach} {locking}"
    row = await door.one(statement)
    if row is None:
        raise NotFound("There is no such job.")
    return Job.from_row(row)


async def find_jobs(door: Door, job_ids: list[UUID]) -> dict[UUID, Job]:
    """Return those of some jobs that are within reach, by id, in one query."""
    statement = Statement()
    reach = statement.within(door.reach, account="account_id", reseller="reseller_id")
    statement.text = f"SELECT * FROM job WHERE id = ANY({statement.bind(job_ids)}) AND {reach}"
    found = [Job.from_row(row) for row in await door.query(statement)]
    return {job.id: job for job in found}


async def lock_job(door: Door, job_id: UUID) -> Job:
    """Return a job and hold its row until the transaction ends; no batch of it runs meanwhile.

    Raises:
        NotFound: If it is not within reach.
    """
    return await find_job(door, job_id, locking="FOR NO KEY UPDATE")


async def claim_job(door: Door, job_id: UUID) -> Job | None:
    """Return an unfinished job and hold it, or None where somebody else holds it or it is over."""
    try:
        job = await find_job(door, job_id, locking="FOR NO KEY UPDATE SKIP LOCKED")
    except NotFound:
        return None
    return None if job.is_finished else job


async def find_requested_job(door: Door, account_id: UUID, idempotency_key: str) -> Job | None:
    """Return the job that an account has made under a key, or None."""
    statement = Statement()
    reach = statement.within(door.reach, account="account_id", reseller="reseller_id")
    statement.text = (
        f"SELECT * FROM job WHERE account_id = {statement.bind(account_id)}"
        f" AND idempotency_key = {statement.bind(idempotency_key)} AND {reach}"
    )
    row = await door.one(statement)
    return None if row is None else Job.from_row(row)


async def count_unfinished_jobs(door: Door, account_id: UUID) -> int:
    """Return how many of an account's jobs are not over."""
    statement = Statement()
    reach = statement.within(door.reach, account="account_id", reseller="reseller_id")
    statement.text = (
        f"SELECT count(*) AS jobs FROM job WHERE account_id = {statement.bind(account_id)}"
        f" AND finished_at IS NULL AND {reach}"
    )
    row = await door.one(statement)
    return 0 if row is None else int(row["jobs"])


async def change_job(door: Door, job_id: UUID, changes: dict[str, Any]) -> Job:
    """Change some columns of a job whose row is held, and nothing else.

    Args:
        door: An open door.
        job_id: Its id.
        changes: Values by column, from the code's own names.

    Raises:
        NotFound: If it is not within reach.
    """
    statement = Statement()
    settings = ", ".join(f"{column} = {statement.bind(value)}" for column, value in changes.items())
    reach = statement.within(door.reach, account="account_id", reseller="reseller_id")
    statement.text = (
        f"UPDATE job SET {settings} WHERE id = {statement.bind(job_id)} AND {reach} RETURNING *"
    )
    row = await door.one(statement)
    if row is None:
        raise NotFound("There is no such job.")
    return Job.from_row(row)


async def list_jobs(door: Door, page: PageRequest) -> Page[Job]:
    """Return one page of the jobs within reach, the newest first: ids sort by their time."""
    statement = Statement()
    conditions = [
        statement.within(door.reach, account="account_id", reseller="reseller_id", as_range=True)
    ]
    if page.after is not None:
        cursor = Cursor.decode(page.after, "jobs")
        conditions.append(f"id < {statement.bind(cursor.id)}")
    statement.text = (
        f"SELECT * FROM job WHERE {' AND '.join(conditions)}"
        f" ORDER BY id DESC LIMIT {statement.bind(page.first + 1)}"
    )
    rows = await door.query(statement)
    jobs = [Job.from_row(row) for row in rows[: page.first]]
    return Page(
        items=jobs,
        cursors=[Cursor("jobs", "", job.id).encode() for job in jobs],
        has_next=len(rows) > page.first,
    )


async def list_items_of_jobs(
    door: Door, job_ids: list[UUID], page: PageRequest, *, state: JobItemState | None = None
) -> dict[UUID, Page[JobItem]]:
    """Return one page of the items of each of some jobs, by token, in one query.

    What is not within reach is left out.

    Args:
        door: An open door.
        job_ids: The jobs.
        page: The same place in each.
        state: Those of one outcome alone; None is all.
    """
    statement = Statement()
    wanted = statement.bind(job_ids)
    conditions = [statement.within(door.reach, account="i.account_id", reseller="i.reseller_id")]
    if state is not None:
        conditions.append(f"i.state = {statement.bind(state.value)}")
    name = f"items:{state or ''}"
    if page.after is not None:
        conditions.append(f"i.token_id > {statement.bind(Cursor.decode(page.after, name).id)}")
    statement.text = (
        f"SELECT each.* FROM unnest({wanted}::uuid[]) AS j(id) CROSS JOIN LATERAL ("
        f"SELECT i.* FROM job_item i WHERE i.job_id = j.id AND {' AND '.join(conditions)}"
        f" ORDER BY i.token_id LIMIT {statement.bind(page.first + 1)}) each"
        " ORDER BY each.job_id, each.token_id"
    )
    found: dict[UUID, list[JobItem]] = {job_id: [] for job_id in job_ids}
    for row in await door.query(statement):
        found[as_uuid(row["job_id"])].append(JobItem.from_row(row))
    return {job_id: _page(items, page.first, name) for job_id, items in found.items()}


def _page(items: list[JobItem], first: int, name: str) -> Page[JobItem]:
    shown = items[:first]
    return Page(
        items=shown,
        cursors=[Cursor(name, "", item.token_id).encode() for item in shown],
        has_next=len(items) > first,
    )


async def settle_items(
    door: Door, job_id: UUID, outcomes: list[tuple[UUID, JobItemState, str | None]]
) -> int:
    """Write down what became of some items of a job that is held; return how many.

    Args:
        door: An open door.
        job_id: The job.
        outcomes: Token, final state and, where it has one, the code of the reason.
    """
    statement = Statement()
    columns = [
        f"{statement.bind(list(values))}::{kind}[]"
        for values, kind in zip(zip(*outcomes, strict=True), ("uuid", "text", "text"), strict=True)
    ]
    reach = statement.within(door.reach, account="i.account_id", reseller="i.reseller_id")
    statement.text = (
        "UPDATE job_item i SET state = o.state, error_code = o.error_code"
        f" FROM unnest({', '.join(columns)}) AS o (token_id, state, error_code)"
        f" WHERE i.job_id = {statement.bind(job_id)} AND i.token_id = o.token_id"
        f" AND i.state = 'PENDING' AND {reach} RETURNING i.id"
    )
    return len(await door.query(statement))


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """The credential that a job was made with, and its person, as they are now.

    Attributes:
        scopes: Those of the credential, not capped yet.
        is_withdrawn: Whether it was revoked or suspended. A session that its person has left, or
            that time has ended, was not: the job goes on.
        role: The person's, where it was a session.
        is_disabled: Whether that person was removed.
    """

    kind: CredentialKind
    scopes: tuple[str, ...]
    is_withdrawn: bool
    role: Role | None
    is_disabled: bool


async def find_authority(door: Door, job: Job) -> Authority | None:
    """Return the credential behind a job within reach, or None where there is none any more."""
    statement = Statement()
    reach = statement.within(door.reach, account="t.account_id", reseller="t.reseller_id")
    statement.text = (
        "SELECT t.kind, t.scopes, t.suspended_at IS NOT NULL OR (t.revoked_at IS NOT NULL"
        " AND t.revocation_reason <> 'SIGNED_OUT') AS is_withdrawn, m.role,"
        " m.disabled_at IS NOT NULL AS is_disabled FROM api_token t LEFT JOIN member m"
        " ON m.id = t.member_id AND t.kind = 'SESSION'"
        f" WHERE t.id = {statement.bind(job.actor_token_id)}"
        f" AND t.account_id = {statement.bind(job.account_id)} AND {reach}"
    )
    row = await door.one(statement)
    if row is None:
        return None
    return Authority(
        kind=CredentialKind(row["kind"]),
        scopes=tuple(row["scopes"]),
        is_withdrawn=row["is_withdrawn"],
        role=row["role"] and Role(row["role"]),
        is_disabled=row["is_disabled"],
    )
