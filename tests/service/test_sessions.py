"""Signing in and out: what is told, what is counted, and who is kept out."""

from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from conftest import FrozenClock
from factories import PASSWORD, Platform, actor_of, make_customer, make_token
from stores import eventually, everything, one_row

from service.cache import hot_client
from service.composition import Service, compose
from service.errors import ServiceError, SignInFailed
from service.password_check import FROM_ANYWHERE_FACTOR, THROTTLE_SECONDS
from service.passwords import Passwords
from service.secret_format import is_session, is_well_formed
from service.settings import Settings
from service.throttle import Throttle
from service.validator import Validator
from service.verdict import CredentialKind, Status

WRONG = "not the right password"
EMAIL = "anna@example.com"


class Watched(Passwords):
    """Tells which hashes passwords were compared with."""

    def __init__(self, **cost: int) -> None:
        super().__init__(**cost)
        self.compared: list[str | None] = []

    async def verify(self, password: str, known: str | None) -> tuple[bool, str | None]:
        self.compared.append(known)
        return await super().verify(password, known)


@pytest.fixture
async def anna(service: Service, platform: Platform) -> Platform:
    """A platform where a further customer of the reseller has a known address."""
    customer = await make_customer(service, platform.reseller, email=EMAIL)
    return replace(platform, customer=customer)


async def attempt(
    service: Service, email: str = EMAIL, password: str = WRONG, address: str | None = "192.0.2.7"
) -> str:
    """Return the secret of a sign-in, or the code of its refusal."""
    try:
        signed_in = await service.sessions.sign_in(
            email, password, address=address, request_id="request"
        )
    except ServiceError as refused:
        return refused.code
    return signed_in.secret.text


def with_limits(service: Service, settings: Settings, **limits: int) -> Service:
    return compose(
        settings.model_copy(update=limits),
        service.cache,
        service.clock,
        passwords=service.sessions.check.passwords,
    )


async def test_a_session_is_a_credential_that_ends_by_itself(
    service: Service, anna: Platform, validator: Validator, clock: FrozenClock
) -> None:
    signed_in = await service.sessions.sign_in(
        f" {EMAIL.upper()} ", PASSWORD, address="192.0.2.7", request_id=None
    )

    secret = signed_in.secret.text
    assert is_well_formed(secret)
    assert is_session(secret)
    assert signed_in.lifetime_seconds == 12 * 3600
    verdict = await validator.check(secret, kind=CredentialKind.SESSION)
    assert verdict.status is Status.VALID
    assert verdict.record is not None
    assert verdict.record.account_id == anna.customer.account_id
    assert verdict.record.scopes == ("*",)
    assert (await validator.check(secret)).status is Status.UNKNOWN
    clock.advance(hours=12)
    verdict = await validator.check(secret, kind=CredentialKind.SESSION)
    assert verdict.status is Status.EXPIRED


async def test_a_sign_in_is_told_with_person_address_and_request(
    service: Service, anna: Platform, owner: asyncpg.Connection, clock: FrozenClock
) -> None:
    clock.advance(minutes=1)

    await attempt(service, password=PASSWORD)

    [event] = await owner.fetch("SELECT * FROM audit_event WHERE occurred_at = $1", clock.now())
    assert event["action"] == "session.begun"
    assert event["account_id"] == anna.customer.account_id
    assert event["reseller_id"] == anna.reseller.account_id
    assert (event["actor_account_id"], event["actor_member_id"], event["actor_token_id"]) == (
        anna.customer.account_id,
        anna.customer.member_id,
        event["subject_id"],
    )
    told = await one_row(
        owner,
        "SELECT details->>'member_id' AS member, address,"
        " request_id AS request FROM audit_event WHERE id = $1",
        event["id"],
    )
    assert told == {
        "member": str(anna.customer.member_id),
        "address": "192.0.2.7",
        "request": "request",
    }


