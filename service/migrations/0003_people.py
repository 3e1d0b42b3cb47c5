"""Roles of members, ways to reset a password, and when one was entered last."""

from importlib import resources

from tortoise import migrations
from tortoise.migrations import operations as ops

_SQL = resources.files("service.migrations")


class Migration(migrations.Migration):
    dependencies = [("service", "0002_revocation")]

    initial = False

    operations = [
        ops.RunSQL(
            _SQL.joinpath("0003_people.sql").read_text(encoding="utf-8"),
            _SQL.joinpath("0003_people_undo.sql").read_text(encoding="utf-8"),
        ),
    ]
