"""Whoever may write to Redis mints nothing, prolongs nothing and keeps nobody out."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any, cast

import asyncpg
import pytest
from conftest import GraphQL
from edge_scene import fingerprint
from factories import PASSWORD, Platform, make_account, make_token
from redis.asyncio import Redis
from stores import eventually
from strategies import record

from service.cache import CHANNEL, Cache, Drop, Failed, hot_client
from service.clock import boottime
from service.composition import Service
from service.secret_format import digest_of
from service.settings import Settings
from service.tokens import Created
from service.usage import FLUSHING, flush_usage
from service.usage import KEY as USAGE
from service.validator import Validator, open_validator
from service.verdict import AccountKind, Record, Status

ANSWER_SECONDS_MAX = 1.0
SHORT_LEASE = 0.5

Entry = dict[Any, Any]  # as redis-py takes it

Tamper = Callable[[Redis, str, Entry], Awaitable[object]]


@pytest.fixture
async def redis(service: Service, settings: Settings) -> AsyncIterator[Redis]:  # noqa: ARG001 - an empty Redis
    """A client that may take its time, to tamper."""
    client = Redis.from_url(settings.redis_url.get_secret_value())
    yield client
    await client.aclose()


@pytest.fixture
async def live(service: Service, platform: Platform) -> Created:
    return await make_token(service, platform.customer)


@pytest.fixture
async def doomed(service: Service, platform: Platform) -> Created:
    """A token that is about to be revoked."""
    return await make_token(service, platform.customer)


def key_of(service: Service, created: Created) -> str:
    """Return where Redis holds a token's record."""
    pepper = next(iter(service.settings.pepper_keys.values()))
    return f"tk:{digest_of(created.secret, pepper).hex()}"


def written(**fields: bytes) -> Tamper:
    """Return what overwrites fields of an entry."""
    entry: Entry = {**fields}
    return lambda redis, key, _: redis.hset(key, mapping=entry)


def replaced(*words: str) -> Tamper:
    """Return what puts a value of another type in an entry's place; K is its key."""

    async def replace(redis: Redis, key: str, _: Entry) -> None:
        await redis.delete(key)
        await redis.execute_command(*(key if word == "K" else word for word in words))  # type: ignore[no-untyped-call] # redis-py leaves it unannotated

    return replace


def shared(*words: str | bytes) -> Tamper:
    """Return what runs a command on another key, which all entries hang on."""
    return lambda redis, _, __: redis.execute_command(*words)  # type: ignore[no-untyped-call] # as above


def instead(key: str, *words: str | bytes) -> Tamper:
    """Return what does so after deleting the key."""

    async def replace(redis: Redis, _: str, __: Entry) -> None:
        await redis.delete(key)
        await redis.execute_command(*words)  # type: ignore[no-untyped-call] # as above

    return replace


async def widened(redis: Redis, key: str, entry: Entry) -> None:
    """Give the record every scope and no end."""
    payload = entry["payload"].replace(b'"dns:read"', b'"*"')
    assert payload != entry["payload"]
    await redis.hset(key, "payload", payload)


async def truncated(redis: Redis, key: str, entry: Entry) -> None:
    await redis.hset(key, "payload", entry["payload"][:-1])


async def dated(redis: Redis, key: str, _: Entry) -> None:
    """Date the record a minute ahead, for ever."""
    seconds, _micros = await redis.time()
    await redis.hset(key, "asof", str((seconds + 60) * 1000))
    await redis.persist(key)


ACCOUNTS = ",".join(f"{number:08x}-0000-0000-0000-000000000000" for number in range(10_000))

