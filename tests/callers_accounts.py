"""Root fields of accounts against every kind of caller."""

from caller_scene import ACCOUNT, ERRORS, NEVER, NOBODY, NOTHING, OK, SCOPE, Row

# The target is a customer's token, the customer itself or, to create an account, its reseller. The
# tokens are the reseller's, so that both a foreign object and a missing scope can be asked about.
ROWS: dict[str, Row] = {
    "Query.account": (
        "query($account: ID!) { account(id: $account) { id name } }",
        (NOBODY, NOTHING, NOTHING, NOTHING, OK, OK, OK, SCOPE, OK, NOBODY, NOBODY),
    ),
    "Query.accounts": (
        "{ accounts(first: 9) { edges { node { id } } pageInfo { hasNextPage } } }",
        # The other reseller sees a customer, but its own; a test below tells which.
        (NOBODY, NOTHING, NOTHING, OK, NOTHING, OK, OK, SCOPE, OK, NOBODY, NOBODY),
    ),
    "Query.availableScopes": (
        "{ availableScopes }",
        (NOBODY, OK, OK, OK, OK, OK, OK, OK, OK, NOBODY, NOBODY),
    ),
    "Mutation.createAccount": (
        (
            'mutation($reseller: ID!) { createAccount(input: {name: "New", '
            'email: "new@example.com", password: "long enough it is", resellerId: $reseller}) '
            f"{{ account {{ id }} {ERRORS} }} }}"
        ),
        (NOBODY, NEVER, NEVER, NOTHING, NEVER, OK, OK, SCOPE, OK, NOBODY, NOBODY),
    ),
    "Mutation.suspendAccount": (
        f"mutation($account: ID!) {{ suspendAccount(input: {{id: $account}}) {ACCOUNT} }}",
        (NOBODY, NOTHING, NOTHING, NOTHING, NEVER, OK, OK, SCOPE, OK, NOBODY, NOBODY),
    ),
    "Mutation.resumeAccount": (
        f"mutation($account: ID!) {{ resumeAccount(input: {{id: $account}}) {ACCOUNT} }}",
        (NOBODY, NOTHING, NOTHING, NOTHING, NEVER, OK, OK, SCOPE, OK, NOBODY, NOBODY),
    ),
    "Mutation.closeAccount": (
        (
            "mutation($account: ID!, $name: String!) { closeAccount(input: {id: $account, "
            f"expectedName: $name}}) {ACCOUNT} }}"
        ),
        (NOBODY, NOTHING, NOTHING, NOTHING, NEVER, OK, OK, SCOPE, OK, NOBODY, NOBODY),
    ),
    "Mutation.moveAccount": (
        (
            "mutation($account: ID!, $reseller: ID!) { moveAccount(input: {id: $account, "
            f"resellerId: $reseller}}) {ACCOUNT} }}"
        ),
        (NOBODY, *(NEVER,) * 5, OK, SCOPE, NEVER, NOBODY, NOBODY),
    ),
}
