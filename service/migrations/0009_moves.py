"""A row takes its reseller from its account, so that a customer can be moved to another one."""

from importlib import resources

from tortoise import migrations
from tortoise.migrations import operations as ops

_SQL = resources.files("service.migrations")


class Migration(migrations.Migration):
    dependencies = [("service", "0008_policies")]

    initial = False

    operations = [
        ops.RunSQL(
            _SQL.joinpath("0009_moves.sql").read_text(encoding="utf-8"),
            _SQL.joinpath("0009_moves_undo.sql").read_text(encoding="utf-8"),
        ),
    ]
