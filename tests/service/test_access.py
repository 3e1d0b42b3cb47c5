"""Two walls between tenants: the door's filter, and row-level security. Each holds alone."""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from types import ModuleType
from typing import Any, cast
from uuid import UUID

import asyncpg
import fleet_access
import jobs_access
import people_access
import policies_access
import pytest
import trail_access
from access_scene import INSERTING, Foreign
from factories import Platform
from stores import everything
from tortoise.backends.base.client import TransactionalDBClient

from service.access import (
    account_moves,
    accounts,
    fleet,
    jobs,
    members,
    notice_ledger,
    outbox,
    policies,
    replays,
    scope_templates,
    secrets,
    selections,
    sessions,
    token_lists,
    tokens,
    trail,
)
from service.access.actor import Actor, Reach
from service.access.door import Door, Statement, open_door
from service.access.notice_ledger import NoticeFilter
from service.composition import Service
from service.errors import NotFound
from service.paging import PageRequest

OpenDoor = Callable[[Reach], Any]

MISSING = "missing"


async def list_tokens(door: Door, it: Foreign) -> object:
    found: list[object] = []
    for order in tokens.TokenOrder:
        only = tokens.TokenFilter(account_id=it.account_id)
        listing = token_lists.TokenListing(page=PageRequest(100), only=only, order=order)
        found += (await token_lists.list_tokens(door, listing, now=it.now)).items
    return found


async def list_tokens_of_accounts(door: Door, it: Foreign) -> object:
    listing = token_lists.TokenListing(page=PageRequest(100))
    pages = await token_lists.list_tokens_of_accounts(door, [it.account_id], listing, now=it.now)
    return pages[it.account_id].items


async def list_sub_accounts(door: Door, it: Foreign) -> object:
    page = await accounts.list_sub_accounts(door, UUID(int=0), PageRequest(100))
    return [account for account in page.items if account.id == it.account_id]


async def list_notices(door: Door, it: Foreign) -> object:
    page = await notice_ledger.list_notices(door, NoticeFilter(), PageRequest(100))
    return [notice for notice in page.items if notice.account_id == it.account_id]


async def sweep_namesake(door: Door, it: Foreign) -> object:
    await tokens.sweep_namesake(door, it.account_id, "theirs", now=it.now.replace(year=2999))
    return await door.query(Statement("SELECT id FROM api_token WHERE swept_at IS NOT NULL"))


async def retire_secret(door: Door, it: Foreign) -> object:
    await secrets.retire_secret(door, it.retiring_id, now=it.now)
    return await door.query(Statement("SELECT id FROM secret WHERE retired_at IS NOT NULL"))


async def keep_secret(door: Door, it: Foreign) -> object:
    await secrets.retire_secret(door, it.current_id, now=it.now)  # there is one current secret
    return await secrets.keep_secret(door, it.retiring_id)


# Every function of the door that reads or changes what is there. An empty answer is as good as
# a missing object.
REACHING: dict[str, Callable[[Door, Foreign], Awaitable[object]]] = {
    "find_token": lambda door, it: tokens.find_token(door, it.token_id),
    "find_tokens": lambda door, it: tokens.find_tokens(door, [it.token_id]),
    "find_emails": lambda door, it: tokens.find_emails(door, [it.member_id]),
    "list_tokens": list_tokens,
    "list_tokens_of_accounts": list_tokens_of_accounts,
    "change_token": lambda door, it: tokens.change_token(
        door, it.token_id, {"name": "mine"}, now=it.now
    ),
    "lock_token": lambda door, it: tokens.lock_token(door, it.token_id),
    "end_session": lambda door, it: tokens.end_session(door, it.session_id, now=it.now),
    "digests_of_token": lambda door, it: secrets.digests_of_token(door, it.token_id),
    "secrets_of_tokens": lambda door, it: secrets.secrets_of_tokens(door, [it.token_id]),
    "find_token_of": lambda door, it: secrets.find_token_of(door, [it.digest]),
    "find_record": lambda door, it: secrets.find_record(door, it.digest),
    "retire_secrets": lambda door, it: secrets.retire_secrets(
        door, it.token_id, now=it.now, at=it.now
    ),
    "retire_secret": retire_secret,
    "keep_secret": keep_secret,
    "find_replay": lambda door, it: replays.find_replay(door, it.member_id, it.key_digest),
    "find_drops": lambda door, it: outbox.find_drops(door, [it.receipt_id, it.job.id]),
    "sweep_namesake": sweep_namesake,
    "lock_account": lambda door, it: accounts.lock_account(door, it.account_id),
    "change_account": lambda door, it: accounts.change_account(
        door, it.account_id, {"suspended_at": it.now}
    ),
    "find_account": lambda door, it: accounts.find_account(door, it.account_id),
    "find_accounts": lambda door, it: accounts.find_accounts(door, [it.account_id]),
    "list_sub_accounts": list_sub_accounts,
    "lock_customer": lambda door, it: account_moves.lock_customer(door, it.account_id),
    "change_reseller": lambda door, it: account_moves.change_reseller(
        door, it.account_id, it.reseller_id
    ),
    "list_notices": list_notices,
    **people_access.REACHING,
    **fleet_access.REACHING,
    **jobs_access.REACHING,
    **policies_access.REACHING,
    **trail_access.REACHING,
}

