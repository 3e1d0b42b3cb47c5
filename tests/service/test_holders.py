"""What a holder's secret ends and what it does not, for one or for a thousand."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import asyncpg
import pytest
from conftest import FrozenClock
from edge_scene import fingerprint
from factories import Platform, make_token
from stores import eventually, one_row

from service.clock import new_id
from service.composition import Service, compose
from service.secret_format import make_secret
from service.settings import DEVELOPMENT_PEPPER, Settings, read_settings
from service.tokens import Created, RevocationReason
from service.validator import Validator
from service.verdict import Status


async def revoke(service: Service, *secrets: str) -> None:
    await service.holders.revoke(
        secrets, reason=RevocationReason.LEAKED, address="192.0.2.7", request_id=None
    )


async def statuses(validator: Validator, *secrets: str) -> list[Status]:
    return [(await validator.check(secret)).status for secret in secrets]


async def make_many(
    owner: asyncpg.Connection, service: Service, platform: Platform, count: int
) -> list[str]:
    """Create tokens of the customer's in bulk; return their secrets."""
    actor, now = platform.customer, service.clock.now()
    made = [(new_id(), make_secret("live", service.settings.pepper_keys)) for _ in range(count)]
    whose = (actor.account_id, actor.reseller_id, now)
    await owner.executemany(
        "INSERT INTO api_token (id, account_id, reseller_id, created_at, kind, name, scopes,"
        " allowed_ip_ranges, version)"
        " VALUES ($1, $2, $3, $4, 'API_TOKEN', $1::uuid::text, '{dns:read}', '{}', 1)",
        [(token_id, *whose) for token_id, _ in made],
    )
    await owner.executemany(
        "INSERT INTO secret (id, token_id, account_id, reseller_id, created_at, digest,"
        " pepper_id, prefix, last_four) VALUES ($1, $1, $2, $3, $4, $5, 1, 'tw_live_', 'last')",
        [(token_id, *whose, secret.digest) for token_id, secret in made],
    )
    return [secret.text for _, secret in made]


async def renew(
    owner: asyncpg.Connection, service: Service, token: Created, retires_at: datetime
) -> str:
    """Give a token another secret, and its first one an end; return the new one."""
    secret = make_secret("live", service.settings.pepper_keys)
    await owner.execute(
        "UPDATE secret SET retires_at = $2 WHERE token_id = $1", token.token.id, retires_at
    )
    await owner.execute(
        "INSERT INTO secret (id, token_id, account_id, reseller_id, digest, pepper_id, prefix,"
        " last_four, created_at) SELECT $1, token_id, account_id, reseller_id, $2, pepper_id,"
        " prefix, last_four, created_at FROM secret WHERE token_id = $3",
        new_id(),
        secret.digest,
        token.token.id,
    )
    return secret.text


@contextmanager
def counted() -> Iterator[list[str]]:
    """Gather what Tortoise's client says it sends: every statement but BEGIN and COMMIT."""
    statements: list[str] = []
    logger = logging.getLogger("tortoise.db_client")
    level, propagate = logger.level, logger.propagate
    handler = logging.Handler()
    handler.emit = lambda record: statements.append(record.getMessage())  # type: ignore[method-assign] # that is all of it
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        yield statements
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


async def test_what_has_ended_stays_as_it_is(
    service: Service, platform: Platform, clock: FrozenClock, owner: asyncpg.Connection
) -> None:
    revoked = await make_token(service, platform.customer)
    await service.tokens.revoke(platform.customer, revoked.token.id, reason=RevocationReason.POLICY)
    soon = clock.now() + timedelta(minutes=1)
    expired = await make_token(service, platform.customer, expires_at=soon)
    renewed = await make_token(service, platform.customer)
    await renew(owner, service, renewed, soon)
    unknown = make_secret("live", service.settings.pepper_keys)
    clock.advance(minutes=1)
    before = await fingerprint(owner)

    await revoke(service, revoked.secret, expired.secret, renewed.secret, unknown.text)

    assert await fingerprint(owner) == before


@pytest.mark.parametrize("end", ["expiry", "retirement"])
async def test_a_secret_is_live_until_the_instant_of_its_end(
    end: str,
    service: Service,
    platform: Platform,
    clock: FrozenClock,
    owner: asyncpg.Connection,
) -> None:
    ends_at = clock.now() + timedelta(minutes=1)
    expires_at = ends_at if end == "expiry" else None
    early, late = [
        await make_token(service, platform.customer, expires_at=expires_at) for _ in range(2)
    ]
    if end == "retirement":
        for token in (early, late):
            await renew(owner, service, token, ends_at)

    clock.advance(seconds=59, milliseconds=999)
    await revoke(service, early.secret)
    before = await fingerprint(owner)
    clock.advance(milliseconds=1)
    await revoke(service, late.secret)

    row = await one_row(owner, "SELECT * FROM api_token WHERE id = $1", early.token.id)
    assert row["revoked_at"] == ends_at - timedelta(milliseconds=1)
    assert await fingerprint(owner) == before


