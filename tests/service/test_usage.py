"""Last uses: told late perhaps, never backwards, and taken up where a flush was cut short."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import asyncpg
import pytest
from conftest import FrozenClock
from factories import Platform, make_token
from redis.asyncio import Redis
from stores import one_row
from strategies import record

from service.access.tokens import Token
from service.addresses import Address
from service.cache import hot_client
from service.composition import Service
from service.usage import FLUSHING, KEY, UsageBuffer, flush_usage
from service.validator import Validator
from service.verdict import Record

ADDRESS = ip_address("192.0.2.1")
NOON = datetime(2030, 1, 15, 12, 0, tzinfo=UTC)


@pytest.fixture
async def token(service: Service, platform: Platform) -> Token:
    return (await make_token(service, platform.customer)).token


@pytest.fixture
async def known(owner: asyncpg.Connection, token: Token) -> Record:
    secret_id = await owner.fetchval("SELECT id FROM secret WHERE token_id = $1", token.id)
    return replace(record(), token_id=token.id, secret_id=secret_id)


async def note(
    redis: Redis, one: Record, instant: datetime, address: Address | None = ADDRESS
) -> None:
    buffer = UsageBuffer()
    buffer.note(one, instant, address)
    await buffer.hand_on(redis)


async def last_use(owner: asyncpg.Connection, token: Token) -> tuple[object, object, object]:
    row = await one_row(
        owner,
        "SELECT t.last_used_at, t.last_used_address, s.last_used_at AS of_secret"
        " FROM api_token t JOIN secret s ON s.token_id = t.id WHERE t.id = $1",
        token.id,
    )
    return row["last_used_at"], row["last_used_address"], row["of_secret"]


async def test_a_check_that_opens_is_a_use_and_one_that_does_not_is_none(
    service: Service,
    platform: Platform,
    owner: asyncpg.Connection,
    validator: Validator,
    clock: FrozenClock,
) -> None:
    used = await make_token(service, platform.customer)
    refused = await make_token(service, platform.customer, allowed_ip_ranges=("198.51.100.0/24",))

    await validator.check(used.secret, address=ADDRESS)
    await validator.check(refused.secret, address=ADDRESS)
    await validator.check(used.secret, scope="mail:write", address=ip_address("192.0.2.99"))
    await validator.usage.hand_on(service.cache.redis)

    assert await flush_usage(service.cache.redis) == 1
    assert await last_use(owner, used.token) == (clock.now(), "192.0.2.1", clock.now())
    assert await last_use(owner, refused.token) == (None, None, None)
    assert used.token.version == 1
    assert await owner.fetchval("SELECT version FROM api_token WHERE id = $1", used.token.id) == 1
    assert await service.cache.redis.keys(f"{KEY}*") == []


async def test_a_use_never_goes_back(
    service: Service, owner: asyncpg.Connection, token: Token, known: Record
) -> None:
    redis = service.cache.redis
    for minutes, expected in ((5, 5), (3, 5), (5, 5), (6, 6)):
        await note(redis, known, NOON + timedelta(minutes=minutes), ip_address(minutes))
        assert await flush_usage(redis) == 1

        instant = NOON + timedelta(minutes=expected)
        assert await last_use(owner, token) == (instant, f"0.0.0.{expected}", instant)


async def test_a_use_from_nowhere_in_particular_has_no_address(
    service: Service, owner: asyncpg.Connection, token: Token, known: Record
) -> None:
    await note(service.cache.redis, known, NOON, None)
    await flush_usage(service.cache.redis)

    assert await last_use(owner, token) == (NOON, None, NOON)


async def test_what_a_crashed_flush_left_behind_is_taken_up(
    service: Service, owner: asyncpg.Connection, token: Token, known: Record
) -> None:
    redis = service.cache.redis
    await note(redis, known, NOON)
    await redis.rename(KEY, f"{FLUSHING}of-a-process-that-died")

    assert await flush_usage(redis) == 1

    assert (await last_use(owner, token))[0] == NOON
    assert await redis.keys(f"{KEY}*") == []


async def test_flushes_at_once_and_repeated_are_harmless(
    service: Service, owner: asyncpg.Connection, token: Token, known: Record
) -> None:
    redis = service.cache.redis
    await note(redis, known, NOON)
    await redis.rename(KEY, f"{FLUSHING}left")
    await note(redis, known, NOON + timedelta(minutes=1))

    await asyncio.gather(*(flush_usage(redis) for _ in range(5)))

    instant = NOON + timedelta(minutes=1)
    assert await last_use(owner, token) == (instant, "192.0.2.1", instant)
    assert await redis.keys(f"{KEY}*") == []
    assert await flush_usage(redis) == 0


async def test_uses_that_come_during_flushes_are_not_lost(
    service: Service, owner: asyncpg.Connection, token: Token, known: Record
) -> None:
    redis = service.cache.redis
    for minute in range(20):
        await asyncio.gather(
            note(redis, known, NOON + timedelta(minutes=minute)),
            flush_usage(redis),
            flush_usage(redis),
        )
    await flush_usage(redis)

    assert (await last_use(owner, token))[0] == NOON + timedelta(minutes=19)


async def test_without_redis_a_process_keeps_what_it_saw(
    service: Service, owner: asyncpg.Connection, token: Token, known: Record
) -> None:
    buffer = UsageBuffer()
    buffer.note(known, NOON, ADDRESS)
    await buffer.hand_on(hot_client("redis://127.0.0.1:1"))
    await buffer.hand_on(service.cache.redis)
    await buffer.hand_on(service.cache.redis)

    assert await flush_usage(service.cache.redis) == 1
    assert (await last_use(owner, token))[0] == NOON


async def test_a_later_use_wins_over_one_that_could_not_be_handed_on(
    service: Service, owner: asyncpg.Connection, token: Token, known: Record
) -> None:
    buffer = UsageBuffer()
    buffer.note(known, NOON, ADDRESS)
    handing = asyncio.create_task(buffer.hand_on(hot_client("redis://127.0.0.1:1")))
    await asyncio.sleep(0)
    buffer.note(known, NOON + timedelta(minutes=1), ADDRESS)
    await handing
    await buffer.hand_on(service.cache.redis)
    await flush_usage(service.cache.redis)

    assert (await last_use(owner, token))[0] == NOON + timedelta(minutes=1)


async def test_a_use_of_what_is_gone_is_dropped(service: Service) -> None:
    await note(service.cache.redis, record(), NOON)

    assert await flush_usage(service.cache.redis) == 1
    assert await service.cache.redis.keys(f"{KEY}*") == []


async def test_a_flush_changes_no_other_column(
    service: Service, owner: asyncpg.Connection, token: Token, known: Record
) -> None:
    query = "SELECT * FROM api_token WHERE id = $1"
    before = await one_row(owner, query, token.id)
    await note(service.cache.redis, known, NOON)

    await flush_usage(service.cache.redis)

    after = await one_row(owner, query, token.id)
    counts = {name: after[name] for name in ("counted_as", "recount_at")}  # a trigger's
    assert after == before | counts | {"last_used_at": NOON, "last_used_address": "192.0.2.1"}


async def test_of_a_tokens_two_secrets_the_latest_use_is_the_tokens(
    service: Service, owner: asyncpg.Connection, token: Token, known: Record
) -> None:
    await owner.execute(
        "UPDATE secret SET retires_at = '2030-02-01Z' WHERE token_id = $1", token.id
    )
    second = await owner.fetchval(
        "INSERT INTO secret (id, account_id, reseller_id, token_id, digest, pepper_id, prefix,"
        " last_four, created_at) SELECT gen_random_uuid(), account_id, reseller_id, token_id,"
        " sha256(digest), pepper_id, prefix, last_four, created_at FROM secret"
        " WHERE token_id = $1 RETURNING id",
        token.id,
    )
    redis = service.cache.redis
    await note(redis, known, NOON + timedelta(minutes=5))
    await flush_usage(redis)
    await note(redis, replace(known, secret_id=second), NOON + timedelta(minutes=3))
    await flush_usage(redis)

    query = "SELECT last_used_at FROM secret WHERE id = $1"
    assert await owner.fetchval(query, second) == NOON + timedelta(minutes=3)
    assert await owner.fetchval(
        "SELECT last_used_at FROM api_token WHERE id = $1", token.id
    ) == NOON + timedelta(minutes=5)


@pytest.mark.parametrize(
    ("secret", "use"),
    [
        (b"no id", b"1 192.0.2.1"),
        (bytes(16).hex(), b"soon"),
        (bytes(16).hex(), b"9" * 400),
        (bytes(16).hex(), b"99999999999999999 192.0.2.1"),
        (b"\xff", b"\xff"),
        (bytes(16).hex(), b""),
    ],
)
async def test_what_no_validator_wrote_holds_up_no_use(
    service: Service,
    owner: asyncpg.Connection,
    token: Token,
    known: Record,
    secret: bytes | str,
    use: bytes,
) -> None:
    redis = service.cache.redis
    await note(redis, known, NOON)
    await redis.hset(KEY, secret, use)

    assert await flush_usage(redis) == 1

    assert (await last_use(owner, token))[0] == NOON
    assert await redis.keys(f"{KEY}*") == []
