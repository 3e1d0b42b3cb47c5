"""Moving a customer: its own row, and every row that carries its reseller."""

from uuid import UUID

from service.access.accounts import Account, change_account, find_account
from service.access.door import Door, Statement

# The trail is left alone: each reseller goes on seeing what happened while the customer was its.
# Tokens before secrets, as everybody else who holds both does.
_CARRYING = (
    *("api_token", "secret", "member", "password_reset", "replay", "notice", "outbox_event"),
    *("policy", "scope_template", "job", "job_item"),
)


LOCK_MILLISECONDS = 300


async def lock_customer(door: Door, account_id: UUID) -> Account:
    """Return an account and hold it and its rows, so that nobody adds any until the end.

    Its tokens and members first: whoever changes one of these holds it and then, to tell the trail,
    takes a share of the account's row. A token that is made in between can still have the two wait
    for each other; then it is the move that gives way, well before PostgreSQL would choose one.

    Raises:
        NotFound: If it is not within reach.
        Unavailable: If somebody else holds a row for longer than 0.3 s. Try again.
    """
    await door.query(Statement(f"SET LOCAL lock_timeout = {LOCK_MILLISECONDS}"))
    # A batch of a job holds the job's row and then tokens; a change of a member, that row and then
    # their sessions.
    for table in ("member", "job", "api_token"):
        statement = Statement()
        reach = statement.within(door.reach, account="account_id", reseller="reseller_id")
        statement.text = (
            f"SELECT count(*) FROM (SELECT FROM {table} WHERE account_id ="
            f" {statement.bind(account_id)} AND {reach} ORDER BY id FOR NO KEY UPDATE) held"
        )
        await door.query(statement)
    return await find_account(door, account_id, locking="FOR UPDATE OF a")


async def change_reseller(door: Door, account_id: UUID, reseller_id: UUID | None) -> Account:
    """Give a customer and all its rows another reseller.

    Args:
        door: An open door that reaches both sides.
        account_id: A customer whose row is locked.
        reseller_id: A reseller; None is the operator.

    Raises:
        NotFound: If the account is not within reach.
        AccountClosed: If it is closed.
    """
    await change_account(door, account_id, {"reseller_id": reseller_id})
    for table in _CARRYING:
        statement = Statement()
        reach = statement.within(door.reach, account="account_id", reseller="reseller_id")
        statement.text = (
            f"UPDATE {table} SET reseller_id = {statement.bind(reseller_id)}"
            f" WHERE account_id = {statement.bind(account_id)} AND {reach}"
        )
        await door.query(statement)
    return await find_account(door, account_id)  # with the caps of the new one
