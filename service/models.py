"""The tables. Rows of tenants are reached through :mod:`service.access` alone.

Status is never a column: it is read off the instants, so that it cannot lie. ``account_id`` and
``reseller_id`` stand on every tenant row, so that row-level security and each list need no join. A
reseller belongs to its own fleet: its ``reseller_id`` is its own id, and its reach is one range.
"""

from typing import Any

from tortoise import fields
from tortoise.contrib.postgres.fields import ArrayField
from tortoise.models import Model

from service.clock import new_id
from service.roles import Role
from service.verdict import AccountKind, CredentialKind


class TenantRow(Model):
    """What every row of a tenant carries."""

    id = fields.UUIDField(primary_key=True, default=new_id)
    account_id = fields.UUIDField()
    reseller_id = fields.UUIDField(null=True)

    class Meta:
        """Only its children are tables."""

        abstract = True


class Account(Model):
    """A tenant: the operator, a reseller or a customer."""

    id = fields.UUIDField(primary_key=True, default=new_id)
    kind = fields.CharEnumField(AccountKind, max_length=10)
    reseller_id = fields.UUIDField(null=True)
    name = fields.CharField(max_length=100)
    grantable_scopes: fields.Field[list[str]] = ArrayField("text")
    created_at = fields.DatetimeField()
    suspended_at = fields.DatetimeField(null=True)
    closed_at = fields.DatetimeField(null=True)

    class Meta:
        """Table options."""

        table = "account"


class Member(TenantRow):
    """A person who signs in for an account, by an e-mail address unique on the platform."""

    email = fields.CharField(max_length=254)
    role = fields.CharEnumField(Role, max_length=7)
    password_hash = fields.CharField(max_length=255, null=True)
    password_changed_at = fields.DatetimeField(null=True)
    password_version = fields.IntField(default=1)
    created_at = fields.DatetimeField()
    invited_at = fields.DatetimeField(null=True)
    disabled_at = fields.DatetimeField(null=True)
    version = fields.IntField(default=1)

    class Meta:
        """Table options."""

        table = "member"


class PasswordReset(TenantRow):
    """That a member is to set a password by a link; the worker makes its secret and sends it."""

    member_id = fields.UUIDField(unique=True)
    purpose = fields.CharField(max_length=10)
    created_at = fields.DatetimeField()
    due_at = fields.DatetimeField(null=True)
    attempts = fields.SmallIntField(default=0)
    digest = fields.BinaryField(null=True)
    expires_at = fields.DatetimeField(null=True)
    sent_at = fields.DatetimeField(null=True)
    failure = fields.CharField(max_length=200, null=True)

    class Meta:
        """Table options."""

        table = "password_reset"


class ApiToken(TenantRow):
    """The record of a credential; the secret is not in it.

    A session of a person is one of them (``kind``), so that it is revoked, expired, swept and
    last-used by the same code.
    """

    kind = fields.CharEnumField(CredentialKind, max_length=9)
    member_id = fields.UUIDField(null=True)
    name = fields.CharField(max_length=50)
    scopes: fields.Field[list[str]] = ArrayField("text")
    allowed_ip_ranges: fields.Field[list[str]] = ArrayField("text")
    audiences: fields.Field[list[str]] = ArrayField("text")
    created_at = fields.DatetimeField()
    not_before = fields.DatetimeField(null=True)
    expires_at = fields.DatetimeField(null=True)
    suspended_at = fields.DatetimeField(null=True)
    revoked_at = fields.DatetimeField(null=True)
    revocation_reason = fields.CharField(max_length=20, null=True)
    swept_at = fields.DatetimeField(null=True)
    last_used_at = fields.DatetimeField(null=True)
    last_used_address = fields.CharField(max_length=45, null=True)
    password_confirmed_at = fields.DatetimeField(null=True)
    version = fields.IntField(default=1)
    description = fields.CharField(max_length=500, null=True)
    metadata: fields.Field[dict[str, Any]] = fields.JSONField()
    created_by_account_id = fields.UUIDField(null=True)
    created_by_member_id = fields.UUIDField(null=True)
    counted_as = fields.SmallIntField(default=0)
    recount_at = fields.DatetimeField(null=True)

    class Meta:
        """Table options."""

        table = "api_token"


class Secret(TenantRow):
    """One digest that opens a token; a token has one, and two while it is rotated.

    ``retires_at`` is its end as planned, ``retired_at`` that it was ended by an act.
    """

    token_id = fields.UUIDField()
    digest = fields.BinaryField()
    pepper_id = fields.SmallIntField()
    prefix = fields.CharField(max_length=20)
    last_four = fields.CharField(max_length=4)
    created_at = fields.DatetimeField()
    retires_at = fields.DatetimeField(null=True)
    retired_at = fields.DatetimeField(null=True)
    last_used_at = fields.DatetimeField(null=True)
    reused_at = fields.DatetimeField(null=True)
    reused_address = fields.CharField(max_length=45, null=True)

    class Meta:
        """Table options."""

        table = "secret"


