"""A policy follows its customer to another reseller, and its reseller's rules do not."""

from factories import Platform

from service.composition import Service
from service.policy_rules import PolicyRule

CAP, DAYS = PolicyRule.TOKEN_CAP, PolicyRule.MAX_LIFETIME_DAYS


async def test_a_customer_that_changes_hands_is_bound_by_the_new_reseller_alone(
    service: Service, platform: Platform
) -> None:
    reseller, other = platform.reseller, platform.other_reseller
    customer_id = platform.customer.account_id
    await service.policies.set(reseller, None, {CAP: 1})
    await service.policies.set(reseller, customer_id, {DAYS: 9})
    await service.policies.set(other, None, {CAP: 2})

    await service.account_moves.move(platform.operator, customer_id, other.account_id)
    moved = await service.policies.get(other, customer_id)
    assert moved.effective.rules.token_cap == 2
    # What was asked of this customer in particular stays until the new reseller says otherwise.
    assert moved.effective.rules.max_lifetime_days == 9
    await service.policies.set(other, customer_id, {DAYS: 5, CAP: 1})

    await service.account_moves.move(platform.operator, customer_id, None)
    free = await service.policies.get(platform.operator, customer_id)
    assert free.effective.rules.token_cap is None
    assert free.effective.rules.max_lifetime_days is None
    assert free.rows == []