BEHIND_ONE_WALL = {"find_record"}
"""What the owner's function answers, as it answers validators: to whoever holds the secret."""


@pytest.fixture
async def foreign(service: Service, platform: Platform, owner: asyncpg.Connection) -> Foreign:
    return await Foreign.make(service, platform, owner)


@pytest.fixture
def no_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first wall torn down."""
    monkeypatch.setattr(Statement, "within", lambda *_, **__: "TRUE")


@pytest.fixture
def no_second_wall(owner: asyncpg.Connection) -> OpenDoor:
    """A door over a connection of a superuser, whom row-level security does not stop."""

    class Unwalled:
        async def execute_query_dict(self, sql: str, values: list[Any]) -> list[dict[str, Any]]:
            return [dict(row) for row in await owner.fetch(sql, *values)]

    @asynccontextmanager
    async def open_unwalled(reach: Reach) -> AsyncIterator[Door]:
        async with owner.transaction():
            await owner.execute(reach.opening())
            yield Door(cast(TransactionalDBClient, Unwalled()), reach)

    return open_unwalled


class Undone(Exception):
    """Nothing of a transaction is to be kept."""


async def reach_for(
    door_of: OpenDoor, actor: Actor, name: str, foreign: Foreign, *, keeps: bool = True
) -> object:
    """Return what a function gives away, MISSING where that is nothing."""
    found: object = MISSING
    with suppress(NotFound, Undone):
        async with door_of(actor.reach) as door:
            found = await REACHING[name](door, foreign) or MISSING
            if not keeps:
                raise Undone
    return found


async def given_away(
    door_of: OpenDoor, actor: Actor, foreign: Foreign, owner: asyncpg.Connection
) -> dict[str, object]:
    """Return the functions that give something away, or change anything."""
    given = {}
    before = await everything(owner)
    for name in REACHING:
        found = await reach_for(door_of, actor, name, foreign)
        after = await everything(owner)
        if found != MISSING or after != before:
            given[name] = found
        before = after
    return given


def test_every_function_of_the_door_is_tried_here() -> None:
    def doors(module: ModuleType) -> set[str]:
        return {
            name
            for name, function in inspect.getmembers(module, inspect.iscoroutinefunction)
            if function.__module__ == module.__name__ and not name.startswith("_")
        }

    modules = (
        *(accounts, fleet, members, outbox, replays),
        *(secrets, sessions, token_lists, tokens),
        *(policies, scope_templates, trail),
        *(account_moves, notice_ledger),
        *(jobs, selections),
    )
    found = set[str]().union(*map(doors, modules))
    assert found == set(REACHING) | INSERTING | policies_access.INSERTING | jobs_access.INSERTING


@pytest.mark.parametrize("stranger", ["sibling", "stranger", "other_reseller"])
@pytest.mark.usefixtures("no_filter")
async def test_the_second_wall_holds_alone(
    platform: Platform, owner: asyncpg.Connection, foreign: Foreign, stranger: str
) -> None:
    given = await given_away(open_door, getattr(platform, stranger), foreign, owner)

    assert set(given) == BEHIND_ONE_WALL, given


@pytest.mark.parametrize("stranger", ["sibling", "stranger", "other_reseller"])
async def test_the_first_wall_holds_alone(
    platform: Platform,
    owner: asyncpg.Connection,
    no_second_wall: OpenDoor,
    foreign: Foreign,
    stranger: str,
) -> None:
    given = await given_away(no_second_wall, getattr(platform, stranger), foreign, owner)

    assert given == {}


@pytest.mark.parametrize("insider", ["customer", "reseller", "operator"])
async def test_whoever_reaches_it_finds_it_through_either_wall(
    platform: Platform, no_second_wall: OpenDoor, foreign: Foreign, insider: str
) -> None:
    """The control of the two tests above: what they refuse is there to be found."""
    actor = getattr(platform, insider)
    told = set(REACHING) - (fleet_access.ABOVE if insider == "customer" else set())

    for door_of in (open_door, no_second_wall):
        found = {
            name
            for name in REACHING
            if await reach_for(door_of, actor, name, foreign, keeps=False) != MISSING
        }

        assert found == told


@pytest.mark.usefixtures("no_filter")
async def test_with_both_walls_down_everything_is_found(
    platform: Platform, no_second_wall: OpenDoor, foreign: Foreign
) -> None:
    for name in ("find_token", "find_account", "list_tokens"):
        assert await reach_for(no_second_wall, platform.stranger, name, foreign) != MISSING
