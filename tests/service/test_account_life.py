"""Suspended, resumed, closed: one cut-off refuses a whole fleet; what is closed stays closed."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import asyncpg
import pytest
from account_scene import Act, acting
from conftest import FrozenClock
from edge_scene import People, fingerprint
from factories import make_token
from pydantic import SecretStr
from stores import eventually, one_row

from service.access.accounts import AccountStatus
from service.accounts import Changed
from service.cache import open_cache
from service.composition import Service, compose
from service.errors import AccountClosed, AccountInactive, Unauthenticated
from service.receipts import PropagationState
from service.settings import Settings
from service.validator import Validator, open_validator
from service.verdict import CredentialKind, Status

SOON = 1.0  # well below the lease
ROUNDS = 25
FLEET_TOKENS = 200
NOWHERE = "redis://127.0.0.1:1"

Credential = tuple[str, CredentialKind]


@pytest.fixture
async def people(service: Service) -> People:
    return await People.make(service)


@pytest.fixture
def act(service: Service, people: People) -> Act:
    return acting(service, people)


async def fleet_of(service: Service, people: People, count: int) -> list[Credential]:
    """Make tokens for a reseller and its customers; return them and the three's sessions."""
    those = (people.reseller, people.customer, people.sibling)
    made = [await make_token(service, those[n % 3].actor) for n in range(count)]
    return [(created.secret, CredentialKind.API_TOKEN) for created in made] + [
        (person.secret, CredentialKind.SESSION) for person in those
    ]


async def statuses(validator: Validator, credentials: list[Credential]) -> set[Status]:
    return {(await validator.check(secret, kind=kind)).status for secret, kind in credentials}


async def soon(validator: Validator, credentials: list[Credential], status: Status) -> None:
    """Return once a validator says one thing of all; fail if it takes as long as a lease."""

    async def all_so() -> bool:
        return await statuses(validator, credentials) <= {status}  # of none, nothing

    await eventually(all_so, seconds=SOON)


async def test_a_suspended_resellers_fleet_is_refused_at_once_and_valid_again_when_resumed(
    service: Service,
    people: People,
    validator: Validator,
    settings: Settings,
    owner: asyncpg.Connection,
) -> None:
    """By one cut-off and one row for the relay, whatever the number of tokens."""
    fleet = await fleet_of(service, people, FLEET_TOKENS)
    neighbours = [(people.stranger.secret, CredentialKind.SESSION)]

    async def remembers_all() -> bool:
        assert await statuses(validator, fleet + neighbours) == {Status.VALID}
        return len(validator.near) == len(fleet) + 1

    await eventually(remembers_all, seconds=service.settings.lease_seconds)
    before = await fingerprint(owner)

    await service.accounts.suspend(people.operator.actor, people.reseller.actor.account_id)

    async with open_validator(settings, clock=service.clock) as cold:
        # It remembers nothing itself: the shared cache holds each of them, and no longer tells.
        assert await statuses(cold, fleet) == {Status.SUSPENDED}
    await soon(validator, fleet, Status.SUSPENDED)
    assert await statuses(validator, neighbours) == {Status.VALID}
    after = await fingerprint(owner)
    assert (after["api_token"], after["secret"]) == (before["api_token"], before["secret"])
    row = await one_row(owner, "SELECT * FROM outbox_event")
    assert (row["kind"], row["subject"]) == ("ACCOUNT", str(people.reseller.actor.account_id))
    assert await service.cache.redis.keys("cut:*") == [b"cut:" + row["subject"].encode()]

    await service.accounts.resume(people.operator.actor, people.reseller.actor.account_id)

    await soon(validator, fleet, Status.VALID)
    assert await owner.fetchval("SELECT count(*) FROM outbox_event") == 2


@pytest.mark.parametrize("verb", ["suspend", "close"])
async def test_a_customer_that_is_cut_off_leaves_its_neighbours_alone(
    service: Service, people: People, validator: Validator, act: Act, verb: str
) -> None:
    fleet = await fleet_of(service, people, 6)
    assert await statuses(validator, fleet) == {Status.VALID}

    await act(verb, people.reseller, people.customer)

    theirs = [fleet[1], fleet[4], fleet[7]]
    await soon(validator, theirs, Status.SUSPENDED)
    others = [credential for credential in fleet if credential not in theirs]
    assert await statuses(validator, others) == {Status.VALID}


