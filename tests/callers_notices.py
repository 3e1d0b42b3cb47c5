"""The root field of the ledger of notices against every kind of caller."""

from caller_scene import NOBODY, NOTHING, SCOPE, Row

ROWS: dict[str, Row] = {
    "Query.notices": (
        (
            "query($account: ID!) { notices(first: 9, filter: {accountId: $account}) "
            "{ edges { node { state token { name } } } } }"
        ),
        # Nobody has been told of anything yet; who may ask is what counts here.
        (NOBODY, *(NOTHING,) * 6, SCOPE, NOTHING, NOBODY, NOBODY),
    ),
}
