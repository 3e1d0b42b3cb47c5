"""A receipt is read at the two ends of its drops, since a job leaves very many."""

from importlib import resources

from tortoise import migrations
from tortoise.migrations import operations as ops

_SQL = resources.files("service.migrations")


class Migration(migrations.Migration):
    dependencies = [("service", "0012_primaries")]

    initial = False

    operations = [
        ops.RunSQL(
            _SQL.joinpath("0013_job_receipts.sql").read_text(encoding="utf-8"),
            _SQL.joinpath("0013_job_receipts_undo.sql").read_text(encoding="utf-8"),
        ),
    ]
