"""The second wall: what row-level security shows, and what it lets nobody write."""

from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import UUID

import asyncpg
import pytest
from access_scene import INSERTING, Foreign
from factories import Platform
from stores import everything

from service.access import accounts, members, replays, secrets, tokens
from service.access.actor import EVERYTHING, Extent, Reach
from service.access.door import Door, Statement, open_door
from service.clock import new_id
from service.composition import Service
from service.errors import NotFound
from service.secret_format import make_secret
from service.settings import Settings


@pytest.fixture
async def foreign(service: Service, platform: Platform, owner: asyncpg.Connection) -> Foreign:
    return await Foreign.make(service, platform, owner)


TENANT_TABLES = (
    "account",
    "member",
    "password_reset",
    "api_token",
    "secret",
    "replay",
    "job",
    "job_item",
    "audit_event",
    "policy",
    "scope_template",
    "outbox_event",
)


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
    event = whose | {
        "id": new_id(),
        "occurred_at": foreign.now,
        "action": "token.created",
        "subject_id": token["id"],
        "details": "{}",
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
    replay = whose | {
        "id": new_id(),
        "principal_id": foreign.member_id,
        "key_digest": bytes(32),
        "request_digest": bytes(32),
        "token_id": foreign.token_id,
        "receipt_id": None,
        "sealed_secret": b"smuggled",
        "expires_at": foreign.now,
    }

    async def insert_secret(door: Door) -> None:
        # There is one current secret; to a stranger there is none to retire.
        await secrets.retire_secrets(door, foreign.token_id, now=foreign.now, at=foreign.now)
        row = whose | {"id": foreign.token_id}
        await secrets.insert_secret(door, row, secret, new_id(), now=foreign.now)

    async def insert_token(door: Door) -> None:
        await tokens.insert_token(door, token, secret, new_id(), event)

    async def claim_replay(door: Door) -> None:
        await replays.claim_replay(door, replay, now=foreign.now)

    return {
        "insert_secret": insert_secret,
        "claim_replay": claim_replay,
        "insert_token": insert_token,
        "insert_account": lambda door: accounts.insert_account(door, account),
        "insert_member": lambda door: members.insert_member(door, member),
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

    with pytest.raises(NotFound):
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

    with pytest.raises(NotFound):
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
