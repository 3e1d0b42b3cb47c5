"""Rows of secrets: a token has one current secret and, while it is rotated, one that retires."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from service.access.door import Door, Statement, as_uuid
from service.errors import NotFound
from service.secret_format import NewSecret
from service.verdict import Record

SECRETS_MAX = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A secret as people may see it.

    Attributes:
        retires_at: Its end, where another one has taken its place; None is the current one.
        retired_at: When that was made its end at once, by an act or after its grace.
        reused_at: When it was last tried after its end, a sign that somebody else holds it.
    """

    id: UUID
    token_id: UUID
    digest: bytes
    prefix: str
    last_four: str
    created_at: datetime
    retires_at: datetime | None
    retired_at: datetime | None
    last_used_at: datetime | None
    reused_at: datetime | None
    reused_address: str | None

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        """Build one from a row of the table."""
        fields = {name: row[name] for name in cls.__dataclass_fields__}
        fields |= {name: as_uuid(row[name]) for name in ("id", "token_id")}
        return cls(**(fields | {"digest": bytes(row["digest"])}))

    def is_retiring(self, now: datetime) -> bool:
        """Return whether it is being replaced and still opens its token."""
        return self.retired_at is None and self.retires_at is not None and now < self.retires_at


async def insert_secret(
    door: Door, token: dict[str, Any], secret: NewSecret, secret_id: UUID, *, now: datetime
) -> None:
    """Add a token's current secret.

    Args:
        door: An open door.
        token: Its id, account_id and reseller_id.
        secret: Only its digest, pepper id, prefix and last four are stored.
        secret_id: The id of the row.
        now: When it was made.
    """
    row = {
        "id": secret_id,
        "account_id": token["account_id"],
        "reseller_id": token["reseller_id"],
        "token_id": token["id"],
        "digest": secret.digest,
        "pepper_id": secret.pepper_id,
        "prefix": secret.prefix,
        "last_four": secret.last_four,
        "created_at": now,
    }
    await door.query(Statement().insert("secret", [row]))


async def secrets_of_tokens(door: Door, token_ids: list[UUID]) -> list[Secret]:
    """Return the secrets of some tokens within reach, the current one of each first.

    At most 20 of each, since a token can be rotated without end: those that have not retired, those
    that were used after their end, the newest.
    """
    statement = Statement()
    reach = statement.within(door.reach, account="account_id", reseller="reseller_id")
    statement.text = (
        "SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY token_id ORDER BY"
        " retired_at IS NULL DESC, reused_at DESC NULLS LAST, created_at DESC, id DESC) AS place"
        f" FROM secret WHERE token_id = ANY({statement.bind(token_ids)}) AND {reach}) s"
        f" WHERE place <= {SECRETS_MAX}"
        " ORDER BY retires_at IS NULL DESC, created_at DESC, id DESC"
    )
    return [Secret.from_row(row) for row in await door.query(statement)]


async def find_token_of(door: Door, digests: list[bytes]) -> tuple[UUID, bytes]:
    """Return the API token within reach that one of some digests opens, and that digest.

    Raises:
        NotFound: If there is none, or it is another tenant's.
    """
    statement = Statement()
    reach = statement.within(door.reach, account="t.account_id", reseller="t.reseller_id")
    statement.text = (
        "SELECT t.id, s.digest FROM secret s JOIN api_token t ON t.id = s.token_id"
        f" WHERE s.digest = ANY({statement.bind(digests)}) AND t.kind = 'API_TOKEN' AND {reach}"
    )
    row = await door.one(statement)
    if row is None:
        raise NotFound("There is no such token.")
    return as_uuid(row["id"]), bytes(row["digest"])


async def find_record(door: Door, digest: bytes) -> Record | None:
    """Return what a validator reads behind a digest within reach; the second wall is not asked."""
    statement = Statement()
    reach = statement.within(door.reach, account="account_id", reseller="reseller_id")
    statement.text = f"SELECT * FROM credential_by_digest({statement.bind(digest)}) WHERE {reach}"
    row = await door.one(statement)
    return None if row is None else Record.from_row(row)


async def digests_of_token(door: Door, token_id: UUID) -> list[bytes]:
    """Return the digest of each secret of a token that has not retired; a drop must name them all.

    What has retired was dropped then and is never valid again; a token may have many of them.
    """
    statement = Statement()
    reach = statement.within(door.reach, account="account_id", reseller="reseller_id")
    statement.text = (
        f"SELECT digest FROM secret WHERE token_id = {statement.bind(token_id)}"
        f" AND retired_at IS NULL AND {reach}"
    )
    return [bytes(row["digest"]) for row in await door.query(statement)]


async def retire_secrets(door: Door, token_id: UUID, *, now: datetime, at: datetime) -> list[bytes]:
    """Have every secret of a token that has not retired end at an instant, unless earlier.

    Args:
        door: An open door.
        token_id: An API token.
        now: This instant; what is to end by now ends for good, by everybody's clock.
        at: When they end.

    Returns:
        The digests of those that end.
    """
    statement = Statement()
    reach = statement.within(door.reach, account="account_id", reseller="reseller_id")
    end, instant = statement.bind(at), statement.bind(now)
    statement.text = (
        f"UPDATE secret SET retires_at = least(retires_at, {end}),"
        f" retired_at = CASE WHEN least(retires_at, {end}) <= {instant} THEN {instant} END"
        f" WHERE token_id = {statement.bind(token_id)} AND retired_at IS NULL"
        f" AND {reach} RETURNING digest"
    )
    return [bytes(row["digest"]) for row in await door.query(statement)]


async def retire_secret(door: Door, secret_id: UUID, *, now: datetime) -> None:
    """End one secret for good."""
    statement = Statement()
    reach = statement.within(door.reach, account="account_id", reseller="reseller_id")
    end = statement.bind(now)
    statement.text = (
        f"UPDATE secret SET retires_at = least(retires_at, {end}), retired_at = {end}"
        f" WHERE id = {statement.bind(secret_id)} AND retired_at IS NULL AND {reach}"
    )
    await door.query(statement)


async def keep_secret(door: Door, secret_id: UUID) -> bool:
    """Make a retiring secret the current one again; return whether it had not retired yet.

    By the database's own clock, which guards it too.
    """
    statement = Statement()
    reach = statement.within(door.reach, account="account_id", reseller="reseller_id")
    statement.text = (
        f"UPDATE secret SET retires_at = NULL WHERE id = {statement.bind(secret_id)}"
        f" AND retires_at > clock_timestamp() AND retired_at IS NULL AND {reach} RETURNING id"
    )
    return await door.one(statement) is not None
