"""Policies that cascade, and templates of scopes."""

from importlib import resources

from tortoise import fields, migrations
from tortoise.contrib.postgres.fields import ArrayField
from tortoise.migrations import operations as ops

from service.clock import new_id

_SQL = resources.files("service.migrations")


class Migration(migrations.Migration):
    dependencies = [("service", "0007_trail")]

    initial = False

    operations = [
        ops.CreateModel(
            name="Policy",
            fields=[
                (
                    "id",
                    fields.UUIDField(primary_key=True, default=new_id, unique=True, db_index=True),
                ),
                ("account_id", fields.UUIDField()),
                ("reseller_id", fields.UUIDField(null=True)),
                ("level", fields.CharField(max_length=8)),
                ("max_lifetime_days", fields.IntField(null=True)),
                ("requires_address_limits", fields.BooleanField()),
                ("allowed_ip_ranges", ArrayField(null=True, element_type="TEXT")),
                ("allowed_scopes", ArrayField(null=True, element_type="TEXT")),
                ("token_cap", fields.IntField(null=True)),
                ("notice_threshold_days", ArrayField(null=True, element_type="INT")),
                ("allows_delegation", fields.BooleanField()),
                ("changed_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("version", fields.IntField(default=1)),
            ],
            options={
                "table": "policy",
                "app": "service",
                "pk_attr": "id",
                "table_description": "What one level asks of the tokens of an account and of all below it.",
            },
            bases=["TenantRow"],
        ),
        ops.CreateModel(
            name="ScopeTemplate",
            fields=[
                (
                    "id",
                    fields.UUIDField(primary_key=True, default=new_id, unique=True, db_index=True),
                ),
                ("account_id", fields.UUIDField()),
                ("reseller_id", fields.UUIDField(null=True)),
                ("name", fields.CharField(max_length=50)),
                ("description", fields.CharField(null=True, max_length=500)),
                ("scopes", ArrayField(element_type="TEXT")),
                ("created_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("version", fields.IntField(default=1)),
            ],
            options={
                "table": "scope_template",
                "app": "service",
                "pk_attr": "id",
                "table_description": "Scopes under a name, offered to whoever makes a token.",
            },
            bases=["TenantRow"],
        ),
        ops.RunSQL(
            _SQL.joinpath("0008_policies.sql").read_text(encoding="utf-8"),
            _SQL.joinpath("0008_policies_undo.sql").read_text(encoding="utf-8"),
        ),
    ]
