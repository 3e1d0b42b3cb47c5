"""Counts of the tokens of each account, kept as they change.

The tables of counts are in the SQL alone: triggers write them, and nothing of Tortoise reads them.
"""

from importlib import resources

from tortoise import fields, migrations
from tortoise.migrations import operations as ops

from service.migration_steps import KnowField

_SQL = resources.files("service.migrations")


class Migration(migrations.Migration):
    dependencies = [("service", "0005_jobs")]

    initial = False

    operations = [
        KnowField(model_name="ApiToken", name="counted_as", field=fields.SmallIntField(default=0)),
        KnowField(
            model_name="ApiToken",
            name="recount_at",
            field=fields.DatetimeField(null=True, auto_now=False, auto_now_add=False),
        ),
        ops.RunSQL(
            _SQL.joinpath("0006_fleet.sql").read_text(encoding="utf-8"),
            _SQL.joinpath("0006_fleet_undo.sql").read_text(encoding="utf-8"),
        ),
    ]
