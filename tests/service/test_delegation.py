"""Who acts on behalf of an account: told to both, refused where the account does not want it."""

from typing import Any

import asyncpg
import pytest
from conftest import GraphQL
from edge_scene import People, Person, fingerprint
from factories import Platform, make_token

from service.composition import Service
from service.errors import DelegationRefused
from service.policy_rules import PolicyRule
from service.rotation import NewRotation
from service.token_changes import TokenChanges
from service.token_widening import Widening


async def test_an_account_can_keep_its_resellers_hands_off_and_the_operators_not(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    token = (await make_token(service, platform.customer)).token
    await service.policies.set(platform.customer, None, {PolicyRule.ALLOWS_DELEGATION: False})
    their = {"account_id": platform.customer.account_id}
    rotation = NewRotation(token_id=token.id, grace_period_seconds=0)
    wider, version = Widening(never_expires=True), token.version
    widen = service.tokens.updates.widen
    before = await fingerprint(owner)

    with pytest.raises(DelegationRefused):
        await make_token(service, platform.reseller, **their)
    with pytest.raises(DelegationRefused):
        await service.rotations.begin(platform.reseller, rotation)
    with pytest.raises(DelegationRefused):
        await widen(platform.reseller, token.id, wider, expected_version=version)
    assert await fingerprint(owner) == before

    # What only takes something away, a reseller needs no leave for; nor the account for its own.
    await service.tokens.suspend(platform.reseller, token.id)
    await service.tokens.resume(platform.reseller, token.id)
    await service.tokens.update(platform.reseller, token.id, TokenChanges(description="Seen."))
    await service.rotations.begin(platform.customer, rotation)
    await make_token(service, platform.operator, **their)
    await service.rotations.begin(platform.operator, rotation)
    await make_token(service, platform.reseller, account_id=platform.sibling.account_id)
    await service.tokens.revoke(platform.reseller, token.id)


async def test_what_a_reseller_does_for_an_account_is_told_to_both_in_both_names(
    service: Service, graphql: GraphQL
) -> None:
    people = await People.make(service)
    create = (
        'mutation($account: ID!) { createToken(input: {name: "theirs", scopes: ["dns:read"], '
        "accountId: $account}) { token { id } } }"
    )
    created = await graphql(
        create, secret=people.reseller.secret, account=people.customer.account_id
    )
    token_id = created["data"]["createToken"]["token"]["id"]
    rotate = "mutation($id: ID!) { rotateToken(input: {id: $id}) { token { id } } }"
    await graphql(rotate, secret=people.reseller.secret, id=token_id)
    query = (
        "query($id: ID!) { auditEvents(first: 9, filter: {subjectId: $id}) { edges { node { "
        "action account { id } onBehalfOf { id } actor { accountKind email account { id } } } } } }"
    )

    async def seen(person: Person) -> list[Any]:
        answer = await graphql(query, secret=person.secret, id=token_id)
        return [edge["node"] for edge in answer["data"]["auditEvents"]["edges"]]

    theirs = {"id": people.customer.account_id}
    told = {"account": theirs, "onBehalfOf": theirs}
    # To the customer, its reseller is the one above it, and its people have no names.
    actor: dict[str, Any] = {"accountKind": "RESELLER", "email": None, "account": None}
    actions = ("token.rotated", "token.created")
    expected = [{"action": action, **told, "actor": actor} for action in actions]
    assert await seen(people.customer) == expected
    actor |= {"email": people.reseller.email, "account": {"id": people.reseller.account_id}}
    assert await seen(people.reseller) == expected
    assert await seen(people.sibling) == await seen(people.stranger) == []
