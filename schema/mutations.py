"""Mutation: each with one Input, one Payload, one call into ``service``; by noun."""

import strawberry

from schema.account_move_mutations import AccountMoveMutations
from schema.account_mutations import AccountMutations
from schema.job_mutations import JobMutations
from schema.member_mutations import MemberMutations
from schema.password_mutations import PasswordMutations
from schema.policy_mutations import PolicyMutations
from schema.scope_template_mutations import ScopeTemplateMutations
from schema.session_mutations import SessionMutations
from schema.token_mutations import TokenMutations


@strawberry.type(description="What can be changed.")
class Mutation(
    AccountMutations,
    AccountMoveMutations,
    TokenMutations,
    SessionMutations,
    JobMutations,
    MemberMutations,
    PasswordMutations,
    PolicyMutations,
    ScopeTemplateMutations,
):
    """The mutation root."""
