"""A second PostgreSQL that follows a first one, as a failover or a pool of readers has it."""

import shutil
import signal
from pathlib import Path
from urllib.parse import unquote, urlsplit

import asyncpg
from pydantic import SecretStr

from service.local import postgres_files
from service.local.child import spawn, tail
from service.local.servers import APP_ROLE, OWNER_ROLE, PostgresServer, write_privately
from service.settings import Settings


class StandbyServer(PostgresServer):
    """A copy in recovery.

    Args:
        directory: Where it is kept.
        primary: Settings that name the server to follow, as its owner and as the application.
    """

    def __init__(self, directory: Path, primary: Settings) -> None:
        super().__init__(directory, durable=False)
        self._primary = primary.database_owner_url.get_secret_value()
        self._passwords = {
            OWNER_ROLE: password_of(self._primary),
            APP_ROLE: password_of(primary.database_url.get_secret_value()),
        }

    def settings(self, primary: Settings) -> Settings:
        """Return the primary's settings with this server in its place."""
        database = urlsplit(self._primary).path.lstrip("/")
        changes = {
            "database_url": SecretStr(self.app_url(database)),
            "database_owner_url": SecretStr(self.owner_url(database)),
        }
        return primary.model_copy(update=changes)

    def _create_data(self) -> None:
        for role, password in self._passwords.items():
            write_privately(self._home / f"{role}.password", password)
        fresh = self._home / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        postgres_files.give(fresh, self._account)
        command = (self._programs / "pg_basebackup", "-D", fresh, "-R", "-c", "fast", "--no-sync")
        with self.log.open("wb") as log:
            process = spawn(
                [*command, "-d", self._primary],
                signal.SIGTERM,
                account=self._account,
                cwd="/",
                stdout=log,
                stderr=log,
            )
        assert process.wait() == 0, tail(self.log)
        fresh.rename(self._data)

    async def _complete(self) -> None:
        """Wait until it lets people read; its roles are the primary's."""
        connection = await asyncpg.connect(self.owner_url("postgres"), timeout=5)
        await connection.close()


def password_of(url: str) -> str:
    """Return the password of an address."""
    return unquote(urlsplit(url).password or "")
