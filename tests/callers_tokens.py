"""Root fields of tokens against every kind of caller."""

from caller_scene import ERRORS, NEVER, NOBODY, NOTHING, OK, SCOPE, TOKEN, Row

# The target is a customer's token, the customer itself or, to create an account, its reseller. The
# tokens are the reseller's, so that both a foreign object and a missing scope can be asked about.
ROWS: dict[str, Row] = {
    "Query.token": (
        "query($token: ID!) { token(id: $token) { id } }",
        (NOBODY, NOTHING, NOTHING, NOTHING, OK, OK, OK, SCOPE, OK, NOBODY, NOBODY),
    ),
    "Query.tokens": (
        (
            "query($account: ID!) { tokens(first: 9, filter: {accountId: $account}) "
            "{ edges { node { id account { id } } } pageInfo { hasNextPage } } }"
        ),
        (NOBODY, NOTHING, NOTHING, NOTHING, OK, OK, OK, SCOPE, OK, NOBODY, NOBODY),
    ),
    "Query.viewerToken": (
        "{ viewerToken { id name scopes secrets { lastFour } } }",
        (NOTHING,) * 7 + (OK, OK, NOTHING, NOTHING),
    ),
    "Query.node": (
        "query($token: ID!) { node(id: $token) { id } }",
        (NOBODY, NOTHING, NOTHING, NOTHING, OK, OK, OK, SCOPE, OK, NOBODY, NOBODY),
    ),
    "Query.nodes": (
        (
            "query($token: ID!, $account: ID!, $receipt: ID!) "
            "{ nodes(ids: [$token, $account, $receipt]) { id } }"
        ),
        (NOBODY, NOTHING, NOTHING, NOTHING, OK, OK, OK, SCOPE, OK, NOBODY, NOBODY),
    ),
    "Query.propagation": (
        "query($receipt: ID!) { propagation(id: $receipt) { id state } }",
        (NOBODY, NOTHING, NOTHING, NOTHING, OK, OK, OK, SCOPE, OK, NOBODY, NOBODY),
    ),
    "Query.explainToken": (
        "query($token: ID!) { explainToken(input: {id: $token}) { status checks { detail } } }",
        (NOBODY, NOTHING, NOTHING, NOTHING, OK, OK, OK, SCOPE, OK, NOBODY, NOBODY),
    ),
    "Mutation.createToken": (
        (
            'mutation($account: ID!) { createToken(input: {name: "new", scopes: ["dns:read"], '
            f"accountId: $account}}) {{ token {{ id }} secret {ERRORS} }} }}"
        ),
        (NOBODY, NOTHING, NOTHING, NOTHING, OK, OK, OK, SCOPE, OK, NOBODY, NOBODY),
    ),
    "Mutation.renameToken": (
        f'mutation($token: ID!) {{ renameToken(input: {{id: $token, name: "other"}}) {TOKEN} }}',
        (NOBODY, NOTHING, NOTHING, NOTHING, OK, OK, OK, SCOPE, OK, NOBODY, NOBODY),
    ),
    "Mutation.updateToken": (
        (
            "mutation($token: ID!) { updateToken(input: {id: $token, "
            f'allowedIpRanges: ["192.0.2.0/24"]}}) {TOKEN} }}'
        ),
        (NOBODY, NOTHING, NOTHING, NOTHING, OK, OK, OK, SCOPE, OK, NOBODY, NOBODY),
    ),
    "Mutation.widenToken": (
        (
            "mutation($token: ID!) { widenToken(input: {id: $token, expiresAt: null, "
            f"expectedVersion: 3}}) {TOKEN} }}"
        ),
        # By persons alone, who have just entered their password.
        (NOBODY, NOTHING, NOTHING, NOTHING, OK, OK, OK, SCOPE, NEVER, NOBODY, NOBODY),
    ),
    "Mutation.revokeViewerToken": (
        f"mutation {{ revokeViewerToken(input: {{}}) {TOKEN} }}",
        (NOBODY, *(NEVER,) * 6, OK, OK, NOBODY, NOBODY),
    ),
    "Mutation.suspendToken": (
        f"mutation($token: ID!) {{ suspendToken(input: {{id: $token}}) {TOKEN} }}",
        (NOBODY, NOTHING, NOTHING, NOTHING, OK, OK, OK, SCOPE, OK, NOBODY, NOBODY),
    ),
    "Mutation.resumeToken": (
        f"mutation($token: ID!) {{ resumeToken(input: {{id: $token}}) {TOKEN} }}",
        (NOBODY, NOTHING, NOTHING, NOTHING, OK, OK, OK, SCOPE, OK, NOBODY, NOBODY),
    ),
    "Mutation.revokeToken": (
        f"mutation($token: ID!) {{ revokeToken(input: {{id: $token}}) {TOKEN} }}",
        (NOBODY, NOTHING, NOTHING, NOTHING, OK, OK, OK, SCOPE, OK, NOBODY, NOBODY),
    ),
    "Mutation.rotateToken": (
        (
            "mutation($token: ID!) { rotateToken(input: {id: $token, gracePeriodSeconds: 0}) "
            f"{{ token {{ id }} secret {ERRORS} }} }}"
        ),
        (NOBODY, NOTHING, NOTHING, NOTHING, OK, OK, OK, SCOPE, OK, NOBODY, NOBODY),
    ),
    "Mutation.completeTokenRotation": (
        f"mutation($token: ID!) {{ completeTokenRotation(input: {{id: $token}}) {TOKEN} }}",
        (NOBODY, NOTHING, NOTHING, NOTHING, OK, OK, OK, SCOPE, OK, NOBODY, NOBODY),
    ),
    "Mutation.cancelTokenRotation": (
        f"mutation($token: ID!) {{ cancelTokenRotation(input: {{id: $token}}) {TOKEN} }}",
        (NOBODY, NOTHING, NOTHING, NOTHING, OK, OK, OK, SCOPE, NEVER, NOBODY, NOBODY),
    ),
}
