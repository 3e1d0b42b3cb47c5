"""Changes of many tokens at once, as jobs with a result per token."""

from importlib import resources

from tortoise import fields, migrations
from tortoise.migrations import operations as ops

from service.clock import new_id

_SQL = resources.files("service.migrations")


class Migration(migrations.Migration):
    dependencies = [("service", "0004_tokens")]

    initial = False

    operations = [
        ops.CreateModel(
            name="Job",
            fields=[
                (
                    "id",
                    fields.UUIDField(primary_key=True, default=new_id, unique=True, db_index=True),
                ),
                ("account_id", fields.UUIDField()),
                ("reseller_id", fields.UUIDField(null=True)),
                ("kind", fields.CharField(max_length=7)),
                ("state", fields.CharField(max_length=9)),
                ("parameters", fields.JSONField()),
                ("idempotency_key", fields.CharField(null=True, max_length=100)),
                ("request_digest", fields.BinaryField()),
                ("total", fields.IntField()),
                ("succeeded", fields.IntField(default=0)),
                ("failed", fields.IntField(default=0)),
                ("skipped", fields.IntField(default=0)),
                ("created_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("started_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                (
                    "finished_at",
                    fields.DatetimeField(null=True, auto_now=False, auto_now_add=False),
                ),
                ("due_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("attempts", fields.SmallIntField(default=0)),
                ("error_code", fields.CharField(null=True, max_length=40)),
                ("actor_member_id", fields.UUIDField(null=True)),
                ("actor_token_id", fields.UUIDField()),
                ("address", fields.CharField(null=True, max_length=45)),
                ("request_id", fields.CharField(null=True, max_length=64)),
            ],
            options={
                "table": "job",
                "app": "service",
                "pk_attr": "id",
                "table_description": "A change of many tokens, as far as it has come.",
            },
            bases=["TenantRow"],
        ),
        ops.CreateModel(
            name="JobItem",
            fields=[
                (
                    "id",
                    fields.UUIDField(primary_key=True, default=new_id, unique=True, db_index=True),
                ),
                ("account_id", fields.UUIDField()),
                ("reseller_id", fields.UUIDField(null=True)),
                ("job_id", fields.UUIDField()),
                ("token_id", fields.UUIDField()),
                ("state", fields.CharField(max_length=9)),
                ("error_code", fields.CharField(null=True, max_length=40)),
            ],
            options={
                "table": "job_item",
                "app": "service",
                "pk_attr": "id",
                "table_description": "One token of a job, and what became of it.",
            },
            bases=["TenantRow"],
        ),
        ops.RunSQL(
            _SQL.joinpath("0005_jobs.sql").read_text(encoding="utf-8"),
            _SQL.joinpath("0005_jobs_undo.sql").read_text(encoding="utf-8"),
        ),
    ]
