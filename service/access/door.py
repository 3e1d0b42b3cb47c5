"""A transaction within a reach: the filter of each query first, row-level security behind it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
import structlog
from tortoise.backends.base.client import TransactionalDBClient
from tortoise.exceptions import IntegrityError, OperationalError, TransactionManagementError

from service import database
from service.access.actor import Extent, Reach
from service.errors import (
    EmailTaken,
    Forbidden,
    InsufficientScope,
    NameTaken,
    NotFound,
    ServiceError,
    TemplateNameTaken,
    TimedOut,
    Unauthenticated,
    Unavailable,
)

log = structlog.get_logger()

# A connection that the server has ended tells so in its driver's own words, too.
_UNREACHABLE = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError,
)

_TAKEN: dict[str, type[ServiceError]] = {
    "account_one_operator": Forbidden,
    "api_token_name_taken": NameTaken,
    "member_email_taken": EmailTaken,
    "scope_template_name_taken": TemplateNameTaken,
}
_TAKEN_FIELD = {
    "api_token_name_taken": "name",
    "member_email_taken": "email",
    "scope_template_name_taken": "name",
}


# The driver makes its errors by their states, those of ``require_credential`` as well.
class _CredentialEnded(asyncpg.PostgresError):
    sqlstate = "TW401"


class _CredentialNarrowed(asyncpg.PostgresError):
    sqlstate = "TW403"


class Door:
    """One transaction, and what may be seen in it."""

    def __init__(self, connection: TransactionalDBClient, reach: Reach) -> None:
        self._connection = connection
        self.reach = reach

    async def query(self, statement: "Statement") -> list[dict[str, Any]]:
        """Run a statement and return its rows.

        Raises:
            NameTaken, EmailTaken, Forbidden: If a unique rule of the domain is broken.
            NotFound: If a new row's account has gone to another reseller since it was read.
        """
        try:
            return await self._connection.execute_query_dict(statement.text, statement.values)
        except IntegrityError as broken:
            constraint = getattr(broken.args[0], "constraint_name", None)
            if constraint not in _TAKEN:
                raise
            raise _TAKEN[constraint](field=_TAKEN_FIELD.get(constraint)) from None
        except OperationalError as failed:
            if not isinstance(failed.args[0], asyncpg.InsufficientPrivilegeError) or (
                "row-level security" not in str(failed)
            ):
                raise
            raise NotFound("There is no such account.") from None

    async def one(self, statement: "Statement") -> dict[str, Any] | None:
        """Run a statement and return its first row, or None."""
        rows = await self.query(statement)
        return rows[0] if rows else None


@asynccontextmanager
async def open_door(reach: Reach, proof: str | None = None) -> AsyncIterator[Door]:
    """Begin a transaction that sees no further than the reach; commit at the end.

    Args:
        reach: What may be seen.
        proof: SQL of :meth:`Actor.proof`: it begins only while that credential lives.

    Raises:
        Unauthenticated: If the credential has ended since it was judged.
        InsufficientScope: If it may do less than when it was judged.
        TimedOut: If no answer came to the commit, which may have been made: what the caller repeats
            must be harmless to repeat.
        Unavailable: If the database does not answer, or not in time.
    """
    opening = reach.opening() if proof is None else f"{reach.opening()}, {proof}"
    try:
        async with database.client().transaction(opening) as connection:
            yield Door(connection, reach)
    except _CredentialEnded:
        raise Unauthenticated from None
    except _CredentialNarrowed:
        raise InsufficientScope(
            "What this credential may do has just changed. Try again."
        ) from None
    except TransactionManagementError as failure:
        if not isinstance(failure.__cause__, asyncpg.ReadOnlySQLTransactionError):
            raise
        log.warning("database.unavailable", reason="read-only")  # a primary that was demoted
        raise Unavailable from failure
    except database.OutcomeUnknown as failure:
        log.warning("database.unavailable", reason="commit unanswered")
        raise TimedOut from failure
    except _UNREACHABLE as failure:
        if isinstance(failure, asyncpg.DataError):
            raise  # a mistake of ours, which trying again would only hide
        log.warning("database.unavailable", reason=type(failure).__name__)
        raise Unavailable from failure


class Statement:
    """SQL and its values, numbered as they are bound."""

    def __init__(self, text: str = "") -> None:
        self.text = text
        self.values: list[object] = []

    def bind(self, value: object) -> str:
        """Add a value and return its placeholder."""
        self.values.append(value)
        return f"${len(self.values)}"

    def within(self, reach: Reach, *, account: str, reseller: str, as_range: bool = False) -> str:
        """Return the condition that keeps a query within a reach; the first wall.

        Args:
            reach: The actor's.
            account: The column that holds the owning account.
            reseller: The column that holds its reseller.
            as_range: Whether a plan may begin with all that is in reach, as a list does. Where rows
                are named by something narrower it must not: a plan made for any tenant takes each
                to be of the average size, and would read all of a large one.
        """
        if reach.extent is Extent.ALL:
            return "TRUE"
        column = reseller if reach.extent is Extent.FLEET else account
        compared = f"{column} = {self.bind(reach.id)}"
        # Not what an index is searched for, though it says the same.
        return compared if as_range else f"CASE WHEN {compared} THEN TRUE END"

    def insert(self, table: str, rows: list[dict[str, Any]]) -> "Statement":
        """Make this one INSERT of rows with the same columns.

        Args:
            table: A table's name, from the code alone.
            rows: At least one; values by column.
        """
        columns = list(rows[0])
        lines = ", ".join(
            "(" + ", ".join(self.bind(row[column]) for column in columns) + ")" for row in rows
        )
        self.text = f"INSERT INTO {table} ({', '.join(columns)}) VALUES {lines}"
        return self


def as_uuid(value: object) -> UUID:
    """Return a UUID column's value; the driver's type extends the standard library's."""
    return value if isinstance(value, UUID) else UUID(str(value))
