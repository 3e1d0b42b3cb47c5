"""Many tokens at once: which are selected, and one statement that changes them all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self
from uuid import UUID

from service.access.door import Door, Statement, as_uuid
from service.access.token_filters import conditions_of, live
from service.access.tokens import TokenFilter

USED_RECENTLY = timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which tokens within reach: those named, or those that a filter finds and that have not ended.

    Attributes:
        ids: Those named, ended or not; None where a filter selects.
        only: The filter; not asked where tokens are named.
        account_id: Only those of one account.
    """

    ids: tuple[UUID, ...] | None = None
    only: TokenFilter | None = None
    account_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    """What a selection holds, counted up to a bound.

    Attributes:
        count_is_exact: Whether the bound was not reached; beyond it every number is "at least".
        used_recently: Tokens used within seven days.
        accounts: Accounts whose tokens they are.
        sample_ids: Some of the tokens.
    """

    count: int
    count_is_exact: bool
    used_recently: int
    accounts: int
    sample_ids: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class Target:
    """A token that a job is about to change, as far as that matters."""

    id: UUID
    account_id: UUID
    reseller_id: UUID | None
    scopes: tuple[str, ...]
    allowed_ip_ranges: tuple[str, ...]
    expires_at: datetime | None
    suspended_at: datetime | None
    revoked_at: datetime | None

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        """Build one from a row of the table."""
        fields = {name: row[name] for name in cls.__dataclass_fields__}
        fields |= {name: row[name] and as_uuid(row[name]) for name in ("id", "account_id")}
        fields["reseller_id"] = row["reseller_id"] and as_uuid(row["reseller_id"])
        fields["scopes"] = tuple(row["scopes"])
        fields["allowed_ip_ranges"] = tuple(row["allowed_ip_ranges"])
        return cls(**fields)

    @property
    def owner(self) -> tuple[UUID, UUID | None]:
        """Whose trail a change of it belongs to: its account and its reseller."""
        return self.account_id, self.reseller_id

    def has_ended(self, now: datetime) -> bool:
        """Return whether it is revoked or expired."""
        return self.revoked_at is not None or (
            self.expires_at is not None and now >= self.expires_at
        )


def _conditions(statement: Statement, door: Door, chosen: Selection, now: datetime) -> str:
    conditions = [
        "t.kind = 'API_TOKEN'",
        statement.within(
            door.reach,
            account="t.account_id",
            reseller="t.reseller_id",
            as_range=chosen.ids is None and chosen.account_id is None,
        ),
    ]
    if chosen.account_id is not None:
        conditions.append(f"t.account_id = {statement.bind(chosen.account_id)}")
    if chosen.ids is not None:
        conditions.append(f"t.id = ANY({statement.bind(list(chosen.ids))})")
    else:
        conditions.append(live(f"{statement.bind(now)}::timestamptz"))
        conditions += conditions_of(statement, chosen.only or TokenFilter(), now).every()
    return " AND ".join(conditions)


async def find_selected_ids(door: Door, chosen: Selection, *, now: datetime) -> set[UUID]:
    """Return the ids of those named tokens that are within reach."""
    statement = Statement()
    conditions = _conditions(statement, door, chosen, now)
    statement.text = f"SELECT t.id FROM api_token t WHERE {conditions}"
    return {as_uuid(row["id"]) for row in await door.query(statement)}


async def preview_selection(
    door: Door, chosen: Selection, *, now: datetime, counted_max: int, sample_size: int
) -> Preview:
    """Count a selection, changing nothing.

    Args:
        door: An open door.
        chosen: Which tokens.
        now: Decides which have ended, and which were used lately.
        counted_max: Where counting ends, so that it costs no more however many there are.
        sample_size: How many of them are told.
    """
    statement = Statement()
    recently = statement.bind(now - USED_RECENTLY)
    conditions = _conditions(statement, door, chosen, now)
    statement.text = (
        "WITH selected AS MATERIALIZED (SELECT t.id, t.account_id, t.last_used_at"
        f" FROM api_token t WHERE {conditions} LIMIT {statement.bind(counted_max + 1)})"
        " SELECT count(*) AS tokens,"
        f" count(*) FILTER (WHERE last_used_at >= {recently}) AS used_recently,"
        " count(DISTINCT account_id) AS accounts,"
        " ARRAY(SELECT id FROM selected ORDER BY last_used_at DESC NULLS LAST, id DESC"
        f" LIMIT {statement.bind(sample_size)}) AS sample_ids FROM selected"
    )
    [row] = await door.query(statement)
    return Preview(
        count=min(row["tokens"], counted_max),
        count_is_exact=row["tokens"] <= counted_max,
        used_recently=row["used_recently"],
        accounts=row["accounts"],
        sample_ids=tuple(as_uuid(found) for found in row["sample_ids"]),
    )


