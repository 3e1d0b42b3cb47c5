"""Roles of members, ways to reset a password, and when one was entered last.

``role`` and the versions are added by SQL, with defaults that PostgreSQL keeps for the old rows
without rewriting them; Tortoise 1.1.9 emits no defaults.
"""

from importlib import resources

from tortoise import fields, migrations
from tortoise.migrations import operations as ops

from service.clock import new_id
from service.migration_steps import KnowAlteredField, KnowField
from service.roles import Role

_SQL = resources.files("service.migrations")


class Migration(migrations.Migration):
    dependencies = [("service", "0002_revocation")]

    initial = False

    operations = [
        KnowAlteredField(model_name="Member", name="email", field=fields.CharField(max_length=254)),
        ops.AlterField(
            model_name="Member",
            name="password_hash",
            field=fields.CharField(null=True, max_length=255),
        ),
        ops.AddField(
            model_name="Member",
            name="password_changed_at",
            field=fields.DatetimeField(null=True, auto_now=False, auto_now_add=False),
        ),
        KnowField(
            model_name="Member",
            name="role",
            field=fields.CharEnumField(
                description="OWNER: OWNER\nMANAGER: MANAGER\nVIEWER: VIEWER",
                enum_type=Role,
                max_length=7,
            ),
        ),
        KnowField(model_name="Member", name="version", field=fields.IntField(default=1)),
        KnowField(model_name="Member", name="password_version", field=fields.IntField(default=1)),
        ops.AddField(
            model_name="ApiToken",
            name="password_confirmed_at",
            field=fields.DatetimeField(null=True, auto_now=False, auto_now_add=False),
        ),
        ops.CreateModel(
            name="PasswordReset",
            fields=[
                (
                    "id",
                    fields.UUIDField(primary_key=True, default=new_id, unique=True, db_index=True),
                ),
                ("account_id", fields.UUIDField()),
                ("reseller_id", fields.UUIDField(null=True)),
                ("member_id", fields.UUIDField(unique=True)),
                ("purpose", fields.CharField(max_length=10)),
                ("created_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("due_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                ("attempts", fields.SmallIntField(default=0)),
                ("digest", fields.BinaryField(null=True)),
                (
                    "expires_at",
                    fields.DatetimeField(null=True, auto_now=False, auto_now_add=False),
                ),
                ("sent_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                ("failure", fields.CharField(null=True, max_length=200)),
            ],
            options={
                "table": "password_reset",
                "app": "service",
                "pk_attr": "id",
                "table_description": "That a member is to set a password by a link; the worker makes its secret and sends it.",
            },
            bases=["TenantRow"],
        ),
        ops.RunSQL(
            _SQL.joinpath("0003_people.sql").read_text(encoding="utf-8"),
            _SQL.joinpath("0003_people_undo.sql").read_text(encoding="utf-8"),
        ),
    ]
