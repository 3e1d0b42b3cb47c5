"""The queries across tenants that keep counts of tokens true as time goes by."""

from datetime import datetime

from service.access.actor import EVERYTHING
from service.access.door import Statement, open_door


async def system_recount(now: datetime, *, limit: int) -> int:
    """Count up to ``limit`` tokens anew of which time has changed a facet; return how many.

    A trigger does it: to write ``recount_at`` is to ask for the facets of that instant. Rows that
    somebody else holds are skipped. Cost follows what is due, along ``api_token_recount``.
    """
    async with open_door(EVERYTHING) as door:
        statement = Statement()
        at = statement.bind(now)
        statement.text = (
            "WITH due AS ("
            f" SELECT id FROM api_token WHERE recount_at <= {at}"
            f" ORDER BY recount_at, id LIMIT {statement.bind(limit)}"
            " FOR NO KEY UPDATE SKIP LOCKED"
            f") UPDATE api_token t SET recount_at = {at} FROM due WHERE t.id = due.id"
            " RETURNING t.id"
        )
        return len(await door.query(statement))
