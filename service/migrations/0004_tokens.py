"""What people write about a token, and who made it."""

from importlib import resources

from tortoise import fields, migrations
from tortoise.migrations import operations as ops

from service.migration_steps import KnowField

_SQL = resources.files("service.migrations")


class Migration(migrations.Migration):
    dependencies = [("service", "0003_people")]

    initial = False

    operations = [
        ops.AddField(
            model_name="ApiToken",
            name="description",
            field=fields.CharField(null=True, max_length=500),
        ),
        KnowField(model_name="ApiToken", name="metadata", field=fields.JSONField()),
        ops.AddField(
            model_name="ApiToken", name="created_by_account_id", field=fields.UUIDField(null=True)
        ),
        ops.AddField(
            model_name="ApiToken", name="created_by_member_id", field=fields.UUIDField(null=True)
        ),
        ops.RunSQL(
            _SQL.joinpath("0004_tokens.sql").read_text(encoding="utf-8"),
            _SQL.joinpath("0004_tokens_undo.sql").read_text(encoding="utf-8"),
        ),
    ]
