"""What a client is told of values that cannot be read: where and why, and never the value."""

import json
from typing import Any

import pytest
from conftest import GraphQL
from edge_scene import People

from service.composition import Service

SECRET = "hunter2 hunter2"

CREATE = "mutation ($input: CreateTokenInput!) { createToken(input: $input) { secret } }"
POLICY = "mutation ($input: SetPolicyInput!) { setPolicy(input: $input) { userErrors { code } } }"
REVOKE = (
    "mutation ($input: RevokeTokenInput!) { revokeToken(input: $input) { userErrors { code } } }"
)
TOKEN: dict[str, Any] = {"name": "a", "scopes": ["dns:read"]}

VARIABLES: dict[str, tuple[str, object, str]] = {
    "required": (
        CREATE,
        {"name": SECRET},
        ": Expected value of type 'CreateTokenInput' to include required field 'scopes'.",
    ),
    "unknown": (
        CREATE,
        TOKEN | {"pasword": SECRET},
        ": Expected value of type 'CreateTokenInput' not to include unknown field 'pasword'.",
    ),
    "unknown and nested": (
        POLICY,
        {"rules": {"tokenCapp": SECRET}},
        (
            " at .rules: Expected value of type 'PolicyRulesInput'"
            " not to include unknown field 'tokenCapp'."
        ),
    ),
    "no object": (
        CREATE,
        SECRET,
        ": Expected value of type 'CreateTokenInput' to be an object.",
    ),
    "no text": (
        CREATE,
        TOKEN | {"name": [SECRET]},
        " at .name: String cannot represent a non string value.",
    ),
    "null": (
        CREATE,
        TOKEN | {"name": None},
        " at .name: Expected value of non-null type 'String!' not to be None.",
    ),
    "no instant": (
        CREATE,
        TOKEN | {"expiresAt": SECRET},
        " at .expiresAt: Write an instant as in 2030-01-31T12:00:00Z.",
    ),
    "no instant at all": (
        CREATE,
        TOKEN | {"expiresAt": {"a": SECRET}},
        " at .expiresAt: Write an instant as in 2030-01-31T12:00:00Z.",
    ),
    "no member": (
        REVOKE,
        {"id": "x", "reason": SECRET},
        " at .reason: There is no such value in the enum 'RevokeTokenReason'.",
    ),
}

DOCUMENTS = {
    "unknown": 'confirmPassword(input: { password: "hunter2 hunter2", pasword: "x" })',
    "required": 'changePassword(input: { currentPasword: "hunter2 hunter2", newPassword: "x" })',
    "no text": 'confirmPassword(input: { password: ["hunter2 hunter2"] })',
    "no syntax": 'confirmPassword(input: { password "hunter2 hunter2" })',
    "no instant": 'createToken(input: { expiresAt: "hunter2 hunter2", name: "a", scopes: [] })',
}


@pytest.fixture
async def secret(service: Service) -> str:
    return (await People.make(service)).customer.secret


@pytest.mark.parametrize("case", VARIABLES)
async def test_a_variable_that_cannot_be_read_is_told_by_its_place_and_not_by_its_value(
    case: str, graphql: GraphQL, secret: str
) -> None:
    query, value, told = VARIABLES[case]

    answer = await graphql(query, secret=secret, input=value)

    assert answer["data"] is None
    assert answer["errors"][0]["message"] == f"Variable '$input' has invalid value{told}"
    assert answer["errors"][0]["extensions"]["code"] == "INVALID_OPERATION"
    assert "hunter2" not in json.dumps(answer)


@pytest.mark.parametrize("case", DOCUMENTS)
async def test_a_value_in_the_document_is_not_repeated_either(
    case: str, graphql: GraphQL, secret: str
) -> None:
    answer = await graphql(
        f"mutation {{ {DOCUMENTS[case]} {{ userErrors {{ code }} }} }}", secret=secret
    )

    assert answer["data"] is None
    assert answer["errors"]
    assert "hunter2" not in json.dumps(answer)
