"""Rare filters of tokens find their rows by an index."""

from importlib import resources

from tortoise import migrations
from tortoise.migrations import operations as ops

_SQL = resources.files("service.migrations")


class Migration(migrations.Migration):
    dependencies = [("service", "0010_credentials")]

    initial = False

    operations = [
        ops.RunSQL(
            _SQL.joinpath("0011_token_lists.sql").read_text(encoding="utf-8"),
            _SQL.joinpath("0011_token_lists_undo.sql").read_text(encoding="utf-8"),
        ),
    ]
