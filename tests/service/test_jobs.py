"""A job changes the tokens that were selected when it was made: all of them, once, and no other."""

import asyncio
from datetime import timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest
from conftest import FrozenClock
from edge_scene import fingerprint
from factories import Platform, make_token
from job_scene import EVERY, begin, ids_of, job_of, make_tokens, outcomes, told

from service.access.actor import Actor
from service.access.jobs import JobKind, JobState
from service.access.selections import Selection
from service.access.tokens import TokenFilter
from service.composition import Service
from service.errors import (
    IdempotencyConflict,
    InsufficientScope,
    InvalidInput,
    NotFound,
    SelectionChanged,
    ServiceError,
    TooManyJobs,
)
from service.job_requests import IDS_MAX, ITEMS_MAX, NewJob
from service.jobs import KEPT, UNFINISHED_MAX
from service.paging import PageRequest
from service.validator import Validator
from service.verdict import Status

KEY = "a-key-of-ours"


async def test_a_revoked_selection_is_refused_and_told_token_by_token_in_the_actors_name(
    service: Service, platform: Platform, owner: asyncpg.Connection, validator: Validator
) -> None:
    tokens = await make_tokens(service, platform.customer, 3)
    other = await make_token(service, platform.sibling)
    for made in tokens:
        assert (await validator.check(made.secret)).status is Status.VALID

    job = await begin(service, platform.reseller, JobKind.REVOKE, *ids_of(tokens))
    await service.job_runs.run_due(batch=2)

    for made in tokens:
        assert (await validator.check(made.secret)).status is Status.REVOKED
    assert (await validator.check(other.secret)).status is Status.VALID
    events = await told(owner, "token.revoked")
    assert {event["subject_id"] for event in events} == set(ids_of(tokens))
    assert {event["account_id"] for event in events} == {platform.customer.account_id}
    assert {event["actor_member_id"] for event in events} == {platform.reseller.member_id}
    assert {event["actor_token_id"] for event in events} == {platform.reseller.token_id}
    assert {event["address"] for event in events} == {"192.0.2.7"}
    done = await service.jobs.get(platform.reseller, job.id)
    assert (done.state, done.total, done.succeeded) == (JobState.DONE, 3, 3)
    assert [event["actor_token_id"] for event in await told(owner, "job.finished")] == [
        platform.reseller.token_id
    ]


async def test_what_has_ended_or_is_so_already_is_skipped_and_told_as_no_change(
    service: Service, platform: Platform, owner: asyncpg.Connection, clock: FrozenClock
) -> None:
    live, suspended, revoked = await make_tokens(service, platform.customer, 3)
    soon = clock.now() + timedelta(minutes=1)
    expired = await make_token(service, platform.customer, expires_at=soon)
    await service.tokens.suspend(platform.customer, suspended.token.id)
    await service.tokens.revoke(platform.customer, revoked.token.id)
    clock.advance(minutes=1)

    job = await begin(
        service, platform.customer, JobKind.SUSPEND, *ids_of([live, suspended, revoked, expired])
    )
    await service.job_runs.run_due()

    assert await outcomes(owner, job.id) == {
        ("SUCCEEDED", None): 1,
        ("SKIPPED", None): 1,
        ("SKIPPED", "TOKEN_ENDED"): 2,
    }
    assert len(await told(owner, "token.suspended")) == 2
    job = await begin(service, platform.customer, JobKind.RESUME, only=EVERY, expected_count=9)
    await service.job_runs.run_due()
    assert await outcomes(owner, job.id) == {("SUCCEEDED", None): 2}


async def test_a_token_made_after_the_job_is_not_in_it(
    service: Service, platform: Platform, validator: Validator
) -> None:
    await make_tokens(service, platform.customer, 2)

    job = await begin(service, platform.customer, JobKind.REVOKE, only=EVERY, expected_count=2)
    late = await make_token(service, platform.customer)
    await service.job_runs.run_due()

    assert job.total == 2
    assert (await validator.check(late.secret)).status is Status.VALID


