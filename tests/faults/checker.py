"""A process that asks one kind of validator all the time: ``checker.py KIND TOKENS RECORD``.

KIND is ``rule``, the library; ``upstream``, the library without the database; ``edge``, the
``/validate`` of a web process; ``naive`` and ``timed``, what must break the promise.

TOKENS is a file that grows: ``+ name secret`` begins to watch a token, ``- name secret`` ends it.
Each decision is one line of RECORD, written at once, so that SIGKILL loses none:
``name arrival answer status``, instants in seconds since boot, which all processes share.
"""

import asyncio
import os
import random
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from ipaddress import ip_address
from pathlib import Path

import httpx2
from naive_validator import open_naive_validator
from question import ADDRESS, SCOPE

from service.clock import boottime
from service.settings import Settings, read_settings
from service.validator import open_validator

CHECKS_PER_SECOND = {"edge": 100}
CHECKS_PER_SECOND_ELSE = 150
READ_SECONDS = 0.02
ANSWER_SECONDS_MAX = 5.0
TIMED_SECONDS = 1.0
STATUSES = {200: "VALID", 401: "REFUSED", 403: "REFUSED", 503: "UNAVAILABLE"}

Check = Callable[[str], Awaitable[str]]


class Checker:
    """Asks about every token that it watches, at a rate that does not follow their number.

    Args:
        check: Returns the name of a status.
        record: A file descriptor.
        rate: Checks in a second.
    """

    def __init__(self, check: Check, record: int, rate: float) -> None:
        self._check = check
        self._record = record
        self._rate = rate
        self._watching: dict[str, asyncio.Task[None]] = {}

    async def follow(self, tokens: Path) -> None:
        """Watch what the file names, as it grows."""
        rest = ""
        with tokens.open() as file:
            while True:
                *lines, rest = (rest + file.read()).split("\n")
                for line in lines:
                    self._obey(*line.split())
                for task in self._watching.values():
                    if task.done():
                        task.result()
                await asyncio.sleep(READ_SECONDS)

    def _obey(self, sign: str, name: str, secret: str) -> None:
        if old := self._watching.pop(name, None):
            old.cancel()
        if sign == "+":
            self._watching[name] = asyncio.create_task(self._watch(name, secret))

    async def _watch(self, name: str, secret: str) -> None:
        while True:
            arrival = boottime()
            status = await self._check(secret)
            line = f"{name} {arrival:.6f} {boottime():.6f} {status}\n"
            os.write(self._record, line.encode())
            pause_seconds = len(self._watching) / self._rate
            await asyncio.sleep(pause_seconds * random.uniform(0.5, 1.5))  # noqa: S311 - no secret


@asynccontextmanager
async def open_library(settings: Settings) -> AsyncIterator[Check]:
    """Open the product's validator, with the database or without, as the settings say."""
    async with open_validator(settings) as validator:

        async def check(secret: str) -> str:
            verdict = await validator.check(secret, scope=SCOPE, address=ip_address(ADDRESS))
            return verdict.status.name

        yield check


@asynccontextmanager
async def open_edge(settings: Settings) -> AsyncIterator[Check]:
    """Open connections to a web process, which is asked as a proxy would ask it."""
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(
        base_url=settings.public_url, limits=limits, timeout=ANSWER_SECONDS_MAX
    ) as client:

        async def check(secret: str) -> str:
            headers = {"Authorization": f"Bearer {secret}", "X-Forwarded-For": ADDRESS}
            try:
                answer = await client.get(f"/validate?scope={SCOPE}", headers=headers)
            except httpx2.HTTPError:
                return "UNAVAILABLE"  # a proxy would let nobody through
            return STATUSES.get(answer.status_code, f"HTTP_{answer.status_code}")

        yield check


OPENINGS: dict[str, Callable[[Settings], AbstractAsyncContextManager[Check]]] = {
    "rule": open_library,
    "upstream": open_library,
    "edge": open_edge,
    "naive": open_naive_validator,
    "timed": partial(open_naive_validator, read_seconds_max=TIMED_SECONDS),
}


async def run(kind: str, tokens: Path, record: int) -> None:
    """Run one kind of validator."""
    async with OPENINGS[kind](read_settings()) as check:
        rate = CHECKS_PER_SECOND.get(kind, CHECKS_PER_SECOND_ELSE)
        await Checker(check, record, rate).follow(tokens)


if __name__ == "__main__":
    kind, tokens, record = sys.argv[1:]
    file = os.open(record, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    asyncio.run(run(kind, Path(tokens), file))
