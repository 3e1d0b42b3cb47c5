"""Redis' own clock, stepped while Redis runs."""

import shutil
import struct
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("fault_clock.c")


class FaultClock:
    """A wall clock for the programs that are started with its environment.

    Args:
        directory: Where the library is built, with gcc.
    """

    def __init__(self, directory: Path) -> None:
        library = directory / "fault_clock.so"
        gcc = shutil.which("gcc") or "gcc"
        subprocess.run(  # noqa: S603 - the compiler, on a source of ours
            [gcc, "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, SOURCE], check=True
        )
        self._file = directory / "fault_clock.offset"
        self._file.write_bytes(bytes(8))
        self._seconds = 0.0
        self.environment = {"LD_PRELOAD": str(library), "FAULT_CLOCK_FILE": str(self._file)}

    def step(self, seconds: float) -> None:
        """Set the clock ahead, or back where negative, at once."""
        self._seconds += seconds
        # In place: the page is mapped, and a new file would not be.
        with self._file.open("r+b") as file:
            file.write(struct.pack("<q", int(self._seconds * 1_000_000)))
