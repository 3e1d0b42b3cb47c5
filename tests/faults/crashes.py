"""Has the second web process die between two steps of a narrowing, and looks at what is left."""

import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import cycle, product

from api import Failed
from crashing_web import ACTS, POINTS, crash_name
from stack import Stack, wait_until

DEATH_SECONDS = 1.0
WEB = "crashing"


class Crashes:
    """The crashes of one campaign.

    Args:
        stack: Whose web process dies.
        random_source: Seeded.

    Attributes:
        left_as_expected: For each crash, whether it left what its point says.
    """

    def __init__(self, stack: Stack, random_source: random.Random) -> None:
        self._stack = stack
        self._random = random_source
        self.left_as_expected: dict[str, bool] = {}

    def required(self, *, all_of_them: bool) -> list[tuple[str, str]]:
        """Return acts and points to die at: every pair, or each point once with some act."""
        acts = self._random.sample(list(ACTS), len(ACTS))
        points = self._random.sample(list(POINTS), len(POINTS))
        if all_of_them:
            return list(product(acts, points))
        return list(zip(cycle(acts), points, strict=False))

    async def crash(
        self,
        act: str,
        point: str,
        send: Callable[[], Awaitable[object]],
        is_made: Callable[[], Awaitable[bool]],
    ) -> bool | None:
        """Send a change to a process that dies on the way; return whether it was committed.

        None where the process did not get there, so that it is not known.
        """
        name = crash_name(act, point)
        self._stack.armed.write_text(name)
        try:
            await send()
        except Failed:
            if not await self._has_died():
                return None
        else:
            return None
        finally:
            self._stack.armed.unlink()
        with self._stack.during(f"crash in {name}"):
            was_made = await is_made()
        as_before = self.left_as_expected.get(name, True)
        self.left_as_expected[name] = as_before and was_made is POINTS[point]
        return was_made

    async def _has_died(self) -> bool:
        """Return whether a process that gave no answer is gone; its end may take a moment."""
        with suppress(AssertionError):
            await wait_until(lambda: not self._stack.is_alive(WEB), seconds=DEATH_SECONDS)
        return not self._stack.is_alive(WEB)
