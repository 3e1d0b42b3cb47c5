"""A validator needs of Redis what the manual says, and nothing less; it cannot do any more."""

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from factories import Platform, make_token
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError
from stores import eventually, keys_and_values
from web_scene import served

from service.access.system import CredentialSource
from service.app import create_app
from service.cache import CHANNEL, REPORTS, Drop, Failed, channel_of, open_cache
from service.composition import Service, compose
from service.local.servers import ValkeyServer
from service.secret_format import digest_of
from service.settings import Settings
from service.usage import KEY
from service.validator import Validator, open_validator
from service.verdict import Status

MANUAL = (Path(__file__).parents[2] / "deploy/README.md").read_text()
FILLING = "(+hset +pexpire +del ~tk:*)"


def rules() -> list[str]:
    """Return the rules of the manual's user: words, and selectors in brackets."""
    [line] = re.findall(r"^ACL SETUSER validator on >PASSWORD (.*)$", MANUAL, re.MULTILINE)
    return re.findall(r"\([^)]*\)|\S+", line)


def without_one(rule: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield the rules with one permission less, for each of them."""
    for place, words in enumerate(rule):
        for word in words.strip("()").split(" "):
            if word in {"resetchannels", "-@all"}:
                continue
            left = " ".join(other for other in words.strip("()").split(" ") if other != word)
            kept = [f"({left})"] if words.startswith("(") else []
            yield f"{words} less {word}", rule[:place] + kept + rule[place + 1 :]


LESS = dict(without_one(rules()))


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """A Valkey of this file's own: its users and its log of denials are the server's."""
    server = ValkeyServer(Path(tmp_path_factory.mktemp("valkey")), durable=False)
    server.start()
    yield server
    server.delete()


@pytest.fixture
async def admin(valkey: ValkeyServer) -> AsyncIterator[Redis]:
    client = Redis.from_url(valkey.url)
    await client.flushall()
    await client.script_flush()
    await execute(client, "ACL", "LOG", "RESET")
    yield client
    await client.aclose()


async def execute(client: Redis, *words: str) -> Any:
    return await client.execute_command(*words)  # type: ignore[no-untyped-call] # redis-py leaves it unannotated


async def denials(admin: Redis) -> list[str]:
    """Return what was denied to the user so far."""
    log = await execute(admin, "ACL", "LOG")
    told = [{bytes(name): value for name, value in _pairs(entry)} for entry in log]
    return [f"{entry[b'reason']!r} {entry[b'object']!r}" for entry in told]


def _pairs(entry: Any) -> Any:
    return entry.items() if isinstance(entry, dict) else zip(entry[::2], entry[1::2], strict=True)


@pytest.fixture
async def whole(
    settings: Settings, service: Service, valkey: ValkeyServer
) -> AsyncIterator[Service]:
    """The use cases over that Valkey, as its administrator."""
    changed = settings.model_copy(update={"redis_url": SecretStr(valkey.url)})
    async with open_cache(changed) as cache:
        yield compose(changed, cache, service.clock, passwords=service.accounts.passwords)


def limited(settings: Settings, valkey: ValkeyServer, **changes: object) -> Settings:
    """Return the settings of a validator that signs in as the manual's user."""
    url = re.sub("//.*@", "//validator:secret@", valkey.url)
    return settings.model_copy(update={"redis_url": SecretStr(url), **changes})


async def allow(admin: Redis, rule: list[str]) -> None:
    await execute(admin, "ACL", "SETUSER", "validator", "reset", "on", ">secret", *rule)


@pytest.fixture
async def remote(
    settings: Settings, whole: Service, valkey: ValkeyServer, platform: Platform
) -> AsyncIterator[Settings]:
    """The settings of a validator without the database, as the manual's user."""
    token = await make_token(whole, platform.operator, scopes=("tokens:introspect",))
    async with CredentialSource.open(settings) as source:
        validator = Validator(
            whole.cache,
            source.find,
            settings.pepper_keys,
            clock=whole.clock,
            lease_seconds=settings.lease_seconds,
        )
        app = create_app(settings)
        app.open(whole, validator)
        async with served(app) as url:
            changes = {"service_url": url, "service_token": SecretStr(token.secret)}
            yield limited(settings, valkey, **changes, database_url=SecretStr(""))


async def live_through(
    whole: Service, platform: Platform, settings: Settings, admin: Redis
) -> list[Status]:
    """Have a validator meet everything that it may meet; end at once where it is denied any.

    Returns:
        What it says of a token before and after its revoke.
    """
    created = await make_token(whole, platform.customer)
    digest = digest_of(created.secret, next(iter(settings.pepper_keys.values()))).hex()
    # Keys that none of us wrote, which it heals.
    for key in (CHANNEL, REPORTS, f"tk:{digest}"):
        await admin.set(key, "x")
    told = []
    async with open_validator(settings, clock=whole.clock) as validator:
        told.append((await validator.check(created.secret)).status)

        async def is_heard() -> bool:
            fleet = await whole.cache.fleet(silent_seconds_max=10)
            return bool(await denials(admin)) or (fleet is not None and bool(fleet.reports))

        await eventually(is_heard, seconds=5)
        told.append((await validator.check(created.secret)).status)
        await validator.usage.hand_on(validator._cache.redis)  # noqa: SLF001 - its own connection
        await whole.tokens.revoke(platform.customer, created.token.id)

        async def is_refused() -> bool:
            if await denials(admin):
                return True
            return (await validator.check(created.secret)).status is Status.REVOKED

        await eventually(is_refused, seconds=5)
        told.append((await validator.check(created.secret)).status)
    return told


LIFE = [Status.VALID, Status.VALID, Status.REVOKED]


async def test_a_validator_elsewhere_lives_with_the_manuals_rights(
    whole: Service, platform: Platform, remote: Settings, admin: Redis
) -> None:
    await allow(admin, rules())

    told = await live_through(whole, platform, remote, admin)
    assert told == LIFE, await denials(admin)

    assert await denials(admin) == []
    assert await admin.hlen(REPORTS) == 0, "it took its report back"
    assert await admin.hlen(KEY) == 1, "it told the use"


@pytest.mark.parametrize("less", LESS)
async def test_with_one_right_less_it_is_denied_something(
    whole: Service, platform: Platform, remote: Settings, admin: Redis, less: str
) -> None:
    """The manual grants nothing for nothing."""
    await allow(admin, LESS[less])

    await live_through(whole, platform, remote, admin)

    assert await denials(admin) != []


async def test_a_validator_with_the_database_also_fills(
    whole: Service, platform: Platform, settings: Settings, valkey: ValkeyServer, admin: Redis
) -> None:
    assert FILLING in MANUAL
    await allow(admin, [*rules(), FILLING])

    assert await live_through(whole, platform, limited(settings, valkey), admin) == LIFE

    assert await denials(admin) == []


async def test_that_user_forges_no_record_and_announces_no_drop(
    whole: Service, platform: Platform, remote: Settings, admin: Redis
) -> None:
    await allow(admin, rules())
    created = await make_token(whole, platform.customer)
    digest = digest_of(created.secret, next(iter(remote.pepper_keys.values())))
    key, cut_off = f"tk:{digest.hex()}", f"cut:{platform.customer.account_id}"
    attempts = [
        ("HSET", key, "state", "LIVE"),
        ("DEL", key),
        ("PEXPIRE", key, "999999"),
        ("HGETALL", key),
        ("SET", cut_off, "0"),
        ("DEL", cut_off),
        ("HGETALL", KEY),
        ("HDEL", KEY, "x"),
        ("PUBLISH", channel_of(admin), "x"),
        ("SUBSCRIBE", "elsewhere"),
        ("EVAL_RO", "return 1", "0"),
        ("KEYS", "*"),
        ("SCAN", "0"),
        ("GET", "canary"),
        ("SET", "heartbeat:worker", "0"),
        ("FLUSHDB",),
        ("CONFIG", "GET", "*"),
        ("ACL", "WHOAMI"),
    ]
    async with open_cache(remote) as cache:
        answer = await cache.look_up(digest, age_seconds_max=4)
        assert answer is not None
        before = await keys_and_values(admin)

        for words in attempts:
            with pytest.raises(NoPermissionError):
                await execute(cache.redis, *words)
        forging = await cache.redis.script_load("return redis.call('HSET', KEYS[1], 'a', 'b')")
        with pytest.raises(Failed):
            await execute(cache.redis, "EVALSHA", forging, "1", key)
        assert await cache.fill(digest, answer, (), b"{}") == "UNREACHABLE"
        assert await cache.revoke([Drop.of_secret(digest)]) is None

    changed = {
        name for name, value in (await keys_and_values(admin)).items() if before.get(name) != value
    }
    assert changed <= {b"rv"}
