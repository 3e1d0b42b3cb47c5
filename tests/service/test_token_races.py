"""Changes of one token at the same moment: what is final wins, and one of each is enough."""

import asyncio
from collections import Counter
from datetime import timedelta

import asyncpg
import pytest
from conftest import FrozenClock
from factories import Platform, make_token
from stores import one_row

from service.composition import Service
from service.errors import NameTaken, ServiceError, TokenEnded, VersionConflict
from service.tokens import Changed, Created, TokenChanges

ROUNDS = 25


def outcomes(results: list[Changed | Created | BaseException]) -> Counter[str]:
    """Count what came of each attempt; anything unexpected is raised."""
    found: Counter[str] = Counter()
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, ServiceError):
            raise result
        found[type(result).__name__] += 1
    return found


@pytest.mark.parametrize("round_", range(ROUNDS))
async def test_whatever_races_a_revoke_the_token_stays_revoked(
    service: Service, platform: Platform, owner: asyncpg.Connection, round_: int
) -> None:
    created = await make_token(
        service, platform.customer, scopes=("dns:*", "mail:read"), allowed_ip_ranges=("10.0.0.0/8",)
    )
    token_id, tokens, actor = created.token.id, service.tokens, platform.customer
    rivals = [
        tokens.rename(actor, token_id, "another"),
        tokens.update(actor, token_id, TokenChanges(scopes=("dns:read",))),
        tokens.update(actor, token_id, TokenChanges(allowed_ip_ranges=("10.1.0.0/16",))),
        tokens.suspend(actor, token_id),
        tokens.resume(actor, token_id),
        tokens.rename(platform.reseller, token_id, "a third"),
    ]
    place = round_ % (len(rivals) + 1)

    results = await asyncio.gather(
        *rivals[:place],
        tokens.revoke(actor, token_id),
        tokens.revoke(platform.reseller, token_id),
        *rivals[place:],
        return_exceptions=True,
    )

    row = await one_row(owner, "SELECT * FROM api_token WHERE id = $1", token_id)
    assert row["revoked_at"] == service.clock.now()
    assert row["revocation_reason"] == "USER_REQUEST"
    found = outcomes(list(results))
    assert set(found) <= {"Changed", "TokenEnded"}
    assert found["Changed"] >= 2
    told = await owner.fetch("SELECT action FROM audit_event WHERE subject_id = $1", token_id)
    actions = Counter(event["action"] for event in told)
    assert actions["token.revoked"] == 1
    # Every change that was made is told, and none that was refused: a suspend may be of no effect.
    assert actions.total() == row["version"]
    digest = await owner.fetchval("SELECT digest FROM secret WHERE token_id = $1", token_id)
    read = await one_row(owner, "SELECT * FROM credential_by_digest($1)", digest)
    assert read["revoked"] is True


async def test_many_creates_of_one_name_make_exactly_one(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    results = await asyncio.gather(
        *(make_token(service, platform.customer, name="deploy") for _ in range(20)),
        return_exceptions=True,
    )

    assert outcomes(list(results)) == {"Created": 1, "NameTaken": 19}
    query = "SELECT count(*) FROM api_token WHERE name = 'deploy'"
    assert await owner.fetchval(query) == 1
    query = "SELECT count(*) FROM audit_event WHERE action = 'token.created'"
    assert await owner.fetchval(query) == 1


async def test_many_creates_of_an_expired_tokens_name_make_exactly_one(
    service: Service, platform: Platform, owner: asyncpg.Connection, clock: FrozenClock
) -> None:
    soon = clock.now() + timedelta(hours=1)
    await make_token(service, platform.customer, name="deploy", expires_at=soon)
    clock.advance(hours=1)

    results = await asyncio.gather(
        *(make_token(service, platform.customer, name="deploy") for _ in range(20)),
        return_exceptions=True,
    )

    assert outcomes(list(results)) == {"Created": 1, "NameTaken": 19}
    query = "SELECT count(*) FROM audit_event WHERE action = 'token.expired'"
    assert await owner.fetchval(query) == 1


async def test_two_accounts_may_use_one_name_at_the_same_moment(
    service: Service, platform: Platform
) -> None:
    made = await asyncio.gather(
        make_token(service, platform.customer, name="deploy"),
        make_token(service, platform.sibling, name="deploy"),
        make_token(service, platform.reseller, name="deploy"),
    )

    assert [created.token.name for created in made] == ["deploy"] * 3


async def test_many_renames_to_one_name_leave_exactly_one_with_it(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    made = [await make_token(service, platform.customer) for _ in range(10)]

    results = await asyncio.gather(
        *(service.tokens.rename(platform.customer, one.token.id, "deploy") for one in made),
        return_exceptions=True,
    )

    assert outcomes(list(results)) == {"Changed": 1, NameTaken.__name__: 9}
    query = "SELECT count(*) FROM api_token WHERE name = 'deploy'"
    assert await owner.fetchval(query) == 1


async def test_of_those_who_read_one_version_one_may_change_it(
    service: Service, platform: Platform
) -> None:
    token_id = (await make_token(service, platform.customer)).token.id

    results = await asyncio.gather(
        *(
            service.tokens.rename(platform.customer, token_id, f"name {n}", expected_version=1)
            for n in range(10)
        ),
        return_exceptions=True,
    )

    assert outcomes(list(results)) == {"Changed": 1, VersionConflict.__name__: 9}


async def test_a_narrowing_that_lost_a_race_never_widens_again(
    service: Service, platform: Platform
) -> None:
    """The second of two narrowings is judged by what the first has left."""
    created = await make_token(service, platform.customer, scopes=("dns:read", "mail:read"))
    token_id = created.token.id

    results = await asyncio.gather(
        service.tokens.update(platform.customer, token_id, TokenChanges(scopes=("dns:read",))),
        service.tokens.update(platform.customer, token_id, TokenChanges(scopes=("mail:read",))),
        return_exceptions=True,
    )

    assert outcomes(list(results)) == {"Changed": 1, "WideningRefused": 1}


async def test_a_revoke_and_an_expiry_at_the_same_moment_end_it_all_the_same(
    service: Service, platform: Platform, clock: FrozenClock
) -> None:
    soon = clock.now() + timedelta(hours=1)
    created = await make_token(service, platform.customer, expires_at=soon)
    clock.advance(hours=1)

    results = await asyncio.gather(
        service.tokens.revoke(platform.customer, created.token.id),
        service.tokens.suspend(platform.customer, created.token.id),
        return_exceptions=True,
    )

    assert outcomes(list(results)) == {"Changed": 1, TokenEnded.__name__: 1}
    with pytest.raises(TokenEnded):
        await service.tokens.resume(platform.customer, created.token.id)
