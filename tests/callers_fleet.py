"""Root fields of a fleet against every kind of caller."""

from caller_scene import NOBODY, NOTHING, OK, SCOPE, Row

ROWS: dict[str, Row] = {
    "Query.fleet": (
        "{ fleet(first: 9) { edges { node { account { id } counts { live } } } } }",
        # The other reseller sees a customer, but its own; test_graphql_fleet.py tells which.
        (NOBODY, NOTHING, NOTHING, OK, NOTHING, OK, OK, SCOPE, OK, NOBODY, NOBODY),
    ),
    "Query.fleetTotals": (
        "{ fleetTotals { accounts counts { live } } }",
        # A customer's are zeros.
        (NOBODY, OK, OK, OK, OK, OK, OK, SCOPE, OK, NOBODY, NOBODY),
    ),
}
