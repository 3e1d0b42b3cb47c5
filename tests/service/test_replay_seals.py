"""Secrets kept for a lost answer are sealed: neither the database nor the process opens them."""

import asyncpg
import pytest
from conftest import FrozenClock
from factories import Platform, actor_of, make_token
from replay_scene import KEY, OPERATIONS, Ask, asking, create
from stores import everything, one_row

from service.composition import Service
from service.errors import (
    IdempotencyConflict,
)


@pytest.fixture(params=OPERATIONS)
async def ask(request: pytest.FixtureRequest, service: Service, platform: Platform) -> Ask:
    return await asking(service, platform, request.param)


async def test_neither_the_secret_nor_the_key_is_stored_in_clear(
    platform: Platform, owner: asyncpg.Connection, ask: Ask
) -> None:
    told = await ask(platform.customer)

    row = await one_row(owner, "SELECT * FROM replay")
    whole = {name: bytes(value) for name, value in row.items() if isinstance(value, bytes)}
    stored = repr(await everything(owner)) + repr(whole)
    for part in (told.secret, told.secret[8:-4], KEY, KEY.replace("-", "")):
        assert part not in stored
        assert part.encode().hex() not in stored
    assert told.secret not in repr(told)
    assert len(row["sealed_secret"]) == 12 + len(told.secret) + 16


async def test_one_secret_is_sealed_otherwise_each_time(
    service: Service, platform: Platform, owner: asyncpg.Connection, clock: FrozenClock
) -> None:
    """A nonce is never used twice, also where a key is."""
    await create(service, platform.customer, name="one")
    first = await owner.fetchval("SELECT sealed_secret FROM replay")
    clock.advance(minutes=10)

    await create(service, platform.customer, name="two")

    assert (await owner.fetchval("SELECT sealed_secret FROM replay"))[:12] != first[:12]


FLIPPED = "sealed_secret = set_byte(sealed_secret, {at}, get_byte(sealed_secret, {at}) # 1)"
TAMPERINGS = {
    "a bit of the nonce": FLIPPED.format(at=0),
    "a bit of the secret": FLIPPED.format(at=20),
    "a bit of the tag": FLIPPED.format(at=60),
    "the end cut off": "sealed_secret = substr(sealed_secret, 1, 40)",
    "all but the nonce cut off": "sealed_secret = substr(sealed_secret, 1, 12)",
    "less than a nonce": "sealed_secret = substr(sealed_secret, 1, 4)",
    "nothing": "sealed_secret = ''",
    "another request": "request_digest = sha256('another')",
    "another token": "token_id = (SELECT id FROM api_token WHERE name = 'other')",
}


@pytest.mark.parametrize("tampering", TAMPERINGS)
async def test_a_row_that_somebody_wrote_into_gives_nothing_away(
    service: Service, platform: Platform, owner: asyncpg.Connection, ask: Ask, tampering: str
) -> None:
    await make_token(service, platform.customer, name="other")
    await ask(platform.customer)
    await owner.execute(f"UPDATE replay SET {TAMPERINGS[tampering]}")  # noqa: S608 - from the table above
    before = await everything(owner)

    with pytest.raises(IdempotencyConflict):
        await ask(platform.customer)

    assert await everything(owner) == before


async def test_a_row_moved_to_another_principal_opens_nothing(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    """Even for whoever knows the key and can write to the database."""
    await create(service, platform.customer)
    minting = await make_token(service, platform.customer, scopes=("tokens:write", "dns:read"))
    thief = await actor_of(service, minting.secret)
    await create(service, thief, name="bait")
    sealed = await one_row(
        owner, "SELECT * FROM replay WHERE principal_id = $1", platform.customer.member_id
    )
    await owner.execute(
        "UPDATE replay SET sealed_secret = $1, request_digest = $2, token_id = $3"
        " WHERE principal_id = $4",
        sealed["sealed_secret"],
        sealed["request_digest"],
        sealed["token_id"],
        thief.token_id,
    )

    with pytest.raises(IdempotencyConflict):
        await create(service, thief)
