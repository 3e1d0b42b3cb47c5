"""What the owner of accounts and tokens calls; the bound is counted from the answers."""

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from itertools import count
from typing import Any

import httpx2
from evidence import Account, Token
from question import SCOPE
from stack import Stack

from service.clock import SystemClock

EMAIL = "operator@example.com"
PASSWORD = "correct horse battery"
CALL_SECONDS_MAX = 3.0
NEVER = datetime(2100, 1, 1, tzinfo=UTC)

OTHER_SCOPE = "dns:read"
RANGE = "192.0.2.0/24"
OTHER_RANGE = "192.0.2.0/25"
"""What a token has beside, and keeps after, what the checkers ask for."""


class Failed(Exception):
    """A call of the API did not bring a clean answer."""


class Api:
    """What the owner calls; each call raises Failed on anything but a clean success."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._http = httpx2.AsyncClient(timeout=CALL_SECONDS_MAX)
        self._headers: dict[str, str] = {}
        # One caller's calls of /revoke are counted; these are many callers.
        self._callers = map(IPv4Address, count(int(IPv4Address("10.0.0.0"))))

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

    async def call(self, web: str, name: str, selection: str, kind: str, /, **values: Any) -> Any:
        """Run a mutation, of an input of a kind, and return its payload.

        Raises:
            Failed: On anything but a clean success.
        """
        query = (
            f"mutation ($input: {kind}!)"
            f" {{ {name}(input: $input) {{ {selection} userErrors {{ code }} }} }}"
        )
        body = {"query": query, "variables": {"input": values}}
        answer = await self._post(f"{self._stack.url(web)}/graphql", self._headers, json=body)
        payload = (answer.json().get("data") or {}).get(name)
        if not payload or payload["userErrors"]:
            raise Failed(answer.text)
        return payload

    async def sign_in(self) -> None:
        """Sign in as the operator."""
        who = {"email": EMAIL, "password": PASSWORD, "transport": "BEARER"}
        payload = await self.call("web", "signIn", "sessionSecret", "SignInInput", **who)
        self._headers = {"Authorization": f"Bearer {payload['sessionSecret']}"}

    async def create_account(
        self, name: str, kind: str = "CUSTOMER", above: Account | None = None
    ) -> Account:
        """Create an account of the operator's, or of a reseller's."""
        payload = await self.call(
            "web",
            "createAccount",
            "account { id }",
            "CreateAccountInput",
            name=name,
            email=f"{name}@example.com",
            password=PASSWORD,
            kind=kind,
            resellerId=above and above.id,
        )
        return Account(payload["account"]["id"], above)

    async def create(self, web: str, name: str, account: Account) -> Token:
        """Create a token that may do what the checkers ask for, and a little more."""
        payload = await self.call(
            web,
            "createToken",
            "token { id } secret",
            "CreateTokenInput",
            name=name,
            accountId=account.id,
            scopes=[OTHER_SCOPE, SCOPE],
            allowedIpRanges=[RANGE],
            expiresAt=NEVER.isoformat(),
        )
        return Token(name, payload["token"]["id"], payload["secret"], account)

    async def create_service_secret(self) -> str:
        """Create the token by which a validator without the database asks."""
        wanted = {"name": "upstream", "scopes": ["tokens:introspect"]}
        payload = await self.call("web", "createToken", "secret", "CreateTokenInput", **wanted)
        return str(payload["secret"])

    async def revoke(self, web: str, token: Token) -> None:
        """Revoke a token."""
        await self.call(
            web, "revokeToken", "propagation { state }", "RevokeTokenInput", id=token.id
        )

    async def revoke_held(self, web: str, token: Token) -> None:
        """Revoke a token by its secret, as whoever found it would."""
        caller = {"X-Forwarded-For": str(next(self._callers))}
        await self._post(f"{self._stack.url(web)}/revoke", caller, data={"token": token.secret})

    async def rotate(self, web: str, token: Token, *, grace_seconds: int) -> Token:
        """Give a token a new secret, and return it; asked again it is the same one."""
        payload = await self.call(
            web,
            "rotateToken",
            "secret",
            "RotateTokenInput",
            id=token.id,
            gracePeriodSeconds=grace_seconds,
            idempotencyKey=f"rotation of {token.name}".replace(" ", "-"),
        )
        return Token(f"{token.name}+", token.id, payload["secret"], token.account)

    async def narrow_scopes(self, web: str, token: Token) -> None:
        """Take from a token the scope that the checkers ask for."""
        await self._update(web, token, scopes=[OTHER_SCOPE])

    async def cut_addresses(self, web: str, token: Token) -> None:
        """Take from a token the address from which the checkers ask."""
        await self._update(web, token, allowedIpRanges=[OTHER_RANGE])

    async def expire_after(self, web: str, token: Token, *, seconds: float) -> None:
        """Have a token expire soon."""
        expires_at = SystemClock().now() + timedelta(seconds=seconds)
        await self._update(web, token, expiresAt=expires_at.isoformat())

    async def suspend(self, web: str, account: Account) -> None:
        """Suspend an account, or a reseller with its customers."""
        await self._change_account(web, "suspendAccount", account)

    async def resume(self, web: str, account: Account) -> None:
        """Let a suspended account be used again."""
        await self._change_account(web, "resumeAccount", account)

    async def _update(self, web: str, token: Token, **changes: Any) -> None:
        selection = "propagation { state }"
        await self.call(web, "updateToken", selection, "UpdateTokenInput", id=token.id, **changes)

    async def _change_account(self, web: str, name: str, account: Account) -> None:
        kind = f"{name[0].upper()}{name[1:]}Input"
        await self.call(web, name, "propagation { state }", kind, id=account.id)

    async def _post(self, url: str, headers: dict[str, str], **body: Any) -> httpx2.Response:
        try:
            answer = await self._http.post(url, headers=headers, **body)
        except httpx2.HTTPError as failure:
            raise Failed(type(failure).__name__) from failure
        if answer.status_code != 200:
            raise Failed(answer.text)
        return answer
