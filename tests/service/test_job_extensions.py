"""Many tokens are extended by a person alone, each no further than a single one would be."""

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from conftest import FrozenClock
from edge_scene import fingerprint
from factories import Platform, actor_of, make_customer, make_token
from job_scene import EVERY, begin, ids_of, job_of, make_tokens, outcomes, told

from service.access.jobs import JobKind
from service.composition import Service, compose
from service.errors import Forbidden, InvalidInput, PasswordRequired
from service.policy_rules import PolicyRule
from service.validator import Validator
from service.verdict import Status

EXTEND = JobKind.EXTEND


async def expiry_of(owner: asyncpg.Connection, token_id: object) -> datetime:
    found = await owner.fetchval("SELECT expires_at FROM api_token WHERE id = $1", token_id)
    assert isinstance(found, datetime)
    return found


async def test_tokens_live_longer_at_every_validator_and_it_is_told_as_a_widening(
    service: Service,
    platform: Platform,
    owner: asyncpg.Connection,
    clock: FrozenClock,
    validator: Validator,
) -> None:
    token = await make_token(service, platform.customer)
    assert token.token.expires_at is not None
    assert (await validator.check(token.secret)).status is Status.VALID

    job = await begin(service, platform.customer, EXTEND, token.token.id, by_days=10)
    await service.job_runs.run_due()
    clock.advance(days=39)

    assert await outcomes(owner, job.id) == {("SUCCEEDED", None): 1}
    assert (await validator.check(token.secret)).status is Status.VALID
    [event] = await told(owner, "token.widened")
    assert str(token.token.expires_at) in event["details"]
    assert str(await expiry_of(owner, token.token.id)) in event["details"]


async def test_by_an_instant_only_those_are_extended_that_end_before_it(
    service: Service, platform: Platform, owner: asyncpg.Connection, clock: FrozenClock
) -> None:
    to = clock.now() + timedelta(days=20)
    spans = (10, 20, 30)
    tokens = [
        await make_token(service, platform.customer, expires_at=clock.now() + timedelta(days=days))
        for days in spans
    ]
    tokens.append(await make_token(service, platform.customer, expires_at=None))

    job = await begin(
        service, platform.customer, EXTEND, only=EVERY, expected_count=4, expires_at=to
    )
    await service.job_runs.run_due()

    assert await outcomes(owner, job.id) == {("SUCCEEDED", None): 1, ("SKIPPED", None): 3}
    assert [await expiry_of(owner, made.token.id) for made in tokens[:3]] == [
        to,
        to,
        clock.now() + timedelta(days=30),
    ]


async def test_what_has_ended_is_never_revived(
    service: Service, platform: Platform, owner: asyncpg.Connection, clock: FrozenClock
) -> None:
    revoked, expired, swept = [
        await make_token(service, platform.customer, expires_at=clock.now() + timedelta(minutes=5))
        for _ in range(3)
    ]
    job = await begin(
        service, platform.customer, EXTEND, *ids_of([revoked, expired, swept]), by_days=1
    )
    await service.tokens.revoke(platform.customer, revoked.token.id)
    # By the clock of a sweep that is ahead of ours.
    await owner.execute("UPDATE api_token SET swept_at = expires_at WHERE id = $1", swept.token.id)
    await owner.execute(
        "UPDATE api_token SET expires_at = $2 WHERE id = $1", expired.token.id, clock.now()
    )

    await service.job_runs.run_due()

    assert await outcomes(owner, job.id) == {("SKIPPED", "TOKEN_ENDED"): 3}
    assert await told(owner, "token.widened") == []


