"""What belongs to one tenant, for others to reach for."""

from typing import Any, Self
from uuid import UUID

import asyncpg
from factories import Platform, make_token
from job_scene import job_of
from rotation_scene import rotate, secrets_of
from stores import one_row

from service.access.actor import Actor
from service.access.jobs import Job, JobKind
from service.access.tokens import TokenFilter
from service.composition import Service
from service.policy_rules import PolicyRule
from service.roles import Role
from service.scope_templates import TemplateChanges

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
        self.invited_id = rows["invited"]["id"]
        self.template_id = rows["template"]["id"]
        self.event_id = rows["event"]["id"]
        self.position = rows["event"]["position"]
        self.token_id = token_id
        self.job: Job = rows["jobs"]["job"]
        self.empty_job_id: UUID = rows["jobs"]["empty"].id
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
        invited = await service.members.invite(
            platform.customer, "invited@example.com", Role.VIEWER
        )
        rows = {"retiring": retiring, "current": current, "replay": replay}
        rows["invited"] = {"id": invited.id}
        await service.policies.set(platform.customer, None, {PolicyRule.TOKEN_CAP: 99})
        template = TemplateChanges(name="theirs", scopes=("dns:read",))
        template_id = (await service.scope_templates.create(platform.customer, template)).id
        rows["template"] = {"id": template_id}
        begin = service.jobs.begin
        named = job_of(JobKind.SUSPEND, created.token.id)
        none = job_of(only=TokenFilter(name_contains="none such"), expected_count=9)
        rows["jobs"] = {
            "job": (await begin(platform.customer, named, idempotency_key="a-key-of-theirs")).job,
            "empty": (await begin(platform.customer, none)).job,
        }
        await owner.execute(
            "INSERT INTO notice (id, account_id, token_id, expires_at, threshold_days, recipient,"
            " state, created_at, attempts) VALUES (gen_random_uuid(), $1, $2, now(), 7,"
            " 'them@example.com', 'PENDING', now(), 0)",
            *(platform.customer.account_id, created.token.id),
        )
        await service.sealer.seal()
        newest = "SELECT * FROM audit_event ORDER BY position DESC LIMIT 1"
        rows["event"] = await one_row(owner, newest)
        return cls(platform.customer, created.token.id, service.clock.now(), rows)
