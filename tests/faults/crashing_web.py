"""``tokenward web`` that dies between two steps of a revoke: ``crashing_web.py FAILPOINT``.

FAILPOINT is a file; while it holds the name of a point, the process that reaches the point in a
revoke ends itself with SIGKILL, as a crash would. The product knows nothing of it.
"""

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from service import command, tokens
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
"""By name, in order: whether the revoke has been committed by then."""

_revoking: ContextVar[bool] = ContextVar("revoking", default=False)

Step = Callable[..., Awaitable[Any]]


def failpoint(point: str, armed: Path) -> None:
    """Die here, if this point is armed and a revoke is under way in this very call."""
    if _revoking.get() and armed.exists() and armed.read_text() == point:
        os.kill(os.getpid(), signal.SIGKILL)


def surrounded(step: Step, armed: Path, *, before: str = "", after: str = "") -> Step:
    """Return a step with points before and after it."""

    async def run(*arguments: Any, **named: Any) -> Any:
        failpoint(before, armed)
        result = await step(*arguments, **named)
        failpoint(after, armed)
        return result

    return run


def marked(revoke: Step) -> Step:
    """Return a revoke in which points count; the relay's steps are not of one."""

    async def run(*arguments: Any, **named: Any) -> Any:
        token = _revoking.set(True)
        try:
            return await revoke(*arguments, **named)
        finally:
            _revoking.reset(token)

    return run


def arm(armed: Path) -> None:
    """Put the points between the steps."""
    ends = ("before the transaction", "before the answer")
    steps: list[tuple[Any, str, str, str]] = [
        (tokens.Tokens, "revoke", *ends),
        (tokens, "change_token", "", "after the update"),
        (Unit, "write", "", "after the outbox row"),
        (Cache, "revoke", "after the commit", "after the drop"),
    ]
    for owner, name, before, after in steps:
        setattr(owner, name, surrounded(getattr(owner, name), armed, before=before, after=after))
    tokens.Tokens.revoke = marked(tokens.Tokens.revoke)  # type: ignore[assignment,method-assign] # only ever awaited


if __name__ == "__main__":
    arm(Path(sys.argv[1]))
    sys.argv[1:] = ["web"]
    command.main()