async def test_a_closed_resellers_fleet_is_refused_at_once(
    service: Service, people: People, validator: Validator, act: Act
) -> None:
    fleet = await fleet_of(service, people, 6)
    assert await statuses(validator, fleet) == {Status.VALID}

    closed = await act("close", people.operator, people.reseller)

    assert closed.account.status is AccountStatus.CLOSED
    await soon(validator, fleet, Status.SUSPENDED)


async def test_what_is_suspended_by_itself_stays_so_when_those_above_are_resumed(
    service: Service, people: People, validator: Validator, act: Act
) -> None:
    token = await make_token(service, people.customer.actor)
    credential = [(token.secret, CredentialKind.API_TOKEN)]
    sibling = [(people.sibling.secret, CredentialKind.SESSION)]
    assert await statuses(validator, credential + sibling) == {Status.VALID}
    await service.tokens.suspend(people.customer.actor, token.token.id)
    for whom in (people.sibling, people.customer, people.reseller):
        await act("suspend", people.operator, whom)

    await act("resume", people.operator, people.reseller)
    await act("resume", people.operator, people.customer)

    await soon(validator, [(people.customer.secret, CredentialKind.SESSION)], Status.VALID)
    await soon(validator, credential + sibling, Status.SUSPENDED)
    await service.tokens.resume(people.customer.actor, token.token.id)
    await act("resume", people.operator, people.sibling)
    await soon(validator, credential + sibling, Status.VALID)


@pytest.mark.parametrize("whose", ["customer", "reseller"])
@pytest.mark.parametrize("makers", range(1, ROUNDS + 1))
async def test_whatever_token_races_a_suspension_none_of_the_account_can_be_used(
    service: Service, people: People, validator: Validator, act: Act, makers: int, whose: str
) -> None:
    """Whichever comes first: a token either is not made, or is refused like the others."""

    made: list[Credential] = []

    async def make_until_refused() -> None:
        while True:
            try:
                created = await make_token(service, people.customer.actor)
            except (AccountInactive, Unauthenticated):  # in time by the lock, or by its session
                return
            credential = (created.secret, CredentialKind.API_TOKEN)
            made.append(credential)
            assert await statuses(validator, [credential]) <= {Status.VALID, Status.SUSPENDED}

    await asyncio.gather(
        act("suspend", people.operator, getattr(people, whose)),
        *(make_until_refused() for _ in range(makers)),
    )

    await soon(validator, made, Status.SUSPENDED)


@pytest.mark.parametrize("round_", range(ROUNDS))
async def test_whatever_races_a_closing_the_account_stays_closed(
    people: People,
    owner: asyncpg.Connection,
    clock: FrozenClock,
    act: Act,
    round_: int,
) -> None:
    whom = people.customer
    rivals = [
        act(verb, by, whom)
        for verb in ("suspend", "resume", "suspend", "close")
        for by in (people.operator, people.reseller)
    ]
    place = round_ % (len(rivals) + 1)

    results = await asyncio.gather(
        *rivals[:place],
        act("close", people.operator, whom),
        *rivals[place:],
        return_exceptions=True,
    )

    assert {type(result) for result in results} <= {Changed, AccountClosed}, results
    account_id = whom.actor.account_id
    row = await one_row(owner, "SELECT * FROM account WHERE id = $1", account_id)
    assert row["closed_at"] == clock.now()
    told = await owner.fetch("SELECT action FROM audit_event WHERE subject_id = $1", account_id)
    actions = Counter(event["action"] for event in told)
    assert actions["account.closed"] == 1
    # A suspension that was told is either told to be over, or stands.
    standing = actions["account.suspended"] - actions["account.resumed"]
    assert standing == (row["suspended_at"] is not None)