TAMPERS: dict[str, Tamper] = {
    "a wider payload": widened,
    "a truncated payload": truncated,
    "an empty payload": written(payload=b""),
    "a payload of a megabyte": written(payload=b"[" * 2**20),
    "a payload of 16 megabytes": written(payload=b"{" * 2**24),
    "an as-of ahead": dated,
    "a negative as-of": written(asof=b"-1"),
    "an infinite as-of": written(asof=b"1e309"),
    "no number as as-of": written(asof=b"nan"),
    "an as-of of a thousand digits": written(asof=b"9" * 1000),
    "no chain": written(chain=b""),
    "a chain of commas": written(chain=b"," * 100_000),
    "a chain of ten thousand": written(chain=ACCOUNTS.encode()),
    "a chain of junk": written(chain=b"\xff\0\r\n%s"),
    "no epoch": written(epoch=b""),
    "another epoch": written(epoch=b"0" * 32),
    "a long epoch": written(epoch=b"0" * 2**20),
    "no state": written(state=b""),
    "another state": written(state=b"REVOKED"),
    "no signature": written(signature=b""),
    "a long signature": written(signature=b"x" * 2**20),
    "further fields": written(revoked=b"1", admin=b"true"),
    "a string": replaced("SET", "K", "1"),
    "a list": replaced("RPUSH", "K", "LIVE"),
    "a set": replaced("SADD", "K", "LIVE"),
    "a sorted set": replaced("ZADD", "K", "1", "LIVE"),
    "a stream": replaced("XADD", "K", "*", "state", "LIVE"),
    "an empty epoch of all": shared("HSET", CHANNEL, "epoch", ""),
    "a long epoch of all": shared("HSET", CHANNEL, "epoch", "f" * 2**20),
    "no epoch of all": shared("HDEL", CHANNEL, "epoch"),
    "a clock that is none": shared("HSET", CHANNEL, "seen", "nan"),
    "a clock ahead": shared("HSET", CHANNEL, "seen", "1e309"),
    "a revision that is none": shared("HSET", CHANNEL, "revision", "nan"),
    "a string for all": instead(CHANNEL, "SET", CHANNEL, "1"),
    "a list for all": instead(CHANNEL, "RPUSH", CHANNEL, "1"),
    "reports that are none": instead("validators", "SET", "validators", "1"),
    "a report that is none": instead("validators", "HSET", "validators", b"\xff", b"\xff\0"),
}


async def test_a_hostile_entry_changes_no_verdict_and_keeps_nobody_out(
    service: Service,
    platform: Platform,
    validator: Validator,
    redis: Redis,
    live: Created,
    doomed: Created,
    owner: asyncpg.Connection,
) -> None:
    key, doomed_key = key_of(service, live), key_of(service, doomed)
    once_true = await shared_anew(validator, redis, doomed, doomed_key)
    await service.tokens.revoke(platform.customer, doomed.token.id)
    await redis.delete(CHANNEL, doomed_key)  # an epoch later
    rows, wrong = await fingerprint(owner), {}

    for name, tamper in TAMPERS.items():
        await tamper(redis, key, await shared_anew(validator, redis, live, key))
        await redis.delete(doomed_key)
        await redis.hset(doomed_key, mapping=once_true)
        await tamper(redis, doomed_key, once_true)
        found = await statuses(validator, live, doomed)
        if found != [Status.VALID, Status.REVOKED]:
            wrong[name] = found

    assert wrong == {}
    assert await fingerprint(owner) == rows
    await shared_anew(validator, redis, live, key)


async def shared_anew(validator: Validator, redis: Redis, created: Created, key: str) -> Entry:
    """Have a validator share a live token's record; return it."""
    await redis.delete(key)

    async def is_shared() -> bool:
        # A Redis that was once too slow is left alone for a moment.
        assert await statuses(validator, created) == [Status.VALID]
        return bool(await redis.exists(key))

    await eventually(is_shared, seconds=2)
    stored = cast(dict[bytes, bytes], await redis.hgetall(key))
    return {field.decode(): value for field, value in stored.items()}


async def statuses(validator: Validator, *created: Created) -> list[Status]:
    """Return what a validator says that remembers nothing; it must not take long."""
    found = []
    for each in created:
        validator.forget()
        arrival = boottime()
        verdict = await validator.check(each.secret)
        assert boottime() - arrival <= ANSWER_SECONDS_MAX
        assert verdict.record is None or verdict.record.scopes == ("dns:read",)
        found.append(verdict.status)
    return found


async def test_an_entry_that_is_put_back_opens_no_longer_than_its_own_lease(
    service: Service,
    settings: Settings,
    platform: Platform,
    redis: Redis,
    doomed: Created,
) -> None:
    """As from an old dump of the same epoch: it is whole, signed, and was true."""
    key = key_of(service, doomed)
    short = settings.model_copy(update={"lease_seconds": SHORT_LEASE})
    async with open_validator(short, clock=service.clock) as validator:
        began_at = boottime()
        assert await statuses(validator, doomed) == [Status.VALID]
        entry = await redis.dump(key) or b""
        await service.tokens.revoke(platform.customer, doomed.token.id)
        revoked_at = accepted_at = boottime()

        async def is_refused() -> bool:
            nonlocal accepted_at
            await redis.restore(key, 0, entry, replace=True)
            asked_at = boottime()
            status = (await statuses(validator, doomed))[0]
            if status is Status.VALID:
                accepted_at = asked_at
            return boottime() > began_at + 2 * SHORT_LEASE

        await eventually(is_refused, seconds=5)

        assert accepted_at > revoked_at, "the control: the old entry is believed at first"
        assert accepted_at - revoked_at <= SHORT_LEASE
        assert await statuses(validator, doomed) == [Status.REVOKED]


