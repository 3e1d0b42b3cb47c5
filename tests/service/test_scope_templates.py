"""Templates of scopes: offered from above, never from beside, and they grant nothing."""

import asyncio

import asyncpg
import pytest
from edge_scene import fingerprint
from factories import Platform, actor_of, make_reseller, make_token

from service.access.actor import Actor
from service.composition import Service
from service.errors import (
    InsufficientScope,
    InvalidInput,
    NotFound,
    ScopeNotGrantable,
    ServiceError,
    TemplateNameTaken,
    Unauthenticated,
    VersionConflict,
)
from service.policy_rules import PolicyLevel
from service.scope_templates import TEMPLATES_MAX, TemplateChanges

PLATFORM, RESELLER, ACCOUNT = PolicyLevel


def wanted(name: str = "DNS", scopes: tuple[str, ...] = ("dns:read",)) -> TemplateChanges:
    return TemplateChanges(name=name, scopes=scopes)


async def offered(service: Service, actor: Actor) -> list[tuple[str, PolicyLevel]]:
    found = await service.scope_templates.offered(actor)
    return [(template.name, template.level) for template in found]


async def test_templates_are_offered_to_all_below_and_to_nobody_beside(
    service: Service, platform: Platform
) -> None:
    templates = service.scope_templates
    await templates.create(platform.customer, wanted("a of the customer"))
    await templates.create(platform.reseller, wanted("z of the reseller"))
    await templates.create(platform.reseller, wanted("b of the reseller"))
    await templates.create(platform.operator, wanted("of the platform", ("*",)))

    above = [
        ("of the platform", PLATFORM),
        ("b of the reseller", RESELLER),
        ("z of the reseller", RESELLER),
    ]
    assert await offered(service, platform.customer) == [*above, ("a of the customer", ACCOUNT)]
    assert await offered(service, platform.sibling) == above
    assert await offered(service, platform.reseller) == above
    assert await offered(service, platform.stranger) == above[:1]
    assert await offered(service, platform.operator) == above[:1]
    # A reseller that makes a token for a customer starts from what that one is offered.
    for actor in (platform.reseller, platform.operator):
        theirs = await templates.offered(actor, platform.customer.account_id)
        assert len(theirs) == 4
    for actor in (platform.sibling, platform.stranger, platform.other_reseller):
        assert await templates.offered(actor, platform.customer.account_id) == []
    assert await templates.offered(platform.customer, platform.reseller.account_id) == []


async def test_a_template_is_found_by_its_id_where_it_is_offered_or_within_reach(
    service: Service, platform: Platform
) -> None:
    templates = service.scope_templates
    own = await templates.create(platform.customer, wanted())
    above = await templates.create(platform.reseller, wanted())

    for actor in (platform.customer, platform.reseller, platform.operator):
        assert await templates.get(actor, own.id) == own
        assert await templates.get(actor, above.id) == above
    assert await templates.get(platform.sibling, above.id) == above
    for actor, template in ((platform.sibling, own), (platform.stranger, above)):
        with pytest.raises(NotFound):
            await templates.get(actor, template.id)


