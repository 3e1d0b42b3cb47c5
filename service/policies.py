"""Use cases of policies: what each level asks of tokens, what binds an account, what would break.

Each level writes its own row about an account and no other's: the operator the platform's, a
reseller its own, an account its own. What binds is the strictest of all.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from service.access.accounts import Account, find_account, lock_account
from service.access.actor import Actor
from service.access.door import Door, open_door
from service.access.policies import (
    PolicyRow,
    count_live_tokens,
    find_breaking,
    find_policy,
    list_policies,
    put_policy,
)
from service.access.tokens import Token, find_tokens
from service.clock import Clock, new_id
from service.errors import (
    AccountClosed,
    DelegationRefused,
    Forbidden,
    InvalidInput,
    VersionConflict,
)
from service.paging import Page, PageRequest
from service.policy_rules import (
    NO_RULES,
    Grant,
    Policy,
    PolicyLevel,
    PolicyRule,
    Rules,
    Violation,
    clean_rules,
    columns_of,
    level_of,
    loosens,
)
from service.settings import Settings
from service.step_up import require_recent_password
from service.verdict import AccountKind, CredentialKind
from service.work import Unit, Work

READ = "accounts:read"
WRITE = "accounts:write"
READ_TOKENS = "tokens:read"

Changes = Mapping[PolicyRule, Any]
"""New values by rule; a rule that is not named stays as it is."""


@dataclass(frozen=True, slots=True)
class AccountPolicy:
    """What binds an account.

    Attributes:
        rows: What each level asks of this account in particular; those of its reseller about
            itself, and the platform's, are not among them.
        effective: The strictest of all levels.
    """

    rows: list[PolicyRow]
    effective: Policy


@dataclass(frozen=True, slots=True)
class Break:
    """A token that breaks rules, and which."""

    token: Token
    violations: list[Violation]


@dataclass(frozen=True, slots=True)
class Preview:
    """What rules would break: a count, at most 1,000, and one page of it."""

    count: int
    is_exact: bool
    page: Page[Break]


@dataclass(frozen=True, slots=True)
class Policies:
    """Policies of the accounts within an actor's reach; beyond it, every account is missing."""

    work: Work
    clock: Clock
    settings: Settings

    async def get(self, actor: Actor, account_id: UUID | None = None) -> AccountPolicy:
        """Return what binds an account; everybody may read what binds their own.

        Raises:
            InsufficientScope: For another one, without ``accounts:read``.
            NotFound: If it is not within reach.
        """
        account_id = account_id or actor.account_id
        if account_id != actor.account_id:
            actor.require(READ)
        async with open_door(actor.reach) as door:
            return await self._read(door, account_id)

    async def set(
        self,
        actor: Actor,
        account_id: UUID | None,
        changes: Changes,
        *,
        expected_version: int | None = None,
    ) -> AccountPolicy:
        """Change what the actor's level asks of an account, and of all below it.

        Tokens that are there go on as they are, also where they break it.

        Args:
            actor: A person who is signed in.
            account_id: One within reach; None is the actor's own.
            changes: What is to be otherwise.
            expected_version: Refuse if somebody else was faster; 0 expects that there is none yet,
                None does not ask.

        Raises:
            Forbidden: If a token asks.
            PasswordRequired: If it lets anything pass that was refused, and the person has not
                entered their password within ten minutes.
            InvalidInput, ScopeNotGrantable: If a value is not allowed, or none is given.
            InsufficientScope, NotFound, AccountClosed, VersionConflict: See service.errors.
        """
        actor.require(WRITE)
        if actor.kind is not CredentialKind.SESSION:
            raise Forbidden("Only a person who is signed in can set a policy.")
        async with self.work.begin(actor.reach, actor) as unit:
            account = await lock_account(unit.door, account_id or actor.account_id)
            if account.closed_at is not None:
                raise AccountClosed
            row = await _find_own(unit.door, actor, account.id)
            if expected_version not in {None, 0 if row is None else row.version}:
                raise VersionConflict
            previous = NO_RULES if row is None else row.rules
            wanted = self._changed(actor, previous, changes)
            if loosens(previous, wanted):
                await require_recent_password(unit.door, actor, unit.now)
            if wanted != previous:
                await _put(unit, actor, account, previous, wanted)
            return await self._read(unit.door, account.id)

    async def preview(
        self, actor: Actor, account_id: UUID | None, changes: Changes, request: PageRequest
    ) -> Preview:
        """Return the live tokens that would break the actor's level's rules, were they changed so.

        What could not be created today as it is breaks them. Nothing is changed, and nothing would
        be ended: such a token goes on until it is to get more.

        Raises:
            InsufficientScope: Without ``tokens:read``.
            NotFound: If the account is not within reach.
            InvalidInput, ScopeNotGrantable: If a value is not allowed, or none is given.
        """
        actor.require(READ_TOKENS)
        now = self.clock.now()
        async with open_door(actor.reach) as door:
            account = await find_account(door, account_id or actor.account_id)
            row = await _find_own(door, actor, account.id)
            rules = self._changed(actor, NO_RULES if row is None else row.rules, changes)
            found = await find_breaking(door, account, rules, request, now=now)
            tokens = await find_tokens(door, found.token_ids)
        policy = Policy.of([(level_of(actor.account_kind), rules)])
        # One may have left the reach in between, with its account.
        places = [
            place
            for place in zip(found.token_ids, found.cursors, strict=True)
            if place[0] in tokens
        ]
        broken = [
            Break(tokens[token_id], policy.violations(_grant_of(tokens[token_id]), now=now))
            for token_id, _ in places
        ]
        page = Page(items=broken, cursors=[cursor for _, cursor in places], has_next=found.has_next)
        return Preview(found.count, found.is_exact, page)

    def _changed(self, actor: Actor, previous: Rules, changes: Changes) -> Rules:
        """Return rules as they would be, or refuse what may not be."""
        if not changes:
            raise InvalidInput("Name something to change.")
        wanted = replace(previous, **{rule.value: value for rule, value in changes.items()})
        if not wanted.allows_delegation and actor.account_kind is not AccountKind.CUSTOMER:
            raise InvalidInput(
                "Only a customer decides on this, for itself.", field="allowsDelegation"
            )
        return clean_rules(wanted, catalogue=self.settings.scope_catalogue)

    async def _read(self, door: Door, account_id: UUID) -> AccountPolicy:
        effective = await find_policy(door, account_id)
        rows = await list_policies(door, account_id)
        settings = Rules(
            max_lifetime_days=self.settings.max_lifetime_days,
            notice_threshold_days=self.settings.notice_threshold_days,
        )
        return AccountPolicy(rows, effective.also(PolicyLevel.PLATFORM, settings))


