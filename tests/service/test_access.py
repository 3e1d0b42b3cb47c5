"""Two walls between tenants: the door's filter, and row-level security. Each holds alone."""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any, cast
from uuid import UUID

import asyncpg
import pytest
from factories import Platform, make_token
from stores import everything
from tortoise.backends.base.client import TransactionalDBClient
from tortoise.exceptions import OperationalError

from service.access import accounts, tokens
from service.access.actor import EVERYTHING, Actor, Extent, Reach
from service.access.door import Door, Statement, open_door
from service.clock import new_id
from service.composition import Service
from service.errors import NotFound
from service.paging import PageRequest
from service.secret_format import make_secret
from service.settings import Settings

OpenDoor = Callable[[Reach], Any]

MISSING = "missing"


class Foreign:
    """What belongs to the customer, for others to reach for."""

    def __init__(self, customer: Actor, token_id: UUID, now: Any) -> None:
        assert customer.member_id is not None
        self.account_id = customer.account_id
        self.reseller_id = customer.reseller_id
        self.member_id = customer.member_id
        self.session_id = customer.token_id
        self.token_id = token_id
        self.now = now


async def list_tokens(door: Door, it: Foreign) -> object:
    found: list[object] = []
    for order in tokens.TokenOrder:
        page = await tokens.list_tokens(
            door,
            tokens.TokenFilter(account_id=it.account_id),
            order,
            PageRequest(100),
            descending=False,
            now=it.now,
        )
        found += page.items
    return found


async def list_sub_accounts(door: Door, it: Foreign) -> object:
    page = await accounts.list_sub_accounts(door, UUID(int=0), PageRequest(100))
    return [account for account in page.items if account.id == it.account_id]


async def sweep_namesake(door: Door, it: Foreign) -> object:
    await tokens.sweep_namesake(door, it.account_id, "theirs", now=it.now.replace(year=2999))
    return await door.query(Statement("SELECT id FROM api_token WHERE swept_at IS NOT NULL"))


# Every function of the door that reads or changes what is there. An empty answer is as good as
# a missing object.
REACHING: dict[str, Callable[[Door, Foreign], Awaitable[object]]] = {
    "find_token": lambda door, it: tokens.find_token(door, it.token_id),
    "list_tokens": list_tokens,
    "change_token": lambda door, it: tokens.change_token(
        door, it.token_id, {"name": "mine"}, now=it.now
    ),
    "lock_token": lambda door, it: tokens.lock_token(door, it.token_id),
    "end_session": lambda door, it: tokens.end_session(door, it.session_id, now=it.now),
    "digests_of_token": lambda door, it: tokens.digests_of_token(door, it.token_id),
    "sweep_namesake": sweep_namesake,
    "find_account": lambda door, it: accounts.find_account(door, it.account_id),
    "find_accounts": lambda door, it: accounts.find_accounts(door, [it.account_id]),
    "list_sub_accounts": list_sub_accounts,
    "find_email": lambda door, it: accounts.find_email(door, it.member_id),
}

INSERTING = {"insert_token", "insert_account", "insert_member"}


@pytest.fixture
async def foreign(service: Service, platform: Platform) -> Foreign:
    created = await make_token(service, platform.customer, name="theirs")
    return Foreign(platform.customer, created.token.id, service.clock.now())


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


async def reach_for(door_of: OpenDoor, actor: Actor, name: str, foreign: Foreign) -> object:
    """Return what a function gives away, MISSING where that is nothing."""
    try:
        async with door_of(actor.reach) as door:
            return await REACHING[name](door, foreign) or MISSING
    except NotFound:
        return MISSING


def test_every_function_of_the_door_is_tried_here() -> None:
    def doors(module: ModuleType) -> set[str]:
        return {
            name
            for name, function in inspect.getmembers(module, inspect.iscoroutinefunction)
            if function.__module__ == module.__name__ and not name.startswith("_")
        }

    assert doors(tokens) | doors(accounts) == set(REACHING) | INSERTING


@pytest.mark.parametrize("name", REACHING)
@pytest.mark.parametrize("stranger", ["sibling", "stranger", "other_reseller"])
@pytest.mark.usefixtures("no_filter")
async def test_the_second_wall_holds_alone(
    platform: Platform, owner: asyncpg.Connection, foreign: Foreign, stranger: str, name: str
) -> None:
    before = await everything(owner)

    found = await reach_for(open_door, getattr(platform, stranger), name, foreign)

    assert found == MISSING
    assert await everything(owner) == before


@pytest.mark.parametrize("name", REACHING)
@pytest.mark.parametrize("stranger", ["sibling", "stranger", "other_reseller"])
async def test_the_first_wall_holds_alone(
    platform: Platform,
    owner: asyncpg.Connection,
    no_second_wall: OpenDoor,
    foreign: Foreign,
    stranger: str,
    name: str,
) -> None:
    before = await everything(owner)

    found = await reach_for(no_second_wall, getattr(platform, stranger), name, foreign)

    assert found == MISSING
    assert await everything(owner) == before


@pytest.mark.parametrize("name", REACHING)
@pytest.mark.parametrize("insider", ["customer", "reseller", "operator"])
async def test_whoever_reaches_it_finds_it_through_either_wall(
    platform: Platform, no_second_wall: OpenDoor, foreign: Foreign, insider: str, name: str
) -> None:
    """The control of the two tests above: what they refuse is there to be found."""
    actor = getattr(platform, insider)

    assert await reach_for(open_door, actor, name, foreign) != MISSING
    if name != "end_session":  # it is ended by now
        assert await reach_for(no_second_wall, actor, name, foreign) != MISSING


