"""How a rotation ends by itself, and what is told of secrets that are used, before and after."""

import asyncio
from datetime import datetime, timedelta

import asyncpg
import pytest
from conftest import FrozenClock
from factories import Platform, make_token
from rotation_scene import HOUR, add_retired, opening, rotate, secrets_of, use, verdicts
from stores import everything, keys_and_values

from service import rotation
from service.access.actor import Actor
from service.addresses import parse_address
from service.composition import Service
from service.usage import flush_usage
from service.validator import Validator

DAY = 24 * HOUR


async def test_the_default_of_silence_is_what_these_tests_count_with(service: Service) -> None:
    assert service.settings.rotation_quiet_seconds == HOUR


# When (in seconds after the rotation) the new secret was used, and the old one, and when a worker
# looks. None is never.
SILENT = [
    (0, None, HOUR),
    (0, 0, HOUR),
    (HOUR, None, HOUR),
    (10, 600, HOUR + 600),
]
NOT_SILENT = [
    (None, None, DAY - 1),
    (None, 0, DAY - 1),
    (0, None, HOUR - 1),
    (0, 1, HOUR),
    (0, HOUR, HOUR),
    (10, 600, HOUR + 599),
]


class Story:
    """A rotation with a day's grace, and who used which secret when."""

    def __init__(self, service: Service, validator: Validator, clock: FrozenClock) -> None:
        self._service = service
        self._validator = validator
        self._clock = clock

    async def play(self, actor: Actor, new: int | None, old: int | None, now: int) -> list[str]:
        """Return the old secret and the new one, after their uses and what a worker made of it."""
        made = await make_token(self._service, actor)
        rotated = await rotate(self._service, actor, made.token.id, DAY)
        begun_at = self._clock.now()
        for at, secret in sorted(
            [(new, rotated.secret), (old, made.secret)], key=lambda use: use[0] or 0
        ):
            if at is not None:
                self._move_to(begun_at, at)
                await use(self._validator, self._service, secret)
        self._move_to(begun_at, now)
        await self._service.rotations.complete_due()
        return [made.secret, rotated.secret]

    def _move_to(self, begun_at: datetime, seconds: int) -> None:
        self._clock.advance(seconds=(begun_at - self._clock.now()).total_seconds() + seconds)


@pytest.fixture
def story(service: Service, validator: Validator, clock: FrozenClock) -> Story:
    return Story(service, validator, clock)


@pytest.mark.parametrize(("new", "old", "now"), SILENT)
async def test_an_old_secret_ends_early_once_the_new_one_is_used_and_it_has_been_silent(
    story: Story,
    platform: Platform,
    validator: Validator,
    new: int,
    old: int | None,
    now: int,
) -> None:
    secrets = await story.play(platform.customer, new, old, now)

    assert await verdicts(validator, *secrets) == ["EXPIRED", "VALID"]


@pytest.mark.parametrize(("new", "old", "now"), NOT_SILENT)
async def test_an_old_secret_that_may_still_be_needed_stays_until_its_grace_ends(
    story: Story,
    platform: Platform,
    validator: Validator,
    new: int | None,
    old: int | None,
    now: int,
) -> None:
    secrets = await story.play(platform.customer, new, old, now)

    assert await verdicts(validator, *secrets) == ["VALID", "VALID"]


@pytest.mark.parametrize("by", ["grace", "silence"])
async def test_an_end_by_itself_is_told_once_and_dropped(
    service: Service,
    platform: Platform,
    validator: Validator,
    clock: FrozenClock,
    owner: asyncpg.Connection,
    by: str,
) -> None:
    made = await make_token(service, platform.customer)
    rotated = await rotate(service, platform.customer, made.token.id, DAY)
    if by == "silence":
        await use(validator, service, rotated.secret)
    clock.advance(seconds=DAY if by == "grace" else HOUR)
    before = await everything(owner)

    ended = [await service.rotations.complete_due() for _ in range(2)]

    assert ended == [1, 0]
    after = await everything(owner)
    [event] = [row for row in after["audit_event"] if row not in before["audit_event"]]
    assert (event["action"], event["subject_id"]) == ("token.rotation_completed", made.token.id)
    assert (event["actor_account_id"], event["details"]) == (None, f'{{"by": "{by}"}}')
    assert event["account_id"] == platform.customer.account_id
    assert event["reseller_id"] == platform.customer.reseller_id
    [dropped] = [row for row in after["outbox_event"] if row not in before["outbox_event"]]
    [old, current] = await secrets_of(owner, made.token.id)
    assert dropped["subject"] == old["digest"].hex()
    assert dropped["revision"] is not None
    assert (old["retired_at"], old["retires_at"]) == (clock.now(), clock.now())
    assert current["retires_at"] is None
    assert after["api_token"] == before["api_token"]


async def test_any_number_of_rotations_end_in_batches_and_beside_a_second_worker(
    service: Service,
    platform: Platform,
    clock: FrozenClock,
    owner: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rotation, "BATCH", 2)
    for _ in range(5):
        made = await make_token(service, platform.customer)
        await rotate(service, platform.customer, made.token.id, 1)
    clock.advance(seconds=1)

    ended = await asyncio.gather(*(service.rotations.complete_due() for _ in range(3)))
    ended.append(await service.rotations.complete_due())

    assert sum(ended) == 5
    query = "SELECT count(*) FROM audit_event WHERE action = 'token.rotation_completed'"
    assert await owner.fetchval(query) == 5


