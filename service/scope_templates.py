"""Use cases of templates of scopes: named sets that whoever makes a token can start from.

A template grants nothing: a token is created with scopes, wherever they were read, and only what
its account may grant is granted. So no token changes with the template it was made from.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from service import token_rules
from service.access.accounts import Account, lock_account
from service.access.actor import Actor
from service.access.door import Door, open_door
from service.access.scope_templates import (
    ScopeTemplate,
    change_template,
    count_templates,
    delete_template,
    find_template,
    insert_template,
    list_templates,
    lock_template,
)
from service.clock import new_id
from service.errors import AccountInactive, InvalidInput
from service.names import clean_name
from service.settings import Settings
from service.token_notes import clean_description
from service.work import Work

READ = "tokens:read"
WRITE = "accounts:write"
NAME_CHARACTERS_MAX = 50
TEMPLATES_MAX = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateChanges:
    """What a template shall be, or what of it shall be otherwise; None leaves a field as it is.

    Attributes:
        description: Empty takes it away.
    """

    name: str | None = None
    description: str | None = None
    scopes: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class ScopeTemplates:
    """Templates of the accounts within an actor's reach; beyond it, every one reads as missing."""

    work: Work
    settings: Settings

    async def offered(self, actor: Actor, account_id: UUID | None = None) -> list[ScopeTemplate]:
        """Return what an account is offered: its own, its reseller's, the platform's.

        One beyond reach is offered nothing.

        Raises:
            InsufficientScope: Without ``tokens:read``.
        """
        actor.require(READ)
        async with open_door(actor.reach) as door:
            return await list_templates(door, account_id or actor.account_id)

    async def get(self, actor: Actor, template_id: UUID) -> ScopeTemplate:
        """Return a template within reach, or one from above.

        Raises:
            InsufficientScope: Without ``tokens:read``.
            NotFound: If there is none.
        """
        for template in await self.offered(actor):
            if template.id == template_id:
                return template
        async with open_door(actor.reach) as door:
            return (await find_template(door, template_id))[0]

    async def create(self, actor: Actor, wanted: TemplateChanges) -> ScopeTemplate:
        """Create a template of the actor's account, for itself and all below it.

        Raises:
            InvalidInput: If the name or the scopes are missing or not allowed, or the account has
                50 already.
            ScopeNotGrantable: If the account may not grant a scope.
            InsufficientScope, AccountInactive, TemplateNameTaken: See service.errors.
        """
        actor.require(WRITE)
        if wanted.name is None or wanted.scopes is None:
            raise InvalidInput("A template needs a name and scopes.")
        async with self.work.begin(actor.reach, actor) as unit:
            account = await lock_account(unit.door, actor.account_id)
            if not account.is_usable:
                raise AccountInactive
            if await count_templates(unit.door, account.id) >= TEMPLATES_MAX:
                raise InvalidInput(f"An account has at most {TEMPLATES_MAX} templates.")
            template_id, columns = new_id(), self._columns(account, wanted)
            row = {
                "id": template_id,
                "account_id": account.id,
                "reseller_id": account.reseller_id,
                "description": None,
                "created_at": unit.now,
                "version": 1,
            }
            await insert_template(unit.door, row | columns)
            unit.audit("scope_template.created", template_id, account.owner, **columns)
            template, _ = await find_template(unit.door, template_id)
        return template

    async def update(
        self,
        actor: Actor,
        template_id: UUID,
        changes: TemplateChanges,
        *,
        expected_version: int | None = None,
    ) -> ScopeTemplate:
        """Change a template, and no token that was made from it.

        Raises:
            NotFound: If it is not within reach; what comes from above is not.
            InsufficientScope, InvalidInput, ScopeNotGrantable, TemplateNameTaken, VersionConflict:
                See service.errors.
        """
        actor.require(WRITE)
        async with self.work.begin(actor.reach, actor) as unit:
            before, account = await _lock(unit.door, template_id)
            columns = self._columns(account, changes)
            if not columns:
                raise InvalidInput("Name something to change.")
            await change_template(
                unit.door, template_id, columns, expected_version=expected_version
            )
            previous = {name: getattr(before, name) for name in columns}
            unit.audit(
                "scope_template.updated", template_id, account.owner, **columns, previous=previous
            )
            template, _ = await find_template(unit.door, template_id)
        return template

    async def delete(self, actor: Actor, template_id: UUID) -> None:
        """Delete a template, and nothing that was made from it.

        Raises:
            NotFound: If it is not within reach, or gone already.
            InsufficientScope: Without ``accounts:write``.
        """
        actor.require(WRITE)
        async with self.work.begin(actor.reach, actor) as unit:
            before, account = await _lock(unit.door, template_id)
            await delete_template(unit.door, template_id)
            unit.audit(
                "scope_template.deleted",
                template_id,
                account.owner,
                name=before.name,
                scopes=before.scopes,
            )

    def _columns(self, account: Account, changes: TemplateChanges) -> dict[str, Any]:
        """Return the columns that are to be set, or refuse what may not be."""
        columns: dict[str, Any] = {}
        if changes.name is not None:
            columns["name"] = clean_name(changes.name, characters_max=NAME_CHARACTERS_MAX)
        if changes.description is not None:
            columns["description"] = clean_description(changes.description)
        if changes.scopes is not None:
            if not changes.scopes:
                raise InvalidInput("A template needs a scope.", field="scopes")
            columns["scopes"] = token_rules.clean_scopes(
                changes.scopes,
                catalogue=self.settings.scope_catalogue,
                caps=(account.grantable_scopes,),
                field="scopes",
            )
        return columns


async def _lock(door: Door, template_id: UUID) -> tuple[ScopeTemplate, Account]:
    """Return a template and its account, and hold both.

    The account first, as whoever moves it to another reseller does.
    """
    _, account_id = await find_template(door, template_id)
    account = await lock_account(door, account_id)
    template, _ = await lock_template(door, template_id)
    return template, account
