"""Passwords of people: Argon2id on a few threads, in the same time for every address."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from pwdlib.hashers.argon2 import Argon2Hasher

from service.errors import InvalidInput, Unavailable

CHARACTERS_MIN = 12
CHARACTERS_MAX = 200
THREADS = 2
QUEUE_MAX = 100

Result = TypeVar("Result")


class Passwords:
    """Hashes and verifies, off the event loop and a few at a time.

    Parameters are OWASP's (Password Storage Cheat Sheet, 2026): 19 MiB, two passes, one lane. The
    threads are the bound on memory and CPU that a flood of sign-ins can take.
    """

    def __init__(self, *, passes: int = 2, memory_kibibytes: int = 19_456) -> None:
        self._hasher = Argon2Hasher(time_cost=passes, memory_cost=memory_kibibytes, parallelism=1)
        self._queued = 0
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="argon2")
        self._nobody = self._hasher.hash("nobody signs in with this")

    async def hash(self, password: str) -> str:
        """Return the hash of a new password.

        Raises:
            InvalidInput: If it has fewer than 12 or more than 200 characters.
        """
        check_new_password(password, field="password")
        return await self._run(self._hasher.hash, password)

    async def verify(self, password: str, known: str | None) -> tuple[bool, str | None]:
        """Return whether a password is right, and a new hash where the policy has changed.

        Args:
            password: As it was typed.
            known: The stored hash; None where nobody has the address: that takes as long.
        """
        if len(password) > CHARACTERS_MAX or not _is_text(password):
            return False, None
        right = await self._run(self._hasher.verify, password, known or self._nobody)
        if not right or not known:
            return False, None
        if self._hasher.check_needs_rehash(known):
            return True, await self._run(self._hasher.hash, password)
        return True, None

    async def _run(self, work: Callable[..., Result], *arguments: str) -> Result:
        if self._queued >= QUEUE_MAX:
            raise Unavailable
        self._queued += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, partial(work, *arguments))
        finally:
            self._queued -= 1


def check_new_password(password: str, *, field: str) -> None:
    """Let a new password pass.

    Raises:
        InvalidInput: If it has fewer than 12 or more than 200 characters.
    """
    if not CHARACTERS_MIN <= len(password) <= CHARACTERS_MAX or not _is_text(password):
        raise InvalidInput(f"Use {CHARACTERS_MIN} to {CHARACTERS_MAX} characters.", field=field)


def _is_text(text: str) -> bool:
    """Return whether a string can be encoded: JSON can smuggle in half a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
