"""What a widening of a token may give: within every cap, and never less than there was."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from service import scopes, token_rules
from service.access.accounts import Account
from service.access.actor import Actor
from service.access.policies import find_bound_account
from service.access.tokens import Token
from service.errors import AccountInactive, InvalidInput, ScopeNotGrantable
from service.policies import check_token
from service.policy_rules import Grant, Policy
from service.settings import Settings
from service.work import Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Widening:
    """What a token is to be given. None leaves a field as it is.

    Attributes:
        allowed_ip_ranges: Empty is anywhere.
        audiences: Empty is everybody.
        never_expires: Take the expiry away.
        begins_at_once: Take the beginning away.
    """

    scopes: tuple[str, ...] | None = None
    allowed_ip_ranges: tuple[str, ...] | None = None
    audiences: tuple[str, ...] | None = None
    expires_at: datetime | None = None
    never_expires: bool = False
    not_before: datetime | None = None
    begins_at_once: bool = False


async def judge_widening(
    unit: Unit, actor: Actor, token: Token, widening: Widening, settings: Settings
) -> dict[str, Any]:
    """Return the columns that a widening sets, or refuse what may not be.

    Args:
        unit: The unit of work that holds the token's row.
        actor: Who widens.
        token: As it is.
        widening: What it is to be given; each field must include all of the old value.
        settings: The catalogue of scopes and the longest lifetime.

    Raises:
        AccountInactive: If the token's account, or its reseller, is suspended or closed.
        ScopeNotGrantable: If the account, or the actor, may not grant a scope, or the token may do
            what the actor may not.
        InvalidInput: If nothing is given, or a field would take something away.
        PolicyViolation, DelegationRefused: If a policy does not allow it.
    """
    account, policy = await find_bound_account(unit.door, token.account_id)
    if not account.is_usable:
        raise AccountInactive
    # A longer life for a right that the actor does not have would be that right.
    if not scopes.covers_all(actor.scopes, token.scopes):
        raise ScopeNotGrantable("The token may do what the caller may not.")
    columns = _limits(token, widening) | _span(token, widening, settings, unit.now)
    if widening.scopes is not None:
        columns["scopes"] = token_rules.clean_scopes(
            widening.scopes,
            catalogue=settings.scope_catalogue,
            caps=(account.grantable_scopes, actor.scopes),
            field="scopes",
        )
        covers = scopes.covers_all(columns["scopes"], token.scopes)
        token_rules.check_covers(field="scopes", covers=covers)
    if not columns:
        raise InvalidInput("Name something to widen.")
    await _check_policy(unit, token, account, policy, columns)
    return columns


def _limits(token: Token, widening: Widening) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    if widening.allowed_ip_ranges is not None:
        columns["allowed_ip_ranges"] = token_rules.wider_ranges(
            token.allowed_ip_ranges, widening.allowed_ip_ranges
        )
    if widening.audiences is not None:
        columns["audiences"] = token_rules.wider_audiences(token.audiences, widening.audiences)
    return columns


def _span(token: Token, widening: Widening, settings: Settings, now: datetime) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    if widening.never_expires or widening.expires_at is not None:
        columns["expires_at"] = token_rules.later_expiry(
            None if widening.never_expires else widening.expires_at,
            previous=token.expires_at,
            now=now,
            lifetime_days_max=settings.max_lifetime_days,
        )
    if widening.begins_at_once or widening.not_before is not None:
        columns["not_before"] = token_rules.earlier_begin(
            None if widening.begins_at_once else widening.not_before, previous=token.not_before
        )
    return columns


async def _check_policy(
    unit: Unit, before: Token, account: Account, policy: Policy, columns: Mapping[str, Any]
) -> None:
    """Let a widening pass after which the token, as a whole, is within every policy."""
    grant = Grant(
        columns.get("scopes", before.scopes),
        columns.get("allowed_ip_ranges", before.allowed_ip_ranges),
        columns.get("expires_at", before.expires_at),
    )
    await check_token(unit, account, policy, grant)
