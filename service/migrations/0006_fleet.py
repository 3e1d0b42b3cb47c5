"""Counts of the tokens of each account, kept as they change."""

from importlib import resources

from tortoise import migrations
from tortoise.migrations import operations as ops

_SQL = resources.files("service.migrations")


class Migration(migrations.Migration):
    dependencies = [("service", "0005_jobs")]

    initial = False

    operations = [
        ops.RunSQL(
            _SQL.joinpath("0006_fleet.sql").read_text(encoding="utf-8"),
            _SQL.joinpath("0006_fleet_undo.sql").read_text(encoding="utf-8"),
        ),
    ]