@pytest.mark.usefixtures("anna")
async def test_an_unknown_address_and_a_wrong_password_read_the_same(
    service: Service, settings: Settings, owner: asyncpg.Connection
) -> None:
    passwords = Watched(passes=1, memory_kibibytes=8)
    watched = compose(settings, service.cache, service.clock, passwords=passwords)
    before = await everything(owner)
    told = []

    for email in (EMAIL, "nobody@example.com"):
        with pytest.raises(SignInFailed) as refused:
            await watched.sessions.sign_in(email, WRONG, address="192.0.2.7", request_id=None)
        told.append((refused.value.code, refused.value.message, refused.value.field))

    assert told[0] == told[1]
    # None makes Passwords hash all the same; its own tests time that.
    known, unknown = passwords.compared
    assert known is not None
    assert unknown is None
    assert await everything(owner) == before


@pytest.mark.usefixtures("anna")
@pytest.mark.parametrize("email", ["", "no address", "a@b\0.com", "x" * 1000 + "@example.com"])
async def test_what_is_no_address_cannot_sign_in(service: Service, email: str) -> None:
    assert await attempt(service, email) == "SIGN_IN_FAILED"


KEPT_OUT = {
    "suspended account": ("account", "suspended_at", "customer"),
    "closed account": ("account", "closed_at", "customer"),
    "suspended reseller": ("account", "suspended_at", "reseller"),
    "closed reseller": ("account", "closed_at", "reseller"),
    "disabled member": ("member", "disabled_at", "member"),
}


@pytest.mark.parametrize("case", KEPT_OUT)
async def test_who_is_kept_out_cannot_sign_in_and_live_credentials_are_suspended(
    service: Service, anna: Platform, owner: asyncpg.Connection, validator: Validator, case: str
) -> None:
    table, column, whose = KEPT_OUT[case]
    token = await make_token(service, anna.customer)
    session = await attempt(service, password=PASSWORD)
    row = anna.customer.member_id if whose == "member" else getattr(anna, whose).account_id

    await owner.execute(f"UPDATE {table} SET {column} = now() WHERE id = $1", row)  # noqa: S608 - from the table above

    assert await attempt(service, password=PASSWORD) == "SIGN_IN_FAILED"
    verdict = await validator.check(session, kind=CredentialKind.SESSION)
    assert verdict.status is Status.SUSPENDED
    # A token belongs to its account, not to the person who made it.
    expected = Status.VALID if whose == "member" else Status.SUSPENDED
    assert (await validator.check(token.secret)).status is expected


@pytest.mark.usefixtures("anna")
async def test_a_stranger_who_guesses_locks_himself_out_and_not_the_person(
    service: Service,
    settings: Settings,
) -> None:
    limited = with_limits(service, settings, sign_in_attempts=3)

    told = [await attempt(limited, address="203.0.113.9") for _ in range(4)]

    assert told == ["SIGN_IN_FAILED"] * 3 + ["TOO_MANY_ATTEMPTS"]
    assert await attempt(limited, password=PASSWORD, address="203.0.113.9") == "TOO_MANY_ATTEMPTS"
    assert is_session(await attempt(limited, password=PASSWORD))


@pytest.mark.usefixtures("anna")
async def test_guesses_from_everywhere_pause_the_account(
    service: Service,
    settings: Settings,
) -> None:
    limited = with_limits(service, settings, sign_in_attempts=1)

    for number in range(FROM_ANYWHERE_FACTOR):
        assert await attempt(limited, address=f"203.0.113.{number}") == "SIGN_IN_FAILED"

    assert await attempt(limited, password=PASSWORD) == "TOO_MANY_ATTEMPTS"


@pytest.mark.usefixtures("anna")
async def test_guesses_at_many_accounts_pause_their_address(
    service: Service,
    settings: Settings,
) -> None:
    limited = with_limits(service, settings, sign_in_attempts_per_address=3)

    for number in range(3):
        told = await attempt(limited, f"nobody{number}@example.com", address="203.0.113.9")
        assert told == "SIGN_IN_FAILED"

    assert await attempt(limited, password=PASSWORD, address="203.0.113.9") == "TOO_MANY_ATTEMPTS"
    assert is_session(await attempt(limited, password=PASSWORD))


