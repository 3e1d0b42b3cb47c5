"""What every command does around its own work: read the settings, and say what is in the way."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import click

from service import preflight
from service.errors import ServiceError
from service.logs import configure_logs
from service.settings import Settings, read_settings

Result = TypeVar("Result")


def settings_for(*servers: str) -> Settings:
    """Read the settings of this process, which needs these servers to be named.

    Raises:
        SettingsRefused: If one is missing or senseless.
    """
    settings = read_settings()
    configure_logs(settings)
    preflight.require(settings, *servers)
    return settings


def run(action: Coroutine[Any, Any, Result]) -> Result:
    """Run an action on the database; what is refused there is a sentence, not a traceback.

    Raises:
        click.ClickException: With that sentence.
    """
    import asyncpg  # noqa: PLC0415 - half a second that the other commands need not pay
    from tortoise.exceptions import BaseORMException  # noqa: PLC0415 - as above

    refusals = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, BaseORMException)
    try:
        return asyncio.run(action)
    except ServiceError as refused:
        raise click.ClickException(refused.message) from None
    except refusals as refused:
        reason = str(refused) or type(refused).__name__  # a TimeoutError says nothing
        hint = ". Run `tokenward migrate`." if reason.startswith("relation ") else ""
        raise click.ClickException(f"The database cannot be used: {reason}{hint}") from None