@pytest.fixture
async def alone(service: Service, settings: Settings) -> AsyncIterator[tuple[Service, Validator]]:
    """The use cases and a validator without a Redis."""
    apart = settings.model_copy(update={"redis_url": SecretStr(NOWHERE)})
    async with (
        open_cache(apart) as cache,
        open_validator(apart, clock=service.clock) as validator,
    ):
        passwords = service.accounts.passwords
        yield compose(apart, cache, service.clock, passwords=passwords), validator


@pytest.mark.parametrize("verb", ["suspend", "close"])
async def test_without_redis_a_fleet_is_refused_within_the_bound_all_the_same(
    service: Service,
    people: People,
    alone: tuple[Service, Validator],
    verb: str,
) -> None:
    unheard, validator = alone
    fleet = await fleet_of(service, people, 6)
    assert await statuses(validator, fleet) == {Status.VALID}

    changed = await acting(unheard, people)(verb, people.operator, people.reseller)

    assert changed.propagation is not None
    assert changed.propagation.state is PropagationState.PENDING
    left = changed.propagation.effective_everywhere_by - service.clock.now()
    bound = service.settings.staleness_bound_seconds
    assert left.total_seconds() == bound

    async def refused() -> bool:
        return await statuses(validator, fleet) == {Status.SUSPENDED}

    await eventually(refused, seconds=bound)


@pytest.mark.parametrize(
    ("verb", "action", "column"),
    [
        ("suspend", "account.suspended", "suspended_at"),
        ("close", "account.closed", "closed_at"),
    ],
)
async def test_a_change_its_event_and_its_drop_are_made_in_one_transaction_and_once(
    service: Service,
    people: People,
    owner: asyncpg.Connection,
    clock: FrozenClock,
    act: Act,
    verb: str,
    action: str,
    column: str,
) -> None:
    """Repeated, it changes nothing and tells nothing anew, but drops again."""
    account_id, reseller_id = people.customer.actor.account_id, people.reseller.actor.account_id
    clock.advance(minutes=1)
    changed_at = clock.now()

    first = await act(verb, people.reseller, people.customer)
    clock.advance(minutes=1)
    again = await act(verb, people.operator, people.customer)

    assert getattr(first.account, column) == changed_at
    assert again.account == first.account
    assert first.account == await service.accounts.get(people.reseller.actor, account_id)
    for changed in (first, again):
        assert changed.propagation is not None
        assert changed.propagation.state is PropagationState.CONFIRMED
    event = await one_row(owner, "SELECT * FROM audit_event WHERE action = $1", action)
    assert (event["subject_id"], event["occurred_at"]) == (account_id, changed_at)
    assert (event["account_id"], event["reseller_id"]) == (account_id, reseller_id)
    assert event["actor_account_id"] == reseller_id
    drops = await owner.fetch("SELECT * FROM outbox_event ORDER BY created_at")
    assert [drop["subject"] for drop in drops] == [str(account_id)] * 2
    assert {(drop["account_id"], drop["reseller_id"]) for drop in drops} == {
        (account_id, reseller_id)
    }


async def test_a_suspension_is_one_whoever_set_it_and_a_resumption_ends_it(
    service: Service, people: People, owner: asyncpg.Connection, act: Act
) -> None:
    """A reseller may lift the operator's suspension of its customer; the trail tells who did."""
    for by in (people.operator, people.reseller):
        await act("suspend", by, people.customer)

    resumed = await act("resume", people.reseller, people.customer)
    again = await act("resume", people.reseller, people.customer)

    assert resumed.account == again.account
    assert (resumed.account.status, resumed.account.is_usable) == (AccountStatus.ACTIVE, True)
    events = await owner.fetch(
        "SELECT action, actor_account_id FROM audit_event WHERE subject_id = $1"
        " AND action <> 'account.created' ORDER BY id",
        people.customer.actor.account_id,
    )
    assert [tuple(event) for event in events] == [
        ("account.suspended", people.operator.actor.account_id),
        ("account.resumed", people.reseller.actor.account_id),
    ]
    await make_token(service, people.customer.actor)
