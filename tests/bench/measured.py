"""One line of the bench's table."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured, and a bound that was measured beside it in the same run.

    Attributes:
        value: With its unit.
        bound: What it is compared with, and how that did; empty where there is nothing.
        ratio: Of the two; None where there is no bound.
        goal: What is wanted; empty where nothing is.
        is_reached: None without a goal.
    """

    what: str
    value: str
    bound: str = ""
    ratio: float | None = None
    goal: str = ""
    is_reached: bool | None = None

    def cells(self) -> tuple[str, ...]:
        """Return the line as texts."""
        reached = {None: "", True: "yes", False: "NO"}[self.is_reached]
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        return (self.what, self.value, self.bound, ratio, self.goal, reached)


HEAD = ("what", "measured", "beside it", "ratio", "goal", "reached")


def table(lines: Iterable[Measured]) -> str:
    """Return the lines under each other, as Markdown that is readable as it stands."""
    rows = [HEAD, *(line.cells() for line in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    rows.insert(1, tuple("-" * width for width in widths))
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    )
