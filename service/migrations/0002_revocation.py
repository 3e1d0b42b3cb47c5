"""Receipts of revocations, rotation with replays, audiences, and the canary.

``audiences`` is added by SQL, with a default that PostgreSQL keeps for the old rows without
rewriting them; Tortoise 1.1.9 emits no defaults.
"""

from importlib import resources

from tortoise import fields, migrations
from tortoise.contrib.postgres.fields import ArrayField
from tortoise.migrations import operations as ops

from service.clock import new_id
from service.migration_steps import KnowField
from service.verdict import CredentialKind

_GUARDS = resources.files("service.migrations")


class Migration(migrations.Migration):
    dependencies = [("service", "0001_initial")]

    initial = False

    operations = [
        ops.AlterField(
            model_name="ApiToken",
            name="kind",
            field=fields.CharEnumField(
                description="API_TOKEN: API_TOKEN\nSESSION: SESSION\nCANARY: CANARY",
                enum_type=CredentialKind,
                max_length=9,
            ),
        ),
        KnowField(model_name="ApiToken", name="audiences", field=ArrayField(element_type="TEXT")),
        ops.AddField(
            model_name="Secret",
            name="retired_at",
            field=fields.DatetimeField(null=True, auto_now=False, auto_now_add=False),
        ),
        ops.AddField(
            model_name="Secret",
            name="reused_at",
            field=fields.DatetimeField(null=True, auto_now=False, auto_now_add=False),
        ),
        ops.AddField(
            model_name="Secret",
            name="reused_address",
            field=fields.CharField(null=True, max_length=45),
        ),
        ops.AddField(
            model_name="OutboxEvent", name="receipt_id", field=fields.UUIDField(null=True)
        ),
        ops.AddField(
            model_name="OutboxEvent",
            name="committed_at",
            field=fields.DatetimeField(null=True, auto_now=False, auto_now_add=False),
        ),
        ops.AddField(
            model_name="OutboxEvent",
            name="epoch",
            field=fields.CharField(null=True, max_length=32),
        ),
        ops.AddField(
            model_name="OutboxEvent", name="revision", field=fields.BigIntField(null=True)
        ),
        ops.CreateModel(
            name="Replay",
            fields=[
                (
                    "id",
                    fields.UUIDField(primary_key=True, default=new_id, unique=True, db_index=True),
                ),
                ("account_id", fields.UUIDField()),
                ("reseller_id", fields.UUIDField(null=True)),
                ("principal_id", fields.UUIDField()),
                ("key_digest", fields.BinaryField()),
                ("request_digest", fields.BinaryField()),
                ("token_id", fields.UUIDField()),
                ("receipt_id", fields.UUIDField(null=True)),
                ("sealed_secret", fields.BinaryField()),
                ("expires_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
            ],
            options={
                "table": "replay",
                "app": "service",
                "unique_together": (("principal_id", "key_digest"),),
                "pk_attr": "id",
                "table_description": "A secret that was just made, sealed, so that its lost answer can be given again.",
            },
            bases=["TenantRow"],
        ),
        ops.RunSQL(
            _GUARDS.joinpath("0002_guards.sql").read_text(encoding="utf-8"),
            _GUARDS.joinpath("0002_guards_undo.sql").read_text(encoding="utf-8"),
        ),
    ]
