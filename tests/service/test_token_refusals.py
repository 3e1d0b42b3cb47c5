"""What a token may not become, and what may not become a token."""

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from factories import Platform, make_token
from stores import everything

from service.composition import Service
from service.errors import InvalidInput, ServiceError
from service.tokens import TokenChanges, Widening


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"scopes": ("dns:*",)}, "WIDENING_REFUSED", "scopes"),
        ({"scopes": ("*",)}, "WIDENING_REFUSED", "scopes"),
        ({"scopes": ("dns:read", "mail:read")}, "WIDENING_REFUSED", "scopes"),
        ({"scopes": ("dns:read\n",)}, "WIDENING_REFUSED", "scopes"),
        ({"scopes": ()}, "INVALID_INPUT", "scopes"),
        ({"scopes": ("dns:read",) * 51}, "INVALID_INPUT", "scopes"),
        ({"allowed_ip_ranges": ()}, "WIDENING_REFUSED", "allowedIpRanges"),
        ({"allowed_ip_ranges": ("192.0.2.1/25",)}, "INVALID_INPUT", "allowedIpRanges"),
        ({"allowed_ip_ranges": ("0.0.0.0/0",)}, "WIDENING_REFUSED", "allowedIpRanges"),
        ({"allowed_ip_ranges": ("192.0.2.0/24",)}, "WIDENING_REFUSED", "allowedIpRanges"),
        ({"expires_at": timedelta(days=30, microseconds=1)}, "WIDENING_REFUSED", "expiresAt"),
        ({"expires_at": timedelta(0)}, "INVALID_INPUT", "expiresAt"),
        ({"expires_at": datetime(2030, 1, 16)}, "INVALID_INPUT", "expiresAt"),  # noqa: DTZ001 - the naive one is refused
        ({"not_before": timedelta(hours=1, microseconds=-1)}, "WIDENING_REFUSED", "notBefore"),
        ({"not_before": timedelta(days=30)}, "INVALID_INPUT", "notBefore"),
        ({"not_before": datetime(2030, 1, 16)}, "INVALID_INPUT", "notBefore"),  # noqa: DTZ001 - the naive one is refused
        # Each is a narrowing; together they would leave nothing.
        (
            {"not_before": timedelta(days=9), "expires_at": timedelta(days=9)},
            "INVALID_INPUT",
            "expiresAt",
        ),
        ({}, "INVALID_INPUT", None),
    ],
    ids=str,
)
async def test_an_update_that_does_not_narrow_is_refused(
    service: Service,
    platform: Platform,
    owner: asyncpg.Connection,
    changes: dict[str, Any],
    code: str,
    field: str | None,
) -> None:
    created = await make_token(
        service,
        platform.customer,
        allowed_ip_ranges=("192.0.2.0/25",),
        not_before=service.clock.now() + timedelta(hours=1),
    )
    before = await everything(owner)
    changes = {
        name: service.clock.now() + value if isinstance(value, timedelta) else value
        for name, value in changes.items()
    }

    with pytest.raises(ServiceError) as refused:
        await service.tokens.update(platform.customer, created.token.id, TokenChanges(**changes))

    assert (refused.value.code, refused.value.field) == (code, field)
    assert await everything(owner) == before


@pytest.mark.parametrize(
    ("wanted", "code", "field"),
    [
        ({"scopes": ()}, "INVALID_INPUT", "scopes"),
        ({"scopes": ("dns:read",) * 51}, "INVALID_INPUT", "scopes"),
        ({"scopes": ("dns:fly",)}, "SCOPE_NOT_GRANTABLE", "scopes"),
        ({"scopes": ("dns:read", "no:such")}, "SCOPE_NOT_GRANTABLE", "scopes"),
        ({"expires_at": timedelta(0)}, "INVALID_INPUT", "expiresAt"),
        ({"not_before": timedelta(days=30)}, "INVALID_INPUT", "notBefore"),
        ({"allowed_ip_ranges": ("everywhere",)}, "INVALID_INPUT", "allowedIpRanges"),
        ({"name": "x" * 51}, "INVALID_INPUT", "name"),
        ({"name": " "}, "INVALID_INPUT", "name"),
        ({"name": "taken"}, "NAME_TAKEN", "name"),
        ({"account_id": "sibling"}, "NOT_FOUND", None),
        ({"account_id": "reseller"}, "NOT_FOUND", None),
    ],
    ids=str,
)
async def test_a_token_that_may_not_be_is_not_made(
    service: Service,
    platform: Platform,
    owner: asyncpg.Connection,
    wanted: dict[str, Any],
    code: str,
    field: str | None,
) -> None:
    await make_token(service, platform.customer, name="taken")
    before = await everything(owner)
    fields = dict(wanted)
    for name in ("expires_at", "not_before"):
        if name in fields:
            fields[name] = service.clock.now() + fields[name]
    if "account_id" in fields:
        fields["account_id"] = getattr(platform, fields["account_id"]).account_id

    with pytest.raises(ServiceError) as refused:
        await make_token(service, platform.customer, **fields)

    assert (refused.value.code, refused.value.field) == (code, field)
    assert await everything(owner) == before


async def test_no_token_begins_at_an_instant_that_would_break_every_list_it_stands_in(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    """Some clients send the first instant for "none"; the driver takes it for -infinity."""
    first = datetime.min.replace(tzinfo=UTC)
    later = service.clock.now() + timedelta(days=1)
    unlimited = (await make_token(service, platform.customer)).token
    pending = (await make_token(service, platform.customer, not_before=later)).token
    before = await everything(owner)

    for attempt in (
        make_token(service, platform.customer, not_before=first),
        service.tokens.update(platform.customer, unlimited.id, TokenChanges(not_before=first)),
        service.tokens.widen(
            platform.customer, pending.id, Widening(not_before=first), expected_version=1
        ),
    ):
        with pytest.raises(InvalidInput) as refused:
            await attempt
        assert refused.value.field == "notBefore"

    assert await everything(owner) == before
