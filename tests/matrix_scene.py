"""Tenants that have one of everything, each marked, and what an answer tells of which of them."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
from edge_scene import People, Person
from factories import PASSWORD, actor_of
from job_scene import job_of
from kept_world import World
from matrix_walk import Place
from people_scene import mail
from rotation_scene import rotate

from schema import node_ids
from service.access.actor import Actor, Extent
from service.access.jobs import JobKind
from service.composition import Service
from service.migration import TABLES
from service.policy_rules import PolicyRule
from service.roles import Role
from service.scope_templates import TemplateChanges
from service.token_creation import NewToken

WORDS = {
    "operator": "aardvark",
    "reseller": "bandicoot",
    "customer": "capybara",
    "sibling": "dormouse",
    "other_reseller": "echidna",
    "stranger": "flamingo",
}
"""A word for each tenant, in all that it writes."""

NAMES_OBJECTS_OF = {"operator": "customer", "reseller": "customer", "other_reseller": "stranger"}
"""Whose objects somebody names who reaches more than their own."""

TOLD_FROM_ABOVE = {
    "AuditActor.accountName",
    "AuditEvent.requestId",
    "ScopeTemplate",
    "EffectivePolicy",
}
"""Where the schema says that an account is told something of those above it.

An acting account's name, and the number that the service gave its request; the templates that it
offers; the rules that bind.
"""

WIDE = ("tokens:*", "accounts:*", "dns:read", "members:*", "audit:*")


def address_of(name: str) -> str:
    """Return the address that a tenant calls from."""
    return f"203.0.113.{list(WORDS).index(name) + 101}"


_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_MARKS = re.compile("|".join([_UUID, *WORDS.values(), *map(re.escape, map(address_of, WORDS))]))
_ID_LENGTH_MIN = 50
_OWNED_ANYWHERE = ("id", "receipt_id")
_OWNED = {"secret": ("last_four",), "member": ("id", "email")}
_FIRST_DAY = 101
"""Nobody else asks for notices so many days ahead; each tenant has a day of its own."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who asks.

    Attributes:
        tenant: Whose objects are their own to name.
        within: The accounts within reach.
        above: The accounts above.
    """

    secret: str | None
    tenant: str
    within: frozenset[UUID]
    above: frozenset[UUID] = frozenset()
    member_id: UUID | None = None


@dataclass
class Matrix:
    """The world, who asks, what each tenant has, and whose each id and word is."""

    world: World
    people: dict[str, Person]
    callers: dict[str, Caller] = field(default_factory=dict)
    objects: dict[str, dict[str, str]] = field(default_factory=dict)
    owners: dict[str, set[UUID]] = field(default_factory=lambda: defaultdict(set))
    members: dict[UUID, UUID] = field(default_factory=dict)
    right_types: dict[Place, list[str]] = field(default_factory=dict)

    def foreign(self, caller: Caller) -> list[str]:
        """Return the tenants beyond somebody's reach."""
        return [
            name
            for name, person in self.people.items()
            if person.actor.account_id not in caller.within
        ]

    def is_above(self, name: str, caller: Caller) -> bool:
        """Return whether a tenant is above a caller."""
        return self.people[name].actor.account_id in caller.above

    def leaks(self, caller: Caller, answer: object) -> list[str]:
        """Return what an answer tells of somebody beyond the caller's reach."""
        return [
            f"{place}: {leaf}"
            for place, leaf in leaves(answer)
            if self._is_foreign(caller, place, leaf)
        ]

    def _is_foreign(self, caller: Caller, place: str, leaf: object) -> bool:
        if place == "Session.id" and (split := node_ids.split(str(leaf))):
            return self.members.get(split[1]) != caller.member_id  # a colleague's is foreign, too
        allowed = caller.within
        if place in TOLD_FROM_ABOVE or place.split(".", maxsplit=1)[0] in TOLD_FROM_ABOVE:
            allowed |= caller.above
        return any(
            owners and not owners & allowed
            for owners in map(self.owners.get, self._words(place, leaf))
        )

    def _words(self, place: str, leaf: object) -> Iterator[str]:
        text = str(leaf)
        yield from _MARKS.findall(text)
        if len(text) >= _ID_LENGTH_MIN and (split := node_ids.split(text)):
            yield str(split[1])
        if place.endswith((".lastFour", ".noticeThresholdDays", ".email", ".recipient")):
            yield text


