"""Become a command that ends with its parent: ``leash.py PARENT SIGNAL UID GID COMMAND…``.

A program of its own and not a ``preexec_fn``: Python code between fork and exec can hang where
threads run, and as root the interpreter may lie where the lesser account cannot reach it.
It imports nothing but the standard library, because it runs without site-packages.
"""

import ctypes
import os
import sys
from typing import NoReturn

SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of linux/prctl.h
UNCHANGED = -1


def become(parent: int, ending: int, uid: int, gid: int, *command: str) -> NoReturn:
    """Replace this process by ``command``; never returns.

    Args:
        parent: The process whose end ends the command.
        ending: The number of the signal that the command then receives (Linux only).
        uid: The account to run as, or ``UNCHANGED``; another one needs root.
        gid: Its group.
        command: An absolute path and its arguments.

    Raises:
        OSError: If the command cannot be executed.
    """
    if uid != UNCHANGED:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        # After setuid, which clears it. The parent may have died before it was set.
        ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, ending)
        if os.getppid() != parent:
            sys.exit(1)
    os.execv(command[0], command)  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    parent, ending, uid, gid = map(int, sys.argv[1:5])
    become(parent, ending, uid, gid, *sys.argv[5:])
