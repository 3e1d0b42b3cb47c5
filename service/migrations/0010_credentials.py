"""A change asks whether the credential behind it still lives, and an open invitation lapses."""

from importlib import resources

from tortoise import fields, migrations
from tortoise.migrations import operations as ops

from service.migration_steps import KnowField

_SQL = resources.files("service.migrations")


class Migration(migrations.Migration):
    dependencies = [("service", "0009_moves")]

    initial = False

    operations = [
        KnowField(
            model_name="Member",
            name="invited_at",
            field=fields.DatetimeField(null=True, auto_now=False, auto_now_add=False),
        ),
        ops.RunSQL(
            _SQL.joinpath("0010_credentials.sql").read_text(encoding="utf-8"),
            _SQL.joinpath("0010_credentials_undo.sql").read_text(encoding="utf-8"),
        ),
    ]