async def test_what_may_be_used_again_or_later_or_elsewhere_can_be_ended_now(
    service: Service,
    platform: Platform,
    validator: Validator,
    clock: FrozenClock,
    owner: asyncpg.Connection,
) -> None:
    suspended = await make_token(service, platform.customer)
    await service.tokens.suspend(platform.customer, suspended.token.id)
    later = clock.now() + timedelta(days=1)
    pending = await make_token(service, platform.customer, not_before=later)
    elsewhere = await make_token(service, platform.customer, allowed_ip_ranges=("198.51.100.0/24",))
    below = await make_token(service, platform.stranger)
    await owner.execute(
        "UPDATE account SET suspended_at = now() WHERE id = $1",
        platform.other_reseller.account_id,
    )
    secrets = [token.secret for token in (suspended, pending, elsewhere, below)]
    assert Status.VALID not in await statuses(validator, *secrets)

    await revoke(service, *secrets)

    assert await owner.fetchval(
        "SELECT count(*) FROM api_token WHERE revoked_at = $1", clock.now()
    ) == len(secrets)


@pytest.mark.parametrize("which", [0, 1])
async def test_either_live_secret_of_a_token_ends_both(
    which: int,
    service: Service,
    platform: Platform,
    validator: Validator,
    clock: FrozenClock,
    owner: asyncpg.Connection,
) -> None:
    token = await make_token(service, platform.customer)
    secrets = [
        token.secret,
        await renew(owner, service, token, clock.now() + timedelta(hours=1)),
    ]
    assert await statuses(validator, *secrets) == [Status.VALID] * 2

    await revoke(service, secrets[which])

    assert await owner.fetchval("SELECT count(*) FROM outbox_event") == 2
    row = await one_row(owner, "SELECT * FROM api_token WHERE id = $1", token.token.id)
    assert (row["revoked_at"], row["revocation_reason"]) == (clock.now(), "LEAKED")


async def test_a_rotation_that_comes_first_leaves_a_retired_secret_nothing_to_end(
    service: Service, platform: Platform, clock: FrozenClock, owner: asyncpg.Connection
) -> None:
    """Whoever waits for the row sees what became of it, and not what it was."""
    token = await make_token(service, platform.customer)
    holding = owner.transaction()
    await holding.start()
    await owner.fetch("SELECT FROM api_token WHERE id = $1 FOR NO KEY UPDATE", token.token.id)
    revoking = asyncio.create_task(revoke(service, token.secret))

    async def waits() -> bool:
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"
        return bool(await owner.fetchval(waiting))

    await eventually(waits, seconds=5)
    await renew(owner, service, token, clock.now())
    await holding.commit()
    await revoking

    row = await one_row(owner, "SELECT * FROM api_token WHERE id = $1", token.token.id)
    assert (row["revoked_at"], row["version"]) == (None, 1)
    assert await owner.fetchval("SELECT count(*) FROM outbox_event") == 0


async def test_a_secret_under_any_pepper_is_found(
    service: Service, platform: Platform, settings: Settings, owner: asyncpg.Connection
) -> None:
    token = await make_token(service, platform.customer)
    addresses = ("database_url", "redis_url", "broker_url")
    turned = read_settings(
        environment="test",
        peppers=f"2:{'n' * 32},{DEVELOPMENT_PEPPER}",
        **{name: getattr(settings, name) for name in addresses},
    )
    later = compose(turned, service.cache, service.clock, passwords=service.accounts.passwords)

    await revoke(later, token.secret)

    row = await one_row(owner, "SELECT * FROM api_token WHERE id = $1", token.token.id)
    assert row["revoked_at"] == service.clock.now()


async def test_a_thousand_secrets_cost_as_many_statements_as_one(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    one, *many = await make_many(owner, service, platform, 1_001)

    with counted() as single:
        await revoke(service, one)
    with counted() as batch:
        await revoke(service, *many)

    assert len(single) == len(batch), batch
    live = "SELECT count(*) FROM api_token WHERE revoked_at IS NULL AND kind = 'API_TOKEN'"
    assert await owner.fetchval(live) == 0


async def test_batches_side_by_side_wait_for_each_other_and_tell_each_end_once(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    secrets = await make_many(owner, service, platform, 40)

    await asyncio.gather(
        *(revoke(service, *(secrets if n % 2 else secrets[::-1])) for n in range(6)),
        *(revoke(service, secret) for secret in secrets[:10]),
    )

    told = await owner.fetch("SELECT * FROM audit_event WHERE action = 'token.revoked'")
    assert len(told) == len({event["subject_id"] for event in told}) == len(secrets)
