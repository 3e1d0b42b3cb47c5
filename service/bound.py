"""How long after a revoke a validator may still say VALID. Pure."""

MARGIN_SECONDS = 2


def staleness_bound_seconds(lease_seconds: float) -> float:
    """Return the bound of a validator whose answers live for a lease.

    Two leases, because one backward step of Redis' clock can double one, and a margin of two
    seconds for what lies between the processes (DECISIONS, D-001).
    """
    return 2 * lease_seconds + MARGIN_SECONDS
