"""Credentials are read from a primary alone."""

from importlib import resources

from tortoise import migrations
from tortoise.migrations import operations as ops

_SQL = resources.files("service.migrations")


class Migration(migrations.Migration):
    dependencies = [("service", "0011_token_lists")]

    initial = False

    operations = [
        ops.RunSQL(
            _SQL.joinpath("0012_primaries.sql").read_text(encoding="utf-8"),
            _SQL.joinpath("0012_primaries_undo.sql").read_text(encoding="utf-8"),
        ),
    ]
