"""A validator without the database says what one with it says, and never for longer."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import asyncpg
import pytest
from conftest import FrozenClock
from edge_scene import People
from factories import make_token
from pydantic import SecretStr
from rotation_scene import rotate
from stores import eventually
from web_scene import Recorder, served

from service.access.system import CredentialSource
from service.addresses import parse_address
from service.app import create_app
from service.cache import open_cache
from service.clock import boottime
from service.composition import Service
from service.receipts import PropagationState
from service.secret_format import digest_of, make_secret
from service.settings import Settings, read_settings
from service.upstream import Upstream
from service.usage import flush_usage
from service.validator import Validator, open_validator
from service.verdict import CredentialKind, Status

INTROSPECT = ("tokens:introspect",)
NOWHERE = "redis://127.0.0.1:9/0"  # the discard port: nothing listens


@dataclass(frozen=True, slots=True)
class Remote:
    """A service that listens, what it was asked, and what a validator elsewhere is set to."""

    seen: Recorder
    settings: Settings


def elsewhere(settings: Settings, url: str, token: str) -> Settings:
    """Return the settings of a validator that sees Redis and the service alone."""
    changes = {
        "service_url": url,
        "service_token": SecretStr(token),
        "database_url": SecretStr(""),
        "database_owner_url": SecretStr(""),
    }
    return settings.model_copy(update=changes)


@pytest.fixture
async def people(service: Service) -> People:
    return await People.make(service)


@pytest.fixture
async def remote(
    settings: Settings, service: Service, validator: Validator, people: People
) -> AsyncIterator[Remote]:
    token = await make_token(service, people.reseller.actor, scopes=INTROSPECT)
    app = create_app(settings)
    app.open(service, validator)
    seen = Recorder(app)
    async with served(seen) as url:
        yield Remote(seen, elsewhere(settings, url, token.secret))


@pytest.fixture
async def far(remote: Remote, service: Service) -> AsyncIterator[Validator]:
    """A validator without the database."""
    async with open_validator(remote.settings, clock=service.clock) as opened:
        yield opened


async def test_it_says_what_a_validator_with_the_database_says_cold_and_warm(
    people: People, service: Service, clock: FrozenClock, validator: Validator, far: Validator
) -> None:
    actor, now = people.customer.actor, clock.now()
    made = {
        "live": await make_token(service, actor, scopes=("dns:*",)),
        "revoked": await make_token(service, actor),
        "suspended": await make_token(service, actor),
        "expired": await make_token(service, actor, expires_at=now + timedelta(minutes=1)),
        "pending": await make_token(service, actor, not_before=now + timedelta(days=1)),
        "limited": await make_token(service, actor, allowed_ip_ranges=("198.51.100.0/24",)),
        "for others": await make_token(service, actor, audiences=("dns", "mail")),
        "the reseller's": await make_token(service, people.reseller.actor),
        "rotated": await make_token(service, actor),
    }
    await service.tokens.revoke(actor, made["revoked"].token.id)
    await service.tokens.suspend(actor, made["suspended"].token.id)
    await rotate(service, actor, made["rotated"].token.id, 0)
    clock.advance(minutes=1)
    secrets = {name: created.secret for name, created in made.items()}
    secrets |= {
        "unknown": make_secret("live", service.settings.pepper_keys).text,
        "a session": people.customer.secret,
        "junk": "tw_live_junk",
    }
    inside = parse_address("198.51.100.7")
    told = []

    for temperature in ("cold", "cold", "warm"):
        if temperature == "cold":
            await service.cache.redis.flushdb()
            validator.forget()
            far.forget()
        for name, secret in secrets.items():
            for address, scope, audience in (
                (None, None, None),
                (inside, "dns:read", "dns"),
                (inside, "mail:write", "files"),
            ):
                near = await validator.check(
                    secret, address=address, scope=scope, audience=audience
                )
                verdict = await far.check(secret, address=address, scope=scope, audience=audience)
                assert verdict == near, name
                told.append(verdict.status)

    assert set(told) == set(Status) - {Status.UNAVAILABLE}


async def test_it_sends_the_digest_and_never_the_secret(
    people: People, service: Service, remote: Remote, far: Validator
) -> None:
    created = await make_token(service, people.customer.actor)
    unknown = make_secret("live", service.settings.pepper_keys)

    assert (await far.check(created.secret)).is_valid
    assert (await far.check(unknown.text)).status is Status.UNKNOWN

    pepper = next(iter(service.settings.pepper_keys.values()))
    digests = [digest_of(secret, pepper).hex() for secret in (created.secret, unknown.text)]
    assert remote.seen.bodies == [f'{{"digests":["{digest}"]}}'.encode() for digest in digests]
    wire = repr((remote.seen.bodies, remote.seen.heads))
    for secret in (created.secret, unknown.text):
        assert secret.rpartition("_")[2][:12] not in wire
    assert all(head.startswith("POST /introspect? ") for head in remote.seen.heads)


async def test_what_a_neighbour_found_is_read_from_redis_and_nobody_is_asked(
    people: People, service: Service, validator: Validator, remote: Remote, far: Validator
) -> None:
    created = await make_token(service, people.customer.actor)
    assert (await validator.check(created.secret)).is_valid

    assert (await far.check(created.secret)).is_valid

    assert remote.seen.bodies == []


async def test_a_revoke_reaches_it_like_any_other(
    people: People, service: Service, far: Validator
) -> None:
    created = await make_token(service, people.customer.actor)
    assert (await far.check(created.secret)).is_valid

    await service.tokens.revoke(people.customer.actor, created.token.id)

    async def refused() -> bool:
        return (await far.check(created.secret)).status is Status.REVOKED

    await eventually(refused, seconds=service.settings.lease_seconds / 4)


async def test_after_it_has_reported_a_drop_it_accepts_no_more_although_the_service_is_deaf(
    settings: Settings, people: People, service: Service
) -> None:
    """The service reads past its own memory, which may not have heard of the drop yet."""
    created = await make_token(service, people.customer.actor)
    token = await make_token(service, people.reseller.actor, scopes=INTROSPECT)
    async with CredentialSource.open(settings) as source:
        deaf = Validator(
            service.cache,
            source.find,
            settings.pepper_keys,
            clock=service.clock,
            lease_seconds=settings.lease_seconds,
        )
        app = create_app(settings)
        app.open(service, deaf)
        async with served(app) as url:
            far_settings = elsewhere(settings, url, token.secret)
            async with open_validator(far_settings, clock=service.clock) as far:
                assert (await deaf.check(created.secret)).is_valid
                assert (await far.check(created.secret)).is_valid
                changed = await service.tokens.revoke(people.customer.actor, created.token.id)
                assert changed.propagation is not None
                receipt = changed.propagation.receipt

                async def applied() -> bool:
                    progress = await service.receipts.progress(receipt)
                    return progress.state is PropagationState.APPLIED

                await eventually(applied, seconds=5)

                assert (await deaf.check(created.secret)).is_valid, "else it proves nothing"
                assert (await far.check(created.secret)).status is Status.REVOKED


async def test_two_tiers_share_one_lease(
    people: People, service: Service, validator: Validator, remote: Remote
) -> None:
    """What Redis has known for a while, the service lends for what is left of it."""
    created = await make_token(service, people.customer.actor)
    assert (await validator.check(created.secret)).is_valid
    read_by = boottime()

    async def has_aged() -> bool:
        return boottime() > read_by + 0.25

    await eventually(has_aged, seconds=1)
    alone = remote.settings.model_copy(update={"redis_url": SecretStr(NOWHERE)})

    async with open_cache(alone) as cache, Upstream.open(alone) as source:
        far = Validator(
            cache,
            source.find,
            alone.pepper_keys,
            clock=service.clock,
            lease_seconds=alone.lease_seconds,
        )
        assert (await far.check(created.secret)).is_valid
        entry = far.near.find(digest_of(created.secret, alone.pepper_keys[1]))

    assert entry is not None
    assert entry.deadline <= read_by + service.settings.lease_seconds
    assert len(remote.seen.bodies) == 1


async def test_where_the_service_is_gone_a_lease_ends_and_nothing_is_claimed(
    people: People, service: Service, settings: Settings, validator: Validator
) -> None:
    created = await make_token(service, people.customer.actor)
    stranger = make_secret("live", service.settings.pepper_keys).text
    gone = elsewhere(settings, "http://127.0.0.1:9", "tw_live_x")

    async with open_validator(gone, clock=service.clock) as far:
        assert (await far.check(created.secret)).status is Status.UNAVAILABLE
        assert (await far.check(stranger)).status is Status.UNAVAILABLE

        assert (await validator.check(created.secret)).is_valid
        assert (await far.check(created.secret)).is_valid, "Redis knows it now"


@pytest.mark.parametrize("credential", ["none", "junk", "without the scope", "revoked"])
async def test_a_service_that_refuses_the_credential_makes_nothing_unknown(
    people: People, service: Service, remote: Remote, credential: str
) -> None:
    reseller = people.reseller.actor
    created = await make_token(service, people.customer.actor)
    narrow = await make_token(service, reseller)
    revoked = await make_token(service, reseller, scopes=INTROSPECT)
    await service.tokens.revoke(reseller, revoked.token.id)
    secret = {
        "none": "",
        "junk": "junk",
        "without the scope": narrow.secret,
        "revoked": revoked.secret,
    }[credential]

    changed = remote.settings.model_copy(update={"service_token": SecretStr(secret)})
    async with open_validator(changed, clock=service.clock) as far:
        assert (await far.check(created.secret)).status is Status.UNAVAILABLE


async def test_a_use_there_is_told_as_a_last_use(
    people: People, service: Service, far: Validator, owner: asyncpg.Connection
) -> None:
    created = await make_token(service, people.customer.actor)

    await far.check(created.secret, address=parse_address("198.51.100.9"))
    await far.usage.hand_on(service.cache.redis)
    await flush_usage(service.cache.redis)

    row = await owner.fetchrow(
        "SELECT last_used_at, last_used_address FROM api_token WHERE id = $1", created.token.id
    )
    assert row is not None
    assert tuple(row) == (service.clock.now(), "198.51.100.9")


async def test_another_kind_is_unknown_there_too(
    people: People, service: Service, far: Validator
) -> None:
    """Sessions and canaries are checked where the database is."""
    del service

    verdict = await far.check(people.customer.secret, kind=CredentialKind.SESSION)

    assert verdict.status is Status.UNKNOWN


def test_in_production_too_it_needs_no_database() -> None:
    read_settings(
        environment="production",
        service_url="https://tokens.example.com",
        service_token="tw_live_x",
        redis_url="redis://cache:6379/0",
        public_url="https://tokens.example.com",
        peppers="1:" + "0123456789abcdef" * 2,
    )
