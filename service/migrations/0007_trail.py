"""The audit trail gets an order and a chain of hashes."""

from importlib import resources

from tortoise import fields, migrations
from tortoise.migrations import operations as ops

_SQL = resources.files("service.migrations")


class Migration(migrations.Migration):
    dependencies = [("service", "0006_fleet")]

    initial = False

    operations = [
        ops.AlterModelOptions(
            name="AuditEvent",
            options={
                "table": "audit_event",
                "app": "service",
                "pk_attr": "id",
                "table_description": "One change, told in the transaction that made it; sealed once, and never changed again.",
            },
        ),
        ops.AddField(model_name="AuditEvent", name="position", field=fields.BigIntField(null=True)),
        ops.AddField(model_name="AuditEvent", name="sequence", field=fields.BigIntField(null=True)),
        ops.AddField(model_name="AuditEvent", name="hash", field=fields.BinaryField(null=True)),
        ops.RunSQL(
            _SQL.joinpath("0007_trail.sql").read_text(encoding="utf-8"),
            _SQL.joinpath("0007_trail_undo.sql").read_text(encoding="utf-8"),
        ),
    ]
