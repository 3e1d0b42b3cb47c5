"""Query: the roots to read from, noun by noun."""

import strawberry

from schema.account_queries import AccountQueries
from schema.token_queries import TokenQueries


@strawberry.type(description="What can be read.")
class Query(AccountQueries, TokenQueries):
    """The query root."""
