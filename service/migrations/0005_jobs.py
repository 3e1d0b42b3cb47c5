"""Changes of many tokens at once, as jobs with a result per token."""

from importlib import resources

from tortoise import migrations
from tortoise.migrations import operations as ops

_SQL = resources.files("service.migrations")


class Migration(migrations.Migration):
    dependencies = [("service", "0004_tokens")]

    initial = False

    operations = [
        ops.RunSQL(
            _SQL.joinpath("0005_jobs.sql").read_text(encoding="utf-8"),
            _SQL.joinpath("0005_jobs_undo.sql").read_text(encoding="utf-8"),
        ),
    ]
