"""Use cases of members: who signs in for an account, and what they may do there."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from service import scopes
from service.access.accounts import Account, find_account, lock_account
from service.access.actor import EVERYTHING, Actor
from service.access.door import as_uuid, open_door
from service.access.members import (
    Member,
    change_member,
    count_members,
    find_member,
    find_members,
    forget_link,
    hold_member,
    insert_member,
    list_members,
    lock_members,
    want_invitation,
)
from service.access.password_resets import system_lapse_members
from service.clock import new_id
from service.errors import (
    AccountInactive,
    Forbidden,
    InvalidInput,
    LastOwner,
    NotFound,
    TooManyAttempts,
)
from service.names import clean_email
from service.paging import Page, PageRequest
from service.password_check import name_of
from service.receipts import Propagation, PropagationWait
from service.roles import Role, scopes_of
from service.sessions import POLICY, end_sessions_of
from service.settings import Settings
from service.step_up import require_recent_password
from service.throttle import Limit, Throttle
from service.verdict import CredentialKind
from service.work import Unit, Work

READ = "members:read"
WRITE = "members:write"

MEMBERS_MAX = 100
INVITATIONS_MAX = 200
INVITATIONS_PER_PERSON = 5
INVITATION_WINDOW_SECONDS = 3600
LAPSE = timedelta(days=30)
LAPSES_MAX = 500


@dataclass(frozen=True, slots=True)
class Changed:
    """A member after a change, and the receipt of the end of their sessions, if any were live."""

    member: Member
    propagation: Propagation | None


@dataclass(frozen=True, slots=True)
class Members:
    """Members of accounts within an actor's reach; beyond it, everything reads as missing.

    Those of one's own account are a matter between people: a token never changes them. Those of an
    account below are changed by whoever reaches it with ``members:write``. Nobody gives a role that
    may do more than their own credential, nobody changes their own, and a person gives none without
    having entered their password lately.
    """

    work: Work
    throttle: Throttle
    settings: Settings

    async def of(self, actor: Actor) -> Member | None:
        """Return the person who is signed in; None where a token acts."""
        # A token carries the person who made it, for the notices; it does not act as that person.
        if actor.kind is not CredentialKind.SESSION or actor.member_id is None:
            return None
        async with open_door(actor.reach) as door:
            return await find_member(door, actor.member_id)

    async def get_many(self, actor: Actor, member_ids: list[UUID]) -> list[Member | None]:
        """Return some members in order, those who were removed too, None for each beyond reach.

        Raises:
            InsufficientScope: Without ``members:read``.
        """
        actor.require(READ)
        async with open_door(actor.reach) as door:
            found = await find_members(door, member_ids)
        return [found.get(member_id) for member_id in member_ids]

    async def page(
        self, actor: Actor, request: PageRequest, *, account_id: UUID | None = None
    ) -> Page[Member]:
        """Return one page of an account's members by e-mail address; none beyond reach.

        Args:
            actor: Who asks.
            request: Which page.
            account_id: Whose; None is the actor's own.

        Raises:
            InsufficientScope: Without ``members:read``.
            InvalidInput: If the cursor is not usable.
        """
        actor.require(READ)
        async with open_door(actor.reach) as door:
            return await list_members(door, account_id or actor.account_id, request)

    async def invite(
        self, actor: Actor, email: str, role: Role, *, account_id: UUID | None = None
    ) -> Member:
        """Add a member without a password, and have a link to set one sent to them.

        Raises:
            InsufficientScope: Without ``members:write``.
            Forbidden: If a token asks for its own account, or for more than it may do.
            PasswordRequired: If a person has not entered their password within ten minutes.
            NotFound: If the account is not within reach.
            EmailTaken: If the address signs in somewhere already.
            InvalidInput: If it is no address, or the account has 100 members.
            AccountInactive: If the account, or its reseller, is suspended or closed.
            TooManyAttempts: If too many were invited within the hour.
        """
        actor.require(WRITE)
        account_id = account_id or actor.account_id
        _check_person(actor, account_id)
        email = clean_email(email)
        await self._count_invitation(actor, email)
        async with self.work.begin(actor.reach, actor) as unit:
            # The person before the account, as whoever moves that does.
            await self._check_own_role(unit, actor, account_id)
            account = await lock_account(unit.door, account_id)
            _check_usable(account)
            await self._check_may_give(unit, actor, account, role)
            if await count_members(unit.door, account_id) >= MEMBERS_MAX:
                raise InvalidInput(f"An account has at most {MEMBERS_MAX} members.")
            row = _row(account, email, role) | {"created_at": unit.now}
            await insert_member(unit.door, row)
            await want_invitation(unit.door, row["id"], now=unit.now)
            unit.audit("member.invited", row["id"], account.owner, email=email, role=role)
            return await find_member(unit.door, row["id"])

    async def invite_again(self, actor: Actor, member_id: UUID) -> Member:
        """Send somebody who has not set a password yet a new link; the one before ends.

        Raises:
            InsufficientScope, Forbidden, NotFound, AccountInactive: As :meth:`invite`.
            InvalidInput: If they have a password.
            TooManyAttempts: Within a minute after the last one, or as :meth:`invite`.
        """
        actor.require(WRITE)
        async with self.work.begin(actor.reach, actor) as unit:
            member = await find_member(unit.door, member_id)
            _check_person(actor, member.account_id)
            _check_there(member)
            _check_usable(await find_account(unit.door, member.account_id))
            if member.has_password:
                raise InvalidInput("This person has a password already.", field="id")
            await self._count_invitation(actor, member.email)
            if not await want_invitation(unit.door, member_id, now=unit.now):
                raise TooManyAttempts("An invitation was sent just now. Wait for a minute.")
            unit.audit("member.invited", member_id, member.owner, again=True)
            return await find_member(unit.door, member_id)

    async def update(
        self,
        actor: Actor,
        member_id: UUID,
        role: Role,
        *,
        expected_version: int | None = None,
        wait_for: PropagationWait | None = None,
    ) -> Changed:
        """Give a member another role; their sessions end, for these have the rights of the old one.

        Raises:
            InsufficientScope, Forbidden, PasswordRequired, NotFound, AccountInactive: As
                :meth:`invite`.
            LastOwner: If the account would be left without an owner who can sign in.
            VersionConflict: If the member's version is another.
        """
        actor.require(WRITE)
        async with self.work.begin(actor.reach, actor, wait_for=wait_for) as unit:
            members = await lock_members(unit.door, member_id)
            member = members[member_id]
            _check_may_change(actor, member, members)
            _check_there(member)
            account = await find_account(unit.door, member.account_id)
            _check_usable(account)
            await self._check_may_give(unit, actor, account, role)
            if role is not member.role:
                _check_owner_stays(member, members)
                before = member.role
                member = await change_member(
                    unit.door, member_id, {"role": role.value}, expected_version=expected_version
                )
                told = {"role": role, "previous_role": before}
                unit.audit("member.updated", member_id, member.owner, **told)
                await end_sessions_of(unit, member, reason=POLICY)
        return Changed(member, unit.propagation)

    async def remove(
        self, actor: Actor, member_id: UUID, *, wait_for: PropagationWait | None = None
    ) -> Changed:
        """End somebody's membership for good, with their sessions and links. Harmless to repeat.

        The row stays for the trail, the tokens that they made stay the account's, and their address
        may be invited again, anywhere.

        Raises:
            InsufficientScope, Forbidden, NotFound: As :meth:`invite`.
            LastOwner: If the account would be left without an owner who can sign in.
        """
        actor.require(WRITE)
        async with self.work.begin(actor.reach, actor, wait_for=wait_for) as unit:
            members = await lock_members(unit.door, member_id)
            member = members[member_id]
            _check_may_change(actor, member, members)
            if member.disabled_at is None:
                _check_owner_stays(member, members)
                member = await change_member(unit.door, member_id, {"disabled_at": unit.now})
                await forget_link(unit.door, member_id)
                unit.audit("member.removed", member_id, member.owner, email=member.email)
                await end_sessions_of(unit, member, reason=POLICY)
        return Changed(member, unit.propagation)

    async def lapse_due(self, *, batch: int = LAPSES_MAX) -> int:
        """Remove everybody who has set no password within 30 days of their last invitation.

        Else whoever invites an address holds it for ever. An owner stays where the account has no
        other who can sign in. A second run, or two at once, is harmless: a member is removed once,
        and one that somebody else holds is left to the next run.

        Args:
            batch: Members removed in one transaction, at the most.

        Returns:
            How many.
        """
        total, lapsed = 0, batch
        while lapsed == batch:
            async with self.work.begin(EVERYTHING, None) as unit:
                rows = await system_lapse_members(
                    unit.door, unit.now, invited_before=unit.now - LAPSE, limit=batch
                )
                for row in rows:
                    owner = (as_uuid(row["account_id"]), row["reseller_id"])
                    unit.audit("member.lapsed", as_uuid(row["id"]), owner, email=row["email"])
            lapsed = len(rows)
            total += lapsed
        return total

    async def _count_invitation(self, actor: Actor, email: str) -> None:
        """Count an e-mail that somebody has us send to an address of their choice."""
        limits = (
            Limit(f"invite:{actor.account_id}", INVITATIONS_MAX, INVITATION_WINDOW_SECONDS),
            Limit(f"invite::{name_of(email)}", INVITATIONS_PER_PERSON, INVITATION_WINDOW_SECONDS),
        )
        if not await self.throttle.count(limits):
            raise TooManyAttempts("Too many invitations. Try again in an hour.")

    async def _check_own_role(self, unit: Unit, actor: Actor, account_id: UUID) -> None:
        if account_id == actor.account_id and actor.member_id is not None:
            # Held: nobody is removed, and leaves a new owner behind afterwards.
            _check_is_owner(await hold_member(unit.door, actor.member_id))

    async def _check_may_give(self, unit: Unit, actor: Actor, account: Account, role: Role) -> None:
        """Let a role pass that can do nothing there that the actor's credential cannot.

        A person has entered their password lately: else whoever finds an open session would become
        a member with a password of their own, and step up with that.
        """
        gives = scopes.intersect(
            scopes_of(role, self.settings.scope_catalogue),
            (*account.grantable_scopes, *scopes.CONSOLE),
        )
        if not scopes.covers_all(actor.scopes, gives):
            raise Forbidden("Nobody gives a role that may do more than they may themselves.")
        if actor.kind is CredentialKind.SESSION:
            await require_recent_password(unit.door, actor, unit.now)


def _row(account: Account, email: str, role: Role) -> dict[str, Any]:
    return {
        "id": new_id(),
        "account_id": account.id,
        "reseller_id": account.reseller_id,
        "email": email,
        "role": role.value,
    }


def _check_person(actor: Actor, account_id: UUID) -> None:
    if account_id == actor.account_id and actor.kind is not CredentialKind.SESSION:
        raise Forbidden("Only a person who is signed in changes the members of their account.")


def _check_is_owner(me: Member | None) -> None:
    """Let an owner pass; asked again under the lock, for a session may outlive a change of role."""
    if me is None or me.disabled_at is not None or me.role is not Role.OWNER:
        raise Forbidden


def _check_may_change(actor: Actor, member: Member, members: dict[UUID, Member]) -> None:
    """Let an actor pass who may change a member of an account whose members are locked."""
    _check_person(actor, member.account_id)
    if member.account_id != actor.account_id:
        return
    if member.id == actor.member_id:
        raise Forbidden("Nobody changes their own membership.")
    _check_is_owner(members.get(actor.member_id) if actor.member_id else None)


def _check_there(member: Member) -> None:
    if member.disabled_at is not None:
        raise NotFound("There is no such member.")


def _check_usable(account: Account) -> None:
    if not account.is_usable:
        raise AccountInactive


def _check_owner_stays(member: Member, members: dict[UUID, Member]) -> None:
    """Let a member lose their role unless no owner would be left who can sign in.

    An owner who was invited and has no password yet does not count: the e-mail may never arrive.
    """
    owners = {
        one.id
        for one in members.values()
        if one.role is Role.OWNER and one.has_password and one.disabled_at is None
    }
    if owners == {member.id}:
        raise LastOwner