@pytest.mark.parametrize("evicted", ["tombstone", "cut-off"])
async def test_a_late_fill_over_an_evicted_drop_dies_with_the_lease_of_its_read(
    evicted: str, settings: Settings, redis: Redis, one_record: Record
) -> None:
    digest, chain = bytes(32), one_record.chain
    drop = Drop.of_secret(digest) if evicted == "tombstone" else Drop.of_account(chain[0])
    key = f"tk:{digest.hex()}" if evicted == "tombstone" else f"cut:{chain[0]}"
    client = hot_client(settings.redis_url.get_secret_value(), timeout_seconds=2)
    cache = Cache(client, b"k" * 32, SHORT_LEASE)
    miss = await cache.look_up(digest, age_seconds_max=SHORT_LEASE)
    read_at = boottime()
    assert miss is not None
    await cache.revoke([drop])
    assert await cache.fill(digest, miss, chain, one_record.encode()) == "STALE"

    assert await redis.delete(key) == 1
    assert await cache.fill(digest, miss, chain, one_record.encode()) == "OK"

    async def is_gone() -> bool:
        asked_at = boottime()
        answer = await cache.look_up(digest, age_seconds_max=SHORT_LEASE)
        assert answer is not None
        assert answer.payload is None or asked_at <= read_at + SHORT_LEASE
        return answer.payload is None

    await eventually(is_gone, seconds=2)
    assert await cache.fill(digest, miss, chain, one_record.encode()) == "SLOW"
    await client.aclose()


@pytest.fixture
def one_record() -> Record:
    """A record that is valid for ever."""
    return record()


JUNK: list[tuple[str | bytes, ...]] = [
    ("SET", "K", "soon"),
    ("SET", "K", b"\xff\xfe"),
    ("SET", "K", "-1e309"),
    ("RPUSH", "K", "1"),
    ("HSET", "K", "1", "1"),
]


async def test_junk_in_a_counter_keeps_nobody_from_signing_in(
    service: Service, platform: Platform, redis: Redis, graphql: GraphQL
) -> None:
    _, email = await make_account(service, platform.reseller, AccountKind.CUSTOMER)
    refused = await sign_in(graphql, email, "not the password")
    counters = await redis.keys("sign-in:*")

    for command, _, *values in JUNK:
        for counter in counters:
            await redis.delete(counter)
            await redis.execute_command(command, counter, *values)  # type: ignore[no-untyped-call] # as above
        assert await sign_in(graphql, email, PASSWORD) == []

    assert refused == ["SIGN_IN_FAILED"]
    assert len(counters) == 3


async def sign_in(graphql: GraphQL, email: str, password: str) -> list[str]:
    """Sign in; return the codes of what was refused."""
    answer = await graphql(
        "mutation($input: SignInInput!) { signIn(input: $input) { userErrors { code } } }",
        input={"email": email, "password": password, "transport": "BEARER"},
    )
    if errors := answer.get("errors"):
        return [error["extensions"]["code"] for error in errors]
    return [error["code"] for error in answer["data"]["signIn"]["userErrors"]]


@pytest.mark.parametrize("place", [USAGE, f"{FLUSHING}left"])
async def test_junk_among_the_last_uses_is_dropped_and_holds_up_none(
    place: str,
    validator: Validator,
    redis: Redis,
    live: Created,
    owner: asyncpg.Connection,
) -> None:
    await redis.set(place, "junk")
    await validator.check(live.secret)

    async def is_told() -> bool:
        with suppress(*Failed):
            await validator.usage.hand_on(redis)
            await flush_usage(redis)
        query = "SELECT last_used_at FROM api_token WHERE id = $1"
        return await owner.fetchval(query, live.token.id) is not None

    await eventually(is_told, seconds=0.5)
    assert await redis.keys(f"{USAGE}*") == []
