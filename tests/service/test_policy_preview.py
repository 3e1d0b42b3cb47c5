"""What a policy would break is told beforehand, within bounds, and nothing is changed."""

from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from conftest import FrozenClock
from edge_scene import fingerprint
from factories import Platform, actor_of, make_token

from service.access import policies as rows
from service.access.actor import Actor
from service.composition import Service
from service.errors import InsufficientScope, InvalidInput, NotFound
from service.paging import PageRequest
from service.policies import Preview
from service.policy_rules import NO_RULES, Grant, Policy, PolicyLevel, PolicyRule, Rules

DAY = timedelta(days=1)


async def preview(
    service: Service,
    by: Actor,
    whose: Actor | None = None,
    *,
    first: int = 100,
    after: str | None = None,
    **rules: Any,
) -> Preview:
    account_id = None if whose is None else whose.account_id
    changes = {PolicyRule(name): value for name, value in rules.items()}
    return await service.policies.preview(by, account_id, changes, PageRequest(first, after))


def names(found: Preview) -> list[str]:
    return [item.token.name for item in found.page.items]


async def test_the_tokens_that_would_break_it_are_named_with_every_reason(
    service: Service, platform: Platform, clock: FrozenClock, owner: asyncpg.Connection
) -> None:
    wanted: dict[str, dict[str, Any]] = {
        "never ends": {"expires_at": None, "allowed_ip_ranges": ("192.0.2.0/24",)},
        "all of it": {"expires_at": clock.now() + 99 * DAY, "scopes": ("*",)},
        "fits": {"allowed_ip_ranges": ("192.0.2.1",)},
    }
    for name, fields in wanted.items():
        await make_token(service, platform.customer, name=name, **fields)
    await make_token(service, platform.reseller, name="the reseller's")
    await make_token(service, platform.stranger, name="another fleet's")
    ended = await make_token(service, platform.customer, name="revoked")
    await service.tokens.revoke(platform.customer, ended.token.id)
    await make_token(service, platform.customer, name="over", expires_at=clock.now() + DAY)
    clock.advance(days=1)
    before = await fingerprint(owner)
    rules: dict[str, Any] = {
        "max_lifetime_days": 50,
        "requires_address_limits": True,
        "allowed_scopes": ("dns:*",),
    }

    found = await preview(service, platform.reseller, **rules)

    assert (found.count, found.is_exact, found.page.has_next) == (3, True, False)
    told = {
        item.token.name: [violation.rule.name for violation in item.violations]
        for item in found.page.items
    }
    assert told == {
        "never ends": ["MAX_LIFETIME_DAYS"],
        "all of it": ["MAX_LIFETIME_DAYS", "REQUIRES_ADDRESS_LIMITS", "ALLOWED_SCOPES"],
        "the reseller's": ["REQUIRES_ADDRESS_LIMITS"],
    }
    assert names(found) == list(told)  # what lives longest comes first
    assert names(await preview(service, platform.customer, **rules)) == ["never ends", "all of it"]
    of_one = await preview(service, platform.reseller, platform.customer, **rules)
    assert names(of_one) == ["never ends", "all of it"]
    assert (await preview(service, platform.operator, **rules)).count == 4
    assert await fingerprint(owner) == before


async def test_a_preview_goes_on_from_what_is_set(service: Service, platform: Platform) -> None:
    await make_token(service, platform.customer, name="30 days")
    await make_token(service, platform.customer, name="5 days", scopes=("mail:read",))
    await service.policies.set(platform.customer, None, {PolicyRule.ALLOWED_SCOPES: ("dns:*",)})

    assert (await preview(service, platform.customer, max_lifetime_days=40)).count == 1
    cleared = await preview(service, platform.customer, allowed_scopes=None)
    assert (cleared.count, cleared.page.items) == (0, [])


