"""What belongs to one tenant, for others to reach for."""

from typing import Any, Self
from uuid import UUID

import asyncpg
from factories import Platform, make_token
from rotation_scene import rotate, secrets_of
from stores import one_row

from service.access.actor import Actor
from service.composition import Service

INSERTING = {"insert_token", "insert_account", "insert_member", "insert_secret", "claim_replay"}
"""The functions of the door that add a row; every other one reads or changes what is there."""


class Foreign:
    """What belongs to the customer, for others to reach for."""

    def __init__(
        self, customer: Actor, token_id: UUID, now: Any, rows: dict[str, dict[str, Any]]
    ) -> None:
        assert customer.member_id is not None
        self.account_id = customer.account_id
        self.reseller_id = customer.reseller_id
        self.member_id = customer.member_id
        self.session_id = customer.token_id
        self.token_id = token_id
        self.now = now
        self.retiring_id = rows["retiring"]["id"]
        self.current_id = rows["current"]["id"]
        self.digest = bytes(rows["current"]["digest"])
        self.receipt_id = rows["replay"]["receipt_id"]
        self.key_digest = bytes(rows["replay"]["key_digest"])

    @classmethod
    async def make(cls, service: Service, platform: Platform, owner: asyncpg.Connection) -> Self:
        """Create a token of the customer's that is being rotated."""
        created = await make_token(service, platform.customer, name="theirs")
        await rotate(service, platform.customer, created.token.id, key="a-key-of-theirs")
        retiring, current = await secrets_of(owner, created.token.id)
        replay = await one_row(owner, "SELECT * FROM replay")
        rows = {"retiring": retiring, "current": current, "replay": replay}
        return cls(platform.customer, created.token.id, service.clock.now(), rows)