async def insert_items(
    door: Door, job_id: UUID, chosen: Selection, *, now: datetime, most: int
) -> int:
    """Freeze a selection as the items of a job; return how many there are.

    Args:
        door: An open door.
        job_id: The job; its row comes after them.
        chosen: Which tokens.
        now: Decides which have ended.
        most: No more than one beyond this are added: the caller refuses then.
    """
    statement = Statement()
    job = statement.bind(job_id)
    conditions = _conditions(statement, door, chosen, now)
    statement.text = (
        "WITH frozen AS (INSERT INTO job_item"
        " (id, account_id, reseller_id, job_id, token_id, state)"
        f" SELECT gen_random_uuid(), t.account_id, t.reseller_id, {job}, t.id, 'PENDING'"
        f" FROM api_token t WHERE {conditions} LIMIT {statement.bind(most + 1)} RETURNING id)"
        " SELECT count(*) AS items FROM frozen"
    )
    [row] = await door.query(statement)
    return int(row["items"])


async def pending_tokens(door: Door, job_id: UUID, *, limit: int) -> list[UUID]:
    """Return the tokens of a held job that are still to be done, in the order of their ids."""
    statement = Statement()
    reach = statement.within(door.reach, account="account_id", reseller="reseller_id")
    statement.text = (
        f"SELECT token_id FROM job_item WHERE job_id = {statement.bind(job_id)}"
        f" AND state = 'PENDING' AND {reach} ORDER BY token_id LIMIT {statement.bind(limit)}"
    )
    return [as_uuid(row["token_id"]) for row in await door.query(statement)]


async def lock_targets(door: Door, token_ids: Sequence[UUID]) -> dict[UUID, Target]:
    """Return those of some tokens that are within reach, and hold their rows, in order of ids."""
    statement = Statement()
    reach = statement.within(door.reach, account="account_id", reseller="reseller_id")
    # Whoever else holds several tokens takes them in this order, too.
    statement.text = (
        f"SELECT * FROM api_token WHERE id = ANY({statement.bind(list(token_ids))})"
        f" AND kind = 'API_TOKEN' AND {reach} ORDER BY id FOR NO KEY UPDATE"
    )
    found = [Target.from_row(row) for row in await door.query(statement)]
    return {target.id: target for target in found}


async def change_tokens(
    door: Door, token_ids: Sequence[UUID], changes: Mapping[str, Any]
) -> set[UUID]:
    """Change some columns of held tokens that have not ended; return the ids of those changed.

    Args:
        door: An open door.
        token_ids: Which.
        changes: Values by column, from the code's own names.
    """
    statement = Statement()
    settings = "".join(f"{column} = {statement.bind(value)}, " for column, value in changes.items())
    reach = statement.within(door.reach, account="account_id", reseller="reseller_id")
    statement.text = (
        f"UPDATE api_token SET {settings}version = version + 1"
        f" WHERE id = ANY({statement.bind(list(token_ids))}) AND kind = 'API_TOKEN'"
        f" AND revoked_at IS NULL AND swept_at IS NULL AND {reach} RETURNING id"
    )
    return {as_uuid(row["id"]) for row in await door.query(statement)}


async def extend_tokens(door: Door, expiries: Mapping[UUID, datetime]) -> set[UUID]:
    """Give held tokens that have not ended later expiries; return the ids of those changed.

    Args:
        door: An open door.
        expiries: The new expiry of each; one that is not later changes nothing.
    """
    statement = Statement()
    ids, instants = statement.bind(list(expiries)), statement.bind(list(expiries.values()))
    reach = statement.within(door.reach, account="t.account_id", reseller="t.reseller_id")
    statement.text = (
        "UPDATE api_token t SET expires_at = e.expires_at, version = t.version + 1"
        f" FROM unnest({ids}::uuid[], {instants}::timestamptz[]) AS e (id, expires_at)"
        " WHERE t.id = e.id AND t.kind = 'API_TOKEN' AND t.revoked_at IS NULL"
        f" AND t.swept_at IS NULL AND t.expires_at < e.expires_at AND {reach} RETURNING t.id"
    )
    return {as_uuid(row["id"]) for row in await door.query(statement)}


async def digests_of_tokens(door: Door, token_ids: Sequence[UUID]) -> list[tuple[UUID, bytes]]:
    """Return token and digest of each secret of some tokens that has not retired."""
    statement = Statement()
    reach = statement.within(door.reach, account="account_id", reseller="reseller_id")
    statement.text = (
        "SELECT token_id, digest FROM secret"
        f" WHERE token_id = ANY({statement.bind(list(token_ids))})"
        f" AND retired_at IS NULL AND {reach}"
    )
    return [(as_uuid(row["token_id"]), bytes(row["digest"])) for row in await door.query(statement)]
