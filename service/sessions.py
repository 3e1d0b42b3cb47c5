"""People signing in and out. A session is a credential like any other, short-lived."""

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from service.access.actor import EVERYTHING, Actor
from service.access.door import open_door
from service.access.members import Member, find_member, hold_member
from service.access.secrets import digests_of_token
from service.access.sessions import (
    Session,
    end_sessions,
    find_sessions,
    list_sessions,
    note_password_confirmation,
)
from service.access.tokens import end_session, insert_token
from service.cache import Drop
from service.clock import Clock, new_id
from service.errors import Forbidden, NotFound, SignInFailed, Unauthenticated
from service.paging import Page, PageRequest
from service.password_check import Checked, PasswordCheck
from service.receipts import Propagation, PropagationWait
from service.roles import scopes_of
from service.secret_format import NewSecret, make_secret
from service.settings import Settings
from service.step_up import RECENT
from service.verdict import CredentialKind
from service.work import Unit, Work

ENDED_BY_PERSON = "USER_REQUEST"
POLICY = "POLICY"


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A new session; the secret is for the cookie or the client alone."""

    secret: NewSecret
    lifetime_seconds: int


@dataclass(frozen=True, slots=True)
class Ended:
    """How many sessions were live until they were ended, and the receipt if any was."""

    count: int
    propagation: Propagation | None


@dataclass(frozen=True, slots=True)
class Sessions:
    """Begins, lists and ends sessions; each person sees their own alone."""

    work: Work
    check: PasswordCheck
    clock: Clock
    settings: Settings

    async def sign_in(
        self, email: str, password: str, *, address: str | None, request_id: str | None
    ) -> SignedIn:
        """Begin a session.

        Raises:
            SignInFailed, TooManyAttempts: See :meth:`service.password_check.PasswordCheck.check`.
        """
        checked = await self.check.check(email, password, address=address, request_id=request_id)
        return await self._begin(checked, address=address, request_id=request_id)

    async def sign_out(self, actor: Actor) -> None:
        """End the session that the actor used. Harmless to repeat; a token is left alone."""
        if actor.kind is not CredentialKind.SESSION:
            return
        with suppress(Unauthenticated):  # it has ended already
            await self._end_own(actor)

    async def confirm_password(self, actor: Actor, password: str) -> datetime:
        """Note that the person at the actor's session entered their password just now.

        Returns:
            Until when that counts as recent.

        Raises:
            Forbidden: If a token asks.
            SignInFailed: If it is wrong; counted as a failed sign-in is.
            TooManyAttempts: If too many have failed lately.
        """
        member_id = person_of(actor)
        async with open_door(actor.reach) as door:
            email = (await find_member(door, member_id)).email
        checked = await self.check.check(
            email, password, address=actor.address, request_id=actor.request_id
        )
        async with self.work.begin(actor.reach, actor) as unit:
            member = await hold_member(unit.door, member_id)
            live = await note_password_confirmation(unit.door, actor.token_id, now=unit.now)
            if checked.member_id != member_id or not checked.still_holds(member) or not live:
                raise SignInFailed
            unit.audit("session.password_confirmed", actor.token_id, member.owner)
        return unit.now + RECENT

    async def get_many(self, actor: Actor, session_ids: list[UUID]) -> list[Session | None]:
        """Return some of the person's own live sessions in order, None for each that is none.

        Raises:
            Forbidden: If a token asks.
        """
        member_id = person_of(actor)
        async with open_door(actor.reach) as door:
            found = await find_sessions(door, member_id, session_ids)
        live = {it.id: it for it in found.values() if it.is_live(self.clock.now())}
        return [live.get(session_id) for session_id in session_ids]

    async def page(self, actor: Actor, request: PageRequest) -> Page[Session]:
        """Return one page of the person's own live sessions, the newest first.

        Raises:
            Forbidden: If a token asks.
            InvalidInput: If the cursor is not usable.
        """
        member_id = person_of(actor)
        async with open_door(actor.reach) as door:
            return await list_sessions(door, member_id, request, now=self.clock.now())

    async def end(
        self, actor: Actor, session_id: UUID, *, wait_for: PropagationWait | None = None
    ) -> Ended:
        """End one of the person's own sessions, the one in use as well. Harmless to repeat.

        Raises:
            Forbidden: If a token asks.
            NotFound: If it is nobody's, or somebody else's.
        """
        member_id = person_of(actor)
        async with self.work.begin(actor.reach, actor, wait_for=wait_for) as unit:
            member = await hold_member(unit.door, member_id)
            if not await find_sessions(unit.door, member_id, [session_id]):
                raise NotFound("There is no such session.")
            ended = await end_sessions_of(unit, member, reason=ENDED_BY_PERSON, only=session_id)
        return Ended(ended, unit.propagation)

    async def end_others(self, actor: Actor, *, wait_for: PropagationWait | None = None) -> Ended:
        """End all of the person's sessions but the one in use. Harmless to repeat.

        Raises:
            Forbidden: If a token asks.
        """
        member_id = person_of(actor)
        async with self.work.begin(actor.reach, actor, wait_for=wait_for) as unit:
            member = await hold_member(unit.door, member_id)
            ended = await end_sessions_of(unit, member, reason=ENDED_BY_PERSON, but=actor.token_id)
        return Ended(ended, unit.propagation)

    async def _end_own(self, actor: Actor) -> None:
        actor = replace(actor, scopes=())  # it needs none, so that none can be missing
        async with self.work.begin(actor.reach, actor) as unit:
            if await end_session(unit.door, actor.token_id, now=unit.now):
                owner = (actor.account_id, actor.reseller_id)
                unit.audit("session.ended", actor.token_id, owner)
                for digest in await digests_of_token(unit.door, actor.token_id):
                    unit.drop(Drop.of_secret(digest), owner)

    async def _begin(
        self, checked: Checked, *, address: str | None, request_id: str | None
    ) -> SignedIn:
        lifetime = timedelta(hours=self.settings.session_hours)
        secret = make_secret(self.settings.token_label, self.settings.pepper_keys, session=True)
        async with self.work.begin(EVERYTHING, None) as unit:
            # Checking took its time: the role is read now, and neither it nor the password can
            # change before the session is there to be ended.
            member = await hold_member(unit.door, checked.member_id)
            if not checked.still_holds(member):
                raise SignInFailed
            session_id = new_id()
            row = {
                "id": session_id,
                "account_id": member.account_id,
                "reseller_id": member.reseller_id,
                "kind": CredentialKind.SESSION.value,
                "member_id": member.id,
                "name": "Session",
                "scopes": list(scopes_of(member.role, self.settings.scope_catalogue)),
                "allowed_ip_ranges": [],
                "created_at": unit.now,
                "expires_at": unit.now + lifetime,
                "password_confirmed_at": unit.now,
                "version": 1,
            }
            event = unit.event(
                "session.begun",
                session_id,
                member.owner,
                address=address,
                request_id=request_id,
                member_id=member.id,
            )
            # Nobody was signed in when it began: it is the person who is now.
            event |= {
                "actor_account_id": member.account_id,
                "actor_member_id": member.id,
                "actor_token_id": session_id,
            }
            await insert_token(unit.door, row, secret, new_id(), event)
        return SignedIn(secret, int(lifetime.total_seconds()))


def person_of(actor: Actor) -> UUID:
    """Return the member who is signed in.

    Raises:
        Forbidden: If a token acts. It carries the person who made it, and does not act as them.
    """
    if actor.kind is not CredentialKind.SESSION or actor.member_id is None:
        raise Forbidden("Only a person who is signed in can do this.")
    return actor.member_id


async def end_sessions_of(
    unit: Unit, member: Member, *, reason: str, only: UUID | None = None, but: UUID | None = None
) -> int:
    """End a member's sessions, at every validator too; return how many were live.

    Args:
        unit: Holds the member, so that no session begins meanwhile on the strength of before.
        member: Whose.
        reason: A word for the trail.
        only: This one alone.
        but: All but this one.
    """
    ended = await end_sessions(
        unit.door, member.id, now=unit.now, reason=reason, only=only, but=but
    )
    for session_id, digests in ended:
        unit.audit("session.ended", session_id, member.owner, reason=reason)
        for digest in digests:
            unit.drop(Drop.of_secret(digest), member.owner)
    return len(ended)