async def test_a_template_from_above_or_beside_is_changed_by_nobody(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    templates = service.scope_templates
    above = await templates.create(platform.reseller, wanted())
    own = await templates.create(platform.customer, wanted())
    before = await fingerprint(owner)

    for actor, template in (
        (platform.customer, above),
        (platform.stranger, above),
        (platform.sibling, own),
        (platform.other_reseller, own),
    ):
        with pytest.raises(NotFound):
            await templates.update(actor, template.id, TemplateChanges(name="mine"))
        with pytest.raises(NotFound):
            await templates.delete(actor, template.id)

    assert await fingerprint(owner) == before


async def test_a_change_touches_what_is_named_and_no_token(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    templates = service.scope_templates
    made = await templates.create(
        platform.customer,
        TemplateChanges(name="DNS", description="Zones.\nAll.", scopes=("dns:write", "dns:read")),
    )
    token = await make_token(service, platform.customer, scopes=made.scopes)

    renamed = await templates.update(platform.customer, made.id, TemplateChanges(name="Zones"))
    assert (renamed.description, renamed.scopes) == ("Zones.\nAll.", ("dns:read", "dns:write"))
    changes = TemplateChanges(description="", scopes=("mail:read",))
    changed = await templates.update(platform.reseller, made.id, changes, expected_version=2)
    assert (changed.name, changed.description, changed.version) == ("Zones", None, 3)
    with pytest.raises(VersionConflict):
        await templates.update(platform.customer, made.id, changes, expected_version=2)
    await templates.delete(platform.customer, made.id)

    assert (await service.tokens.get(platform.customer, token.token.id)).scopes == made.scopes
    assert await offered(service, platform.customer) == []
    audited = await owner.fetch(
        "SELECT action FROM audit_event WHERE subject_id = $1 ORDER BY id", made.id
    )
    assert [row["action"].partition(".")[2] for row in audited] == [
        "created",
        "updated",
        "updated",
        "deleted",
    ]
    with pytest.raises(NotFound):
        await templates.delete(platform.customer, made.id)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        (TemplateChanges(name="DNS"), InvalidInput),
        (wanted(scopes=()), InvalidInput),
        (wanted(scopes=("dns:read",) * 51), InvalidInput),
        (wanted(scopes=("moon:land",)), ScopeNotGrantable),
        (wanted(name="two\nlines"), InvalidInput),
        (wanted(name="x" * 51), InvalidInput),
        (wanted(name="taken"), TemplateNameTaken),
    ],
)
async def test_senseless_templates_are_refused(
    service: Service,
    platform: Platform,
    owner: asyncpg.Connection,
    changes: TemplateChanges,
    error: type[ServiceError],
) -> None:
    await service.scope_templates.create(platform.customer, wanted("taken"))
    before = await fingerprint(owner)

    with pytest.raises(error):
        await service.scope_templates.create(platform.customer, changes)

    assert await fingerprint(owner) == before


async def test_a_template_holds_no_more_than_its_account_can_grant(
    service: Service, platform: Platform
) -> None:
    narrow = await make_reseller(
        service, platform.operator, grantable_scopes=("dns:*", "accounts:*")
    )

    made = await service.scope_templates.create(narrow, wanted(scopes=("dns:read",)))
    for scopes in (("*",), ("mail:read",)):
        with pytest.raises(ScopeNotGrantable):
            await service.scope_templates.create(narrow, wanted("other", scopes))
        # Whoever changes it: it is the account's.
        changes = TemplateChanges(scopes=scopes)
        with pytest.raises(ScopeNotGrantable):
            await service.scope_templates.update(platform.operator, made.id, changes)


async def test_an_account_never_has_more_than_fifty(service: Service, platform: Platform) -> None:
    async def create(number: int) -> bool:
        try:
            await service.scope_templates.create(platform.customer, wanted(f"T{number}"))
        except InvalidInput:
            return False
        return True

    found = await asyncio.gather(*map(create, range(TEMPLATES_MAX + 5)))

    assert found.count(True) == TEMPLATES_MAX
    assert len(await offered(service, platform.customer)) == TEMPLATES_MAX


async def test_templates_need_their_scopes_and_a_usable_account(
    service: Service, platform: Platform
) -> None:
    template = await service.scope_templates.create(platform.customer, wanted())
    token = await make_token(service, platform.customer, scopes=("dns:read", "accounts:read"))
    narrow = await actor_of(service, token.secret)

    for refused in (
        service.scope_templates.offered(narrow),
        service.scope_templates.create(narrow, wanted("other")),
        service.scope_templates.update(narrow, template.id, wanted("other")),
        service.scope_templates.delete(narrow, template.id),
    ):
        with pytest.raises(InsufficientScope):
            await refused

    await service.accounts.suspend(platform.reseller, platform.customer.account_id)
    with pytest.raises(Unauthenticated):
        await service.scope_templates.create(platform.customer, wanted("other"))
