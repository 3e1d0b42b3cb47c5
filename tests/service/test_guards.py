"""What the database itself refuses, whoever asks and whatever the code believes."""

from collections.abc import AsyncIterator

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
        ("retires_at = NULL", "never put off"),
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
