"""Facets of lists: each finds what it names, they narrow together, and nothing of them is SQL."""

from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import Any

import asyncpg
import pytest
from conftest import FrozenClock
from factories import Platform, actor_of, make_token
from stores import keep_signed_in

from service.access.token_lists import TokenListing
from service.access.tokens import Token, TokenFilter, TokenOrder, TokenStatus
from service.composition import Service
from service.errors import InsufficientScope, InvalidInput
from service.paging import PageRequest
from service.scopes import covers

NOON = FrozenClock().now()


def day(number: int) -> datetime:
    return NOON + timedelta(days=number)


@pytest.fixture
async def tokens(
    service: Service, platform: Platform, clock: FrozenClock, owner: asyncpg.Connection
) -> list[Token]:
    """Tokens of three days, two of them used later; what each is, is in its name."""
    await keep_signed_in(owner)
    scene: dict[str, dict[str, Any]] = {
        "plain": {},
        "full": {"scopes": ("*",)},
        "wild": {"scopes": ("dns:*",), "allowed_ip_ranges": ("192.0.2.0/24",)},
        "endless": {"scopes": ("mail:read",), "expires_at": None},
        "pending": {"not_before": day(20), "allowed_ip_ranges": ("::/0",)},
        "short": {"scopes": ("dns:read", "mail:read"), "expires_at": day(5)},
    }
    for name, fields in scene.items():
        await make_token(service, platform.customer, name=name, **fields)
        clock.advance(hours=12)
    await owner.execute("UPDATE api_token SET last_used_at = $1 WHERE name = 'plain'", day(2))
    await owner.execute("UPDATE api_token SET last_used_at = $1 WHERE name = 'full'", day(4))
    clock.advance(days=3)
    found = await service.tokens.page(platform.customer, PageRequest(100))
    return found.items


FACETS: list[tuple[dict[str, Any], set[str]]] = [
    ({"expires_before": day(30)}, {"short"}),
    ({"expires_before": day(30) + timedelta(hours=1)}, {"plain", "short"}),
    ({"expires_before": day(5)}, set()),
    ({"expires_before": day(5) + timedelta(microseconds=1)}, {"short"}),
    ({"created_before": day(1)}, {"plain", "full"}),
    ({"created_after": day(1)}, {"wild", "endless", "pending", "short"}),
    ({"unused_since": day(2)}, {"wild", "endless"}),
    ({"unused_since": day(2) + timedelta(microseconds=1)}, {"plain", "wild", "endless", "pending"}),
    ({"never_used": True}, {"wild", "endless", "pending", "short"}),
    ({"never_used": False}, {"plain", "full"}),
    ({"has_address_limits": True}, {"wild", "pending"}),
    ({"has_address_limits": False}, {"plain", "full", "endless", "short"}),
    ({"has_full_access": True}, {"full"}),
    ({"has_full_access": False}, {"plain", "wild", "endless", "pending", "short"}),
    ({"scope": "dns:read"}, {"plain", "full", "wild", "pending", "short"}),
    ({"scope": "dns:*"}, {"full", "wild"}),
    ({"scope": "*"}, {"full"}),
    ({"scope": "mail:write"}, {"full"}),
    ({"statuses": (TokenStatus.PENDING, TokenStatus.EXPIRED)}, {"pending", "short"}),
    ({"statuses": ()}, set()),
    ({"statuses": (TokenStatus.ACTIVE,), "status": TokenStatus.EXPIRED}, set()),
]


async def test_each_facet_finds_what_it_names_and_two_of_them_what_both_do(
    service: Service, platform: Platform, tokens: list[Token]
) -> None:
    async def found(**only: Any) -> set[str]:
        page = await service.tokens.page(
            platform.customer, PageRequest(100), only=TokenFilter(**only)
        )
        return {token.name for token in page.items}

    assert len(tokens) == 6
    for only, expected in FACETS:
        assert await found(**only) == expected, only
    for (one, in_one), (other, in_other) in combinations(FACETS, 2):
        if not one.keys() & other.keys():
            assert await found(**one, **other) == in_one & in_other, (one, other)


