"""Exhaustive searches of the lease rule's model, tests/model/lease.pml, by Spin."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

MODEL = Path(__file__).parent / "model" / "lease.pml"
DEPTH_MAX = 3_000_000


@dataclass(frozen=True, slots=True)
class Search:
    """What a search of the model's states told.

    Attributes:
        holds: Every state was visited and none broke the rule.
        refuted: A run that breaks the rule was found.
        unreached: The steps of the model that no run takes; only of a search that was finished.
        report: The verifier's own words.
    """

    holds: bool
    refuted: bool
    unreached: list[str]
    report: str


def search(directory: Path, definitions: str, *, memory_mebibytes_max: int = 1400) -> Search:
    """Build the verifier of a variant of the model in an empty directory, and run it.

    Args:
        directory: Where to build.
        definitions: What lease.pml is given by -D, separated by spaces: ``L=2 BOUND=2 ACCOUNT``.
        memory_mebibytes_max: Where the search gives up, which neither holds nor refutes.
    """
    defined = [f"-D{definition}" for definition in definitions.split()]
    limit = f"-DMEMLIM={memory_mebibytes_max}"
    # Spin's own code draws warnings; -DSAFETY leaves out the search for cycles, which has no use.
    _run(directory, ["spin", "-a", *defined, str(MODEL)])
    _run(directory, ["gcc", "-w", "-O2", "-DSAFETY", limit, "-o", "pan", "pan.c"])
    # -b makes a run that is longer than -m an error, where it would be left out otherwise.
    report = _run(directory, ["./pan", f"-m{DEPTH_MAX}", "-b"])
    is_whole = "Full statespace search" in report and not re.search(
        "not completed|too small|memory bound|aborted", report
    )
    return Search(
        holds=is_whole and re.search(r"errors: 0$", report, re.MULTILINE) is not None,
        refuted="assertion violated" in report,
        unreached=re.findall(r'state \d+, "(?!-end-)(.*)"', report),
        report=report,
    )


def _run(directory: Path, command: list[str]) -> str:
    ran = subprocess.run(  # noqa: S603 - Debian's programs, and what they made of our model
        command,
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    return ran.stdout
