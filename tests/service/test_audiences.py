"""Audiences: who may accept a token. They are set once, and only ever fewer."""

import asyncpg
import httpx2
import pytest
from conftest import FrozenClock, GraphQL
from factories import Platform, make_token
from rotation_scene import rotate, verdicts
from stores import eventually, everything, keys_and_values, one_row

from service.composition import Service
from service.errors import InvalidInput, WideningRefused
from service.settings import Settings
from service.tokens import TokenChanges
from service.validator import Validator, open_validator
from service.verdict import Status

VISIBLE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"\\')


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ((), ()),
        (("dns-api",), ("dns-api",)),
        (("mail", "dns", "mail"), ("dns", "mail")),
        (("https://dns.example.com/v1", "urn:example:mail"),) * 2,
        ((VISIBLE,), (VISIBLE,)),
        (("a", "A"), ("A", "a")),
        (("x" * 100,), ("x" * 100,)),
        (tuple(f"api-{number:02}" for number in range(20)),) * 2,
    ],
)
async def test_a_token_is_for_the_audiences_that_it_was_created_for(
    service: Service, platform: Platform, wanted: tuple[str, ...], told: tuple[str, ...]
) -> None:
    made = await make_token(service, platform.customer, audiences=wanted)

    assert made.token.audiences == told
    assert (await service.tokens.get(platform.customer, made.token.id)).audiences == told


MALFORMED: list[tuple[str, ...]] = [
    ("",),
    ("x" * 101,),
    ("dns api",),
    ("dns\n",),
    ("dns\0",),
    ("dns\x7f",),
    ('"dns"',),
    ("dns\\",),
    ("dnş",),
    ("dns", "\u200bmail"),
    tuple(f"api-{number}" for number in range(21)),
    ("dns",) * 21,
]


@pytest.mark.parametrize("audiences", MALFORMED)
async def test_an_audience_of_another_form_is_refused(
    service: Service, platform: Platform, owner: asyncpg.Connection, audiences: tuple[str, ...]
) -> None:
    made = await make_token(service, platform.customer)
    before = await everything(owner)

    with pytest.raises(InvalidInput) as refused:
        await make_token(service, platform.customer, audiences=audiences)
    assert refused.value.field == "audiences"
    with pytest.raises(InvalidInput) as refused:
        await service.tokens.update(
            platform.customer, made.token.id, TokenChanges(audiences=audiences)
        )
    assert refused.value.field == "audiences"

    assert await everything(owner) == before


@pytest.mark.parametrize(
    ("previous", "wanted"),
    [
        (("dns", "mail"), ("dns",)),
        (("dns", "mail"), ("mail", "dns")),
        ((), ("dns",)),
        ((), ()),
    ],
)
async def test_an_update_leaves_fewer_audiences_and_touches_nothing_else(
    service: Service,
    platform: Platform,
    owner: asyncpg.Connection,
    previous: tuple[str, ...],
    wanted: tuple[str, ...],
) -> None:
    made = await make_token(service, platform.customer, audiences=previous)
    before = await one_row(owner, "SELECT * FROM api_token WHERE id = $1", made.token.id)

    await service.tokens.update(platform.customer, made.token.id, TokenChanges(audiences=wanted))

    after = await one_row(owner, "SELECT * FROM api_token WHERE id = $1", made.token.id)
    assert after == before | {"audiences": sorted(wanted), "version": 2}


@pytest.mark.parametrize(
    "wanted", [(), ("files",), ("dns", "mail", "files"), ("DNS",), ("dns",) * 2 + ("dnss",)]
)
async def test_an_update_never_admits_another_audience(
    service: Service, platform: Platform, owner: asyncpg.Connection, wanted: tuple[str, ...]
) -> None:
    made = await make_token(service, platform.customer, audiences=("dns", "mail"))
    before = await everything(owner), await keys_and_values(service.cache.redis)

    with pytest.raises(WideningRefused) as refused:
        await service.tokens.update(
            platform.customer, made.token.id, TokenChanges(audiences=wanted)
        )

    assert refused.value.field == "audiences"
    assert (await everything(owner), await keys_and_values(service.cache.redis)) == before


async def test_other_changes_leave_the_audiences_as_they_are(
    service: Service, platform: Platform, clock: FrozenClock
) -> None:
    made = await make_token(service, platform.customer, audiences=("dns",))
    token_id, actor = made.token.id, platform.customer

    await service.tokens.rename(actor, token_id, "another")
    await service.tokens.update(actor, token_id, TokenChanges(scopes=("dns:read",)))
    await service.tokens.update(
        actor, token_id, TokenChanges(expires_at=clock.now().replace(hour=23))
    )
    await service.tokens.suspend(actor, token_id)
    await service.tokens.resume(actor, token_id)
    await rotate(service, actor, token_id)

    assert (await service.tokens.get(actor, token_id)).audiences == ("dns",)


async def test_a_token_opens_to_its_own_audiences_alone_from_every_tier(
    service: Service, settings: Settings, platform: Platform, validator: Validator
) -> None:
    made = await make_token(service, platform.customer, audiences=("dns", "mail"))
    expected = {
        "dns": Status.VALID,
        "mail": Status.VALID,
        "DNS": Status.AUDIENCE_NOT_ALLOWED,
        "dns,mail": Status.AUDIENCE_NOT_ALLOWED,
        "": Status.AUDIENCE_NOT_ALLOWED,
        None: Status.AUDIENCE_NOT_ALLOWED,
    }

    async with open_validator(settings, clock=service.clock) as second:
        # The database, this validator's own memory, and the shared cache.
        for one in (validator, validator, second):
            for audience, status in expected.items():
                assert (await one.check(made.secret, audience=audience)).status is status


async def test_an_audience_that_was_taken_away_is_refused_from_a_warm_cache(
    service: Service, platform: Platform, validator: Validator
) -> None:
    made = await make_token(service, platform.customer)
    assert (await validator.check(made.secret, audience="mail")).is_valid

    changed = await service.tokens.update(
        platform.customer, made.token.id, TokenChanges(audiences=("dns",))
    )

    assert changed.propagation is not None

    async def refused() -> bool:
        verdict = await validator.check(made.secret, audience="mail")
        return verdict.status is Status.AUDIENCE_NOT_ALLOWED

    await eventually(refused, seconds=service.settings.lease_seconds / 4)
    assert (await validator.check(made.secret, audience="dns")).is_valid
    assert await verdicts(validator, made.secret) == ["AUDIENCE_NOT_ALLOWED"]


async def test_a_token_for_others_does_not_open_our_own_api(
    service: Service, platform: Platform, http: httpx2.AsyncClient, graphql: GraphQL
) -> None:
    scopes = ("tokens:*", "tokens:introspect")
    made = await make_token(service, platform.customer, scopes=scopes, audiences=("dns",))
    other = await make_token(service, platform.customer)

    answer = await graphql("{ viewer { scopes } }", secret=made.secret)
    told = await http.post(
        "/introspect",
        headers={"Authorization": f"Bearer {made.secret}"},
        data={"token": other.secret},
    )

    assert answer["data"] == {"viewer": None}
    assert told.status_code in {401, 403}
    assert "active" not in told.text
