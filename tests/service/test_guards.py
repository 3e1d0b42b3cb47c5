"""What the database itself refuses, whoever asks and whatever the code believes."""

from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest
from conftest import FrozenClock
from factories import Platform, make_token
from stores import everything

from service.composition import Service
from service.local.servers import OWNER_ROLE
from service.settings import Settings
from service.sweep import sweep_expired


@pytest.fixture
async def app(settings: Settings, platform: Platform) -> AsyncIterator[asyncpg.Connection]:  # noqa: ARG001 - comes first
    """A connection of the application's role, within everybody's reach."""
    connection = await asyncpg.connect(settings.database_url.get_secret_value())
    await connection.execute("SELECT set_config('tokenward.reach', 'all', false)")
    yield connection
    await connection.close()


REVOKED = "a revocation is final"
SWEPT = "an expired token has ended"
ORIGIN = "a token keeps its account, kind and origin"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("revoked_at = NULL, revocation_reason = NULL", REVOKED),
        ("revoked_at = now()", REVOKED),
        ("revocation_reason = 'POLICY'", REVOKED),
        ("account_id = gen_random_uuid()", ORIGIN),
        ("id = gen_random_uuid()", ORIGIN),
        ("kind = 'SESSION'", ORIGIN),
        ("created_at = now()", ORIGIN),
    ],
)
async def test_a_revocation_and_an_origin_are_final(
    service: Service,
    platform: Platform,
    app: asyncpg.Connection,
    owner: asyncpg.Connection,
    change: str,
    told: str,
) -> None:
    created = await make_token(service, platform.customer)
    await service.tokens.revoke(platform.customer, created.token.id)
    before = await everything(owner)

    for connection in (app, owner):
        with pytest.raises(asyncpg.CheckViolationError, match=told):
            await connection.execute(
                f"UPDATE api_token SET {change} WHERE id = $1",  # noqa: S608 - from the table above
                created.token.id,
            )

    assert await everything(owner) == before


@pytest.mark.parametrize(
    "change", ["swept_at = NULL", "swept_at = now()", "expires_at = NULL", "expires_at = now()"]
)
async def test_an_expiry_that_was_marked_is_final(
    service: Service,
    platform: Platform,
    clock: FrozenClock,
    app: asyncpg.Connection,
    owner: asyncpg.Connection,
    change: str,
) -> None:
    created = await make_token(service, platform.customer)
    clock.advance(days=30)
    await sweep_expired(clock)
    before = await everything(owner)

    with pytest.raises(asyncpg.CheckViolationError, match=SWEPT):
        await app.execute(
            f"UPDATE api_token SET {change} WHERE id = $1",  # noqa: S608 - from the table above
            created.token.id,
        )

    assert await everything(owner) == before


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("retires_at = retires_at + interval '1 microsecond'", "never put off"),
        ("digest = sha256('another')", "replaced, never changed"),
        ("pepper_id = 2", "replaced, never changed"),
        ("token_id = gen_random_uuid()", "replaced, never changed"),
        ("id = gen_random_uuid()", "replaced, never changed"),
    ],
)
async def test_a_secret_is_replaced_and_retires_never_later(
    service: Service,
    platform: Platform,
    app: asyncpg.Connection,
    owner: asyncpg.Connection,
    change: str,
    told: str,
) -> None:
    created = await make_token(service, platform.customer)
    await app.execute(
        "UPDATE secret SET retires_at = '2030-02-01Z' WHERE token_id = $1", created.token.id
    )
    before = await everything(owner)

    with pytest.raises(asyncpg.CheckViolationError, match=told):
        await app.execute(
            f"UPDATE secret SET {change} WHERE token_id = $1",  # noqa: S608 - from the table above
            created.token.id,
        )

    assert await everything(owner) == before
    await app.execute(
        "UPDATE secret SET retires_at = '2030-01-31Z' WHERE token_id = $1", created.token.id
    )


async def retire(app: asyncpg.Connection, token_id: UUID, span: str) -> None:
    """Have a token's secret retire so long from the database's now."""
    query = "UPDATE secret SET retires_at = clock_timestamp() + $2::text::interval"
    await app.execute(f"{query} WHERE token_id = $1", token_id, span)


async def test_a_retirement_can_be_called_off_until_it_has_come(
    service: Service, platform: Platform, app: asyncpg.Connection, owner: asyncpg.Connection
) -> None:
    token_id = (await make_token(service, platform.customer)).token.id
    call_off = "UPDATE secret SET retires_at = NULL WHERE token_id = $1"
    await retire(app, token_id, "1 hour")

    await app.execute(call_off, token_id)

    query = "SELECT retires_at FROM secret WHERE token_id = $1"
    assert await owner.fetchval(query, token_id) is None
    await retire(app, token_id, "0")
    before = await everything(owner)
    for change in ("NULL", "clock_timestamp()", "clock_timestamp() + interval '1 hour'"):
        for connection in (app, owner):
            with pytest.raises(asyncpg.CheckViolationError, match="never put off"):
                await connection.execute(call_off.replace("NULL", change), token_id)
    assert await everything(owner) == before


