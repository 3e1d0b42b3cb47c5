"""The result of a campaign for people: what was dealt, what was changed, what was decided."""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable

from evidence import Evidence, Token
from stack import Window

COLUMN = 28


def told(
    kinds: dict[str, Evidence], tokens: Iterable[Token], windows: list[Window], bound_seconds: float
) -> str:
    """Return the result."""
    lines = [
        f"{'bound':<{COLUMN}}{bound_seconds:8.2f} s",
        f"{'load of the machine':<{COLUMN}}{os.getloadavg()[0]:8.2f} on {os.cpu_count()} cores",
        *_faults(windows),
        "",
        f"{'':<{COLUMN}}" + "".join(f"{kind:>10}" for kind in kinds),
        *_decisions(kinds),
        "",
        "worst staleness by change, s",
        *_changes(kinds, tokens),
    ]
    return "\n".join(lines)


def _faults(windows: list[Window]) -> list[str]:
    """Return how often each fault was dealt, and how long the longest lasted."""
    spans = defaultdict[str, list[float]](list)
    for window in windows:
        spans[window.fault].append(window.ended_at - window.began_at)
    return [
        f"{'faults':<{COLUMN}}{len(windows):>8}{'longest, s':>24}",
        *(
            f"  {fault:<44}{len(lasted):>4}{max(lasted):>10.2f}"
            for fault, lasted in sorted(spans.items())
        ),
    ]


def _decisions(kinds: dict[str, Evidence]) -> list[str]:
    rows: dict[str, Callable[[Evidence], object]] = {
        "decisions": lambda found: found.decisions,
        "p50 staleness, s": lambda found: f"{found.percentile(50):.3f}",
        "p99 staleness, s": lambda found: f"{found.percentile(99):.3f}",
        "worst staleness, s": lambda found: f"{found.worst_seconds:.3f}",
        "accepted beyond a lease": lambda found: len(found.beyond_lease),
        "false refusals": lambda found: len(found.false_refusals),
        "checks over 1 s": lambda found: len(found.slow),
    }
    statuses = sorted({status for found in kinds.values() for status in found.statuses})
    return [
        *(_row(name, [value(found) for found in kinds.values()]) for name, value in rows.items()),
        *(
            _row(f"  {status}", [found.statuses[status] for found in kinds.values()])
            for status in statuses
        ),
    ]


def _changes(kinds: dict[str, Evidence], tokens: Iterable[Token]) -> list[str]:
    counts = Counter(refusal.change for token in tokens for refusal in token.refusals)
    return [
        _row(
            f"{count:>4} {change}",
            [f"{found.by_change.get(change, 0.0):.3f}" for found in kinds.values()],
        )
        for change, count in sorted(counts.items())
    ]


def _row(name: str, values: list[object]) -> str:
    return f"{name:<{COLUMN}}" + "".join(f"{value!s:>10}" for value in values)
