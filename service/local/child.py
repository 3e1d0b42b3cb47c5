"""Child processes that never outlive the process that started them."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from service.local import leash

LOOPBACK = "127.0.0.1"
POLL_SECONDS = 0.05
TAIL_LINES = 15

Account = tuple[int, int]
"""A uid and a gid."""


class CannotRun(Exception):
    """Something on this machine is in the way; the text says what and what to do."""


def spawn(
    command: Sequence[str | Path],
    ending: signal.Signals,
    *,
    account: Account | None = None,
    **options: Any,
) -> subprocess.Popen[bytes]:
    """Start a command, in a session of its own, that receives ``ending`` when its parent dies.

    The parent is the calling *thread* (Linux ties the signal to it): call from the main thread.

    Args:
        command: An absolute path and its arguments.
        ending: What ends the command in an orderly way.
        account: Whom to run it as; needs root. None: as ourselves.
        options: For ``subprocess.Popen``.
    """
    uid, gid = account or (leash.UNCHANGED, leash.UNCHANGED)
    numbers = (os.getpid(), int(ending), uid, gid)
    return subprocess.Popen(  # noqa: S603 - our own commands, never a stranger's words
        [sys.executable, "-I", "-S", leash.__file__, *map(str, numbers), *map(str, command)],
        start_new_session=True,
        **{"stdin": subprocess.DEVNULL, **options},
    )


def stop(process: subprocess.Popen[bytes], ending: signal.Signals, timeout_seconds: float) -> None:
    """End a process with ``ending``, and its whole group with SIGKILL when time is up."""
    if process.poll() is None:
        process.send_signal(ending)
    try:
        process.wait(timeout_seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def hold(path: Path, *, timeout_seconds: float = 0) -> IO[bytes]:
    """Return an exclusive lock, held until it and every copy a child inherited are closed.

    A child that inherits it (``pass_fds``) proves by it that it still runs, without a pid file
    that can lie.

    Raises:
        CannotRun: If another process still holds it after ``timeout_seconds``.
    """
    deadline = time.monotonic() + timeout_seconds
    file = path.open("ab")
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                file.close()
                raise CannotRun(f"Another process is already using {path.parent}.") from None
            time.sleep(POLL_SECONDS)
        else:
            return file


def free_port() -> int:
    """Return a loopback port that was free a moment ago; somebody may take it meanwhile."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        return int(listener.getsockname()[1])


def tail(path: Path) -> str:
    """Return the last lines of a log, each indented by two spaces."""
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    return "\n".join(f"  {line}" for line in lines[-TAIL_LINES:])
