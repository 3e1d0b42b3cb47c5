"""A secret that was used after its retirement: refused, flagged, and told once."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import asyncpg
import pytest
from conftest import FrozenClock
from factories import Platform, make_token
from strategies import record

from service.access.system import system_record_reuses
from service.access.tokens import Token
from service.cache import hot_client
from service.composition import Service
from service.usage import KEY, UsageBuffer, flush_usage
from service.validator import Validator
from service.verdict import Record, Status

ADDRESS = ip_address("192.0.2.1")
NOON = datetime(2030, 1, 15, 12, 0, tzinfo=UTC)

Flags = tuple[datetime | None, str | None]


@pytest.fixture
async def token(service: Service, platform: Platform) -> Token:
    return (await make_token(service, platform.customer)).token


@pytest.fixture
async def known(owner: asyncpg.Connection, token: Token) -> Record:
    secret_id = await owner.fetchval("SELECT id FROM secret WHERE token_id = $1", token.id)
    return replace(record(), token_id=token.id, secret_id=secret_id)


async def rotate(owner: asyncpg.Connection, token: Token, *, retires_at: datetime) -> None:
    """Give a token another secret, which nobody knows, beside its own."""
    query = "UPDATE secret SET retires_at = $2 WHERE token_id = $1 AND retires_at IS NULL"
    await owner.execute(query, token.id, retires_at)
    await owner.execute(
        "INSERT INTO secret (id, account_id, reseller_id, token_id, digest, pepper_id, prefix,"
        " last_four, created_at) SELECT gen_random_uuid(), account_id, reseller_id, token_id,"
        " sha256(digest), pepper_id, prefix, 'next', created_at FROM secret"
        " WHERE token_id = $1",
        token.id,
    )


async def flags(owner: asyncpg.Connection, token: Token) -> dict[str, Flags]:
    """Return when and from where each of a token's secrets was reused, by its last four."""
    query = "SELECT last_four, reused_at, reused_address FROM secret WHERE token_id = $1"
    found = await owner.fetch(query, token.id)
    return {row["last_four"]: (row["reused_at"], row["reused_address"]) for row in found}


async def told(owner: asyncpg.Connection) -> list[dict[str, object]]:
    query = "SELECT * FROM audit_event WHERE action = 'token.secret_reused'"
    return [dict(row) for row in await owner.fetch(query)]


async def last_used_at(owner: asyncpg.Connection, token: Token) -> datetime | None:
    query = "SELECT last_used_at FROM api_token WHERE id = $1"
    found: datetime | None = await owner.fetchval(query, token.id)
    return found


async def use(validator: Validator, service: Service, secret: str, address: str) -> Status:
    """Check a secret, and have what came of it flushed to the database."""
    verdict = await validator.check(secret, address=ip_address(address))
    await validator.usage.hand_on(service.cache.redis)
    await flush_usage(service.cache.redis)
    return verdict.status


async def test_a_retired_secret_that_is_used_is_expired_and_recorded_and_told_once(
    service: Service,
    platform: Platform,
    owner: asyncpg.Connection,
    validator: Validator,
    clock: FrozenClock,
) -> None:
    created = await make_token(service, platform.customer)
    token, old = created.token, created.token.last_four
    retired_at = clock.now() + timedelta(minutes=5)
    await rotate(owner, token, retires_at=retired_at)
    clock.advance(minutes=5)

    assert await use(validator, service, created.secret, "192.0.2.1") is Status.EXPIRED
    assert (await flags(owner, token))[old] == (retired_at, "192.0.2.1")
    clock.advance(minutes=1)
    assert await use(validator, service, created.secret, "198.51.100.9") is Status.EXPIRED

    found = await flags(owner, token)
    assert found == {old: (clock.now(), "198.51.100.9"), "next": (None, None)}
    [event] = await told(owner)
    customer = platform.customer
    assert (event["subject_id"], event["occurred_at"]) == (token.id, retired_at)
    assert (event["account_id"], event["reseller_id"]) == (
        customer.account_id,
        customer.reseller_id,
    )
    assert (event["address"], event["actor_account_id"]) == ("192.0.2.1", None)
    assert event["details"] == f'{{"lastFour": "{old}"}}'
    assert await last_used_at(owner, token) is None


