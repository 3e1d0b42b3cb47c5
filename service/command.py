"""The command line: ``tokenward --help``."""

import gc
import json
import os
import sys
from pathlib import Path

import click

from service import preflight
from service.audit_command import audit
from service.counts_command import counts
from service.errors import SettingsRefused
from service.invocation import run as run_action
from service.invocation import settings_for
from service.revoke_command import revoke
from service.settings import read_settings

LOCAL_DIRECTORY = Path(".local")
COLLECTED_AFTER_OBJECTS = 10_000  # young ones; Python's own is 700
GRACE_SECONDS = 8


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name=None, version="0.1.0", prog_name="tokenward")
def tokenward() -> None:
    """Tokenward: a multi-tenant backend for API tokens.

    Settings are TOKENWARD_* variables; `tokenward check` tells which are in force.
    """


@tokenward.command()
def run() -> None:
    """Start the whole system on this machine, to develop.

    It brings its own servers where none are named, and keeps everything in `.local`.
    """
    from service.local import supervisor  # noqa: PLC0415 - production images never load it

    sys.exit(supervisor.run(LOCAL_DIRECTORY))


@tokenward.command()
def web() -> None:
    """Serve GraphQL, /validate and /introspect."""
    import uvicorn  # noqa: PLC0415 - half a second that the other commands need not pay

    from service.app import create_app  # noqa: PLC0415 - as above
    from service.composition import check_database  # noqa: PLC0415 - as above
    from service.http_protocol import HttpProtocol  # noqa: PLC0415 - as above
    from service.websocket_protocol import options  # noqa: PLC0415 - as above

    settings = settings_for("database_url", "redis_url")
    run_action(check_database(settings))
    preflight.check_port(settings.bind_host, settings.bind_port)
    app = create_app(settings)
    # The schema is a hundred thousand objects that stay: else each full collection walks them all.
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECTED_AFTER_OBJECTS, 10, 10)
    uvicorn.run(
        app,
        host=settings.bind_host,
        port=settings.bind_port,
        http=HttpProtocol,
        **options(),
        # Forwarded addresses are read by service.auth, which knows whom to believe.
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


@tokenward.command()
@click.option(
    "--concurrency",
    default=4,
    show_default=True,
    type=click.IntRange(1, 100),
    help="Tasks at a time.",
)
def worker(concurrency: int) -> None:
    """Run the background tasks."""
    from service.composition import check_database  # noqa: PLC0415 - as in web

    settings = settings_for("database_url", "redis_url")
    run_action(check_database(settings))
    _become_celery(
        "worker",
        "--pool=threads",
        f"--concurrency={concurrency}",
        "--without-gossip",
        "--without-mingle",
    )


@tokenward.command()
@click.option(
    "--schedule",
    default=str(LOCAL_DIRECTORY / "beat-schedule"),
    show_default=True,
    type=click.Path(dir_okay=False),
    help="Where it remembers what ran when.",
)
def beat(schedule: str) -> None:
    """Tell the workers when to run. One is enough; two do no harm."""
    settings_for("redis_url")
    Path(schedule).parent.mkdir(parents=True, exist_ok=True)
    _become_celery("beat", f"--schedule={schedule}", "--pidfile=")


@tokenward.command()
@click.option("--target", help="Go to this migration, such as service.0001_initial.")
def migrate(target: str | None) -> None:
    """Bring the database to this version's schema.

    It also grants the application's role its rights. It may run twice, or at two places at once.
    """
    from service.migration import migrate as run_migration  # noqa: PLC0415 - as in web

    settings = settings_for("database_url")
    if settings.environment == "production":
        preflight.require(settings, "database_owner_url")
    run_action(run_migration(settings, target=target))
    click.echo("The database is at this version's schema.")


@tokenward.command()
@click.option("--name", default="Operator", show_default=True, help="The account's name.")
@click.option("--email", prompt=True, help="Who signs in for it.")
@click.password_option(help="12–200 characters; asked for when it is not given.")
def create_operator(name: str, email: str, password: str) -> None:
    """Create the platform's operator, the first account of all."""
    from service.composition import check_database, open_service  # noqa: PLC0415 - as in web

    settings = settings_for("database_url", "redis_url")

    async def create() -> None:
        await check_database(settings)
        async with open_service(settings) as service:
            await service.accounts.create_operator(name, email, password)

    run_action(create())
    click.echo(f"{email} may sign in now.")


@tokenward.command()
def check() -> None:
    """Print the settings in force, without secrets.

    A senseless one is refused, with exit code 2.
    """
    for name, value in read_settings().told().items():
        click.echo(f"TOKENWARD_{name.upper()}={value}")


@tokenward.command()
@click.option("--json", "as_json", is_flag=True, help="Print the sign-ins as JSON.")
@click.option("--migrate", "migrated", is_flag=True, help="Run `tokenward migrate` before.")
def demo(*, as_json: bool, migrated: bool) -> None:
    """Fill an empty database, to try things on.

    Production refuses it: the passwords are well known.
    """
    from service.composition import check_database, open_service  # noqa: PLC0415 - as in web
    from service.local.demo import seed  # noqa: PLC0415 - as in web
    from service.migration import migrate as run_migration  # noqa: PLC0415 - as in web

    settings = settings_for("database_url", "redis_url")
    if settings.environment == "production":
        raise click.ClickException("The demo has well-known passwords: not in production.")

    async def fill() -> dict[str, object]:
        if migrated:
            await run_migration(settings)
        await check_database(settings)
        async with open_service(settings) as service:
            return await seed(service)

    seeded = run_action(fill())
    click.echo(json.dumps(seeded) if as_json else json.dumps(seeded, indent=2))


tokenward.add_command(audit)
tokenward.add_command(counts)
tokenward.add_command(revoke)


def main() -> None:
    """Run the command line; what is in the way is a sentence, not a traceback."""
    try:
        tokenward.main(prog_name="tokenward")
    except SettingsRefused as refused:
        click.echo(str(refused), err=True)
        sys.exit(2)


def _become_celery(*arguments: str) -> None:
    """Become the Celery process, so that signals and exit codes are its own."""
    # Quiet: a banner is no line of a log.
    command = [sys.executable, "-m", "celery", "--quiet", "-A", "workers.app", *arguments]
    os.execv(sys.executable, command)  # noqa: S606 - no shell; every word is ours


if __name__ == "__main__":
    main()
