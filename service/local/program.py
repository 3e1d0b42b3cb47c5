"""A command that is kept running, its lines shown on the terminal and kept in a log."""

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from service.local.child import spawn, stop

FIRST_DELAY_SECONDS = 1.0
LAST_DELAY_SECONDS = 10.0
STABLE_SECONDS = 30.0
STOP_SECONDS = 10.0

NAME_WIDTH = 6


class Program:
    """One command; started by ``start``, restarted by ``keep_running``, ended by ``stop``.

    Attributes:
        name: What its lines and its log are called after.
        log: Its lines since ``start``.
        deaths: How often it died in a row without running for 30 s.
    """

    ending = signal.SIGTERM

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: dict[str, str],
        log: Path,
        lock: int,
    ) -> None:
        self.name = name
        self.log = log
        self.deaths = 0
        self._command = command
        self._environment = environment
        self._lock = lock
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._due_at = 0.0

    def start(self) -> None:
        """Start the command with a fresh log."""
        self.log.write_bytes(b"")
        self._launch()

    def keep_running(self) -> None:
        """Start the command again where it has died, after a pause of 1 s that doubles to 10 s.

        Call it often, and from the main thread.
        """
        now = time.monotonic()
        if self._process is None:
            if now >= self._due_at:
                self._launch()
        elif (code := self._process.poll()) is not None:
            self._process = None
            self.deaths = 1 if now - self._started_at > STABLE_SECONDS else self.deaths + 1
            delay = min(FIRST_DELAY_SECONDS * 2 ** (self.deaths - 1), LAST_DELAY_SECONDS)
            self._due_at = now + delay
            show(self.name, f"ended with code {code}; starts again in {delay:.0f} s")

    def stop(self) -> None:
        """Stop the command in an orderly way, or by force after 10 s."""
        if self._process is not None:
            stop(self._process, self.ending, STOP_SECONDS)
            self._process = None

    def _launch(self) -> None:
        self._started_at = time.monotonic()
        self._process = spawn(
            self._command,
            self.ending,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(self._lock,),
        )
        threading.Thread(target=self._pass_on_lines, args=(self._process,), daemon=True).start()

    def _pass_on_lines(self, process: subprocess.Popen[bytes]) -> None:
        if process.stdout is None:
            return
        with process.stdout as lines, self.log.open("ab") as log:
            for line in lines:
                log.write(line)
                log.flush()
                show(self.name, line.decode(errors="replace").rstrip())


def show(name: str, line: str) -> None:
    """Write one line to the terminal, with the name of what said it."""
    # Whoever read our output may be gone; the programs must go on nevertheless.
    with contextlib.suppress(OSError):
        sys.stdout.write(f"{name:<{NAME_WIDTH}} | {line}\n")
        sys.stdout.flush()