async def _find_own(door: Door, actor: Actor, account_id: UUID) -> PolicyRow | None:
    """Return the row of the actor's level about an account."""
    level = level_of(actor.account_kind)
    return next((row for row in await list_policies(door, account_id) if row.level is level), None)


async def _put(unit: Unit, actor: Actor, account: Account, previous: Rules, wanted: Rules) -> None:
    level = level_of(actor.account_kind)
    row = {
        "id": new_id(),
        "account_id": account.id,
        "reseller_id": account.reseller_id,
        "level": level.value,
        "changed_at": unit.now,
        "version": 1,
    }
    await put_policy(unit.door, row | columns_of(wanted))
    before, after = columns_of(previous), columns_of(wanted)
    changed = {name: value for name, value in after.items() if value != before[name]}
    unit.audit(
        "policy.changed",
        account.id,
        account.owner,
        level=level.value,
        **changed,
        previous={name: before[name] for name in changed},
    )


def _grant_of(token: Token) -> Grant:
    return Grant(token.scopes, token.allowed_ip_ranges, token.expires_at)


async def check_token(
    unit: Unit, account: Account, policy: Policy, grant: Grant, *, is_new: bool = False
) -> None:
    """Let a token pass that is about to get rights or time, in the transaction that gives them.

    What only narrows a token, or gives it another secret, is not asked about: a token that was
    there before a policy goes on until it is to get more.

    Args:
        unit: The transaction, who gives it, and from when a lifetime counts.
        account: Whose token it is.
        policy: What binds the account, read in this transaction.
        grant: All it will have.
        is_new: Whether it counts towards the account's cap from now on.

    Raises:
        PolicyViolation: If a level's rule does not allow it.
        DelegationRefused: If the account does not let its reseller do this on its behalf.
    """
    refuse_delegation(policy, unit.actor, account.id)
    policy.check(grant, now=unit.now)
    cap = policy.rules.token_cap
    if is_new and cap is not None:
        live = await count_live_tokens(unit.door, account.id, now=unit.now, most=cap)
        if live >= cap:
            raise policy.over_cap()


async def check_delegation(door: Door, actor: Actor | None, account_id: UUID) -> None:
    """Let an actor pass who gives a token's secret away, unless the account keeps that to itself.

    To revoke, suspend and read the tokens of its customers, a reseller asks nobody.

    Raises:
        DelegationRefused: If the account does not let its reseller do this on its behalf.
    """
    if _acts_for_another(actor, account_id):
        refuse_delegation(await find_policy(door, account_id), actor, account_id)


def _acts_for_another(actor: Actor | None, account_id: UUID) -> bool:
    # The operator is not bound: it stands in for the platform, not for the account.
    return (
        actor is not None
        and actor.account_kind is not AccountKind.OPERATOR
        and actor.account_id != account_id
    )


def refuse_delegation(policy: Policy, actor: Actor | None, account_id: UUID) -> None:
    """Let an actor pass who acts on an account under its policy.

    Raises:
        DelegationRefused: If the account does not let its reseller do this on its behalf.
    """
    if _acts_for_another(actor, account_id) and not policy.rules.allows_delegation:
        raise DelegationRefused
