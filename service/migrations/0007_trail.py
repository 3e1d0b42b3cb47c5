"""The audit trail gets an order and a chain of hashes."""

from importlib import resources

from tortoise import migrations
from tortoise.migrations import operations as ops

_SQL = resources.files("service.migrations")


class Migration(migrations.Migration):
    dependencies = [("service", "0006_fleet")]

    initial = False

    operations = [
        ops.RunSQL(
            _SQL.joinpath("0007_trail.sql").read_text(encoding="utf-8"),
            _SQL.joinpath("0007_trail_undo.sql").read_text(encoding="utf-8"),
        ),
    ]
