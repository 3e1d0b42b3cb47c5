"""What a job makes of one token: whether there is anything to do, and whether it may be done."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from service import scopes
from service.access.accounts import Account
from service.access.actor import Actor
from service.access.jobs import Job, JobItemState, JobKind
from service.access.selections import Target
from service.errors import (
    AccountInactive,
    InvalidInput,
    NotFound,
    ScopeNotGrantable,
    ServiceError,
    TokenEnded,
)
from service.policies import refuse_delegation
from service.policy_rules import Grant, Policy
from service.token_rules import later_expiry

Outcome = tuple[JobItemState, str | None]
"""What becomes of an item, and the code of the reason where there is one."""

SUCCEEDED: Outcome = (JobItemState.SUCCEEDED, None)
NOTHING_TO_DO: Outcome = (JobItemState.SKIPPED, None)
ENDED: Outcome = (JobItemState.SKIPPED, TokenEnded.code)
MISSING: Outcome = (JobItemState.SKIPPED, NotFound.code)


def judge(job: Job, target: Target | None, now: datetime) -> Outcome:
    """Return what becomes of a token, SUCCEEDED where it is to be changed.

    What has ended stays so, and what is so already is not told as a change.

    Args:
        job: The job.
        target: The token; None where it is not, or no longer, within reach.
        now: The instant of the batch.
    """
    if target is None:
        return MISSING
    if target.has_ended(now):
        return ENDED
    needed = {
        JobKind.REVOKE: True,
        JobKind.SUSPEND: target.suspended_at is None,
        JobKind.RESUME: target.suspended_at is not None,
        JobKind.EXTEND: target.expires_at is not None,
    }
    return SUCCEEDED if needed[job.kind] else NOTHING_TO_DO


@dataclass(frozen=True, slots=True)
class Extension:
    """Gives tokens later expiries, as far as everybody above allows each.

    Attributes:
        accounts: Those whose tokens they are, within the actor's reach.
        policies: What binds each of these.
    """

    job: Job
    actor: Actor
    accounts: Mapping[UUID, Account]
    policies: Mapping[UUID, Policy]
    lifetime_days_max: int | None

    def of(self, target: Target, now: datetime) -> datetime | Outcome:
        """Return a token's new expiry, or what becomes of it instead.

        Args:
            target: A token that has not ended and has an expiry.
            now: From when a lifetime counts.
        """
        try:
            expires_at = self._expiry(target)
            if target.expires_at is None or expires_at <= target.expires_at:
                return NOTHING_TO_DO
            return self._allowed(target, expires_at, now)
        except ServiceError as refused:
            return JobItemState.FAILED, refused.code

    def _expiry(self, target: Target) -> datetime:
        told = self.job.parameters
        if "expiresAt" in told:
            return datetime.fromisoformat(told["expiresAt"])
        if target.expires_at is None:
            raise InvalidInput
        try:
            return target.expires_at + timedelta(days=told["byDays"])
        except OverflowError:
            raise InvalidInput from None

    def _allowed(self, target: Target, expires_at: datetime, now: datetime) -> datetime:
        """Return the expiry if it may be given; the rules are those of a single widening.

        Raises:
            ServiceError: If not.
        """
        account = self.accounts.get(target.account_id)
        policy = self.policies.get(target.account_id)
        if account is None or policy is None:
            raise NotFound
        if not account.is_usable:
            raise AccountInactive
        if not scopes.covers_all(self.actor.scopes, target.scopes):
            raise ScopeNotGrantable
        clean = later_expiry(
            expires_at,
            previous=target.expires_at,
            now=now,
            lifetime_days_max=self.lifetime_days_max,
        )
        refuse_delegation(policy, self.actor, target.account_id)
        policy.check(Grant(target.scopes, target.allowed_ip_ranges, clean), now=now)
        return expires_at if clean is None else clean
