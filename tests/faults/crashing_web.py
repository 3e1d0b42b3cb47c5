"""``tokenward web`` that dies between two steps of a narrowing: ``crashing_web.py FAILPOINT``.

FAILPOINT is a file; while it holds an act and a point, such as ``revoke: after the commit``, the
process that reaches the point in that act ends itself with SIGKILL, as a crash would. The product
knows nothing of it.
"""

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from service import accounts, command, holders, rotation, tokens
from service.cache import Cache
from service.work import Unit

POINTS = {
    "before the transaction": False,
    "after the update": False,
    "after the outbox row": False,
    "after the commit": True,
    "after the drop": True,
    "before the answer": True,
}
"""By name, in order: whether the change has been committed by then."""

ACTS: dict[str, tuple[Any, str, Any, str]] = {
    "revoke": (tokens.Tokens, "revoke", tokens, "change_token"),
    "suspend": (accounts.Accounts, "suspend", accounts, "change_account"),
    "rotate": (rotation.Rotations, "begin", rotation, "retire_secrets"),
    "/revoke": (holders.Holders, "revoke", holders, "system_revoke_held"),
}
"""By name: the use case, and the step that changes the rows."""

_act: ContextVar[str] = ContextVar("act", default="")

Step = Callable[..., Awaitable[Any]]


def crash_name(act: str, point: str) -> str:
    """Return how a crash is armed and told."""
    return f"{act}: {point}"


def failpoint(point: str, armed: Path) -> None:
    """Die here, if this point is armed for the act that is under way in this very call."""
    act = _act.get()
    if act and armed.exists() and armed.read_text() == crash_name(act, point):
        os.kill(os.getpid(), signal.SIGKILL)


def surrounded(step: Step, armed: Path, *, before: str = "", after: str = "") -> Step:
    """Return a step with points before and after it."""

    async def run(*arguments: Any, **named: Any) -> Any:
        failpoint(before, armed)
        result = await step(*arguments, **named)
        failpoint(after, armed)
        return result

    return run


def marked(use_case: Step, act: str) -> Step:
    """Return a use case in which points count; the relay's steps are of none."""

    async def run(*arguments: Any, **named: Any) -> Any:
        token = _act.set(act)
        try:
            return await use_case(*arguments, **named)
        finally:
            _act.reset(token)

    return run


def arm(armed: Path) -> None:
    """Put the points between the steps."""
    steps: list[tuple[Any, str, str, str]] = [
        (Unit, "write", "", "after the outbox row"),
        (Cache, "revoke", "after the commit", "after the drop"),
    ]
    for owner, use_case, module, change in ACTS.values():
        steps += [
            (owner, use_case, "before the transaction", "before the answer"),
            (module, change, "", "after the update"),
        ]
    for owner, name, before, after in steps:
        setattr(owner, name, surrounded(getattr(owner, name), armed, before=before, after=after))
    for act, (owner, use_case, _, _) in ACTS.items():
        setattr(owner, use_case, marked(getattr(owner, use_case), act))


if __name__ == "__main__":
    arm(Path(sys.argv[1]))
    sys.argv[1:] = ["web"]
    command.main()
