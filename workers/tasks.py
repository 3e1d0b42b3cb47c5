"""The tasks. None has arguments or a result, and each may run twice, late, or beside itself."""

import asyncpg
from celery import Task

from service.cache import Failed
from service.composition import Service
from service.errors import Unavailable
from service.heartbeat import beat
from service.sweep import sweep_expired
from service.usage import flush_usage as move_uses
from workers.app import app
from workers.runtime import run

TRANSIENT = (
    *Failed,  # with OSError and TimeoutError
    Unavailable,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
)
"""What passes by itself; anything else is a mistake of ours, and trying again only hides it."""


class Retrying(Task[..., None]):
    """A task that is tried again three times, after a while that doubles and is never the same."""

    Strategy = "workers.strategy:careful"
    autoretry_for = TRANSIENT
    max_retries = 3
    retry_backoff = 1
    retry_backoff_max = 30
    retry_jitter = True


@app.task(base=Retrying)
def relay_revocations() -> None:
    """Deliver drops that Redis has not confirmed, and tell that a worker runs.

    A second run is harmless: a drop only ever makes a validator look again.
    """
    run(_relay)


async def _relay(service: Service) -> None:
    await service.relay.relay_due()
    await beat(service.cache.redis, service.clock)


@app.task(base=Retrying)
def run_jobs() -> None:
    """Change many tokens as jobs ask for.

    A second run is harmless: a job is done by one at a time, and each item of it once.
    """
    run(lambda service: service.job_runs.run_due())


@app.task(base=Retrying)
def sweep_expired_tokens() -> None:
    """Mark what time has ended.

    A second run is harmless: a row is marked once, and no validator waits for the mark.
    """
    run(_sweep)


async def _sweep(service: Service) -> None:
    await sweep_expired(service.clock)
    await service.replays.forget_ended(service.clock.now())
    await service.jobs.forget_ended(service.clock.now())
    await service.members.lapse_due()


@app.task(base=Retrying)
def recount_tokens() -> None:
    """Count anew the tokens of which time has changed what they are counted under.

    A second run is harmless: a token that was counted is not due any more.
    """
    run(lambda service: service.fleet.recount_due())


@app.task(base=Retrying)
def complete_rotations() -> None:
    """End old secrets whose grace is over, or that nobody uses any more.

    A second run is harmless: a secret is ended once, and validators enforce the grace themselves.
    """
    run(lambda service: service.rotations.complete_due())


@app.task(base=Retrying)
def send_expiry_notices() -> None:
    """Tell people what is about to expire.

    A second run is harmless: what was told is in the ledger, and can be there only once.
    """
    run(lambda service: service.notices.send_due())


@app.task(base=Retrying)
def send_account_mail() -> None:
    """Send invitations and links to set a password.

    A second run is harmless: a link is claimed before it is sent.
    """
    run(lambda service: service.account_mail.send_due())


@app.task(base=Retrying)
def flush_usage() -> None:
    """Move last uses from Redis to the database.

    A second run is harmless: a last use only ever moves forward.
    """
    run(lambda service: move_uses(service.cache.redis))


@app.task(base=Retrying)
def probe_revocation() -> None:
    """Revoke a token of our own, and tell how long it was accepted.

    A second run is harmless: each has a token of its own.
    """
    run(lambda service: service.canary.probe())


@app.task(base=Retrying)
def seal_trail() -> None:
    """Give events their place in the trail that no web process has given one yet.

    A second run is harmless: an event is sealed once, and sealers wait for each other.
    """
    run(lambda service: service.sealer.seal())
