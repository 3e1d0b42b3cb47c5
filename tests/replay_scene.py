"""Requests under one idempotency key, and callers who go away while they are served."""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar, cast

from factories import Platform, make_token
from rotation_scene import rotate

from service.access.actor import Actor
from service.composition import Service
from service.rotation import Rotated
from service.tokens import Created, NewToken

Result = TypeVar("Result")

KEY = "0190b6a4-7c1e-4d0f-9d55-6a1b1c2d3e4f"
OPERATIONS = ("create", "rotate")

Ask = Callable[[Actor], Coroutine[Any, Any, Created | Rotated]]


async def create(service: Service, actor: Actor, key: str | None = KEY, **fields: Any) -> Created:
    """Create a token under a key."""
    wanted = NewToken(**({"name": "deploy", "scopes": ("dns:read",)} | fields))
    return await service.tokens.create(actor, wanted, idempotency_key=key)


async def asking(service: Service, platform: Platform, operation: str) -> Ask:
    """Return what asks for a secret under the key, with the same request each time."""
    if operation == "create":
        return lambda actor: create(service, actor, account_id=platform.customer.account_id)
    made = await make_token(service, platform.customer)
    return lambda actor: rotate(service, actor, made.token.id, key=KEY)


class Aborted(Generic[Result]):
    """Something that is cancelled while it waits for the nth time.

    Attributes:
        waits: How often it has waited.
    """

    def __init__(self, work: Coroutine[Any, Any, Result], nth: int) -> None:
        self._work = work
        self._nth = nth
        self.waits = 0

    def __await__(self) -> Generator[Any, None, Result]:
        task = asyncio.current_task()
        assert task is not None
        thrown: BaseException | None = None
        while True:
            try:
                waited = self._work.send(None) if thrown is None else self._work.throw(thrown)
            except StopIteration as done:
                return cast(Result, done.value)
            thrown = None
            self.waits += 1
            if self.waits == self._nth:
                # Once the task knows what it waits for, so that this is cancelled too.
                asyncio.get_running_loop().call_soon(task.cancel)
            try:
                yield waited
            except BaseException as failure:  # noqa: BLE001 - the work's, as without us
                thrown = failure

    async def outcome(self) -> Result | None:
        """Run it in a task of its own; return its result, or None where it was cancelled."""

        async def run() -> Result:
            return await self

        try:
            return await asyncio.create_task(run())
        except asyncio.CancelledError:
            return None
