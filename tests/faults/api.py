"""What the owner of tokens calls; the bound is counted from the answers."""

from datetime import UTC, datetime
from typing import Any

import httpx2
from evidence import FOREVER, Token
from stack import Stack

from service.clock import boottime

EMAIL = "operator@example.com"
PASSWORD = "correct horse battery"
CALL_SECONDS_MAX = 3.0
NEVER = datetime(2100, 1, 1, tzinfo=UTC)


class Failed(Exception):
    """A call of the API did not bring a clean answer."""


class Api:
    """What the token's owner calls; the answer is what the bound is counted from."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._http = httpx2.AsyncClient(timeout=CALL_SECONDS_MAX)
        self._headers: dict[str, str] = {}

    async def close(self) -> None:
        """Close every connection."""
        await self._http.aclose()

    async def is_ready(self, web: str) -> bool:
        """Return whether a web process serves requests."""
        try:
            answer = await self._http.get(f"{self._stack.url(web)}/readyz")
        except httpx2.HTTPError:
            return False
        return answer.status_code == 200

    async def call(self, web: str, name: str, selection: str, /, **values: Any) -> dict[str, Any]:
        """Run a mutation and return its payload.

        Raises:
            Failed: On anything but a clean success.
        """
        kind = name[0].upper() + name[1:]
        query = (
            f"mutation ($input: {kind}Input!)"
            f" {{ {name}(input: $input) {{ {selection} userErrors {{ code }} }} }}"
        )
        body = {"query": query, "variables": {"input": values}}
        try:
            answer = await self._http.post(
                f"{self._stack.url(web)}/graphql", json=body, headers=self._headers
            )
        except httpx2.HTTPError as failure:
            raise Failed(type(failure).__name__) from failure
        told = answer.json() if answer.status_code == 200 else {}
        payload = (told.get("data") or {}).get(name)
        if not payload or payload["userErrors"]:
            raise Failed(answer.text)
        return dict(payload)

    async def sign_in(self) -> None:
        """Sign in as the operator."""
        payload = await self.call(
            "web", "signIn", "sessionSecret", email=EMAIL, password=PASSWORD, transport="BEARER"
        )
        self._headers = {"Authorization": f"Bearer {payload['sessionSecret']}"}

    async def create(self, web: str, name: str) -> Token:
        """Create a token."""
        payload = await self.call(
            web,
            "createToken",
            "token { id } secret",
            name=name,
            scopes=["dns:read"],
            expiresAt=NEVER.isoformat(),
        )
        token = Token(name, payload["token"]["id"], payload["secret"])
        token.lives.append((boottime(), FOREVER))
        return token

    async def revoke(self, web: str, token: Token) -> None:
        """Revoke a token."""
        await self.call(web, "revokeToken", "propagation { state }", id=token.id)