@pytest.mark.parametrize("name", ["find_token", "find_account", "list_tokens"])
@pytest.mark.usefixtures("no_filter")
async def test_with_both_walls_down_everything_is_found(
    platform: Platform, no_second_wall: OpenDoor, foreign: Foreign, name: str
) -> None:
    assert await reach_for(no_second_wall, platform.stranger, name, foreign) != MISSING


TENANT_TABLES = ("account", "member", "api_token", "secret", "audit_event", "outbox_event")


@pytest.fixture
async def app(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the application's role that has told of no reach."""
    connection = await asyncpg.connect(settings.database_url.get_secret_value())
    yield connection
    await connection.close()


@pytest.mark.parametrize("table", TENANT_TABLES)
async def test_without_a_reach_there_is_no_row_at_all(
    service: Service,
    platform: Platform,
    foreign: Foreign,
    owner: asyncpg.Connection,
    app: asyncpg.Connection,
    table: str,
) -> None:
    await service.tokens.suspend(platform.customer, foreign.token_id)
    count = f"SELECT count(*) FROM {table}"  # noqa: S608 - from the table above

    assert await owner.fetchval(count) > 0
    assert await app.fetchval(count) == 0
    for reach, identifier in (
        ("", ""),
        ("account", ""),
        ("fleet", ""),
        ("everything", ""),
        ("ALL", ""),
    ):
        await app.execute("SELECT set_config('tokenward.reach', $1, false)", reach)
        await app.execute("SELECT set_config('tokenward.reach_id', $1, false)", identifier)
        assert await app.fetchval(count) == 0
    await app.execute("SELECT set_config('tokenward.reach', 'all', false)")
    assert await app.fetchval(count) == await owner.fetchval(count)


@pytest.mark.parametrize("table", TENANT_TABLES)
async def test_a_reach_ends_with_its_transaction(
    service: Service, platform: Platform, app: asyncpg.Connection, foreign: Foreign, table: str
) -> None:
    await service.tokens.suspend(platform.customer, foreign.token_id)
    count = f"SELECT count(*) FROM {table}"  # noqa: S608 - from the table above

    async with app.transaction():
        await app.execute(EVERYTHING.opening())
        assert await app.fetchval(count) > 0

    assert await app.fetchval(count) == 0


def new_rows(service: Service, foreign: Foreign) -> dict[str, Callable[[Door], Awaitable[None]]]:
    """Rows that would be the customer's."""
    whose = {"account_id": foreign.account_id, "reseller_id": foreign.reseller_id}
    secret = make_secret("live", service.settings.pepper_keys)
    token = whose | {
        "id": new_id(),
        "kind": "API_TOKEN",
        "name": "smuggled",
        "scopes": ["*"],
        "allowed_ip_ranges": [],
        "created_at": foreign.now,
        "version": 1,
    }
    account = {
        "id": new_id(),
        "kind": "CUSTOMER",
        "reseller_id": foreign.reseller_id,
        "name": "smuggled",
        "grantable_scopes": ["*"],
        "created_at": foreign.now,
    }
    member = whose | {
        "id": new_id(),
        "email": "smuggled@example.com",
        "password_hash": "none",
        "created_at": foreign.now,
    }
    return {
        "insert_token": lambda door: tokens.insert_token(door, token, secret, new_id()),
        "insert_account": lambda door: accounts.insert_account(door, account),
        "insert_member": lambda door: accounts.insert_member(door, member),
    }


@pytest.mark.parametrize("name", sorted(INSERTING))
@pytest.mark.parametrize("stranger", ["sibling", "stranger", "other_reseller"])
async def test_no_row_is_added_for_another_tenant(
    service: Service,
    platform: Platform,
    owner: asyncpg.Connection,
    foreign: Foreign,
    stranger: str,
    name: str,
) -> None:
    before = await everything(owner)
    insert = new_rows(service, foreign)[name]

    async def attempt() -> None:
        async with open_door(getattr(platform, stranger).reach) as door:
            await insert(door)

    with pytest.raises(OperationalError, match="row-level security"):
        await attempt()

    assert await everything(owner) == before
    async with open_door(platform.reseller.reach) as door:
        await insert(door)
    assert await everything(owner) != before


async def test_no_row_is_given_away_to_another_tenant(
    platform: Platform, owner: asyncpg.Connection, foreign: Foreign
) -> None:
    """Not even by whoever owns it: a row may not leave the reach in which it is changed."""
    before = await everything(owner)

    async def give_away() -> None:
        async with open_door(platform.reseller.reach) as door:
            statement = Statement("UPDATE api_token SET reseller_id = $1 WHERE id = $2")
            statement.values = [platform.stranger.reseller_id, foreign.token_id]
            await door.query(statement)

    with pytest.raises(OperationalError, match="row-level security"):
        await give_away()

    assert await everything(owner) == before


async def test_a_validator_needs_no_reach_and_learns_of_one_digest_alone(
    owner: asyncpg.Connection, app: asyncpg.Connection, foreign: Foreign
) -> None:
    digest = await owner.fetchval("SELECT digest FROM secret WHERE token_id = $1", foreign.token_id)

    found = await app.fetch("SELECT * FROM credential_by_digest($1)", digest)

    assert [row["token_id"] for row in found] == [foreign.token_id]
    assert await app.fetch("SELECT * FROM credential_by_digest($1)", bytes(32)) == []
    assert await app.fetch("SELECT * FROM credential_by_digest(NULL)") == []
    # The function's own reach has not stayed behind.
    assert await app.fetchval("SELECT count(*) FROM secret") == 0


def test_a_reach_is_spelled_from_closed_types_alone() -> None:
    class Sly(UUID):
        def __str__(self) -> str:
            return "x', true); DROP TABLE account; --"

    opening = Reach(Extent.ACCOUNT, Sly(int=1)).opening()

    assert "DROP" not in opening
    assert str(UUID(int=1)) in opening
