"""Root fields of jobs against every kind of caller."""

from caller_scene import ERRORS, NEVER, NOBODY, NOTHING, OK, SCOPE, Row

MANY = f"{{ job {{ id total }} missingIds {ERRORS} }}"

# The target is a customer's token, or the customer's job about it.
ROWS: dict[str, Row] = {
    "Query.job": (
        "query($job: ID!) { job(id: $job) { id items(first: 9) { edges { node { tokenId } } } } }",
        (NOBODY, NOTHING, NOTHING, NOTHING, OK, OK, OK, SCOPE, OK, NOBODY, NOBODY),
    ),
    "Query.jobs": (
        "{ jobs(first: 9) { edges { node { id account { id } } } } }",
        (NOBODY, NOTHING, NOTHING, NOTHING, OK, OK, OK, SCOPE, OK, NOBODY, NOBODY),
    ),
    "Mutation.revokeTokens": (
        f"mutation($token: ID!) {{ revokeTokens(input: {{selection: {{ids: [$token]}}}}) {MANY} }}",
        (NOBODY, NOTHING, NOTHING, NOTHING, OK, OK, OK, SCOPE, OK, NOBODY, NOBODY),
    ),
    "Mutation.suspendTokens": (
        (
            "mutation($token: ID!) { suspendTokens(input: {selection: {ids: [$token]}}) "
            f"{MANY} }}"
        ),
        (NOBODY, NOTHING, NOTHING, NOTHING, OK, OK, OK, SCOPE, OK, NOBODY, NOBODY),
    ),
    "Mutation.resumeTokens": (
        f"mutation($token: ID!) {{ resumeTokens(input: {{selection: {{ids: [$token]}}}}) {MANY} }}",
        (NOBODY, NOTHING, NOTHING, NOTHING, OK, OK, OK, SCOPE, OK, NOBODY, NOBODY),
    ),
    "Mutation.extendTokens": (
        (
            "mutation($token: ID!) { extendTokens(input: {selection: {ids: [$token]}, byDays: 1}) "
            f"{MANY} }}"
        ),
        (NOBODY, NOTHING, NOTHING, NOTHING, OK, OK, OK, SCOPE, NEVER, NOBODY, NOBODY),
    ),
    "Mutation.cancelJob": (
        (
            "mutation($job: ID!) { cancelJob(input: {id: $job}) "
            f"{{ job {{ id state }} {ERRORS} }} }}"
        ),
        (NOBODY, NOTHING, NOTHING, NOTHING, OK, OK, OK, SCOPE, OK, NOBODY, NOBODY),
    ),
}
