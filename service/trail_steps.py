"""The trail as it is watched: from a place on, step by step, so that a cut loses nothing."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from service.access.accounts import Account, find_account, find_accounts
from service.access.actor import Actor, Reach
from service.access.door import open_door
from service.access.tokens import Token, find_tokens
from service.access.trail import Event, cursor_of, newest_position, read_place
from service.trail import SCOPES, Subject, Trail


@dataclass(frozen=True, slots=True)
class Step:
    """A place in the trail, and what happened there.

    Attributes:
        cursor: Behind which to go on after a cut.
        event: None in the first step, which tells where the watching begins.
        token: Of an event of a token: the token now, None where it is not within reach any more.
        account: Of an event of an account: likewise.
    """

    cursor: str
    event: Event | None = None
    token: Token | None = None
    account: Account | None = None


async def watch(
    trail: Trail,
    actor: Actor,
    subject: Subject,
    *,
    after: str | None = None,
    account_id: UUID | None = None,
) -> AsyncGenerator[Step, None]:
    """Yield where the watching begins, and from there on each event within reach, for ever.

    What is read after the first step is therefore never older than what the events tell.

    Args:
        trail: The process' own.
        actor: Who asks.
        subject: Events of tokens, or of accounts.
        after: The last cursor that was received; None begins now.
        account_id: In the trail of this account alone; None is every one within reach.

    Raises:
        InsufficientScope, InvalidInput, Unavailable: As :meth:`service.trail.Trail.follow`.
        NotFound: If there is no such account within reach.
    """
    actor.require(SCOPES[subject])
    if after is not None:
        read_place(after)
    async with open_door(actor.reach) as door:
        if account_id is not None:
            await find_account(door, account_id)
        here = after or cursor_of(await newest_position(door))
    yield Step(here)
    async with aclosing(trail.follow(actor, here, subject)) as events:
        async for event in events:
            if account_id in {None, event.account_id}:
                # The object alone is shared: what of the event is told depends on who asks.
                key = (actor.reach, subject, event.cursor)
                load = partial(_load, actor.reach, subject, event.subject_id)
                yield Step(event.cursor, event, **await trail.news.shared(key, load))


async def _load(reach: Reach, subject: Subject, subject_id: UUID) -> dict[str, Any]:
    async with open_door(reach) as door:
        if subject == "token":
            return {"token": (await find_tokens(door, [subject_id])).get(subject_id)}
        return {"account": (await find_accounts(door, [subject_id])).get(subject_id)}
