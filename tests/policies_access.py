"""The door's functions of policies and templates, tried against both walls in test_access.py."""

from collections.abc import Awaitable, Callable

from access_scene import Foreign

from service.access import policies, scope_templates
from service.access.accounts import Account
from service.access.door import Door
from service.paging import PageRequest
from service.policy_rules import Rules
from service.verdict import AccountKind

INSERTING = {"put_policy", "insert_template"}


async def find_breaking(door: Door, it: Foreign) -> object:
    theirs = Account(
        id=it.account_id,
        kind=AccountKind.CUSTOMER,
        reseller_id=it.reseller_id,
        name="",
        grantable_scopes=(),
        created_at=it.now,
        suspended_at=None,
        closed_at=None,
        is_usable=True,
    )
    strict = Rules(requires_address_limits=True)
    found = await policies.find_breaking(door, theirs, strict, PageRequest(9), now=it.now)
    assert found.count == len(found.token_ids)
    return found.token_ids


async def change_template(door: Door, it: Foreign) -> object:
    await scope_templates.change_template(door, it.template_id, {"name": "mine"})
    return "changed"


REACHING: dict[str, Callable[[Door, Foreign], Awaitable[object]]] = {
    "find_policies": lambda door, it: policies.find_policies(door, [it.account_id]),
    "find_policy": lambda door, it: policies.find_policy(door, it.account_id),
    "find_bound_account": lambda door, it: policies.find_bound_account(door, it.account_id),
    "list_policies": lambda door, it: policies.list_policies(door, it.account_id),
    "count_live_tokens": lambda door, it: policies.count_live_tokens(
        door, it.account_id, now=it.now, most=9
    ),
    "find_breaking": find_breaking,
    "list_templates": lambda door, it: scope_templates.list_templates(door, it.account_id),
    "find_template": lambda door, it: scope_templates.find_template(door, it.template_id),
    "lock_template": lambda door, it: scope_templates.lock_template(door, it.template_id),
    "count_templates": lambda door, it: scope_templates.count_templates(door, it.account_id),
    "change_template": change_template,
    "delete_template": lambda door, it: scope_templates.delete_template(door, it.template_id),
}
