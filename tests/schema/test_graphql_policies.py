"""Policies and templates over GraphQL: absent and null differ, and refusals have their codes."""

from typing import Any

import pytest
from conftest import GraphQL
from edge_scene import People
from factories import make_token

from service.composition import Service

RULES = (
    "maxLifetimeDays requiresAddressLimits allowedIpRanges { items } allowedScopes { items } "
    "tokenCap noticeThresholdDays allowsDelegation"
)
SET = (
    "mutation($input: SetPolicyInput!) { setPolicy(input: $input) { userErrors { code field } "
    f"policy {{ levels {{ level version {RULES} }} effective {{ {RULES} "
    "sources { rule levels } } } } }"
)


@pytest.fixture
async def people(service: Service) -> People:
    return await People.make(service)


async def test_a_rule_that_is_absent_stays_and_null_takes_it_away(
    people: People, graphql: GraphQL
) -> None:
    rules: dict[str, Any] = {
        "maxLifetimeDays": 30,
        "requiresAddressLimits": True,
        "allowedIpRanges": ["192.0.2.0/25", "192.0.2.128/25"],
        "allowedScopes": ["dns:*", "dns:read"],
        "tokenCap": 9,
        "noticeThresholdDays": [14, 3],
        "allowsDelegation": False,
    }

    async def change(**given: Any) -> dict[str, Any]:
        answer = await graphql(SET, secret=people.customer.secret, input={"rules": given})
        [level] = answer["data"]["setPolicy"]["policy"]["levels"]
        return dict(level)

    alone = {"allowedIpRanges": ["192.0.2.0/24"], "allowedScopes": ["dns:*"]}
    stored = {name: {"items": items} for name, items in alone.items()}
    first = {"level": "ACCOUNT", "version": 1} | rules | stored
    assert await change(**rules) == first
    assert await change(tokenCap=8) == first | {"tokenCap": 8, "version": 2}
    nothing: dict[str, Any] = {"requiresAddressLimits": False, "allowsDelegation": True}
    nothing |= {"noticeThresholdDays": [], "version": 3}
    empty = dict.fromkeys(rules) | nothing | {"level": "ACCOUNT"}
    assert await change(**dict.fromkeys(rules)) == empty


async def test_a_customer_reads_what_binds_it_with_its_levels(
    people: People, graphql: GraphQL
) -> None:
    for person, cap in ((people.operator, 9), (people.reseller, 7)):
        rules = {"tokenCap": cap, "noticeThresholdDays": [cap]}
        answer = await graphql(SET, secret=person.secret, input={"rules": rules})
        assert answer["data"]["setPolicy"]["userErrors"] == []
    effective = "effective { tokenCap noticeThresholdDays sources { rule levels } }"
    query = f"{{ policy {{ levels {{ level }} {effective} }} }}"

    answer = await graphql(query, secret=people.customer.secret)

    assert answer["data"]["policy"] == {
        "levels": [],
        "effective": {
            "tokenCap": 7,
            "noticeThresholdDays": [30, 9, 7, 1],
            "sources": [
                {"rule": "TOKEN_CAP", "levels": ["RESELLER"]},
                {"rule": "NOTICE_THRESHOLD_DAYS", "levels": ["PLATFORM", "RESELLER"]},
            ],
        },
    }


async def test_a_refusal_by_a_policy_names_the_field_and_the_limit(
    people: People, graphql: GraphQL
) -> None:
    rules = {"allowedScopes": ["dns:*"]}
    await graphql(SET, secret=people.reseller.secret, input={"rules": rules})
    create = (
        'mutation { createToken(input: {name: "new", scopes: ["*"]}) '
        "{ secret userErrors { code message field } } }"
    )

    answer = await graphql(create, secret=people.customer.secret)

    message = "By the policy of the reseller, a token's scopes must lie within dns:*."
    assert answer["data"]["createToken"] == {
        "secret": None,
        "userErrors": [{"code": "POLICY_VIOLATION", "message": message, "field": "scopes"}],
    }


