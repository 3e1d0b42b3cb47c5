"""What people write about a token, and who made it."""

from importlib import resources

from tortoise import migrations
from tortoise.migrations import operations as ops

_SQL = resources.files("service.migrations")


class Migration(migrations.Migration):
    dependencies = [("service", "0003_people")]

    initial = False

    operations = [
        ops.RunSQL(
            _SQL.joinpath("0004_tokens.sql").read_text(encoding="utf-8"),
            _SQL.joinpath("0004_tokens_undo.sql").read_text(encoding="utf-8"),
        ),
    ]
