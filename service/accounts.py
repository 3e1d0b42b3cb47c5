"""Use cases of accounts: create, read, suspend, resume, close, and the first operator."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from service import scopes, token_rules
from service.access.accounts import (
    Account,
    change_account,
    find_account,
    find_accounts,
    insert_account,
    list_sub_accounts,
    lock_account,
)
from service.access.actor import EVERYTHING, Actor
from service.access.door import open_door
from service.access.members import insert_member
from service.access.system import system_has_operator
from service.cache import Drop
from service.clock import new_id
from service.errors import AccountClosed, AccountInactive, Forbidden, InvalidInput
from service.names import ACCOUNT_NAME_CHARACTERS_MAX, clean_email, clean_name
from service.paging import Page, PageRequest
from service.passwords import Passwords
from service.receipts import Propagation, PropagationWait
from service.roles import Role
from service.settings import Settings
from service.verdict import AccountKind
from service.work import Unit, Work

READ = "accounts:read"
WRITE = "accounts:write"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAccount:
    """What a caller wants of a new account, with the first person who signs in for it.

    Attributes:
        kind: A reseller's are customers; the operator may also create resellers.
        reseller_id: Whose customer it shall be; None is the actor's own.
        grantable_scopes: None is everything that the account above may grant.
    """

    name: str
    kind: AccountKind
    email: str
    password: str
    reseller_id: UUID | None = None
    grantable_scopes: tuple[str, ...] | None = None

    def __repr__(self) -> str:
        return f"NewAccount({self.name!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountChanges:
    """A change of an account. None leaves a field as it is."""

    name: str | None = None
    grantable_scopes: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Changed:
    """An account after a change, and the receipt of its cut-off."""

    account: Account
    propagation: Propagation | None


@dataclass(frozen=True, slots=True)
class Accounts:
    """Accounts within an actor's reach; beyond it, everything reads as missing."""

    work: Work
    passwords: Passwords
    settings: Settings

    async def get(self, actor: Actor, account_id: UUID) -> Account:
        """Return an account; everybody may read their own.

        Raises:
            InsufficientScope: For another one, without ``accounts:read``.
            NotFound: If it is not within reach.
        """
        if account_id != actor.account_id:
            actor.require(READ)
        async with open_door(actor.reach) as door:
            return await find_account(door, account_id)

    async def get_many(self, actor: Actor, account_ids: list[UUID]) -> list[Account | None]:
        """Return some accounts in order, None for each beyond reach, in one query.

        Raises:
            InsufficientScope: If another than the actor's own is among them, without
                ``accounts:read``.
        """
        if any(account_id != actor.account_id for account_id in account_ids):
            actor.require(READ)
        async with open_door(actor.reach) as door:
            found = await find_accounts(door, account_ids)
        return [found.get(account_id) for account_id in account_ids]

    async def page(self, actor: Actor, request: PageRequest) -> Page[Account]:
        """Return one page of the actor's sub-accounts by name; a customer has none.

        Raises:
            InsufficientScope: Without ``accounts:read``.
        """
        actor.require(READ)
        async with open_door(actor.reach) as door:
            return await list_sub_accounts(door, actor.account_id, request)

    async def create(self, actor: Actor, wanted: NewAccount) -> Account:
        """Create an account below the actor's, and its first member.

        Raises:
            InsufficientScope: Without ``accounts:write``.
            Forbidden: If this kind of actor may not create that kind of account.
            NotFound: If the reseller is not within reach.
            ScopeNotGrantable: If the account above may not grant a scope.
            EmailTaken, InvalidInput, AccountInactive: See service.errors.
        """
        actor.require(WRITE)
        self._check_kind(actor, wanted)
        name = clean_name(wanted.name, characters_max=ACCOUNT_NAME_CHARACTERS_MAX)
        email = clean_email(wanted.email)
        password_hash = await self.passwords.hash(wanted.password)
        async with self.work.begin(actor.reach, actor) as unit:
            above = await find_account(unit.door, wanted.reseller_id or actor.account_id)
            if wanted.reseller_id is not None and above.kind is not AccountKind.RESELLER:
                raise InvalidInput("That account is not a reseller.", field="resellerId")
            if not above.is_usable:
                raise AccountInactive
            grantable = sorted(scopes.intersect(above.grantable_scopes, actor.scopes))
            if wanted.grantable_scopes is not None:
                grantable = token_rules.clean_scopes(
                    wanted.grantable_scopes,
                    catalogue=self.settings.scope_catalogue,
                    caps=(above.grantable_scopes, actor.scopes),
                    field="grantableScopes",
                )
            account_id = new_id()
            reseller_id = above.id if above.kind is AccountKind.RESELLER else None
            if wanted.kind is AccountKind.RESELLER:
                reseller_id = account_id
            await _insert(unit, account_id, wanted.kind, reseller_id, name, grantable)
            await _insert_member(unit, account_id, reseller_id, email, password_hash)
            unit.audit(
                "account.created",
                account_id,
                (account_id, reseller_id),
                name=name,
                kind=wanted.kind,
            )
            return await find_account(unit.door, account_id)

    async def update(
        self,
        actor: Actor,
        account_id: UUID,
        changes: AccountChanges,
        *,
        wait_for: PropagationWait | None = None,
    ) -> Changed:
        """Change an account's name, or what its tokens may do.

        What it may grant caps every token that it has, at once: fewer scopes count as a revoke, for
        a reseller's whole fleet. Its people's sessions are capped too, but for what they do here,
        which comes of their roles. Its own nobody changes.

        Raises:
            InsufficientScope: Without ``accounts:write``.
            Forbidden: If the scopes are the actor's own account's.
            NotFound: If the account is not within reach.
            AccountClosed: If it is closed.
            InvalidInput: If nothing is to change, or a value is not allowed.
            ScopeNotGrantable: If a scope is new to the account and the account above, or the
                actor's own credential, may not grant it.
        """
        actor.require(WRITE)
        if changes.grantable_scopes is not None and account_id == actor.account_id:
            raise Forbidden("Nobody changes what their own account may grant.")
        async with self.work.begin(actor.reach, actor, wait_for=wait_for) as unit:
            before = await lock_account(unit.door, account_id)
            columns = await self._columns(unit, actor, before, changes)
            account = await change_account(unit.door, account_id, columns)
            told: dict[str, Any] = {f"previous_{name}": getattr(before, name) for name in columns}
            unit.audit("account.updated", account_id, account.owner, **(told | columns))
            if "grantable_scopes" in columns:
                unit.drop(Drop.of_account(account_id), account.owner)
        return Changed(account, unit.propagation)

    async def _columns(
        self, unit: Unit, actor: Actor, before: Account, changes: AccountChanges
    ) -> dict[str, str | list[str]]:
        """Return the columns that a change sets."""
        columns: dict[str, str | list[str]] = {}
        if changes.name is not None:
            columns["name"] = clean_name(changes.name, characters_max=ACCOUNT_NAME_CHARACTERS_MAX)
        if changes.grantable_scopes is not None:
            above_id = before.reseller_id if before.kind is AccountKind.CUSTOMER else None
            above = await find_account(unit.door, above_id or actor.account_id)
            grants = scopes.intersect(above.grantable_scopes, actor.scopes)
            # What it has it may keep: a narrow credential can narrow what it could not grant.
            columns["grantable_scopes"] = token_rules.clean_scopes(
                changes.grantable_scopes,
                catalogue=self.settings.scope_catalogue,
                caps=((*grants, *before.grantable_scopes),),
                field="grantableScopes",
            )
        if not columns:
            raise InvalidInput("Name something to change.")
        return columns

    async def suspend(
        self, actor: Actor, account_id: UUID, *, wait_for: PropagationWait | None = None
    ) -> Changed:
        """Refuse every token and session of an account, until it is resumed. Harmless to repeat.

        A reseller's suspension refuses its whole fleet. Either is one cut-off, whatever the number
        of tokens.

        An account has one suspension, whoever set it: a reseller may lift the operator's of its
        customer. What shall hold against the reseller too is a suspended reseller or a closed
        customer.

        Raises:
            InsufficientScope: Without ``accounts:write``.
            Forbidden: If it is the actor's own; so nobody ever suspends the operator.
            NotFound: If it is not within reach.
            AccountClosed: If it is closed.
        """
        return await self._set_suspended(actor, account_id, wait_for, suspended=True)

    async def resume(
        self, actor: Actor, account_id: UUID, *, wait_for: PropagationWait | None = None
    ) -> Changed:
        """Let a suspended account be used again. Harmless to repeat.

        What is suspended by itself stays so: a token, or a customer of a resumed reseller.

        Raises:
            InsufficientScope, Forbidden, NotFound, AccountClosed: As :meth:`suspend`.
        """
        return await self._set_suspended(actor, account_id, wait_for, suspended=False)

    async def close(
        self,
        actor: Actor,
        account_id: UUID,
        *,
        expected_name: str,
        wait_for: PropagationWait | None = None,
    ) -> Changed:
        """End an account for good, and a reseller's whole fleet with it. Harmless to repeat.

        Args:
            actor: Who does it.
            account_id: Which.
            expected_name: The account's name to the letter, so that no other is closed by mishap.
            wait_for: What to wait for before it returns.

        Raises:
            InsufficientScope, Forbidden, NotFound: As :meth:`suspend`.
            InvalidInput: If the name is another.
        """
        _check_not_own(actor, account_id)
        async with self.work.begin(actor.reach, actor, wait_for=wait_for) as unit:
            account = await lock_account(unit.door, account_id)
            if account.name != expected_name:
                raise InvalidInput("This is not the account's name.", field="expectedName")
            if account.closed_at is None:
                account = await change_account(unit.door, account_id, {"closed_at": unit.now})
                unit.audit("account.closed", account_id, account.owner)
            unit.drop(Drop.of_account(account_id), account.owner)
        return Changed(account, unit.propagation)

    async def _set_suspended(
        self, actor: Actor, account_id: UUID, wait_for: PropagationWait | None, *, suspended: bool
    ) -> Changed:
        _check_not_own(actor, account_id)
        async with self.work.begin(actor.reach, actor, wait_for=wait_for) as unit:
            account = await lock_account(unit.door, account_id)
            if account.closed_at is not None:
                raise AccountClosed
            if suspended is (account.suspended_at is None):
                columns = {"suspended_at": unit.now if suspended else None}
                account = await change_account(unit.door, account_id, columns)
                action = "account.suspended" if suspended else "account.resumed"
                unit.audit(action, account_id, account.owner)
            unit.drop(Drop.of_account(account_id), account.owner)
        return Changed(account, unit.propagation)

    async def create_operator(self, name: str, email: str, password: str) -> UUID:
        """Create the platform's one operator and its first member; for the command line only.

        Raises:
            Forbidden: If there is one already.
            InvalidInput: If a value is not allowed.
        """
        name = clean_name(name, characters_max=ACCOUNT_NAME_CHARACTERS_MAX)
        email = clean_email(email)
        password_hash = await self.passwords.hash(password)
        if await system_has_operator():  # and two at once meet a unique index
            raise Forbidden("The platform has its operator already.")
        async with self.work.begin(EVERYTHING, None) as unit:
            account_id = new_id()
            await _insert(unit, account_id, AccountKind.OPERATOR, None, name, [scopes.EVERYTHING])
            await _insert_member(unit, account_id, None, email, password_hash)
            unit.audit("account.created", account_id, (account_id, None), name=name)
        return account_id

    async def available_scopes(self, actor: Actor) -> tuple[str, ...]:
        """Return the catalogue's rights that the actor's account may grant."""
        account = await self.get(actor, actor.account_id)
        return tuple(
            scope
            for scope in self.settings.scope_catalogue
            if scopes.covers(account.grantable_scopes, scope)
        )

    def _check_kind(self, actor: Actor, wanted: NewAccount) -> None:
        allowed = {
            AccountKind.OPERATOR: {AccountKind.RESELLER, AccountKind.CUSTOMER},
            AccountKind.RESELLER: {AccountKind.CUSTOMER},
            AccountKind.CUSTOMER: set[AccountKind](),
        }[actor.account_kind]
        if wanted.kind not in allowed:
            raise Forbidden
        if wanted.kind is AccountKind.RESELLER and wanted.reseller_id is not None:
            raise InvalidInput("A reseller has no reseller.", field="resellerId")


def _check_not_own(actor: Actor, account_id: UUID) -> None:
    """Let an actor pass who may change accounts, unless it is its own."""
    actor.require(WRITE)
    if account_id == actor.account_id:
        raise Forbidden("Nobody may do this to their own account.")


async def _insert(
    unit: Unit,
    account_id: UUID,
    kind: AccountKind,
    reseller_id: UUID | None,
    name: str,
    grantable: list[str],
) -> None:
    await insert_account(
        unit.door,
        {
            "id": account_id,
            "kind": kind.value,
            "reseller_id": reseller_id,
            "name": name,
            "grantable_scopes": grantable,
            "created_at": unit.now,
        },
    )


async def _insert_member(
    unit: Unit, account_id: UUID, reseller_id: UUID | None, email: str, password_hash: str
) -> None:
    await insert_member(
        unit.door,
        {
            "id": new_id(),
            "account_id": account_id,
            "reseller_id": reseller_id,
            "email": email,
            "role": Role.OWNER.value,
            "password_hash": password_hash,
            "created_at": unit.now,
        },
    )