@pytest.mark.parametrize(
    ("given", "code", "field"),
    [
        ({"rules": {}}, "INVALID_INPUT", None),
        ({"rules": {"tokenCap": 10_001}}, "INVALID_INPUT", "tokenCap"),
        ({"rules": {"allowedScopes": []}}, "INVALID_INPUT", "allowedScopes"),
        ({"rules": {"allowedScopes": ["a:b"]}}, "SCOPE_NOT_GRANTABLE", "allowedScopes"),
        ({"rules": {"tokenCap": 1}, "expectedVersion": 1}, "VERSION_CONFLICT", None),
        ({"rules": {"tokenCap": 1}, "accountId": "nonsense"}, "NOT_FOUND", None),
    ],
)
async def test_senseless_input_is_refused_as_data(
    people: People, graphql: GraphQL, given: dict[str, Any], code: str, field: str | None
) -> None:
    answer = await graphql(SET, secret=people.customer.secret, input=given)

    assert answer["data"]["setPolicy"] == {
        "policy": None,
        "userErrors": [{"code": code, "field": field}],
    }


async def test_a_preview_names_tokens_and_reasons(
    people: People, service: Service, graphql: GraphQL
) -> None:
    await make_token(service, people.customer.actor, name="everything", scopes=("*",))
    query = (
        "query($rules: PolicyRulesInput!) { previewPolicy(rules: $rules, first: 10) { count "
        "isExact tokens { edges { node { token { name } violations { rule message } } } } } }"
    )
    rules = {"allowedScopes": ["dns:*"], "tokenCap": 0}

    answer = await graphql(query, secret=people.reseller.secret, rules=rules)

    message = "By the policy of the reseller, a token's scopes must lie within dns:*."
    broken = {
        "token": {"name": "everything"},
        "violations": [{"rule": "ALLOWED_SCOPES", "message": message}],
    }
    assert answer["data"]["previewPolicy"] == {
        "count": 1,
        "isExact": True,
        "tokens": {"edges": [{"node": broken}]},
    }


async def test_a_template_is_made_read_changed_and_deleted(
    people: People, graphql: GraphQL
) -> None:
    secret = people.reseller.secret
    fields = "scopeTemplate { id name description scopes level version } userErrors { code }"
    create = (
        'mutation { createScopeTemplate(input: {name: "DNS", description: "Zones.", '
        f'scopes: ["dns:write", "dns:read"]}}) {{ {fields} }} }}'
    )
    made = (await graphql(create, secret=secret))["data"]["createScopeTemplate"]["scopeTemplate"]
    again = (await graphql(create, secret=secret))["data"]["createScopeTemplate"]
    assert again == {"scopeTemplate": None, "userErrors": [{"code": "TEMPLATE_NAME_TAKEN"}]}

    seen = await graphql("{ scopeTemplates { id level } }", secret=people.customer.secret)
    assert seen["data"]["scopeTemplates"] == [{"id": made["id"], "level": "RESELLER"}]
    node = "query($id: ID!) { node(id: $id) { ... on ScopeTemplate { name } } }"
    found = await graphql(node, secret=people.customer.secret, id=made["id"])
    assert found["data"]["node"] == {"name": "DNS"}

    update = (
        "mutation($input: UpdateScopeTemplateInput!) { updateScopeTemplate(input: $input) "
        f"{{ {fields} }} }}"
    )
    changed = await graphql(
        update, secret=secret, input={"id": made["id"], "description": None, "name": "Zones"}
    )
    expected = made | {"name": "Zones", "description": None, "version": 2}
    assert changed["data"]["updateScopeTemplate"]["scopeTemplate"] == expected
    refused = await graphql(update, secret=secret, input={"id": made["id"], "scopes": None})
    assert refused["data"] is None

    delete = "mutation($id: ID!) { deleteScopeTemplate(input: {id: $id}) { deletedId } }"
    gone = await graphql(delete, secret=secret, id=made["id"])
    assert gone["data"]["deleteScopeTemplate"] == {"deletedId": made["id"]}
    found = await graphql(node, secret=secret, id=made["id"])
    assert found["data"]["node"] is None
