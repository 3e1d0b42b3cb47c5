"""A token that is rotated, and which of its secrets open it."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from service.access.actor import Actor
from service.composition import Service
from service.rotation import NewRotation, Rotated
from service.secret_format import digest_of
from service.usage import flush_usage
from service.validator import Validator
from service.verdict import Record, judge

HOUR = 3600

Act = Callable[[Service, Actor, UUID], Awaitable[Any]]


async def rotate(
    service: Service,
    actor: Actor,
    token_id: UUID,
    grace_seconds: int = HOUR,
    *,
    expected_version: int | None = None,
    key: str | None = None,
) -> Rotated:
    """Rotate a token."""
    wanted = NewRotation(
        token_id=token_id, grace_period_seconds=grace_seconds, expected_version=expected_version
    )
    return await service.rotations.begin(actor, wanted, idempotency_key=key)


ACTS: dict[str, Act] = {
    "rotated": rotate,
    "rotation_completed": lambda service, actor, token: service.rotations.complete(actor, token),
    "rotation_cancelled": lambda service, actor, token: service.rotations.cancel(actor, token),
}
"""What can be done to a token's secrets, by the last part of its audit event."""


async def secrets_of(owner: asyncpg.Connection, token_id: UUID) -> list[dict[str, Any]]:
    """Return the rows of a token's secrets, the current one last."""
    query = "SELECT * FROM secret WHERE token_id = $1 ORDER BY retires_at IS NULL, created_at"
    return [dict(row) for row in await owner.fetch(query, token_id)]


async def add_retired(owner: asyncpg.Connection, token_id: UUID, count: int, at: datetime) -> None:
    """Add secrets as if a token had been rotated as often, until an instant."""
    await owner.execute(
        "INSERT INTO secret (id, account_id, reseller_id, token_id, digest, pepper_id, prefix,"
        " last_four, created_at, retires_at, retired_at)"
        " SELECT gen_random_uuid(), account_id, reseller_id, token_id,"
        " sha256(number::text::bytea), 1, prefix, lpad(number::text, 4, '0'),"
        " $2::timestamptz - $3 * interval '1 s' + number * interval '1 s', $2, $2"
        " FROM secret, generate_series(1, $3::int) AS number WHERE token_id = $1",
        token_id,
        at,
        count,
    )


async def verdicts(validator: Validator, *secrets: str) -> list[str]:
    """Return what a validator that remembers nothing says of each secret."""
    validator.forget()
    return [(await validator.check(secret)).status.value for secret in secrets]


async def opening(service: Service, owner: asyncpg.Connection, *secrets: str) -> list[str]:
    """Return those of some secrets that open their token now, as the database tells."""
    pepper = next(iter(service.settings.pepper_keys.values()))
    found = []
    for secret in secrets:
        query = "SELECT * FROM credential_by_digest($1)"
        row = await owner.fetchrow(query, digest_of(secret, pepper))
        if row and judge(Record.from_row(dict(row)), service.clock.now()).is_valid:
            found.append(secret)
    return found


async def use(validator: Validator, service: Service, *secrets: str) -> None:
    """Use secrets now, and have that told to the database."""
    for secret in secrets:
        await validator.check(secret)
    await validator.usage.hand_on(service.cache.redis)
    await flush_usage(service.cache.redis)
