"""The embedded PostgreSQL and Valkey: real, lasting, and never outliving their parent."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest
import redis

from service.local import postgres_files
from service.local.child import CannotRun, hold, spawn
from service.local.servers import PostgresServer, ValkeyServer

START_AND_WAIT = """
import sys
from pathlib import Path
from service.local.servers import PostgresServer, ValkeyServer

PostgresServer(Path(sys.argv[1]), durable=False).start()
ValkeyServer(Path(sys.argv[2])).start()
print("ready", flush=True)
sys.stdin.read()
"""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[PostgresServer]:
    server = PostgresServer(tmp_path / "a directory" / "postgres", durable=False)
    yield server
    server.delete()


@pytest.fixture(scope="module")
def running_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    server = PostgresServer(tmp_path_factory.mktemp("running"), durable=False)
    server.start()
    yield server
    server.delete()


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    server = ValkeyServer(tmp_path / "a directory" / "valkey")
    yield server
    server.delete()


def eventually(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.02)


def is_free(directory: Path) -> bool:
    try:
        hold(directory / "lock").close()
    except CannotRun:
        return False
    return True


def ask(url: str, query: str) -> object:
    async def fetch() -> object:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return asyncio.run(fetch())


def set_value(url: str, value: bytes) -> None:
    with redis.Redis.from_url(url) as client:
        client.set("key", value)


def get_value(url: str) -> object:
    with redis.Redis.from_url(url) as client:
        return client.get("key")


def data_of(server: PostgresServer) -> list[Path]:
    home = postgres_files.home(server.directory) if server.directory.exists() else None
    return [home / "data"] if home and (home / "data").exists() else []


def uid_of(pid: int | None) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def test_data_survives_a_restart_of_the_servers(
    postgres: PostgresServer, valkey: ValkeyServer
) -> None:
    postgres.start()
    valkey.start()
    ask(postgres.owner_url(), "CREATE TABLE kept AS SELECT 7 AS number")
    set_value(valkey.url, b"kept")

    for server in (postgres, valkey):
        server.stop()
        server.start()

    assert ask(postgres.owner_url(), "SELECT number FROM kept") == 7
    assert get_value(valkey.url) == b"kept"


def test_killed_servers_start_again_with_their_data(
    postgres: PostgresServer, valkey: ValkeyServer
) -> None:
    for server in (postgres, valkey):
        server.start()
        os.kill(server.pid or 0, signal.SIGKILL)
        server.stop()
    # A pid file whose number belongs to another process by now, as after a reset of the machine.
    [pid_file] = [path / "postmaster.pid" for path in data_of(postgres)]
    lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(os.getppid()), *lines[1:]]))

    postgres.start()
    valkey.start()

    assert ask(postgres.app_url(), "SELECT 1") == 1
    assert get_value(valkey.url) is None


def test_the_application_role_is_bound_by_row_level_security(
    running_postgres: PostgresServer,
) -> None:
    rights = ask(
        running_postgres.app_url(),
        "SELECT array[rolsuper, rolbypassrls, rolcreatedb, rolcreaterole] FROM pg_roles "
        "WHERE rolname = current_user",
    )

    assert rights == [False, False, False, False]
    assert ask(running_postgres.owner_url(), "SELECT current_setting('is_superuser')") == "on"
    assert ask(running_postgres.owner_url(), "SHOW timezone") == "UTC"


def test_a_wrong_password_is_refused(
    running_postgres: PostgresServer, valkey: ValkeyServer
) -> None:
    valkey.start()

    with pytest.raises(asyncpg.InvalidPasswordError):
        ask(
            f"postgres://tokenward_app:wrong@127.0.0.1:{running_postgres.port}/tokenward",
            "SELECT 1",
        )
    with pytest.raises(redis.AuthenticationError):
        get_value(f"redis://:wrong@127.0.0.1:{valkey.port}/0")


def test_passwords_are_readable_by_their_owner_only(running_postgres: PostgresServer) -> None:
    [data] = data_of(running_postgres)
    modes = {path.stat().st_mode & 0o777 for path in data.parent.glob("*.password")}

    assert modes == {0o600}


@as_root
def test_postgres_runs_as_an_ordinary_user_when_started_by_root(
    running_postgres: PostgresServer,
) -> None:
    assert uid_of(running_postgres.pid) != 0


@as_root
def test_root_never_opens_its_own_directories(postgres: PostgresServer, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)

    postgres.start()

    assert ask(postgres.app_url(), "SELECT 1") == 1
    assert tmp_path.stat().st_mode & 0o777 == 0o700
    postgres.delete()
    assert data_of(postgres) == []


def test_killing_the_parent_stops_the_servers(tmp_path: Path) -> None:
    directories = (tmp_path / "postgres", tmp_path / "valkey")
    with spawn(
        [sys.executable, "-c", START_AND_WAIT, *directories],
        signal.SIGKILL,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as parent:
        assert parent.stdout
        assert parent.stdout.readline() == b"ready\n"
        assert not any(map(is_free, directories))

        parent.kill()

    eventually(lambda: all(map(is_free, directories)))
    PostgresServer(directories[0]).delete()


def test_a_server_that_cannot_start_tells_the_end_of_its_log(valkey: ValkeyServer) -> None:
    valkey.directory.mkdir(parents=True)
    (valkey.directory / "appendonlydir").write_text("not a directory")

    with pytest.raises(CannotRun, match=r"(?s)valkey ended at once.*appendonlydir"):
        valkey.start()

    assert valkey.pid is None


def test_two_never_run_in_one_directory(valkey: ValkeyServer) -> None:
    valkey.start()

    assert not is_free(valkey.directory)
    valkey.stop()
    assert is_free(valkey.directory)