async def test_each_token_is_held_to_its_own_limits(
    service: Service, platform: Platform, owner: asyncpg.Connection, clock: FrozenClock
) -> None:
    limited = compose(
        service.settings.model_copy(update={"max_lifetime_days": 40}), service.cache, clock
    )
    near = await make_token(service, platform.customer, expires_at=clock.now() + timedelta(days=30))
    far = await make_token(service, platform.customer, expires_at=clock.now() + timedelta(days=31))
    idle = await make_customer(service, platform.reseller)
    theirs = await make_token(service, idle)
    end = datetime(9999, 12, 31, tzinfo=UTC)
    last = await make_token(service, platform.customer, expires_at=end)
    await service.accounts.suspend(platform.reseller, idle.account_id)

    job = await begin(
        service,
        platform.reseller,
        EXTEND,
        *ids_of([near, far, theirs, last]),
        by_days=10,
    )
    await limited.job_runs.run_due()

    assert await outcomes(owner, job.id) == {
        ("SUCCEEDED", None): 1,
        ("FAILED", "INVALID_INPUT"): 2,
        ("FAILED", "ACCOUNT_INACTIVE"): 1,
    }
    assert await expiry_of(owner, near.token.id) == clock.now() + timedelta(days=40)
    assert await expiry_of(owner, far.token.id) == clock.now() + timedelta(days=31)


async def test_what_policies_forbid_is_told_token_by_token(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    short = await make_token(service, platform.customer)
    theirs = await make_token(service, platform.sibling)
    own = await make_token(service, platform.reseller)
    await service.policies.set(platform.customer, None, {PolicyRule.MAX_LIFETIME_DAYS: 31})
    await service.policies.set(platform.sibling, None, {PolicyRule.ALLOWS_DELEGATION: False})

    job = await begin(service, platform.reseller, EXTEND, *ids_of([short, theirs, own]), by_days=10)
    await service.job_runs.run_due()

    assert await outcomes(owner, job.id) == {
        ("SUCCEEDED", None): 1,
        ("FAILED", "POLICY_VIOLATION"): 1,
        ("FAILED", "DELEGATION_REFUSED"): 1,
    }
    revoke = await begin(service, platform.reseller, JobKind.REVOKE, theirs.token.id)
    await service.job_runs.run_due()
    assert await outcomes(owner, revoke.id) == {("SUCCEEDED", None): 1}


async def test_nobody_extends_a_token_that_may_do_what_they_may_not(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    wide = await make_token(service, platform.customer, scopes=("*",))
    narrow = await make_token(service, platform.customer)
    job = await begin(service, platform.customer, EXTEND, *ids_of([wide, narrow]), by_days=1)
    await owner.execute(
        "UPDATE member SET role = 'MANAGER' WHERE id = $1", platform.customer.member_id
    )

    await service.job_runs.run_due()

    assert await outcomes(owner, job.id) == {
        ("SUCCEEDED", None): 1,
        ("FAILED", "SCOPE_NOT_GRANTABLE"): 1,
    }


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "expiresAt"),
        ({"by_days": 1, "expires_at": datetime(2031, 1, 1, tzinfo=UTC)}, "expiresAt"),
        ({"by_days": 0}, "byDays"),
        ({"by_days": -1}, "byDays"),
        ({"by_days": 3_651}, "byDays"),
        ({"expires_at": datetime(2029, 1, 1, tzinfo=UTC)}, "expiresAt"),
        ({"expires_at": datetime(2031, 1, 1)}, "expiresAt"),  # noqa: DTZ001 - that it has no zone is the point
    ],
)
async def test_a_senseless_extension_is_refused(
    fields: dict[str, Any],
    field: str,
    service: Service,
    platform: Platform,
    owner: asyncpg.Connection,
) -> None:
    token = await make_token(service, platform.customer)
    before = await fingerprint(owner)

    with pytest.raises(InvalidInput) as refused:
        await begin(service, platform.customer, EXTEND, token.token.id, **fields)

    assert refused.value.field == field
    assert await fingerprint(owner) == before


async def test_only_a_person_who_entered_the_password_lately_extends(
    service: Service, platform: Platform, owner: asyncpg.Connection, clock: FrozenClock
) -> None:
    [token] = await make_tokens(service, platform.customer, 1)
    program = await make_token(service, platform.customer, scopes=("tokens:*", "dns:read"))
    actor = await actor_of(service, program.secret)
    wanted = job_of(EXTEND, token.token.id, by_days=1)
    clock.advance(minutes=10)
    before = await fingerprint(owner)

    with pytest.raises(PasswordRequired):
        await service.jobs.begin(platform.customer, wanted)
    with pytest.raises(Forbidden):
        await service.jobs.begin(actor, wanted)

    assert await fingerprint(owner) == before
    assert (await service.jobs.preview(actor, wanted)).preview.count == 1
