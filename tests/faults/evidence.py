"""What a campaign proves: every decision of every checker against every revoke."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from stack import LEASE_SECONDS, Window

FOREVER = float("inf")
CHECK_SECONDS_MAX = 1.0
GRACE_SECONDS = {"database": 1.0, "clock": 2 * LEASE_SECONDS, "stopped": 0.0}
"""How long after its end a fault of a kind still explains what is seen."""


@dataclass(slots=True)
class Token:
    """A token, and what its owner was told of it.

    Attributes:
        name: What the checkers call it.
        lives: Spans in which it must work, from one answer to the next request, since boot.
        revoked_at: When its owner knew that it is revoked; None while nobody does.
    """

    name: str
    id: str
    secret: str
    lives: list[tuple[float, float]] = field(default_factory=list)
    revoked_at: float | None = None

    def must_work(self, arrival: float, answered: float) -> bool:
        """Return whether a refusal of a check in this span would be false."""
        return any(
            began_at <= arrival and answered <= ended_at for began_at, ended_at in self.lives
        )


@dataclass(frozen=True, slots=True)
class Decision:
    """One check; instants in seconds since boot."""

    checker: str
    token: str
    arrival: float
    answered: float
    status: str


@dataclass
class Evidence:
    """Decisions of one kind of validator, judged.

    Attributes:
        decisions: How many.
        staleness_seconds: For each token and checker, how long after the revoke's answer the last
            request arrived that was accepted; 0 where none was.
        false_refusals: Live tokens refused although the database could be read.
        beyond_lease: Requests accepted more than one lease after the revoke's answer, although
            no clock was stepped: the rule promises that much, and the bound twice as much.
        slow: Checks that took longer than a second although the process ran.
        last: The last status by checker and token.
    """

    decisions: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    staleness_seconds: dict[tuple[str, str], float] = field(default_factory=dict)
    false_refusals: list[Decision] = field(default_factory=list)
    beyond_lease: list[Decision] = field(default_factory=list)
    slow: list[Decision] = field(default_factory=list)
    last: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def worst_seconds(self) -> float:
        """The longest staleness."""
        return max(self.staleness_seconds.values(), default=0.0)

    def percentile(self, percent: int) -> float:
        """Return what this share of tokens and checkers did not exceed, in seconds."""
        found = sorted(self.staleness_seconds.values())
        return found[max(0, -(-len(found) * percent // 100) - 1)] if found else 0.0


def read_decisions(record: Path, *, after_bytes: int = 0) -> list[Decision]:
    """Return what a checker wrote; a line may be cut short by its end."""
    with record.open("rb") as file:
        file.seek(after_bytes)
        text = file.read().decode()
    found = []
    for line in text.splitlines():
        parts = line.split()
        if len(parts) == 4:
            token, arrival, answered, status = parts
            found.append(Decision(record.stem, token, float(arrival), float(answered), status))
    return found


def judge(records: list[Path], tokens: dict[str, Token], windows: list[Window]) -> Evidence:
    """Return what the decisions of one kind of validator prove."""
    evidence = Evidence()
    for record in records:
        for decision in read_decisions(record):
            _add(evidence, decision, tokens[decision.token], windows)
    return evidence


def _add(evidence: Evidence, decision: Decision, token: Token, windows: list[Window]) -> None:
    evidence.decisions += 1
    evidence.statuses[decision.status] += 1
    key = decision.checker, decision.token
    evidence.last[key] = decision.status
    if token.revoked_at is not None:
        late = decision.arrival - token.revoked_at if decision.status == "VALID" else 0.0
        evidence.staleness_seconds[key] = max(late, evidence.staleness_seconds.get(key, 0.0))
        if late > LEASE_SECONDS and not _excuses(decision, windows, "clock"):
            evidence.beyond_lease.append(decision)
    is_refusal = decision.status != "VALID" and token.must_work(decision.arrival, decision.answered)
    if is_refusal and not _excuses(decision, windows, "database", "stopped"):
        evidence.false_refusals.append(decision)
    took_seconds = decision.answered - decision.arrival
    if took_seconds > CHECK_SECONDS_MAX and not _excuses(decision, windows, "stopped"):
        evidence.slow.append(decision)


def _excuses(decision: Decision, windows: list[Window], *kinds: str) -> bool:
    return any(
        window.kind in kinds
        and decision.checker in window.names
        and window.meets(
            decision.arrival,
            decision.answered,
            grace_seconds=GRACE_SECONDS[window.kind],
        )
        for window in windows
    )


def table(
    rule: Evidence, naive: Evidence, tokens: dict[str, Token], windows: list[Window], bound: float
) -> str:
    """Return the result for people."""
    revoked = sum(token.revoked_at is not None for token in tokens.values())
    faults = Counter(window.fault for window in windows)
    lines = [
        f"{'bound':<28}{bound:8.2f} s",
        f"{'tokens, of them revoked':<28}{len(tokens):>8} {revoked}",
        f"{'faults':<28}{len(windows):>8}",
        *(f"  {name:<40}{count:>4}" for name, count in sorted(faults.items())),
        f"{'':<28}{'rule':>10}{'naive':>10}",
        f"{'decisions':<28}{rule.decisions:>10}{naive.decisions:>10}",
    ]
    for name, percent in (("p50", 50), ("p99", 99), ("worst", 100)):
        values = [f"{kind.percentile(percent):>10.3f}" for kind in (rule, naive)]
        lines.append(f"{f'{name} staleness, s':<28}{''.join(values)}")
    for name, counts in {
        "accepted beyond a lease": (len(rule.beyond_lease), len(naive.beyond_lease)),
        "false refusals": (len(rule.false_refusals), len(naive.false_refusals)),
        "checks over 1 s": (len(rule.slow), len(naive.slow)),
        **{
            f"  {status}": (rule.statuses[status], naive.statuses[status])
            for status in sorted(rule.statuses | naive.statuses)
        },
    }.items():
        lines.append(f"{name:<28}{counts[0]:>10}{counts[1]:>10}")
    return "\n".join(lines)
