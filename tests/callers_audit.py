"""The root field of the audit trail against every kind of caller."""

from caller_scene import NOBODY, NOTHING, OK, SCOPE, Row

ROWS: dict[str, Row] = {
    "Query.auditEvents": (
        (
            "query($account: ID!) { auditEvents(first: 9, filter: {accountId: $account}) "
            "{ edges { node { action actor { email } account { name } } } } }"
        ),
        (NOBODY, NOTHING, NOTHING, NOTHING, OK, OK, OK, SCOPE, OK, NOBODY, NOBODY),
    ),
}
