"""Queries of accounts, and who is calling."""

from typing import Annotated

import strawberry

from schema import node_ids
from schema.account_types import Account, AccountConnection, Viewer
from schema.context import Info
from schema.member_types import Member
from schema.relay import After, First
from schema.results import MissingIsNull
from service.paging import PageRequest


@strawberry.type(description="What can be read of accounts.")
class AccountQueries:
    """Reading accounts."""

    @strawberry.field(description="Who is calling; null where nobody is signed in.")
    async def viewer(self, info: Info) -> Viewer | None:
        """Tell the caller."""
        caller = info.context.caller
        if caller is None:
            return None
        service = info.context.service
        member = await service.members.of(caller)
        return Viewer(
            account=Account.of(await service.accounts.get(caller, caller.account_id)),
            member=None if member is None else Member.of(member),
            email=None if member is None else member.email,
            role=None if member is None else member.role,
            scopes=list(caller.scopes),
        )

    @strawberry.field(
        description="An account within reach; null where there is none. Another than one's own "
        "needs `accounts:read`.",
        extensions=[MissingIsNull()],
    )
    async def account(
        self,
        info: Info,
        id: Annotated[strawberry.ID, strawberry.argument(description="The account's id.")],  # noqa: A002 - GraphQL's word
    ) -> Account | None:
        """Read one account."""
        actor = info.context.actor
        account_id = node_ids.decode(node_ids.ACCOUNT, id)
        return Account.of(await info.context.service.accounts.get(actor, account_id))

    @strawberry.field(
        description="The accounts below the caller's, by name: a reseller's customers, for the "
        "operator all. The plain list, for who may read no tokens: `fleet` lists the same accounts "
        "with counts of their tokens, filtered and sorted. Needs `accounts:read`."
    )
    async def accounts(self, info: Info, first: First, after: After = None) -> AccountConnection:
        """Read one page of accounts."""
        page = await info.context.service.accounts.page(
            info.context.actor, PageRequest(first, after)
        )
        return AccountConnection.of(page)

    @strawberry.field(
        description="The rights that tokens of the caller's account may be given, so that a form "
        "need not know them."
    )
    async def available_scopes(self, info: Info) -> list[str]:
        """List the catalogue as far as the caller may grant it."""
        return list(await info.context.service.accounts.available_scopes(info.context.actor))
