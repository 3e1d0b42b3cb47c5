"""Lists of tokens: each token once, in order, under its one status, and nobody else's."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from conftest import FrozenClock
from factories import Platform, actor_of, make_token

from service.access.actor import Actor
from service.access.tokens import Token, TokenFilter, TokenOrder, TokenStatus
from service.composition import Service
from service.errors import InsufficientScope, InvalidInput
from service.paging import PageRequest


async def walk(
    service: Service, actor: Actor, *, first: int, order: TokenOrder, descending: bool
) -> list[Token]:
    """Read a list page by page."""
    found: list[Token] = []
    after = None
    while True:
        page = await service.tokens.page(
            actor, PageRequest(first, after), order=order, descending=descending
        )
        assert len(page.items) == len(page.cursors) <= first
        found += page.items
        if not page.has_next:
            return found
        after = page.cursors[-1]


async def ids(service: Service, actor: Actor, only: TokenFilter) -> set[UUID]:
    page = await service.tokens.page(actor, PageRequest(100), only=only)
    return {token.id for token in page.items}


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("order", TokenOrder)
async def test_pages_give_each_token_once_in_order_whatever_is_equal(
    service: Service,
    platform: Platform,
    clock: FrozenClock,
    order: TokenOrder,
    descending: bool,  # noqa: FBT001 - a table
) -> None:
    made = set()
    for number in range(7):
        actor = (platform.customer, platform.sibling)[number % 2]
        lives = None if number % 3 == 0 else clock.now() + timedelta(days=number // 3 + 1)
        created = await make_token(service, actor, name=f"n{number // 2}", expires_at=lives)
        made.add(created.token.id)

    whole = await walk(service, platform.reseller, first=100, order=order, descending=descending)
    paged = await walk(service, platform.reseller, first=2, order=order, descending=descending)

    assert {token.id for token in whole} == made
    assert [token.id for token in paged] == [token.id for token in whole]
    far = clock.now() + timedelta(days=10_000)
    keys: dict[TokenOrder, Callable[[Token], Any]] = {
        TokenOrder.CREATED_AT: lambda token: token.created_at,
        TokenOrder.EXPIRES_AT: lambda token: token.expires_at or far,
        TokenOrder.NAME: lambda token: token.name,
        TokenOrder.LAST_USED_AT: lambda _: 0,
    }
    in_order = sorted(whole, key=lambda token: (keys[order](token), token.id), reverse=descending)
    assert whole == in_order


async def test_every_token_is_listed_under_its_one_status(
    service: Service, platform: Platform, clock: FrozenClock
) -> None:
    soon, later = clock.now() + timedelta(hours=1), clock.now() + timedelta(hours=3)
    made = {
        name: (await make_token(service, platform.customer, name=name, **fields)).token.id
        for name, fields in {
            "active": {},
            "begun": {"not_before": soon},
            "pending": {"not_before": later},
            "suspended": {},
            "suspended pending": {"not_before": later},
            "expired": {"expires_at": soon},
            "expired suspended": {"expires_at": soon},
            "revoked": {},
            "revoked, then past its expiry": {"expires_at": soon},
        }.items()
    }
    for name, token_id in made.items():
        if "suspended" in name:
            await service.tokens.suspend(platform.customer, token_id)
        if "revoked" in name:
            await service.tokens.revoke(platform.customer, token_id)
    clock.advance(hours=1)

    found = {
        status: await ids(service, platform.customer, TokenFilter(status=status))
        for status in TokenStatus
    }

    names = {token_id: name for name, token_id in made.items()}
    assert {status: {names[one] for one in some} for status, some in found.items()} == {
        TokenStatus.ACTIVE: {"active", "begun"},
        TokenStatus.PENDING: {"pending"},
        TokenStatus.SUSPENDED: {"suspended", "suspended pending"},
        TokenStatus.EXPIRED: {"expired", "expired suspended"},
        TokenStatus.REVOKED: {"revoked", "revoked, then past its expiry"},
    }
    for status, some in found.items():
        for one in some:
            assert (await service.tokens.get(platform.customer, one)).status(clock.now()) is status


@pytest.mark.parametrize(
    ("text", "expected"),
    [("PLOY", {"deploy"}), ("%", {"100%"}), ("_", {"a_b"}), ("\\", {"a\\b"}), ("'; --", set())],
)
async def test_a_search_is_for_what_was_typed(
    service: Service, platform: Platform, text: str, expected: set[str]
) -> None:
    for name in ("deploy", "100%", "a_b", "a\\b", "axb"):
        await make_token(service, platform.customer, name=name)

    page = await service.tokens.page(
        platform.customer, PageRequest(100), only=TokenFilter(name_contains=text)
    )

    assert {token.name for token in page.items} == expected


async def test_a_list_shows_what_is_within_reach_alone(
    service: Service, platform: Platform
) -> None:
    mine = (await make_token(service, platform.customer)).token.id
    siblings = (await make_token(service, platform.sibling)).token.id
    strangers = (await make_token(service, platform.stranger)).token.id

    everything = TokenFilter()
    assert await ids(service, platform.customer, everything) == {mine}
    assert await ids(service, platform.reseller, everything) == {mine, siblings}
    assert await ids(service, platform.other_reseller, everything) == {strangers}
    assert await ids(service, platform.operator, everything) == {mine, siblings, strangers}
    of_stranger = TokenFilter(account_id=platform.stranger.account_id)
    assert await ids(service, platform.reseller, of_stranger) == set()
    of_sibling = TokenFilter(account_id=platform.sibling.account_id)
    assert await ids(service, platform.reseller, of_sibling) == {siblings}


async def test_a_cursor_of_another_order_or_tenant_opens_nothing(
    service: Service, platform: Platform
) -> None:
    for actor in (platform.customer, platform.stranger):
        for _ in range(3):
            await make_token(service, actor)
    theirs = (await service.tokens.page(platform.stranger, PageRequest(1))).cursors[0]

    for order in (TokenOrder.NAME, TokenOrder.EXPIRES_AT):
        with pytest.raises(InvalidInput):
            await service.tokens.page(platform.customer, PageRequest(1, theirs), order=order)
    page = await service.tokens.page(platform.customer, PageRequest(100, theirs))

    assert {token.account_id for token in page.items} <= {platform.customer.account_id}
    for text in ("x" * 51, "\0"):
        with pytest.raises(InvalidInput):
            await ids(service, platform.customer, TokenFilter(name_contains=text))


async def test_a_session_is_not_among_the_tokens(service: Service, platform: Platform) -> None:
    assert await ids(service, platform.operator, TokenFilter()) == set()


async def test_without_the_scope_nothing_is_listed(service: Service, platform: Platform) -> None:
    created = await make_token(service, platform.customer, scopes=("tokens:write",))

    writer = await actor_of(service, created.secret)
    with pytest.raises(InsufficientScope):
        await service.tokens.page(writer, PageRequest(1))
    with pytest.raises(InsufficientScope):
        await service.tokens.get(writer, created.token.id)
