"""The first tables, and around them what the ORM cannot say: the second wall and the guards.

Tortoise 1.1.9 forgets ``Meta.constraints`` of a new model and indexes no foreign key, so checks,
keys, indexes, policies and triggers are SQL, kept whole beside this file.
"""

import functools
from importlib import resources
from json import dumps, loads

from tortoise import fields, migrations
from tortoise.contrib.postgres.fields import ArrayField
from tortoise.migrations import operations as ops

from service.clock import new_id
from service.verdict import AccountKind, CredentialKind

_GUARDS = resources.files("service.migrations")


class Migration(migrations.Migration):
    initial = True

    operations = [
        ops.CreateModel(
            name="Account",
            fields=[
                (
                    "id",
                    fields.UUIDField(primary_key=True, default=new_id, unique=True, db_index=True),
                ),
                (
                    "kind",
                    fields.CharEnumField(
                        description="OPERATOR: OPERATOR\nRESELLER: RESELLER\nCUSTOMER: CUSTOMER",
                        enum_type=AccountKind,
                        max_length=10,
                    ),
                ),
                ("reseller_id", fields.UUIDField(null=True)),
                ("name", fields.CharField(max_length=100)),
                ("grantable_scopes", ArrayField(element_type="TEXT")),
                ("created_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                (
                    "suspended_at",
                    fields.DatetimeField(null=True, auto_now=False, auto_now_add=False),
                ),
                ("closed_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
            ],
            options={
                "table": "account",
                "app": "service",
                "pk_attr": "id",
                "table_description": "A tenant: the operator, a reseller or a customer.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="ApiToken",
            fields=[
                (
                    "id",
                    fields.UUIDField(primary_key=True, default=new_id, unique=True, db_index=True),
                ),
                ("account_id", fields.UUIDField()),
                ("reseller_id", fields.UUIDField(null=True)),
                (
                    "kind",
                    fields.CharEnumField(
                        description="API_TOKEN: API_TOKEN\nSESSION: SESSION",
                        enum_type=CredentialKind,
                        max_length=9,
                    ),
                ),
                ("member_id", fields.UUIDField(null=True)),
                ("name", fields.CharField(max_length=50)),
                ("scopes", ArrayField(element_type="TEXT")),
                ("allowed_ip_ranges", ArrayField(element_type="TEXT")),
                ("created_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("not_before", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                ("expires_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                (
                    "suspended_at",
                    fields.DatetimeField(null=True, auto_now=False, auto_now_add=False),
                ),
                ("revoked_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                ("revocation_reason", fields.CharField(null=True, max_length=20)),
                ("swept_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                (
                    "last_used_at",
                    fields.DatetimeField(null=True, auto_now=False, auto_now_add=False),
                ),
                ("last_used_address", fields.CharField(null=True, max_length=45)),
                ("version", fields.IntField(default=1)),
            ],
            options={
                "table": "api_token",
                "app": "service",
                "pk_attr": "id",
                "table_description": "The record of a credential; the secret is not in it.",
            },
            bases=["TenantRow"],
        ),
        ops.CreateModel(
            name="AuditEvent",
            fields=[
                (
                    "id",
                    fields.UUIDField(primary_key=True, default=new_id, unique=True, db_index=True),
                ),
                ("account_id", fields.UUIDField()),
                ("reseller_id", fields.UUIDField(null=True)),
                ("occurred_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("action", fields.CharField(max_length=40)),
                ("subject_id", fields.UUIDField()),
                ("actor_account_id", fields.UUIDField(null=True)),
                ("actor_member_id", fields.UUIDField(null=True)),
                ("actor_token_id", fields.UUIDField(null=True)),
                ("address", fields.CharField(null=True, max_length=45)),
                ("request_id", fields.CharField(null=True, max_length=64)),
                (
                    "details",
                    fields.JSONField(
                        encoder=functools.partial(dumps, separators=(",", ":")), decoder=loads
                    ),
                ),
            ],
            options={
                "table": "audit_event",
                "app": "service",
                "pk_attr": "id",
                "table_description": "One change, told in the transaction that made it; never updated, never deleted.",
            },
            bases=["TenantRow"],
        ),
        ops.CreateModel(
            name="Member",
            fields=[
                (
                    "id",
                    fields.UUIDField(primary_key=True, default=new_id, unique=True, db_index=True),
                ),
                ("account_id", fields.UUIDField()),
                ("reseller_id", fields.UUIDField(null=True)),
                ("email", fields.CharField(unique=True, max_length=254)),
                ("password_hash", fields.CharField(max_length=255)),
                ("created_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                (
                    "disabled_at",
                    fields.DatetimeField(null=True, auto_now=False, auto_now_add=False),
                ),
            ],
            options={
                "table": "member",
                "app": "service",
                "pk_attr": "id",
                "table_description": "A person who signs in for an account, by an e-mail address unique on the platform.",
            },
            bases=["TenantRow"],
        ),
        ops.CreateModel(
            name="Notice",
            fields=[
                (
                    "id",
                    fields.UUIDField(primary_key=True, default=new_id, unique=True, db_index=True),
                ),
                ("account_id", fields.UUIDField()),
                ("reseller_id", fields.UUIDField(null=True)),
                ("token_id", fields.UUIDField()),
                ("expires_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("threshold_days", fields.SmallIntField()),
                ("recipient", fields.CharField(max_length=254)),
                ("state", fields.CharField(max_length=10)),
                ("reason", fields.CharField(null=True, max_length=200)),
                ("created_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("digest_id", fields.UUIDField(null=True)),
                (
                    "claimed_until",
                    fields.DatetimeField(null=True, auto_now=False, auto_now_add=False),
                ),
                ("attempts", fields.SmallIntField(default=0)),
                ("sent_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
            ],
            options={
                "table": "notice",
                "app": "service",
                "unique_together": (("token_id", "expires_at", "threshold_days", "recipient"),),
                "pk_attr": "id",
                "table_description": "The ledger of expiry e-mails: what was sent, to whom, or why not.",
            },
            bases=["TenantRow"],
        ),
        ops.CreateModel(
            name="OutboxEvent",
            fields=[
                (
                    "id",
                    fields.UUIDField(primary_key=True, default=new_id, unique=True, db_index=True),
                ),
                ("account_id", fields.UUIDField()),
                ("reseller_id", fields.UUIDField(null=True)),
                ("kind", fields.CharField(max_length=7)),
                ("subject", fields.CharField(max_length=64)),
                ("created_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("due_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("stage", fields.SmallIntField(default=0)),
                (
                    "confirmed_at",
                    fields.DatetimeField(null=True, auto_now=False, auto_now_add=False),
                ),
                ("done_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
            ],
            options={
                "table": "outbox_event",
                "app": "service",
                "pk_attr": "id",
                "table_description": "A drop that must reach the validators' cache, committed with the change behind it.",
            },
            bases=["TenantRow"],
        ),
        ops.CreateModel(
            name="Secret",
            fields=[
                (
                    "id",
                    fields.UUIDField(primary_key=True, default=new_id, unique=True, db_index=True),
                ),
                ("account_id", fields.UUIDField()),
                ("reseller_id", fields.UUIDField(null=True)),
                ("token_id", fields.UUIDField()),
                ("digest", fields.BinaryField()),
                ("pepper_id", fields.SmallIntField()),
                ("prefix", fields.CharField(max_length=20)),
                ("last_four", fields.CharField(max_length=4)),
                ("created_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("retires_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                (
                    "last_used_at",
                    fields.DatetimeField(null=True, auto_now=False, auto_now_add=False),
                ),
            ],
            options={
                "table": "secret",
                "app": "service",
                "pk_attr": "id",
                "table_description": "One digest that opens a token; a token has one, and two while it is rotated.",
            },
            bases=["TenantRow"],
        ),
        ops.RunSQL(
            _GUARDS.joinpath("0001_guards.sql").read_text(encoding="utf-8"),
            _GUARDS.joinpath("0001_guards_undo.sql").read_text(encoding="utf-8"),
        ),
    ]