async def test_a_preview_is_read_page_by_page(
    service: Service, platform: Platform, clock: FrozenClock
) -> None:
    ends = [None, None, 3, 2, 2, 1]
    for number, days in enumerate(ends):
        expires_at = None if days is None else clock.now() + days * DAY
        await make_token(service, platform.customer, name=str(number), expires_at=expires_at)

    seen: list[str] = []
    after, has_next = None, True
    while has_next:
        found = await preview(
            service, platform.customer, first=2, after=after, requires_address_limits=True
        )
        assert found.count == 6
        seen += names(found)
        after, has_next = found.page.cursors[-1], found.page.has_next

    assert len(seen) == 6
    assert [ends[int(name)] for name in seen] == ends


@pytest.mark.parametrize("after", ["", "nonsense", "WyJicmVha2luZyIsIjIwMzAiLCIxIl0"])
async def test_a_cursor_of_another_list_is_refused(
    service: Service, platform: Platform, after: str
) -> None:
    with pytest.raises(InvalidInput):
        await preview(service, platform.customer, after=after, token_cap=1)


async def test_a_count_is_bounded(
    service: Service, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(4):
        await make_token(service, platform.customer)

    async def count() -> tuple[int, bool]:
        found = await preview(service, platform.customer, requires_address_limits=True)
        return found.count, found.is_exact

    assert await count() == (4, True)
    monkeypatch.setattr(rows, "COUNTED_MAX", 4)
    assert await count() == (4, True)
    monkeypatch.setattr(rows, "COUNTED_MAX", 3)
    assert await count() == (3, False)
    monkeypatch.undo()
    monkeypatch.setattr(rows, "SCANNED_MAX", 3)
    assert await count() == (3, False)


async def test_a_preview_needs_its_scope_and_an_account_within_reach(
    service: Service, platform: Platform
) -> None:
    narrow = await actor_of(service, (await make_token(service, platform.customer)).secret)
    with pytest.raises(InsufficientScope):
        await preview(service, narrow, token_cap=1)

    for by, whose in (
        (platform.customer, platform.sibling),
        (platform.reseller, platform.stranger),
    ):
        with pytest.raises(NotFound):
            await preview(service, by, whose, token_cap=1)
    with pytest.raises(InvalidInput):
        await preview(service, platform.customer)


async def test_the_database_finds_exactly_what_the_rules_refuse(
    service: Service, platform: Platform, clock: FrozenClock
) -> None:
    """The same question in SQL, which finds, and in Python, which gives the reasons."""
    scopes = [("*",), ("dns:*",), ("dns:read",), ("dns:read", "mail:write")]
    ranges = [(), ("10.0.0.0/9",), ("10.1.2.3", "2001:db8::/64"), ("0.0.0.0/0", "::/0")]
    ends = [None, clock.now() + DAY, clock.now() + DAY + timedelta(microseconds=1)]
    grants = {
        f"{one}{two}{three}": (scopes[one], ranges[two], ends[three])
        for one, two, three in ((n % 4, n // 4 % 4, n // 16) for n in range(48))
    }
    for name, (held, allowed, end) in grants.items():
        fields = {"scopes": held, "allowed_ip_ranges": allowed, "expires_at": end}
        await make_token(service, platform.customer, name=name, **fields)
    asked = [
        NO_RULES,
        Rules(max_lifetime_days=1),
        Rules(requires_address_limits=True),
        Rules(allowed_ip_ranges=("10.0.0.0/8", "2001:db8::/32")),
        Rules(allowed_ip_ranges=("10.0.0.0/8",), requires_address_limits=True),
        Rules(allowed_scopes=("dns:*",)),
        Rules(allowed_scopes=("dns:read", "mail:*")),
        Rules(allowed_scopes=("*",), max_lifetime_days=1),
    ]

    for rules in asked:
        values = {
            rule.value: getattr(rules, rule.value)
            for rule in PolicyRule
            if rule is not PolicyRule.ALLOWS_DELEGATION
        }
        found = await preview(service, platform.customer, **values)

        policy = Policy.of([(PolicyLevel.ACCOUNT, rules)])
        broken = {
            name
            for name, grant in grants.items()
            if policy.violations(Grant(*grant), now=clock.now())
        }
        assert set(names(found)) == broken, rules
        assert all(item.violations for item in found.page.items)