def leaves(value: object, place: str = "") -> Iterator[tuple[str, object]]:
    """Yield each value of an answer with its place, as ``Type.field``."""
    if isinstance(value, dict):
        kind = value.get("__typename")
        for name, inner in value.items():
            if name == "__typename":
                continue
            yield from leaves(inner, f"{kind}.{name}" if kind else place or name)
            yield place, name
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, place)
    elif value is not None:
        yield place, value


def types_in(value: object) -> set[str]:
    """Return the types of all objects in an answer."""
    if isinstance(value, list):
        return set().union(*map(types_in, value))
    if not isinstance(value, dict):
        return set()
    own = {value["__typename"]} if "__typename" in value else set()
    return own.union(*map(types_in, value.values()))


async def make_matrix(world: World) -> Matrix:
    """Create six tenants, each with one of everything."""
    people = await People.make(world.service)
    named = {name: await _enter(world.service, getattr(people, name), name) for name in WORDS}
    for name, person in named.items():
        await world.owner.execute(
            "UPDATE account SET name = $2 WHERE id = $1",
            person.actor.account_id,
            f"{WORDS[name]} Ltd",
        )
    matrix = Matrix(world, named)
    for name in WORDS:
        matrix.objects[name] = await _furnish(world, named, name)
    await _add_callers(matrix)
    await world.service.sealer.seal()
    await _learn_owners(matrix)
    return matrix


async def _enter(service: Service, person: Person, name: str, email: str | None = None) -> Person:
    """Sign somebody in from their tenant's own address."""
    email = email or person.email
    address, request_id = address_of(name), f"request-of-{WORDS[name]}"
    signed_in = await service.sessions.sign_in(
        email, PASSWORD, address=address, request_id=request_id
    )
    secret = signed_in.secret.text
    actor = replace(await actor_of(service, secret), address=address, request_id=request_id)
    return Person(actor, secret, email)


async def _furnish(world: World, people: dict[str, Person], name: str) -> dict[str, str]:
    """Give a tenant one of everything; return the global ids by type."""
    service, actor, word = world.service, people[name].actor, WORDS[name]
    token = await _make_token(service, actor, word)
    doomed = await _make_token(service, actor, f"{word} 2")
    await rotate(service, actor, token)
    template = TemplateChanges(name=word, description=f"for {word}", scopes=("dns:read",))
    made = await service.scope_templates.create(actor, template)
    day = _FIRST_DAY + list(WORDS).index(name)
    rules = {PolicyRule.NOTICE_THRESHOLD_DAYS: (day,), PolicyRule.ALLOWED_SCOPES: ("*",)}
    await service.policies.set(actor, None, rules)
    invited = await service.members.invite(actor, f"invited.{word}@example.com", Role.VIEWER)
    job = (await service.jobs.begin(actor, job_of(JobKind.REVOKE, doomed))).job
    if name in {"customer", "stranger"}:  # their reseller has acted for them
        above = people["reseller" if name == "customer" else "other_reseller"]
        theirs = await _make_token(service, above.actor, f"{word} by above", actor.account_id)
        await service.tokens.suspend(above.actor, theirs)
        await _tell(world.owner, actor, theirs, above.email)
    await _tell(world.owner, actor, token, people[name].email)
    suspended = await service.tokens.suspend(actor, token)
    await service.tokens.resume(actor, token)
    assert suspended.propagation is not None
    event = await world.owner.fetchval(
        "SELECT id FROM audit_event WHERE account_id = $1 ORDER BY id DESC", actor.account_id
    )
    found = {
        node_ids.ACCOUNT: actor.account_id,
        node_ids.TOKEN: token,
        node_ids.SCOPE_TEMPLATE: made.id,
        node_ids.MEMBER: invited.id,
        node_ids.SESSION: actor.token_id,
        node_ids.JOB: job.id,
        node_ids.PROPAGATION: suspended.propagation.receipt.id,
        node_ids.AUDIT_EVENT: UUID(str(event)),
    }
    return {kind: node_ids.encode(kind, identifier) for kind, identifier in found.items()}


async def _make_token(
    service: Service, actor: Actor, name: str, account_id: UUID | None = None
) -> UUID:
    wanted = NewToken(
        name=name,
        scopes=("dns:read",),
        account_id=account_id,
        expires_at=service.clock.now() + timedelta(days=5),
        description=f"of {name}",
        metadata={name: name},
        audiences=(f"https://{name.split(' ', maxsplit=1)[0]}.example",),
    )
    return (await service.tokens.create(actor, wanted)).token.id