async def test_foreign_ids_read_as_missing_and_are_never_touched(
    service: Service, platform: Platform, owner: asyncpg.Connection, validator: Validator
) -> None:
    own = await make_token(service, platform.customer)
    foreign = [await make_token(service, actor) for actor in (platform.sibling, platform.stranger)]
    missing = uuid4()
    wanted = job_of(JobKind.REVOKE, own.token.id, own.token.id, *ids_of(foreign), missing)

    previewed = await service.jobs.preview(platform.customer, wanted)
    made = await service.jobs.begin(platform.customer, wanted)
    await service.job_runs.run_due()

    for found in (previewed.missing_ids, made.missing_ids):
        assert found == {*ids_of(foreign), missing}
    assert (previewed.preview.count, made.job.total) == (1, 1)
    assert [token.id for token in previewed.sample] == [own.token.id]
    items = await owner.fetch("SELECT token_id, account_id FROM job_item")
    assert [tuple(row) for row in items] == [(own.token.id, platform.customer.account_id)]
    for token in foreign:
        assert (await validator.check(token.secret)).status is Status.VALID


async def test_a_filter_finds_nothing_beyond_the_reach(
    service: Service, platform: Platform
) -> None:
    await make_token(service, platform.customer)
    await make_token(service, platform.stranger)
    named = TokenFilter(account_id=platform.stranger.account_id)

    for only, account_id, count in (
        (EVERY, None, 1),
        (named, None, 0),
        (EVERY, platform.stranger.account_id, 0),
        (TokenFilter(account_id=platform.customer.account_id), platform.sibling.account_id, 0),
    ):
        wanted = job_of(only=only, account_id=account_id, expected_count=9)
        previewed = await service.jobs.preview(platform.reseller, wanted)
        made = await service.jobs.begin(platform.reseller, wanted)
        assert (previewed.preview.count, made.job.total) == (count, count)


async def test_a_dry_run_changes_nothing_and_tells_who_would_notice(
    service: Service, platform: Platform, owner: asyncpg.Connection, clock: FrozenClock
) -> None:
    tokens = await make_tokens(service, platform.customer, 3)
    tokens.append(await make_token(service, platform.sibling))
    await make_token(service, platform.stranger)
    query = "UPDATE api_token SET last_used_at = $2 WHERE id = $1"
    await owner.execute(query, tokens[0].token.id, clock.now() - timedelta(days=7))
    await owner.execute(query, tokens[1].token.id, clock.now() - timedelta(days=8))
    await service.tokens.revoke(platform.customer, tokens[2].token.id)
    before = await fingerprint(owner)

    previewed = await service.jobs.preview(platform.reseller, job_of(only=EVERY))

    preview = previewed.preview
    assert (preview.count, preview.count_is_exact) == (3, True)
    assert (preview.used_recently, preview.accounts) == (1, 2)
    assert [token.id for token in previewed.sample][:2] == ids_of(tokens[:2])
    assert await fingerprint(owner) == before


