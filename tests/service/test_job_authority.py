"""A job goes on for as long as whoever asked for it may do what it does."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest
from conftest import FrozenClock
from factories import Platform, actor_of, make_token
from job_scene import begin, ids_of, make_tokens, outcomes, told

from service.access.actor import Actor
from service.access.jobs import JobKind, JobState
from service.composition import Service
from service.tokens import TokenChanges

WITHDRAWN = "UNAUTHENTICATED"


async def sign_out(service: Service, platform: Platform, _: asyncpg.Connection) -> None:
    await service.sessions.sign_out(platform.customer)


async def wait_a_day(service: Service, _: Platform, __: asyncpg.Connection) -> None:
    assert isinstance(service.clock, FrozenClock)
    service.clock.advance(days=1)


async def remove_person(_: Service, platform: Platform, owner: asyncpg.Connection) -> None:
    query = "UPDATE member SET disabled_at = now() WHERE id = $1"
    await owner.execute(query, platform.customer.member_id)


async def demote_person(_: Service, platform: Platform, owner: asyncpg.Connection) -> None:
    query = "UPDATE member SET role = 'VIEWER' WHERE id = $1"
    await owner.execute(query, platform.customer.member_id)


async def end_session_for_a_reason(
    _: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    query = "UPDATE api_token SET revoked_at = now(), revocation_reason = 'POLICY' WHERE id = $1"
    await owner.execute(query, platform.customer.token_id)


async def suspend_account(service: Service, platform: Platform, _: asyncpg.Connection) -> None:
    await service.accounts.suspend(platform.reseller, platform.customer.account_id)


async def suspend_reseller(service: Service, platform: Platform, _: asyncpg.Connection) -> None:
    await service.accounts.suspend(platform.operator, platform.reseller.account_id)


Act = Callable[[Service, Platform, asyncpg.Connection], Awaitable[None]]


@pytest.mark.parametrize(
    ("act", "code"),
    [
        (sign_out, None),
        (wait_a_day, None),
        (remove_person, WITHDRAWN),
        (demote_person, "INSUFFICIENT_SCOPE"),
        (end_session_for_a_reason, WITHDRAWN),
        (suspend_account, "ACCOUNT_INACTIVE"),
        (suspend_reseller, "ACCOUNT_INACTIVE"),
    ],
)
async def test_a_persons_job_outlives_the_session_and_not_the_persons_right(
    act: Act, code: str | None, service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    tokens = await make_tokens(service, platform.customer, 2)
    job = await begin(service, platform.customer, JobKind.REVOKE, *ids_of(tokens))

    await act(service, platform, owner)
    await service.job_runs.run_due()

    await assert_came_to(service, platform, owner, job.id, code)


async def assert_came_to(
    service: Service,
    platform: Platform,
    owner: asyncpg.Connection,
    job_id: UUID,
    code: str | None,
) -> None:
    job = await service.jobs.get(platform.operator, job_id)
    stopped = await told(owner, "job.stopped")
    if code is None:
        assert (job.state, job.succeeded) == (JobState.DONE, 2)
        assert stopped == []
    else:
        assert (job.state, job.error_code, job.succeeded) == (JobState.FAILED, code, 0)
        assert await outcomes(owner, job_id) == {("PENDING", None): 2}
        assert [event["subject_id"] for event in stopped] == [job_id]


async def revoke_it(service: Service, actor: Actor, token_id: UUID) -> None:
    await service.tokens.revoke(actor, token_id)


async def suspend_it(service: Service, actor: Actor, token_id: UUID) -> None:
    await service.tokens.suspend(actor, token_id)


async def narrow_it(service: Service, actor: Actor, token_id: UUID) -> None:
    await service.tokens.update(actor, token_id, TokenChanges(scopes=("tokens:read",)))


async def let_it_expire(service: Service, _: Actor, __: UUID) -> None:
    assert isinstance(service.clock, FrozenClock)
    service.clock.advance(hours=1)


@pytest.mark.parametrize(
    ("act", "code"),
    [
        (let_it_expire, None),
        (revoke_it, WITHDRAWN),
        (suspend_it, WITHDRAWN),
        (narrow_it, "INSUFFICIENT_SCOPE"),
    ],
)
async def test_a_tokens_job_stops_when_the_token_is_taken_away(
    act: Callable[[Service, Actor, UUID], Awaitable[None]],
    code: str | None,
    service: Service,
    platform: Platform,
    owner: asyncpg.Connection,
    clock: FrozenClock,
) -> None:
    tokens = await make_tokens(service, platform.customer, 2)
    program = await make_token(
        service,
        platform.customer,
        scopes=("tokens:read", "tokens:write"),
        expires_at=clock.now() + timedelta(hours=1),
    )
    actor = await actor_of(service, program.secret)
    job = await begin(service, actor, JobKind.SUSPEND, *ids_of(tokens))

    await act(service, platform.customer, program.token.id)
    await service.job_runs.run_due()

    await assert_came_to(service, platform, owner, job.id, code)
