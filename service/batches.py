"""Look-ups that come together, asked in one call of one script."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from hashlib import sha1
from math import inf
from typing import Any, cast

from hiredis import pack_command
from redis.asyncio import Redis
from redis.exceptions import NoScriptError

BATCH = 128

Question = tuple[str, int, asyncio.Future[Any]]
"""A key, its own argument, and who waits."""


class Batches:
    """Asks one script for all who ask meanwhile.

    While Redis answers one batch the next one gathers, so that a lone question never waits and a
    hundred share what one costs: the round trip, the packing, and the script's own beginning.

    Args:
        redis: Its socket timeout is the deadline of a whole batch.
        script: Answers {head, head, answer, …} to the keys {shared, key, …} and the arguments
            {shared, argument, …}.
        shared_key: The first key.
        shared: Makes the first argument of each batch.
    """

    def __init__(
        self, redis: Redis, script: str, shared_key: str, shared: Callable[[], str]
    ) -> None:
        self._redis = redis
        self._timeout_seconds = redis.connection_pool.connection_kwargs["socket_timeout"]
        self._script = script
        self._sha = sha1(script.encode(), usedforsecurity=False).hexdigest()
        self._shared_key = shared_key
        self._shared = shared
        self._waiting: deque[Question] = deque()
        self._sender: asyncio.Task[None] | None = None

    async def ask(self, key: str, argument: int) -> tuple[Any, Any, Any]:
        """Return the script's two heads and its answer to a key and its argument.

        Raises:
            Failed: If Redis does not answer in time, to this batch or the one before it.
        """
        waiting: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((key, argument, waiting))
        if self._sender is None or self._sender.done():
            self._sender = asyncio.create_task(self._send())
        return await waiting  # type: ignore[no-any-return] # what redis-py gives is untyped

    async def _send(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    first, second, *answers = await self._evaluate(batch)
                replies = [(first, second, answer) for answer in answers]
            except BaseException as failure:
                # Nobody waits twice for a Redis that does not answer, and nobody for ever.
                batch += self._waiting
                self._waiting.clear()
                told = failure if isinstance(failure, Exception) else TimeoutError("closing")
                _settle(batch, [told] * len(batch))
                if told is not failure:
                    raise
                continue
            _settle(batch, replies)

    async def _evaluate(self, batch: list[Question]) -> list[Any]:
        keys = [self._shared_key, *(key for key, _, _ in batch)]
        arguments: list[str | int] = [self._shared(), *(argument for _, argument, _ in batch)]
        words = (len(keys), *keys, *arguments)
        try:
            return await self._call("EVALSHA", self._sha, *words)
        except NoScriptError:
            return await self._call("EVAL", self._script, *words)

    async def _call(self, *words: str | int) -> list[Any]:
        # As redis-py's own execute_command does it, without what it does for retries, metrics and
        # a timer for each read, which cost as much again as the look-up.
        pool = self._redis.connection_pool
        connection = await pool.get_connection()  # type: ignore[no-untyped-call] # redis-py leaves it unannotated
        try:
            # Whatever fails on the way closes the connection, so that no later batch reads this
            # reply; the batch's own deadline is the only one.
            await connection.send_packed_command(pack_command(words))  # type: ignore[arg-type] # hiredis' type allows for one word
            return cast(list[Any], await connection.read_response(timeout=inf))
        finally:
            await pool.release(connection)


def _settle(batch: Sequence[Question], replies: Sequence[Any]) -> None:
    for (_, _, waiting), reply in zip(batch, replies, strict=True):
        if waiting.done():
            continue  # its caller has gone away
        if isinstance(reply, Exception):
            waiting.set_exception(reply)
        else:
            waiting.set_result(reply)
