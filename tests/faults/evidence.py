"""What a campaign proves: every decision of every checker against every change of the owner's."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from stack import LEASE_SECONDS, Window, kind_of

FOREVER = float("inf")
CHECK_SECONDS_MAX = 1.0
CLOCKS_SECONDS = 0.05
GRACE_SECONDS = {"database": 1.0, "clock": 2 * LEASE_SECONDS, "stopped": 1.0}
"""How long after its end a fault of a kind still explains what is seen."""

Span = tuple[float, float]


@dataclass(slots=True)
class Refusal:
    """A span in which a secret must be refused.

    Attributes:
        change: What took something away.
        known_at: When the owner knew of it.
        ended_at: When the owner was about to give it back.
        allowed_until: What the change itself still allows: a grace, or an expiry that is to come.
    """

    change: str
    known_at: float
    allowed_until: float
    ended_at: float = FOREVER

    def staleness_seconds(self, arrival: float, answered: float) -> float:
        """Return for how long its owner had known when a request came that was accepted.

        One that is answered once it is given back may be accepted, whenever it came.
        """
        is_within = self.known_at <= arrival and answered < self.ended_at
        is_late = is_within and arrival > self.allowed_until + CLOCKS_SECONDS
        return arrival - self.known_at if is_late else 0.0


@dataclass(frozen=True, slots=True)
class Account:
    """An account that may be suspended, and the reseller's above it."""

    id: str
    above: "Account | None" = None

    @property
    def chain(self) -> tuple["Account", ...]:
        """The accounts whose suspension refuses its tokens."""
        return (self,) if self.above is None else (self, self.above)


@dataclass(slots=True)
class Token:
    """A secret, and what its owner was told of it.

    Attributes:
        name: What the checkers call it.
        lives: Spans in which it must work, from one answer to the next request, since boot.
        refusals: Spans in which it must be refused.
    """

    name: str
    id: str
    secret: str
    account: Account
    lives: list[Span] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)

    @property
    def is_live(self) -> bool:
        """Whether it must work now."""
        return bool(self.lives) and self.lives[-1][1] == FOREVER

    @property
    def is_ended(self) -> bool:
        """Whether it must be refused now."""
        return bool(self.refusals) and self.refusals[-1].ended_at == FOREVER

    def end_life(self, at: float) -> None:
        """Note that a change is about to be sent: from then on either answer is right."""
        self.lives = [(began_at, min(ended_at, at)) for began_at, ended_at in self.lives]

    def refuse(self, change: str, at: float, *, allowed_seconds: float = 0.0) -> None:
        """Note that its owner knows of a change."""
        self.refusals.append(Refusal(change, at, at + allowed_seconds))

    def give_back(self, at: float) -> None:
        """Note that what was taken away is about to be given back."""
        if self.is_ended:
            self.refusals[-1].ended_at = at

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
        staleness_seconds: For each token and checker, how long after the change's answer the last
            request arrived that was accepted; 0 where none was.
        by_change: The longest of them for each kind of change.
        false_refusals: Live tokens refused although the database could be read.
        beyond_lease: Requests accepted more than one lease after the change's answer, although
            no clock was stepped: the rule promises that much, and the bound twice as much.
        slow: Checks that took longer than a second although the process ran.
    """

    decisions: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    staleness_seconds: dict[tuple[str, str], float] = field(default_factory=dict)
    by_change: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    false_refusals: list[Decision] = field(default_factory=list)
    beyond_lease: list[Decision] = field(default_factory=list)
    slow: list[Decision] = field(default_factory=list)

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


def judge(
    records: list[Path], tokens: dict[str, Token], windows: list[Window]
) -> dict[str, Evidence]:
    """Return what the decisions of each kind of validator prove."""
    found: dict[str, Evidence] = {}
    for record in records:
        evidence = found.setdefault(kind_of(record.stem), Evidence())
        for decision in read_decisions(record):
            _add(evidence, decision, tokens[decision.token], windows)
    return found


def _add(evidence: Evidence, decision: Decision, token: Token, windows: list[Window]) -> None:
    evidence.decisions += 1
    evidence.statuses[decision.status] += 1
    for refusal in token.refusals:
        late = 0.0
        if decision.status == "VALID":
            late = refusal.staleness_seconds(decision.arrival, decision.answered)
        key = decision.checker, decision.token
        evidence.staleness_seconds[key] = max(late, evidence.staleness_seconds.get(key, 0.0))
        evidence.by_change[refusal.change] = max(late, evidence.by_change[refusal.change])
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