class Replay(TenantRow):
    """A secret that was just made, sealed, so that its lost answer can be given again."""

    principal_id = fields.UUIDField()
    key_digest = fields.BinaryField()
    request_digest = fields.BinaryField()
    token_id = fields.UUIDField()
    receipt_id = fields.UUIDField(null=True)
    sealed_secret = fields.BinaryField()
    expires_at = fields.DatetimeField()

    class Meta:
        """Table options."""

        table = "replay"
        unique_together = (("principal_id", "key_digest"),)


class Job(TenantRow):
    """A change of many tokens, as far as it has come.

    ``due_at`` is whose turn it is: whoever was served goes behind, whoever failed waits.
    """

    kind = fields.CharField(max_length=7)
    state = fields.CharField(max_length=9)
    parameters: fields.Field[dict[str, Any]] = fields.JSONField()
    idempotency_key = fields.CharField(max_length=100, null=True)
    request_digest = fields.BinaryField()
    total = fields.IntField()
    succeeded = fields.IntField(default=0)
    failed = fields.IntField(default=0)
    skipped = fields.IntField(default=0)
    created_at = fields.DatetimeField()
    started_at = fields.DatetimeField(null=True)
    finished_at = fields.DatetimeField(null=True)
    due_at = fields.DatetimeField()
    attempts = fields.SmallIntField(default=0)
    error_code = fields.CharField(max_length=40, null=True)
    actor_member_id = fields.UUIDField(null=True)
    actor_token_id = fields.UUIDField()
    address = fields.CharField(max_length=45, null=True)
    request_id = fields.CharField(max_length=64, null=True)

    class Meta:
        """Table options."""

        table = "job"


class JobItem(TenantRow):
    """One token of a job, and what became of it."""

    job_id = fields.UUIDField()
    token_id = fields.UUIDField()
    state = fields.CharField(max_length=9)
    error_code = fields.CharField(max_length=40, null=True)

    class Meta:
        """Table options."""

        table = "job_item"


class Notice(TenantRow):
    """The ledger of expiry e-mails: what was sent, to whom, or why not."""

    token_id = fields.UUIDField()
    expires_at = fields.DatetimeField()
    threshold_days = fields.SmallIntField()
    recipient = fields.CharField(max_length=254)
    state = fields.CharField(max_length=10)
    reason = fields.CharField(max_length=200, null=True)
    created_at = fields.DatetimeField()
    digest_id = fields.UUIDField(null=True)
    claimed_until = fields.DatetimeField(null=True)
    attempts = fields.SmallIntField(default=0)
    sent_at = fields.DatetimeField(null=True)

    class Meta:
        """Table options."""

        table = "notice"
        unique_together = (("token_id", "expires_at", "threshold_days", "recipient"),)


class AuditEvent(TenantRow):
    """One change, told in the transaction that made it; sealed once, and never changed again."""

    occurred_at = fields.DatetimeField()
    action = fields.CharField(max_length=40)
    subject_id = fields.UUIDField()
    actor_account_id = fields.UUIDField(null=True)
    actor_member_id = fields.UUIDField(null=True)
    actor_token_id = fields.UUIDField(null=True)
    address = fields.CharField(max_length=45, null=True)
    request_id = fields.CharField(max_length=64, null=True)
    details: fields.Field[dict[str, Any]] = fields.JSONField()
    position = fields.BigIntField(null=True)
    sequence = fields.BigIntField(null=True)
    hash = fields.BinaryField(null=True)

    class Meta:
        """Table options."""

        table = "audit_event"


class Policy(TenantRow):
    """What one level asks of the tokens of an account and of all below it."""

    level = fields.CharField(max_length=8)
    max_lifetime_days = fields.IntField(null=True)
    requires_address_limits = fields.BooleanField()
    allowed_ip_ranges: fields.Field[list[str] | None] = ArrayField("text", null=True)
    allowed_scopes: fields.Field[list[str] | None] = ArrayField("text", null=True)
    token_cap = fields.IntField(null=True)
    notice_threshold_days: fields.Field[list[int] | None] = ArrayField("int", null=True)
    allows_delegation = fields.BooleanField()
    changed_at = fields.DatetimeField()
    version = fields.IntField(default=1)

    class Meta:
        """Table options."""

        table = "policy"


class ScopeTemplate(TenantRow):
    """Scopes under a name, offered to whoever makes a token."""

    name = fields.CharField(max_length=50)
    description = fields.CharField(max_length=500, null=True)
    scopes: fields.Field[list[str]] = ArrayField("text")
    created_at = fields.DatetimeField()
    version = fields.IntField(default=1)

    class Meta:
        """Table options."""

        table = "scope_template"


class OutboxEvent(TenantRow):
    """A drop that must reach the validators' cache, committed with the change behind it."""

    kind = fields.CharField(max_length=7)
    subject = fields.CharField(max_length=64)
    created_at = fields.DatetimeField()
    due_at = fields.DatetimeField()
    stage = fields.SmallIntField(default=0)
    receipt_id = fields.UUIDField(null=True)
    committed_at = fields.DatetimeField(null=True)
    epoch = fields.CharField(max_length=32, null=True)
    revision = fields.BigIntField(null=True)
    confirmed_at = fields.DatetimeField(null=True)
    done_at = fields.DatetimeField(null=True)

    class Meta:
        """Table options."""

        table = "outbox_event"
