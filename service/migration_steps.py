"""Steps of migrations that Tortoise does not bring."""

from tortoise.migrations import operations as ops
from tortoise.migrations.schema_editor.base import BaseSchemaEditor
from tortoise.migrations.schema_generator.state import State


class _LeftToSql:
    """Leaves the database alone; only what Tortoise knows of the models changes."""

    async def database_forward(
        self,
        app_label: str,
        old_state: State,
        new_state: State,
        state_editor: BaseSchemaEditor | None = None,
    ) -> None:
        """Do nothing: the SQL does."""

    async def database_backward(
        self,
        app_label: str,
        old_state: State,
        new_state: State,
        state_editor: BaseSchemaEditor | None = None,
    ) -> None:
        """Do nothing: the SQL does."""


class KnowField(_LeftToSql, ops.AddField):
    """Tell Tortoise of a column that the SQL beside this file adds."""


class KnowAlteredField(_LeftToSql, ops.AlterField):
    """Tell Tortoise of a column that the SQL beside this file changes."""