async def test_with_nothing_due_nothing_happens(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    made = await make_token(service, platform.customer)
    await rotate(service, platform.customer, made.token.id)
    before = await everything(owner), await keys_and_values(service.cache.redis)

    assert await service.rotations.complete_due() == 0

    assert (await everything(owner), await keys_and_values(service.cache.redis)) == before


async def test_each_secret_tells_its_own_last_use(
    service: Service, platform: Platform, validator: Validator, clock: FrozenClock
) -> None:
    made = await make_token(service, platform.customer)
    await use(validator, service, made.secret)
    first = clock.now()
    clock.advance(minutes=1)
    rotated = await rotate(service, platform.customer, made.token.id)
    await use(validator, service, rotated.secret)

    [[new, old]] = await service.tokens.secrets_of(platform.customer, [made.token.id])

    assert (new.last_used_at, old.last_used_at) == (clock.now(), first)
    assert (new.last_four, old.last_four) == (rotated.secret[-4:], made.secret[-4:])
    token = await service.tokens.get(platform.customer, made.token.id)
    assert token.last_used_at == clock.now()


@pytest.mark.parametrize("how", ["no grace", "grace", "completed", "cancelled"])
async def test_whoever_still_uses_a_retired_secret_is_told_with_their_address(
    service: Service,
    platform: Platform,
    validator: Validator,
    clock: FrozenClock,
    owner: asyncpg.Connection,
    how: str,
) -> None:
    made = await make_token(service, platform.customer)
    grace_seconds = 0 if how == "no grace" else HOUR
    rotated = await rotate(service, platform.customer, made.token.id, grace_seconds)
    if how == "completed":
        await service.rotations.complete(platform.customer, made.token.id)
    elif how == "cancelled":
        await service.rotations.cancel(platform.customer, made.token.id)
    clock.advance(seconds=HOUR)
    retired = rotated.secret if how == "cancelled" else made.secret
    before = await everything(owner)

    for address in ("203.0.113.9", "2001:db8::9"):
        clock.advance(seconds=1)
        verdict = await validator.check(retired, address=parse_address(address))
        assert verdict.status.value == "EXPIRED"
        await use(validator, service)

    secrets = {
        row.last_four: (row.reused_at, row.reused_address)
        for [*rows] in await service.tokens.secrets_of(platform.customer, [made.token.id])
        for row in rows
    }
    live = made.secret if how == "cancelled" else rotated.secret
    assert secrets[retired[-4:]] == (clock.now(), "2001:db8::9")
    assert secrets[live[-4:]] == (None, None)
    after = await everything(owner)
    [event] = [row for row in after["audit_event"] if row not in before["audit_event"]]
    assert (event["action"], event["subject_id"]) == ("token.secret_reused", made.token.id)
    assert (event["address"], event["occurred_at"]) == (
        "203.0.113.9",
        clock.now() - timedelta(seconds=1),
    )
    assert event["account_id"] == platform.customer.account_id
    # It opened nothing, so that it is no use of the token.
    assert after["api_token"] == before["api_token"]


async def test_of_many_secrets_a_token_tells_the_live_ones_the_reused_ones_and_the_newest(
    service: Service, platform: Platform, clock: FrozenClock, owner: asyncpg.Connection
) -> None:
    made = await make_token(service, platform.customer)
    other = await make_token(service, platform.customer)
    await add_retired(owner, made.token.id, 200, clock.now() - timedelta(hours=1))
    rotated = await rotate(service, platform.customer, made.token.id)
    reused = "UPDATE secret SET reused_at = $1 WHERE last_four = '0001'"
    await owner.execute(reused, clock.now())

    [told, others] = await service.tokens.secrets_of(
        platform.customer, [made.token.id, other.token.id]
    )

    newest = [f"{number:04}" for number in range(200, 183, -1)]
    live = [rotated.secret[-4:], made.secret[-4:]]
    assert [secret.last_four for secret in told] == [*live, *newest, "0001"]
    assert [secret.last_four for secret in others] == [other.secret[-4:]]
    # Whatever it tells, it can be rotated on.
    await service.rotations.complete(platform.customer, made.token.id)
    await rotate(service, platform.customer, made.token.id)
    await service.rotations.cancel(platform.customer, made.token.id)
    assert await opening(service, owner, made.secret, rotated.secret) == [rotated.secret]


async def test_the_use_of_an_old_secret_within_its_grace_flags_nothing(
    service: Service, platform: Platform, validator: Validator, owner: asyncpg.Connection
) -> None:
    made = await make_token(service, platform.customer)
    await rotate(service, platform.customer, made.token.id)

    await use(validator, service, made.secret)

    assert [row["reused_at"] for row in await secrets_of(owner, made.token.id)] == [None, None]


async def test_nobody_can_make_a_live_secret_look_reused(
    service: Service, platform: Platform, clock: FrozenClock, owner: asyncpg.Connection
) -> None:
    """What a validator wrote is believed only where the database knows of a retirement."""
    made = await make_token(service, platform.customer)
    await rotate(service, platform.customer, made.token.id)
    before = await everything(owner)
    milliseconds = int(clock.now().timestamp() * 1000)
    for row in before["secret"]:
        await service.cache.redis.hset("usage", f"{row['id']}!", f"{milliseconds} 203.0.113.9")

    await flush_usage(service.cache.redis)

    assert await everything(owner) == before