async def test_a_token_has_one_secret_that_does_not_retire(
    service: Service, platform: Platform, app: asyncpg.Connection, owner: asyncpg.Connection
) -> None:
    token_id = (await make_token(service, platform.customer)).token.id
    another = (
        "INSERT INTO secret (id, account_id, reseller_id, token_id, digest, pepper_id, prefix,"
        " last_four, created_at) SELECT gen_random_uuid(), account_id, reseller_id, token_id,"
        " sha256(digest), pepper_id, prefix, last_four, created_at FROM secret WHERE token_id = $1"
    )
    before = await everything(owner)

    with pytest.raises(asyncpg.UniqueViolationError, match="secret_current"):
        await app.execute(another, token_id)

    assert await everything(owner) == before
    await retire(app, token_id, "1 hour")
    await app.execute(another, token_id)
    before = await everything(owner)
    with pytest.raises(asyncpg.UniqueViolationError, match="secret_current"):
        await app.execute("UPDATE secret SET retires_at = NULL WHERE token_id = $1", token_id)
    assert await everything(owner) == before


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("closed_at = NULL", "stays closed"),
        ("closed_at = now()", "stays closed"),
        ("created_at = now()", "kind and origin"),
        ("id = gen_random_uuid()", "kind and origin"),
        ("kind = 'RESELLER', reseller_id = id", "kind and origin"),
    ],
)
async def test_a_closed_account_stays_closed_and_what_it_is(
    platform: Platform,
    app: asyncpg.Connection,
    owner: asyncpg.Connection,
    change: str,
    told: str,
) -> None:
    account_id = platform.customer.account_id
    await app.execute("UPDATE account SET closed_at = '2030-01-01Z' WHERE id = $1", account_id)
    before = await everything(owner)

    for connection in (app, owner):
        with pytest.raises(asyncpg.CheckViolationError, match=told):
            await connection.execute(
                f"UPDATE account SET {change} WHERE id = $1",  # noqa: S608 - from the table above
                account_id,
            )

    assert await everything(owner) == before


@pytest.mark.parametrize(
    "statement", ["UPDATE audit_event SET action = 'x'", "DELETE FROM audit_event"]
)
async def test_the_trail_is_append_only_for_the_application_and_the_owner_alike(
    app: asyncpg.Connection, owner: asyncpg.Connection, statement: str
) -> None:
    before = await everything(owner)
    assert before["audit_event"]

    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="audit_event"):
        await app.execute(statement)
    with pytest.raises(asyncpg.CheckViolationError, match="append-only"):
        await owner.execute(statement)

    assert await everything(owner) == before


@pytest.mark.parametrize(
    "statement",
    [
        "TRUNCATE audit_event",
        "TRUNCATE api_token CASCADE",
        "DELETE FROM api_token",
        "DELETE FROM secret",
        "DELETE FROM account",
        "DELETE FROM member",
        "DELETE FROM notice",
        "DROP TABLE outbox_event",
        "ALTER TABLE api_token DISABLE TRIGGER api_token_guard",
        "ALTER TABLE api_token DISABLE ROW LEVEL SECURITY",
        "DROP POLICY reach ON api_token",
        "CREATE TABLE mine ()",
        "SET session_replication_role = replica",
        f"SET ROLE {OWNER_ROLE}",
    ],
)
async def test_the_applications_role_deletes_nothing_and_moves_no_wall(
    app: asyncpg.Connection, owner: asyncpg.Connection, statement: str
) -> None:
    before = await everything(owner)

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await app.execute(statement)

    assert await everything(owner) == before


@pytest.mark.parametrize(
    "row",
    [
        "kind = 'OPERATOR', reseller_id = NULL",  # a second one
        "kind = 'RESELLER', reseller_id = NULL",
        "kind = 'CUSTOMER', reseller_id = id",
    ],
)
async def test_the_three_levels_of_tenancy_hold(
    platform: Platform, app: asyncpg.Connection, owner: asyncpg.Connection, row: str
) -> None:
    before = await everything(owner)

    with pytest.raises((asyncpg.CheckViolationError, asyncpg.UniqueViolationError)):
        await app.execute(
            f"UPDATE account SET {row} WHERE id = $1",  # noqa: S608 - from the table above
            platform.customer.account_id,
        )

    assert await everything(owner) == before
