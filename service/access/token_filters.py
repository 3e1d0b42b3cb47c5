"""What a filter of tokens is in SQL, and along which order's index each of its conditions lies."""

from dataclasses import dataclass, field
from datetime import datetime

from service import scopes
from service.access.door import Statement
from service.access.tokens import TokenFilter, TokenOrder, TokenStatus

# The expressions of the indexes. In a filter they are written the same way: PostgreSQL knows from
# their statistics how rare a range is, and finds it there.
ENDS_AT = "least(t.expires_at, 'infinity'::timestamptz)"
USED_AT = "greatest(t.last_used_at, '-infinity'::timestamptz)"

_LIVING = frozenset({TokenStatus.ACTIVE, TokenStatus.PENDING, TokenStatus.SUSPENDED})


@dataclass(frozen=True, slots=True)
class Conditions:
    """A filter in SQL, on ``api_token t``; each part narrows further.

    Attributes:
        account: Whose tokens.
        ranges: By order, what is one range of that order's index.
        others: What is decided row by row, or found by an index of its own.
    """

    account: list[str] = field(default_factory=list)
    ranges: dict[TokenOrder, list[str]] = field(
        default_factory=lambda: {order: [] for order in TokenOrder}
    )
    others: list[str] = field(default_factory=list)

    def every(self) -> list[str]:
        """Return all of them, to be joined by AND."""
        return [
            *self.account,
            *(one for some in self.ranges.values() for one in some),
            *self.others,
        ]

    def along(self, order: TokenOrder) -> list[str]:
        """Return those that only make a walk along an order's index shorter."""
        return [*self.account, *self.ranges[order]]


def conditions_of(statement: Statement, only: TokenFilter, now: datetime) -> Conditions:
    """Return a filter in SQL.

    Args:
        statement: Takes the values; nothing of a filter is ever part of the text.
        only: The filter.
        now: Decides what has ended.
    """
    found = Conditions()
    if only.account_id is not None:
        found.account.append(f"t.account_id = {statement.bind(only.account_id)}")
    _add_instants(found, statement, only)
    _add_facets(found, statement, only)
    for statuses in ((only.status,) if only.status else None, only.statuses):
        if statuses is not None:
            _add_statuses(found, f"{statement.bind(now)}::timestamptz", frozenset(statuses))
    return found


def live(now: str) -> str:
    """Return the condition that a token has not ended at an instant's placeholder."""
    return f"t.revoked_at IS NULL AND {ENDS_AT} > {now}"


def _add_instants(found: Conditions, statement: Statement, only: TokenFilter) -> None:
    for value, order, condition in (
        (only.created_before, TokenOrder.CREATED_AT, "t.created_at < {}"),
        (only.created_after, TokenOrder.CREATED_AT, "t.created_at >= {}"),
        # What never expires is no earlier than anything.
        (only.expires_before, TokenOrder.EXPIRES_AT, f"{ENDS_AT} < {{}}"),
    ):
        if value is not None:
            found.ranges[order].append(condition.format(statement.bind(value)))
    if only.unused_since is not None:
        since = statement.bind(only.unused_since)
        found.ranges[TokenOrder.LAST_USED_AT].append(f"{USED_AT} < {since}")
        found.others.append(f"coalesce(t.last_used_at, t.created_at) < {since}")
    if only.never_used is not None:
        compared = "=" if only.never_used else ">"
        found.ranges[TokenOrder.LAST_USED_AT].append(f"{USED_AT} {compared} '-infinity'")


def _add_facets(found: Conditions, statement: Statement, only: TokenFilter) -> None:
    for wanted, condition in (
        (only.has_address_limits, "(t.allowed_ip_ranges <> '{}')"),
        (only.has_full_access, "(t.scopes @> '{*}')"),
    ):
        if wanted is not None:
            found.others.append(condition if wanted else f"NOT {condition}")
    if only.scope is not None:
        found.others.append(f"t.scopes && {statement.bind(_holding(only.scope))}::text[]")
    if only.name_contains:
        escaped = only.name_contains.translate({ord(c): f"\\{c}" for c in "\\%_"})
        found.others.append(f"t.name ILIKE {statement.bind(f'%{escaped}%')}")


def _add_statuses(found: Conditions, now: str, statuses: frozenset[TokenStatus]) -> None:
    if statuses and statuses <= _LIVING:
        found.ranges[TokenOrder.EXPIRES_AT].append(f"{ENDS_AT} > {now}")
    elif statuses == {TokenStatus.EXPIRED}:
        found.ranges[TokenOrder.EXPIRES_AT].append(f"{ENDS_AT} <= {now}")
    either = [f"({_status(status, now)})" for status in sorted(statuses)]
    # An instant that no status compares with would have no type.
    found.others.append(f"({' OR '.join(either or ['FALSE'])}) AND {now} IS NOT NULL")


def _status(status: TokenStatus, now: str) -> str:
    if status is TokenStatus.REVOKED:
        return "t.revoked_at IS NOT NULL"
    if status is TokenStatus.EXPIRED:
        return f"t.revoked_at IS NULL AND {ENDS_AT} <= {now}"
    if status is TokenStatus.SUSPENDED:
        return f"{live(now)} AND t.suspended_at IS NOT NULL"
    if status is TokenStatus.PENDING:
        return f"{live(now)} AND t.suspended_at IS NULL AND t.not_before > {now}"
    return (
        f"{live(now)} AND t.suspended_at IS NULL"
        f" AND (t.not_before IS NULL OR t.not_before <= {now})"
    )


def _holding(scope: str) -> list[str]:
    """Return the scopes that include one: itself, its noun's, everything."""
    noun = scope.partition(":")[0]
    return sorted({scope, f"{noun}:*", scopes.EVERYTHING})