async def test_the_use_of_a_secret_that_is_still_retiring_is_an_ordinary_use(
    service: Service,
    platform: Platform,
    owner: asyncpg.Connection,
    validator: Validator,
    clock: FrozenClock,
) -> None:
    created = await make_token(service, platform.customer)
    await rotate(owner, created.token, retires_at=clock.now() + timedelta(minutes=5))
    clock.advance(minutes=5, microseconds=-1000)

    assert await use(validator, service, created.secret, "192.0.2.1") is Status.VALID

    assert set((await flags(owner, created.token)).values()) == {(None, None)}
    assert await told(owner) == []
    assert await last_used_at(owner, created.token) == clock.now()


@pytest.mark.parametrize("ended", ["revoked", "expired", "never replaced"])
async def test_the_use_of_what_has_ended_as_a_whole_is_no_reuse(
    service: Service,
    platform: Platform,
    owner: asyncpg.Connection,
    validator: Validator,
    clock: FrozenClock,
    ended: str,
) -> None:
    soon = clock.now() + timedelta(minutes=10)
    created = await make_token(service, platform.customer, expires_at=soon)
    if ended != "never replaced":
        await rotate(owner, created.token, retires_at=clock.now() + timedelta(minutes=5))
    if ended == "revoked":
        await service.tokens.revoke(platform.customer, created.token.id)
    clock.advance(minutes=6 if ended == "revoked" else 10)

    expected = Status.REVOKED if ended == "revoked" else Status.EXPIRED
    assert await use(validator, service, created.secret, "192.0.2.1") is expected

    assert set((await flags(owner, created.token)).values()) == {(None, None)}
    assert await told(owner) == []


async def test_a_look_at_a_retired_secret_that_is_no_use_is_no_reuse(
    service: Service,
    platform: Platform,
    owner: asyncpg.Connection,
    validator: Validator,
    clock: FrozenClock,
) -> None:
    created = await make_token(service, platform.customer)
    await rotate(owner, created.token, retires_at=clock.now())

    verdict = await validator.check(created.secret, is_use=False)
    await validator.usage.hand_on(service.cache.redis)

    assert verdict.status is Status.EXPIRED
    assert await flush_usage(service.cache.redis) == 0


async def test_reuses_told_late_twice_and_at_once_move_forward_alone_and_are_told_once(
    owner: asyncpg.Connection, token: Token, known: Record
) -> None:
    await rotate(owner, token, retires_at=NOON)
    instants = [NOON + timedelta(minutes=minutes) for minutes in (5, 3, 5, 1, 4)]

    await asyncio.gather(
        *(system_record_reuses([(known.secret_id, instant, None)]) for instant in instants)
    )
    await system_record_reuses([(known.secret_id, NOON - timedelta(seconds=1), "192.0.2.1")])

    assert (await flags(owner, token))[token.last_four] == (max(instants), None)
    assert len(await told(owner)) == 1


async def test_a_reuse_is_kept_while_redis_is_away(
    service: Service, owner: asyncpg.Connection, token: Token, known: Record
) -> None:
    await rotate(owner, token, retires_at=NOON)
    buffer = UsageBuffer()
    buffer.note_reuse(known, NOON + timedelta(minutes=1), ADDRESS)

    await buffer.hand_on(hot_client("redis://127.0.0.1:1"))
    await buffer.hand_on(service.cache.redis)

    assert await flush_usage(service.cache.redis) == 1
    found = (await flags(owner, token))[token.last_four]
    assert found == (NOON + timedelta(minutes=1), "192.0.2.1")


@pytest.mark.parametrize("name", [b"!", b"no id!", b"\xff!", b"!!"])
async def test_a_reuse_that_no_validator_wrote_holds_up_no_other(
    service: Service, owner: asyncpg.Connection, token: Token, known: Record, name: bytes
) -> None:
    await rotate(owner, token, retires_at=NOON)
    buffer = UsageBuffer()
    buffer.note_reuse(known, NOON, ADDRESS)
    await buffer.hand_on(service.cache.redis)
    await service.cache.redis.hset(KEY, name, b"1894708800000 192.0.2.1")

    assert await flush_usage(service.cache.redis) == 1

    assert (await flags(owner, token))[token.last_four] == (NOON, "192.0.2.1")
    assert await service.cache.redis.keys(f"{KEY}*") == []