async def test_a_scope_finds_whoever_a_validator_would_let_use_it(
    service: Service, platform: Platform, tokens: list[Token]
) -> None:
    for scope in service.settings.scope_catalogue:
        page = await service.tokens.page(
            platform.customer, PageRequest(100), only=TokenFilter(scope=scope)
        )

        able = {token.name for token in tokens if covers(token.scopes, scope)}
        assert {token.name for token in page.items} == able


@pytest.mark.parametrize("order", TokenOrder)
@pytest.mark.parametrize("direction", ["ASC", "DESC"])
async def test_pages_of_a_filtered_list_hold_each_token_once(
    service: Service, platform: Platform, tokens: list[Token], order: TokenOrder, direction: str
) -> None:
    only = TokenFilter(scope="dns:read", expires_before=day(60), never_used=True)
    named, after = [], None
    while True:
        page = await service.tokens.page(
            platform.customer,
            PageRequest(1, after),
            only=only,
            order=order,
            descending=direction == "DESC",
        )
        named += [token.name for token in page.items]
        if not page.has_next:
            break
        after = page.cursors[-1]

    assert len(tokens) > len(named)
    assert sorted(named) == ["pending", "short", "wild"]


@pytest.mark.parametrize(
    ("only", "field"),
    [
        ({"scope": "dns"}, "scope"),
        ({"scope": ""}, "scope"),
        ({"scope": "dns:read'; --"}, "scope"),
        ({"expires_before": datetime(2030, 1, 1)}, "expiresBefore"),  # noqa: DTZ001 - the naive one is refused
        ({"created_before": datetime.max.replace(tzinfo=UTC)}, "createdBefore"),
        ({"created_after": datetime(2030, 1, 1)}, "createdAfter"),  # noqa: DTZ001 - as above
        ({"unused_since": datetime(2030, 1, 1)}, "unusedSince"),  # noqa: DTZ001 - as above
        ({"name_contains": "x" * 51}, "nameContains"),
    ],
    ids=str,
)
def test_a_filter_of_another_form_is_refused_by_its_field(only: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        TokenFilter(**only)

    assert refused.value.field == field


async def test_the_first_instant_there_is_finds_nothing(
    service: Service, platform: Platform, tokens: list[Token]
) -> None:
    first = datetime.min.replace(tzinfo=UTC)
    for field in ("expires_before", "created_before", "unused_since"):
        only: dict[str, Any] = {field: first}
        page = await service.tokens.page(
            platform.customer, PageRequest(9), only=TokenFilter(**only)
        )
        assert page.items == []
    assert tokens != []


async def test_pages_of_several_accounts_are_each_accounts_own(
    service: Service, platform: Platform, tokens: list[Token]
) -> None:
    await make_token(service, platform.sibling, name="theirs")
    await make_token(service, platform.stranger, name="foreign")
    listing = TokenListing(page=PageRequest(2), only=TokenFilter(never_used=True))
    accounts = [platform.sibling, platform.stranger, platform.customer]

    pages = await service.tokens.pages_of(
        platform.reseller, [account.account_id for account in accounts], listing
    )

    named = [[token.name for token in page.items] for page in pages]
    assert named == [["theirs"], [], ["short", "pending"]]
    assert [page.has_next for page in pages] == [False, False, True]
    rest = TokenListing(page=PageRequest(9, pages[2].cursors[-1]), only=listing.only)
    [page] = await service.tokens.pages_of(platform.reseller, [platform.customer.account_id], rest)
    assert [token.name for token in page.items] == ["endless", "wild"]
    assert len(tokens) == 6


async def test_pages_of_several_accounts_are_bounded_together_and_need_the_scope(
    service: Service, platform: Platform
) -> None:
    listing = TokenListing(page=PageRequest(100))
    accounts = [platform.customer.account_id] * 11

    with pytest.raises(InvalidInput) as refused:
        await service.tokens.pages_of(platform.reseller, accounts, listing)
    assert refused.value.field == "first"
    without = await make_token(service, platform.customer)
    with pytest.raises(InsufficientScope):
        await service.tokens.pages_of(
            await actor_of(service, without.secret), accounts[:1], listing
        )
