"""What the door's functions of jobs and selections give away, for test_access.py."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

from access_scene import Foreign

from service.access import jobs, selections
from service.access.door import Door
from service.access.jobs import JobItemState
from service.access.selections import Selection
from service.access.tokens import TokenFilter
from service.paging import PageRequest


async def list_jobs(door: Door, it: Foreign) -> object:
    page = await jobs.list_jobs(door, PageRequest(100))
    return [job for job in page.items if job.id == it.job.id]


async def list_items_of_jobs(door: Door, it: Foreign) -> object:
    pages = await jobs.list_items_of_jobs(door, [it.job.id], PageRequest(100))
    return pages[it.job.id].items


async def preview_selection(door: Door, it: Foreign) -> object:
    preview = await selections.preview_selection(
        door, named(it), now=it.now, counted_max=9, sample_size=9
    )
    assert preview.count == preview.accounts == len(preview.sample_ids)
    return preview.sample_ids


async def insert_items(door: Door, it: Foreign) -> object:
    chosen = Selection(only=TokenFilter(account_id=it.account_id))
    return await selections.insert_items(door, it.empty_job_id, chosen, now=it.now, most=9)


def named(it: Foreign) -> Selection:
    return Selection(ids=(it.token_id,))


REACHING: dict[str, Callable[[Door, Foreign], Awaitable[object]]] = {
    "find_job": lambda door, it: jobs.find_job(door, it.job.id),
    "find_jobs": lambda door, it: jobs.find_jobs(door, [it.job.id]),
    "lock_job": lambda door, it: jobs.lock_job(door, it.job.id),
    "claim_job": lambda door, it: jobs.claim_job(door, it.job.id),
    "find_requested_job": lambda door, it: jobs.find_requested_job(
        door, it.account_id, "a-key-of-theirs"
    ),
    "count_unfinished_jobs": lambda door, it: jobs.count_unfinished_jobs(door, it.account_id),
    "change_job": lambda door, it: jobs.change_job(door, it.job.id, {"due_at": it.now}),
    "list_jobs": list_jobs,
    "list_items_of_jobs": list_items_of_jobs,
    "settle_items": lambda door, it: jobs.settle_items(
        door, it.job.id, [(it.token_id, JobItemState.SUCCEEDED, None)]
    ),
    "find_authority": lambda door, it: jobs.find_authority(door, it.job),
    "find_selected_ids": lambda door, it: selections.find_selected_ids(door, named(it), now=it.now),
    "preview_selection": preview_selection,
    "insert_items": insert_items,
    "pending_tokens": lambda door, it: selections.pending_tokens(door, it.job.id, limit=9),
    "lock_targets": lambda door, it: selections.lock_targets(door, [it.token_id]),
    "change_tokens": lambda door, it: selections.change_tokens(
        door, [it.token_id], {"suspended_at": it.now}
    ),
    "extend_tokens": lambda door, it: selections.extend_tokens(
        door, {it.token_id: it.now + timedelta(days=300)}
    ),
    "digests_of_tokens": lambda door, it: selections.digests_of_tokens(door, [it.token_id]),
}

INSERTING = {"insert_job"}
