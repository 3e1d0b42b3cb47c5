"""A validator process that asks itself all the time: ``checker.py RULE|NAIVE TOKENS RECORD``.

TOKENS is a file that grows: ``+ name secret`` begins to watch a token, ``- name secret`` ends it.
Each decision is one line of RECORD, written at once, so that SIGKILL loses none:
``name arrival answer status``, instants in seconds since boot, which all processes share.
"""

import asyncio
import os
import random
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from naive_validator import open_naive_validator

from service.clock import boottime
from service.settings import read_settings
from service.validator import open_validator

CHECKS_PER_SECOND = 500
READ_SECONDS = 0.02

Check = Callable[[str], Awaitable[str]]


class Checker:
    """Asks about every token that it watches, at a rate that does not follow their number.

    Args:
        check: Returns the name of a status.
        record: A file descriptor.
    """

    def __init__(self, check: Check, record: int) -> None:
        self._check = check
        self._record = record
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
            pause_seconds = len(self._watching) / CHECKS_PER_SECOND
            await asyncio.sleep(pause_seconds * random.uniform(0.5, 1.5))  # noqa: S311 - no secret


async def run(kind: str, tokens: Path, record: int) -> None:
    """Run one kind of validator."""
    settings = read_settings()
    if kind == "NAIVE":
        async with open_naive_validator(settings) as naive:
            await Checker(naive.check, record).follow(tokens)
    async with open_validator(settings) as validator:

        async def check(secret: str) -> str:
            return (await validator.check(secret)).status.name

        await Checker(check, record).follow(tokens)


if __name__ == "__main__":
    kind, tokens, record = sys.argv[1:]
    file = os.open(record, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    asyncio.run(run(kind, Path(tokens), file))
