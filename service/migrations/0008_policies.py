"""Policies that cascade, and templates of scopes."""

from importlib import resources

from tortoise import migrations
from tortoise.migrations import operations as ops

_SQL = resources.files("service.migrations")


class Migration(migrations.Migration):
    dependencies = [("service", "0007_trail")]

    initial = False

    operations = [
        ops.RunSQL(
            _SQL.joinpath("0008_policies.sql").read_text(encoding="utf-8"),
            _SQL.joinpath("0008_policies_undo.sql").read_text(encoding="utf-8"),
        ),
    ]