async def _tell(owner: asyncpg.Connection, actor: Actor, token_id: UUID, recipient: str) -> None:
    """Write a line of the ledger, as the worker does."""
    await owner.execute(
        "INSERT INTO notice (id, account_id, reseller_id, token_id, expires_at, threshold_days,"
        " recipient, state, created_at, attempts)"
        " VALUES (gen_random_uuid(), $1, $2, $3, now(), 7, $4, 'PENDING', now(), 0)",
        actor.account_id,
        actor.reseller_id,
        token_id,
        recipient,
    )


async def _add_callers(matrix: Matrix) -> None:
    service, people = matrix.world.service, matrix.people
    customer = people["customer"]
    colleagues = {
        role: await _join(service, customer, role) for role in (Role.MANAGER, Role.VIEWER)
    }
    wanted = NewToken(name=f"{WORDS['customer']} narrow", scopes=("dns:read",))
    without = await service.tokens.create(customer.actor, wanted)
    with_it = await service.tokens.create(
        customer.actor, replace(wanted, name=f"{WORDS['customer']} wide", scopes=WIDE)
    )
    callers = matrix.callers
    callers["anonymous"] = Caller(None, "customer", frozenset())
    for name, person in people.items():
        callers[f"the {name.replace('_', ' ')}"] = _caller(matrix, name, person.secret, person)
    for role, person in colleagues.items():
        callers[f"the customer's {role.lower()}"] = _caller(
            matrix, "customer", person.secret, person
        )
    callers["a token without the scope"] = _caller(matrix, "customer", without.secret)
    callers["a token with it"] = _caller(matrix, "customer", with_it.secret)


async def _join(service: Service, by: Person, role: Role) -> Person:
    """Invite a colleague, who accepts and signs in."""
    email = f"{role.lower()}.{WORDS['customer']}@example.com"
    await service.members.invite(by.actor, email, role)
    [secret] = (await mail(service)).secrets(email)
    await service.password_changes.reset(secret, PASSWORD, address=address_of("customer"))
    return await _enter(service, by, "customer", email)


def _caller(matrix: Matrix, name: str, secret: str, person: Person | None = None) -> Caller:
    own = matrix.people[name].actor
    others = [other.actor for other in matrix.people.values()]
    within = {
        actor.account_id
        for actor in others
        if own.reach.includes(actor.account_id, actor.reseller_id)
    }
    above = {actor.account_id for actor in others if actor.account_id == own.reseller_id}
    if own.reach.extent is not Extent.ALL:
        above.add(matrix.people["operator"].actor.account_id)
    return Caller(
        secret,
        NAMES_OBJECTS_OF.get(name, name),
        frozenset(within | {own.account_id}),
        frozenset(above),
        None if person is None else person.actor.member_id,
    )


async def _learn_owners(matrix: Matrix) -> None:
    """Learn whose each row is, and each word that stands for a tenant."""
    for table in TABLES:
        for row in await matrix.world.owner.fetch(f"SELECT * FROM {table}"):  # noqa: S608 - our own names
            account_id = UUID(str(row["id"] if table == "account" else row["account_id"]))
            for name in _OWNED.get(table, _OWNED_ANYWHERE):
                if row.get(name) is not None:
                    matrix.owners[str(row[name])].add(account_id)
            if table == "api_token" and row["member_id"] is not None:
                matrix.members[UUID(str(row["id"]))] = UUID(str(row["member_id"]))
    for number, name in enumerate(WORDS):
        account_id = matrix.people[name].actor.account_id
        for word in (WORDS[name], address_of(name), str(_FIRST_DAY + number)):
            matrix.owners[word].add(account_id)


def missing(kind: str) -> str:
    """Return an id that belongs to nothing."""
    return node_ids.encode(kind, uuid4())


def told_of(answer: dict[str, Any], alias: str, identifier: str) -> str:
    """Return what a document told under an alias, whatever the id was that was named.

    Where a refusal took the whole answer with it, it is what was told under each.
    """
    data, errors = answer["data"], answer.get("errors", [])
    told = [
        {"message": error["message"], "extensions": error["extensions"]}
        for error in errors
        if data is None or error["path"][0] == alias
    ]
    if data is None:
        return json.dumps(sorted({json.dumps(each, sort_keys=True) for each in told}))
    return json.dumps([data[alias], told], sort_keys=True).replace(identifier, "ID")
