"""Nobody slips a policy or a template under another tenant's name."""

from typing import Any

import asyncpg
import pytest
from edge_scene import fingerprint
from factories import Platform

from service.access.door import open_door
from service.access.policies import put_policy
from service.access.scope_templates import insert_template
from service.clock import new_id
from service.composition import Service
from service.errors import NotFound
from service.policy_rules import NO_RULES, PolicyRule, columns_of


@pytest.mark.parametrize("stranger", ["sibling", "stranger", "other_reseller"])
async def test_a_row_for_another_tenant_is_not_written(
    service: Service, platform: Platform, owner: asyncpg.Connection, stranger: str
) -> None:
    whose = platform.customer
    await service.policies.set(whose, None, {PolicyRule.TOKEN_CAP: 1})
    shared: dict[str, Any] = {
        "id": new_id(),
        "account_id": whose.account_id,
        "reseller_id": whose.reseller_id,
        "version": 1,
    }
    now = service.clock.now()
    policy = shared | columns_of(NO_RULES) | {"changed_at": now}
    template = shared | {"name": "smuggled", "scopes": ["*"], "created_at": now}
    before = await fingerprint(owner)

    for level in ("ACCOUNT", "RESELLER"):  # the one is there already, the other is not
        with pytest.raises(NotFound):
            async with open_door(getattr(platform, stranger).reach) as door:
                await put_policy(door, policy | {"level": level})
    with pytest.raises(NotFound):
        async with open_door(getattr(platform, stranger).reach) as door:
            await insert_template(door, template)

    assert await fingerprint(owner) == before