async def test_a_dry_run_counts_no_further_than_its_bound(
    service: Service, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.jobs.COUNTED_MAX", 2)
    await make_tokens(service, platform.customer, 2)
    exact = await service.jobs.preview(platform.customer, job_of(only=EVERY))

    await make_tokens(service, platform.customer, 2)
    bounded = await service.jobs.preview(platform.customer, job_of(only=EVERY))

    assert (exact.preview.count, exact.preview.count_is_exact) == (2, True)
    assert (bounded.preview.count, bounded.preview.count_is_exact) == (2, False)


async def test_a_selection_that_has_grown_since_the_dry_run_is_refused(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    await make_tokens(service, platform.customer, 2)
    count = (await service.jobs.preview(platform.customer, job_of(only=EVERY))).preview.count
    await make_token(service, platform.customer)
    before = await fingerprint(owner)

    with pytest.raises(SelectionChanged):
        await begin(service, platform.customer, JobKind.REVOKE, only=EVERY, expected_count=count)

    assert await fingerprint(owner) == before
    fewer = await begin(service, platform.customer, JobKind.REVOKE, only=EVERY, expected_count=5)
    assert fewer.total == 3


NAMED = tuple(uuid4() for _ in range(IDS_MAX + 1))


@pytest.mark.parametrize(
    ("selection", "expected_count", "field"),
    [
        (Selection(), None, "selection"),
        (Selection(ids=NAMED[:1], only=EVERY), None, "selection"),
        (Selection(ids=()), None, "ids"),
        (Selection(ids=NAMED), None, "ids"),
        (Selection(only=EVERY), None, "expectedCount"),
        (Selection(only=EVERY), -1, "expectedCount"),
        (Selection(only=EVERY), ITEMS_MAX + 1, "expectedCount"),
    ],
)
async def test_a_senseless_selection_is_refused(
    selection: Selection,
    expected_count: int | None,
    field: str,
    service: Service,
    platform: Platform,
    owner: asyncpg.Connection,
) -> None:
    wanted = NewJob(kind=JobKind.SUSPEND, selection=selection, expected_count=expected_count)
    before = await fingerprint(owner)

    with pytest.raises(InvalidInput) as refused:
        await service.jobs.begin(platform.operator, wanted)

    assert refused.value.field == field
    assert await fingerprint(owner) == before


async def test_a_thousand_ids_are_not_too_many(service: Service, platform: Platform) -> None:
    own = await make_token(service, platform.customer)
    ids = [own.token.id, *(uuid4() for _ in range(IDS_MAX - 1))]

    made = await service.jobs.begin(platform.customer, job_of(JobKind.SUSPEND, *ids))

    assert (made.job.total, len(made.missing_ids)) == (1, 999)


async def test_the_same_key_gives_the_same_job_and_another_request_a_conflict(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    token = await make_token(service, platform.customer)
    wanted = job_of(JobKind.SUSPEND, token.token.id)
    first = await service.jobs.begin(platform.customer, wanted, idempotency_key=KEY)
    await service.job_runs.run_due()
    before = await fingerprint(owner)

    again = await service.jobs.begin(platform.customer, wanted, idempotency_key=KEY)
    with pytest.raises(IdempotencyConflict):
        await service.jobs.begin(
            platform.customer, job_of(JobKind.RESUME, token.token.id), idempotency_key=KEY
        )

    assert again.job.id == first.job.id
    assert await fingerprint(owner) == before
    reseller = await service.jobs.begin(platform.reseller, wanted, idempotency_key=KEY)
    assert reseller.job.id != first.job.id


async def test_an_account_has_no_more_unfinished_jobs_than_it_may(
    service: Service, platform: Platform
) -> None:
    token = await make_token(service, platform.customer)
    jobs = [
        await begin(service, platform.customer, JobKind.SUSPEND, token.token.id)
        for _ in range(UNFINISHED_MAX)
    ]

    with pytest.raises(TooManyJobs):
        await begin(service, platform.customer, JobKind.SUSPEND, token.token.id)

    await begin(service, platform.reseller, JobKind.SUSPEND, token.token.id)
    await service.jobs.cancel(platform.customer, jobs[0].id)
    await begin(service, platform.customer, JobKind.SUSPEND, token.token.id)


async def test_requests_at_once_make_no_more_jobs_than_one_after_the_other(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    token = await make_token(service, platform.customer)
    wanted = job_of(JobKind.SUSPEND, token.token.id)

    same = await asyncio.gather(
        *(service.jobs.begin(platform.customer, wanted, idempotency_key=KEY) for _ in range(5))
    )
    others = await asyncio.gather(
        *(service.jobs.begin(platform.customer, wanted) for _ in range(UNFINISHED_MAX + 2)),
        return_exceptions=True,
    )

    assert len({made.job.id for made in same}) == 1
    refused = [made for made in others if isinstance(made, TooManyJobs)]
    assert len(refused) == 3
    assert await owner.fetchval("SELECT count(*) FROM job") == UNFINISHED_MAX


@pytest.mark.parametrize("stranger", ["sibling", "stranger", "other_reseller"])
async def test_a_foreign_job_reads_as_a_missing_one(
    stranger: str, service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    token = await make_token(service, platform.customer)
    job = await begin(service, platform.customer, JobKind.REVOKE, token.token.id)
    actor: Actor = getattr(platform, stranger)
    before = await fingerprint(owner)

    async def attempts(job_id: UUID) -> list[str]:
        refusals = []
        for use in (service.jobs.get, service.jobs.cancel):
            with pytest.raises(NotFound) as refused:
                await use(actor, job_id)
            refusals.append(refused.value.message)
        with pytest.raises(NotFound) as refused:
            await anext(service.jobs.watch(actor, job_id))
        return [*refusals, refused.value.message]

    assert await attempts(job.id) == await attempts(uuid4())
    assert await service.jobs.get_many(actor, [job.id]) == [None]
    assert (await service.jobs.page(actor, PageRequest(9))).items == []
    [page] = await service.jobs.pages_of_items(actor, [job.id], PageRequest(9))
    assert page.items == []
    assert await fingerprint(owner) == before


async def test_each_use_asks_for_its_scope_before_anything_else(
    service: Service, platform: Platform
) -> None:
    bare = Actor(
        **{
            name: getattr(platform.customer, name)
            for name in Actor.__dataclass_fields__
            if name != "scopes"
        }
    )
    refused: list[ServiceError] = []
    for use in (
        service.jobs.begin(bare, job_of()),
        service.jobs.preview(bare, job_of()),
        service.jobs.cancel(bare, uuid4()),
        service.jobs.get(bare, uuid4()),
        service.jobs.get_many(bare, []),
        service.jobs.page(bare, PageRequest(1)),
        service.jobs.pages_of_items(bare, [], PageRequest(1)),
        anext(service.jobs.watch(bare, uuid4())),
    ):
        with pytest.raises(InsufficientScope) as told_so:
            await use
        refused.append(told_so.value)

    assert len(refused) == 8


async def test_a_watcher_is_told_of_each_step_until_the_end(
    service: Service, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.jobs.WATCH_SECONDS", 0.001)
    tokens = await make_tokens(service, platform.customer, 1)
    job = await begin(service, platform.customer, JobKind.REVOKE, *ids_of(tokens))

    seen = []
    async for news in service.jobs.watch(platform.reseller, job.id):
        seen.append((news.state, news.succeeded))
        await service.job_runs.run_due()

    assert seen == [(JobState.QUEUED, 0), (JobState.DONE, 1)]


async def test_jobs_are_forgotten_a_month_after_their_end_and_no_sooner(
    service: Service, platform: Platform, owner: asyncpg.Connection, clock: FrozenClock
) -> None:
    tokens = await make_tokens(service, platform.customer, 1)
    for _ in range(12):  # more than one statement deletes
        await begin(service, platform.customer, JobKind.SUSPEND, *ids_of(tokens))
        await service.job_runs.run_due()
    waiting = await begin(service, platform.customer, JobKind.RESUME, *ids_of(tokens))

    clock.advance(seconds=KEPT.total_seconds())
    await service.jobs.forget_ended(clock.now())
    assert await owner.fetchval("SELECT count(*) FROM job") == 13
    clock.advance(microseconds=1)
    await service.jobs.forget_ended(clock.now())

    assert await owner.fetchval("SELECT array_agg(id) FROM job") == [waiting.id]
    assert await owner.fetchval("SELECT array_agg(job_id) FROM job_item") == [waiting.id]
