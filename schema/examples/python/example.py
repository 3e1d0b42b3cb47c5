"""Sign in, create a token, list, watch what happens to it, and revoke it.

Needs ``gql[aiohttp,websockets]``. Usage:
``python example.py http://127.0.0.1:8000/graphql you@example.com your-password``
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from gql import Client, gql
from gql.transport.aiohttp import AIOHTTPTransport
from gql.transport.websockets import WebsocketsTransport

SIGN_IN = gql("""
mutation SignIn($email: String!, $password: String!) {
  signIn(input: {email: $email, password: $password, transport: BEARER}) {
    sessionSecret
    userErrors { code message }
  }
}
""")
CREATE = gql("""
mutation Create($name: String!, $expiresAt: DateTime!, $key: String!) {
  createToken(
    input: {name: $name, scopes: ["dns:read"], expiresAt: $expiresAt, idempotencyKey: $key}
  ) {
    token { id name }
    secret
    userErrors { code message field }
  }
}
""")
LIST = gql("""
query List($after: String) {
  tokens(first: 50, after: $after, filter: {status: ACTIVE}) {
    edges { node { id name expiresAt lastUsedAt } }
    pageInfo { hasNextPage endCursor }
  }
}
""")
EVENTS = gql("subscription Events { tokenEvents { cursor event { action subjectId } } }")
REVOKE = gql("""
mutation Revoke($id: ID!) {
  revokeToken(input: {id: $id, waitFor: ALL_VALIDATORS}) {
    token { status }
    propagation { state effectiveEverywhereBy }
    userErrors { code message }
  }
}
""")


class RefusedError(Exception):
    """A mutation that changed nothing; ``code`` is stable, to branch on."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def made(payload: dict[str, Any]) -> dict[str, Any]:
    """Return the payload of a mutation.

    Raises:
        RefusedError: If it changed nothing.
    """
    for refusal in payload["userErrors"]:
        raise RefusedError(refusal["code"], refusal["message"])
    return payload


async def names(session: Any) -> AsyncIterator[str]:
    """Yield the names of all live tokens, page by page."""
    after = None
    while True:
        page = (await session.execute(LIST, variable_values={"after": after}))["tokens"]
        for edge in page["edges"]:
            yield edge["node"]["name"]
        if not page["pageInfo"]["hasNextPage"]:
            return
        after = page["pageInfo"]["endCursor"]


async def main(url: str, email: str, password: str) -> None:
    """Do it all once."""
    async with Client(transport=AIOHTTPTransport(url=url)) as anonymous:
        answer = await anonymous.execute(
            SIGN_IN, variable_values={"email": email, "password": password}
        )
    authorization = {"Authorization": f"Bearer {made(answer['signIn'])['sessionSecret']}"}
    live = WebsocketsTransport(
        url="ws" + url.removeprefix("http"), init_payload=dict(authorization)
    )
    async with (
        Client(transport=AIOHTTPTransport(url=url, headers=authorization)) as session,
        Client(transport=live) as watching,
    ):
        events = watching.subscribe(EVENTS)
        await anext(events)  # the first message tells where the stream begins
        variables = {
            "name": f"example {uuid4().hex[:8]}",
            "expiresAt": (datetime.now(UTC) + timedelta(days=1)).isoformat(),
            "key": str(uuid4()),  # the same key again gives the same secret
        }
        created = made((await session.execute(CREATE, variable_values=variables))["createToken"])
        token, secret = created["token"], created["secret"]
        print(f"created {token['name']}: {secret[:8]}…{secret[-4:]}")
        print(f"listed {token['name'] in [name async for name in names(session)]}")
        print(f"told {(await anext(events))['tokenEvents']['event']['action']}")
        answer = await session.execute(REVOKE, variable_values={"id": token["id"]})
        print(f"revoked {made(answer['revokeToken'])['propagation']['state']}")
        await events.aclose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