@pytest.mark.usefixtures("anna")
async def test_a_pause_says_nothing_of_whether_the_account_exists(
    service: Service,
    settings: Settings,
) -> None:
    limited = with_limits(service, settings, sign_in_attempts=2)

    known = [await attempt(limited, EMAIL) for _ in range(4)]
    unknown = [await attempt(limited, "nobody@example.com") for _ in range(4)]

    assert known == unknown == ["SIGN_IN_FAILED"] * 2 + ["TOO_MANY_ATTEMPTS"] * 2


@pytest.mark.usefixtures("anna")
async def test_a_pause_ends_and_what_went_well_is_not_counted(
    service: Service,
    settings: Settings,
) -> None:
    limited = with_limits(service, settings, sign_in_attempts=2, sign_in_attempts_per_address=2)

    for _ in range(5):
        assert is_session(await attempt(limited, password=PASSWORD))
    await attempt(limited)

    keys = [key async for key in service.cache.redis.scan_iter(match="sign-in:*")]
    assert len(keys) == 3
    for key in keys:
        assert EMAIL.encode() not in key
        assert 0 < await service.cache.redis.ttl(key) <= THROTTLE_SECONDS
    await attempt(limited)
    assert await attempt(limited, password=PASSWORD) == "TOO_MANY_ATTEMPTS"


@pytest.mark.usefixtures("anna")
async def test_without_redis_people_sign_in_uncounted(service: Service) -> None:
    nowhere = Throttle(hot_client("redis://127.0.0.1:1"))
    check: Any = replace(service.sessions.check, throttle=nowhere)
    sessions = replace(service.sessions, check=check)

    assert await attempt(replace(service, sessions=sessions)) == "SIGN_IN_FAILED"
    assert is_session(await attempt(replace(service, sessions=sessions), password=PASSWORD))


async def test_a_hash_of_an_older_policy_is_replaced_at_the_next_sign_in(
    service: Service, settings: Settings, anna: Platform, owner: asyncpg.Connection
) -> None:
    stronger = compose(
        settings, service.cache, service.clock, passwords=Passwords(passes=2, memory_kibibytes=16)
    )
    query = "SELECT password_hash FROM member WHERE id = $1"
    old = await owner.fetchval(query, anna.customer.member_id)

    await attempt(stronger)
    assert await owner.fetchval(query, anna.customer.member_id) == old
    assert is_session(await attempt(stronger, password=PASSWORD))

    new = await owner.fetchval(query, anna.customer.member_id)
    assert "m=8,t=1" in old
    assert "m=16,t=2" in new
    assert is_session(await attempt(stronger, password=PASSWORD))
    assert await owner.fetchval(query, anna.customer.member_id) == new


async def test_signing_out_ends_the_session_once_everywhere(
    service: Service, anna: Platform, owner: asyncpg.Connection, validator: Validator
) -> None:
    secret = await attempt(service, password=PASSWORD)
    actor = await actor_of(service, secret)
    await validator.check(secret, kind=CredentialKind.SESSION)
    before = await everything(owner)

    await service.sessions.sign_out(actor)
    await service.sessions.sign_out(actor)

    async def refused() -> bool:
        verdict = await validator.check(secret, kind=CredentialKind.SESSION)
        return verdict.status is Status.REVOKED

    await eventually(refused, seconds=service.settings.lease_seconds / 4)
    after = await everything(owner)
    [event] = [row for row in after["audit_event"] if row not in before["audit_event"]]
    assert (event["action"], event["subject_id"]) == ("session.ended", actor.token_id)
    assert event["actor_member_id"] == anna.customer.member_id
    [row] = [row for row in after["api_token"] if row not in before["api_token"]]
    assert (row["id"], row["revocation_reason"]) == (actor.token_id, "SIGNED_OUT")
    assert len(after["outbox_event"]) == len(before["outbox_event"]) + 1


async def test_a_token_cannot_sign_out(
    service: Service, anna: Platform, owner: asyncpg.Connection
) -> None:
    created = await make_token(service, anna.customer)
    before = await everything(owner)

    await service.sessions.sign_out(await actor_of(service, created.secret))

    assert await everything(owner) == before
