"""Use cases of passwords: change one's own, ask for a link to set one, set it by that link."""

import re
from dataclasses import dataclass
from uuid import UUID

from service.access.actor import EVERYTHING, Actor
from service.access.door import open_door
from service.access.members import Member, change_member, find_member, forget_link, lock_member
from service.access.password_resets import (
    system_find_linked_member,
    system_use_link,
    system_want_password_reset,
)
from service.access.sessions import note_password_confirmation
from service.addresses import counted_as
from service.clock import Clock
from service.errors import LinkEnded, SignInFailed, TooManyAttempts
from service.names import clean_email
from service.password_check import THROTTLE_SECONDS, PasswordCheck, name_of
from service.passwords import Passwords, check_new_password
from service.receipts import Propagation, PropagationWait
from service.secret_format import digest_of
from service.sessions import POLICY, end_sessions_of, person_of
from service.settings import Settings
from service.throttle import Limit, Throttle
from service.work import Unit, Work

LINKS_PER_PERSON = 5

_LINK_SECRET = re.compile("[0-9A-Za-z_-]{43}", re.ASCII)


@dataclass(frozen=True, slots=True)
class PasswordChanges:
    """Changes passwords; each ends what was begun with the old one."""

    work: Work
    check: PasswordCheck
    passwords: Passwords
    throttle: Throttle
    clock: Clock
    settings: Settings

    async def change(
        self,
        actor: Actor,
        current: str,
        new: str,
        *,
        wait_for: PropagationWait | None = None,
    ) -> Propagation | None:
        """Give the person who is signed in another password and end their other sessions.

        Raises:
            Forbidden: If a token asks.
            SignInFailed: If the current one is wrong; counted as a failed sign-in is.
            TooManyAttempts: If too many have failed lately.
            InvalidInput: If the new one has fewer than 12 or more than 200 characters.
        """
        member_id = person_of(actor)
        check_new_password(new, field="newPassword")
        async with open_door(actor.reach) as door:
            email = (await find_member(door, member_id)).email
        checked = await self.check.check(
            email, current, address=actor.address, request_id=actor.request_id
        )
        new_hash = await self.passwords.hash(new)
        async with self.work.begin(actor.reach, actor, wait_for=wait_for) as unit:
            member = await lock_member(unit.door, member_id)
            # A session that was ended meanwhile no longer speaks for the person.
            live = await note_password_confirmation(unit.door, actor.token_id, now=unit.now)
            if checked.member_id != member_id or not checked.still_holds(member) or not live:
                raise SignInFailed
            await self._set(unit, member, new_hash, but=actor.token_id)
            await forget_link(unit.door, member_id)
            unit.audit("member.password_changed", member_id, member.owner)
        return unit.propagation

    async def want_reset(self, email: str, *, address: str | None) -> None:
        """Have a link sent to whoever signs in with an address; nothing tells whether anybody does.

        The answer and the time that it takes are the same for every address.

        Raises:
            InvalidInput: If it is no e-mail address.
            TooManyAttempts: If that was asked too often lately, for the address or from it.
        """
        email = clean_email(email)
        place = counted_as(address)
        limits = (
            Limit(f"reset:{name_of(email)}", LINKS_PER_PERSON, THROTTLE_SECONDS),
            Limit(f"reset::{place}", self._per_address, THROTTLE_SECONDS),
        )
        if not await self.throttle.count(limits):
            raise TooManyAttempts
        await system_want_password_reset(email, self.clock.now())

    async def reset(
        self,
        secret: str,
        new: str,
        *,
        address: str | None,
        wait_for: PropagationWait | None = None,
    ) -> Propagation | None:
        """Set a password by a link, once, and end all of the person's sessions.

        Raises:
            InvalidInput: If the password has fewer than 12 or more than 200 characters.
            LinkEnded: If the link was used, has ended, is not the newest, or is none.
            TooManyAttempts: If too many links were tried from the address that were none.
        """
        check_new_password(new, field="newPassword")
        limits = (Limit(f"link::{counted_as(address)}", self._per_address, THROTTLE_SECONDS),)
        await self.throttle.check(limits)
        digests = self._digests(secret)
        member_id = digests and await system_find_linked_member(digests, self.clock.now())
        if not member_id:
            await self.throttle.count(limits)
            raise LinkEnded
        new_hash = await self.passwords.hash(new)
        async with self.work.begin(EVERYTHING, None, wait_for=wait_for) as unit:
            # The member before the link, as everybody else who changes both does.
            member = await lock_member(unit.door, member_id)
            if not await system_use_link(unit.door, digests, unit.now):
                raise LinkEnded
            await self._set(unit, member, new_hash)
            unit.audit("member.password_reset", member_id, member.owner, address=address)
        return unit.propagation

    async def _set(
        self, unit: Unit, member: Member, new_hash: str, *, but: UUID | None = None
    ) -> None:
        columns = {
            "password_hash": new_hash,
            "password_changed_at": unit.now,
            "password_version": member.password_version + 1,
        }
        await change_member(unit.door, member.id, columns)
        await end_sessions_of(unit, member, reason=POLICY, but=but)

    def _digests(self, secret: str) -> list[bytes]:
        """Return what a link's secret may be stored as, under each pepper; nothing for none."""
        if not _LINK_SECRET.fullmatch(secret):
            return []
        return [digest_of(secret, pepper) for pepper in self.settings.pepper_keys.values()]

    @property
    def _per_address(self) -> int:
        return self.settings.sign_in_attempts_per_address
