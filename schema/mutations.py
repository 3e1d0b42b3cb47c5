"""Mutation: each with one Input, one Payload, one call into ``service``; by noun."""

import strawberry

from schema.account_mutations import AccountMutations
from schema.session_mutations import SessionMutations
from schema.token_mutations import TokenMutations


@strawberry.type(description="What can be changed.")
class Mutation(AccountMutations, TokenMutations, SessionMutations):
    """The mutation root."""
