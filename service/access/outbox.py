"""Rows of drops, as those who asked for them may see them."""

from typing import Any
from uuid import UUID

from service.access.door import Door, Statement, as_uuid


async def find_drops(door: Door, receipt_ids: list[UUID]) -> dict[UUID, list[dict[str, Any]]]:
    """Return what lies behind those of some receipts that are within reach, in one query.

    Two rows stand for all drops of a receipt: the first that Redis has confirmed and the last, or
    one that it has not. Rows are forgotten after a day; the receipt of a job, which has the
    job's id, lasts as long as the job, unless that is over and has changed nothing.

    Args:
        door: An open door.
        receipt_ids: The receipts.

    Returns:
        One or two rows each: ``drop_id``, ``committed_at``, ``confirmed_at``, ``epoch`` and
        ``revision``, all None where no drop is left; ``is_job`` and ``finished_at`` of the job.
    """
    statement = Statement()
    ids = statement.bind(receipt_ids)
    reach = statement.within(door.reach, account="account_id", reseller="reseller_id")
    job_reach = statement.within(door.reach, account="j.account_id", reseller="j.reseller_id")
    drops = (
        "SELECT id AS drop_id, committed_at, confirmed_at, epoch, revision FROM outbox_event"
        f" WHERE receipt_id = asked.id AND {reach}"
    )
    statement.text = (
        "SELECT asked.id, j.id IS NOT NULL AS is_job, j.finished_at, d.*"
        f" FROM unnest({ids}::uuid[]) AS asked (id)"
        f" LEFT JOIN job j ON j.id = asked.id AND {job_reach}"
        f" LEFT JOIN LATERAL (({drops} ORDER BY epoch, revision LIMIT 1)"
        f" UNION ALL ({drops} ORDER BY epoch DESC, revision DESC LIMIT 1)) d ON TRUE"
        " WHERE d.drop_id IS NOT NULL"
        " OR (j.id IS NOT NULL AND (j.finished_at IS NULL OR j.succeeded > 0))"
    )
    found: dict[UUID, list[dict[str, Any]]] = {}
    for row in await door.query(statement):
        found.setdefault(as_uuid(row["id"]), []).append(row)
    return found
