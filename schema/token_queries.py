"""Queries of tokens and of the receipts of their changes."""

from typing import Annotated

import strawberry

from schema import node_ids
from schema.context import Info
from schema.enums import TokenOrder
from schema.propagation_types import Propagation
from schema.relay import After, First, OrderDirection
from schema.results import MissingIsNull
from schema.token_inputs import ApiTokenFilter, ApiTokenOrder, ExplainTokenInput
from schema.token_types import ApiToken, ApiTokenConnection, TokenExplanation
from service.paging import PageRequest


@strawberry.type(description="What can be read of tokens.")
class TokenQueries:
    """Reading tokens."""

    @strawberry.field(
        description="A token within reach; null where there is none. Needs `tokens:read`.",
        extensions=[MissingIsNull()],
    )
    async def token(
        self,
        info: Info,
        id: Annotated[strawberry.ID, strawberry.argument(description="The token's id.")],  # noqa: A002 - GraphQL's word
    ) -> ApiToken | None:
        """Read one token."""
        actor = info.context.actor
        token_id = node_ids.decode(node_ids.TOKEN, id)
        return ApiToken.of(await info.context.service.tokens.get(actor, token_id))

    @strawberry.field(
        description="The API token that calls; null where a person does, or nobody. Needs no "
        "scope: a token may always be told what it is."
    )
    async def viewer_token(self, info: Info) -> ApiToken | None:
        """Read the token that calls."""
        caller = info.context.caller
        row = None if caller is None else await info.context.service.tokens.own(caller)
        return None if row is None else ApiToken.of(row)

    @strawberry.field(
        description="The tokens within reach: an account's own, a reseller's with those of its "
        "sub-accounts, the operator's all. Newest first unless `orderBy` says otherwise. Needs "
        "`tokens:read`."
    )
    async def tokens(
        self,
        info: Info,
        first: First,
        after: After = None,
        filter: Annotated[  # noqa: A002 - the field's common word
            ApiTokenFilter | None, strawberry.argument(description="Which of them.")
        ] = None,
        order_by: Annotated[
            ApiTokenOrder | None, strawberry.argument(description="In which order.")
        ] = None,
    ) -> ApiTokenConnection:
        """Read one page of tokens."""
        order = order_by or ApiTokenOrder(field=TokenOrder.CREATED_AT)
        page = await info.context.service.tokens.page(
            info.context.actor,
            PageRequest(first, after),
            only=filter.to_filter() if filter else None,
            order=order.field,
            descending=order.direction is OrderDirection.DESC,
        )
        return ApiTokenConnection.of(page)

    @strawberry.field(
        description="How far a change that takes something away has come; null where there is no "
        "such receipt within reach, or none any more. Needs `tokens:read`.",
        extensions=[MissingIsNull()],
    )
    async def propagation(
        self,
        info: Info,
        id: Annotated[strawberry.ID, strawberry.argument(description="The receipt's id.")],  # noqa: A002 - GraphQL's word
    ) -> Propagation | None:
        """Read one receipt."""
        actor = info.context.actor
        receipt_id = node_ids.decode(node_ids.PROPAGATION, id)
        return Propagation.of(await info.context.service.receipts.get(actor, receipt_id))

    @strawberry.field(
        description="What a validator would say of a token, and why: every check in order. Null "
        "where there is no such token within reach. Needs `tokens:read`.",
        extensions=[MissingIsNull()],
    )
    async def explain_token(
        self,
        info: Info,
        input: Annotated[ExplainTokenInput, strawberry.argument(description="Which, for what.")],  # noqa: A002 - Relay's word
    ) -> TokenExplanation | None:
        """Explain a verdict."""
        actor = info.context.actor
        question = input.to_question()
        return TokenExplanation.of(await info.context.service.explanations.explain(actor, question))
