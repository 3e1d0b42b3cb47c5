"""The step before what is dangerous: the person enters their password once more."""

from datetime import datetime, timedelta

from service.access.actor import Actor
from service.access.door import Door
from service.access.sessions import find_password_confirmation
from service.errors import PasswordRequired
from service.verdict import CredentialKind

RECENT = timedelta(minutes=10)


async def require_recent_password(door: Door, actor: Actor, now: datetime) -> None:
    """Let the actor pass if it is a person who entered their password within ten minutes.

    Asked of the database, never of a cache, in the transaction of the change that it guards.

    Args:
        door: That transaction, within the actor's reach.
        actor: Who asks; a token never passes, whatever its scopes.
        now: The instant of the change.

    Raises:
        PasswordRequired: If not; ``confirmPassword`` or signing in again is the way on.
    """
    confirmed_at = None
    if actor.kind is CredentialKind.SESSION:
        confirmed_at = await find_password_confirmation(door, actor.token_id, now=now)
    if confirmed_at is None or not confirmed_at <= now < confirmed_at + RECENT:
        raise PasswordRequired
