"""The ledger tells who was told of which expiry, to those within whose reach it is."""

from collections.abc import Callable
from typing import Any

import asyncpg
import pytest
from conftest import FrozenClock, GraphQL
from factories import Platform, sign_in
from notice_scene import Ledger, open_scene

from schema import node_ids
from service.composition import Service

QUERY = """
query($first: Int!, $after: String, $filter: ExpiryNoticeFilter) {
  notices(first: $first, after: $after, filter: $filter) {
    edges { cursor node {
      recipient thresholdDays state reason sentAt token { name } account { id }
    } }
    pageInfo { hasNextPage endCursor }
  }
}
"""
TOLD = ("customer", "customer", "sibling", "stranger")

Secrets = dict[str, str]


@pytest.fixture
async def secrets(
    service: Service, clock: FrozenClock, platform: Platform, owner: asyncpg.Connection
) -> Secrets:
    """Each of four tokens has been told of; return fresh sessions by whose they are."""
    ledger = Ledger(owner)
    async with open_scene(service, clock, platform, owner) as scene:
        for name in TOLD:
            await scene.make_aging(getattr(platform, name))
        clock.advance(days=335)
        await scene.notices.send_due()
    everybody = [*dict.fromkeys(TOLD), "operator", "reseller", "other_reseller"]
    emails = {name: await ledger.email_of(getattr(platform, name)) for name in everybody}
    return {name: (await sign_in(service, email))[1] for name, email in emails.items()}


async def nodes(graphql: GraphQL, secret: str, **variables: Any) -> list[dict[str, Any]]:
    answer = await graphql(QUERY, secret=secret, **({"first": 100} | variables))
    assert "errors" not in answer, answer
    return [edge["node"] for edge in answer["data"]["notices"]["edges"]]


async def test_everybody_reads_the_notices_of_their_own_reach_alone(
    secrets: Secrets, platform: Platform, graphql: GraphQL, owner: asyncpg.Connection
) -> None:
    def accounts(*names: str) -> list[str]:
        ids = [getattr(platform, name).account_id for name in names]
        return sorted(node_ids.encode(node_ids.ACCOUNT, account_id) for account_id in ids)

    expected = {
        "customer": accounts("customer", "customer"),
        "sibling": accounts("sibling"),
        "reseller": accounts("customer", "customer", "sibling"),
        "other_reseller": accounts("stranger"),
        "operator": accounts(*TOLD),
    }
    for name, theirs in expected.items():
        found = await nodes(graphql, secrets[name])

        assert sorted(node["account"]["id"] for node in found) == theirs
        assert {(node["state"], node["thresholdDays"]) for node in found} == {("SENT", 30)}
        assert all(node["token"] and node["recipient"] and node["sentAt"] for node in found)
    email = await Ledger(owner).email_of(platform.sibling)
    assert [node["recipient"] for node in await nodes(graphql, secrets["sibling"])] == [email]


async def test_a_customer_is_not_told_which_of_its_resellers_people_were_written_to(
    secrets: Secrets, platform: Platform, graphql: GraphQL, owner: asyncpg.Connection
) -> None:
    above = await Ledger(owner).email_of(platform.reseller)
    await owner.execute(
        "UPDATE notice SET recipient = $1 WHERE account_id = $2",
        *(above, platform.sibling.account_id),
    )

    below = await nodes(graphql, secrets["sibling"])
    by_the_reseller = await nodes(graphql, secrets["reseller"])

    assert [node["recipient"] for node in below] == [None]
    assert above in [node["recipient"] for node in by_the_reseller]


async def test_pages_hold_every_notice_once_and_filters_narrow(
    secrets: Secrets, platform: Platform, graphql: GraphQL
) -> None:
    seen, after, page = [], None, {}
    for _ in TOLD:
        answer = await graphql(QUERY, secret=secrets["operator"], first=1, after=after)
        page = answer["data"]["notices"]
        seen += [edge["node"]["token"]["name"] for edge in page["edges"]]
        after = page["pageInfo"]["endCursor"]
    customer = node_ids.encode(node_ids.ACCOUNT, platform.customer.account_id)
    narrow: Callable[..., Any] = lambda **only: nodes(graphql, secrets["reseller"], filter=only)  # noqa: E731 - three short questions

    assert page["pageInfo"]["hasNextPage"] is False
    assert len(set(seen)) == len(TOLD)
    assert len(await narrow(accountId=customer)) == 2
    assert len(await narrow(state="SENT")) == 3
    assert await narrow(state="FAILED") == []


async def test_a_foreign_account_or_cursor_gives_nothing_away(
    secrets: Secrets, platform: Platform, graphql: GraphQL
) -> None:
    foreign = node_ids.encode(node_ids.ACCOUNT, platform.customer.account_id)
    page = await graphql(QUERY, secret=secrets["customer"], first=1)
    cursor = page["data"]["notices"]["pageInfo"]["endCursor"]

    by_filter = await nodes(graphql, secrets["stranger"], filter={"accountId": foreign})
    by_cursor = await nodes(graphql, secrets["stranger"], after=cursor)
    nonsense = await graphql(QUERY, secret=secrets["stranger"], first=1, after="nonsense")

    assert by_filter == []
    assert {node["account"]["id"] for node in by_cursor} <= {
        node_ids.encode(node_ids.ACCOUNT, platform.stranger.account_id)
    }
    assert nonsense["errors"][0]["extensions"]["code"] == "INVALID_INPUT"
