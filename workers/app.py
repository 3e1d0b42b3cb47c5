"""The Celery application: how it talks to the broker, and the schedule.

``celery --app workers.app worker`` and ``celery --app workers.app beat``
"""

import logging
from collections.abc import Mapping
from typing import Any

from celery import Celery
from celery.app.trace import LOG_SUCCESS
from celery.signals import setup_logging

from service.logs import configure_logs
from service.settings import read_settings

VISIBILITY_TIMEOUT_SECONDS = 300
EXPIRY_SECONDS_MIN = 10.0

INTERVAL_SECONDS = {
    "relay_revocations": 1.0,
    "seal_trail": 2.0,
    "run_jobs": 2.0,
    "flush_usage": 10.0,
    "send_account_mail": 10.0,
    "sweep_expired_tokens": 60.0,
    "recount_tokens": 60.0,
    "complete_rotations": 60.0,
    "probe_revocation": 60.0,
    "send_expiry_notices": 900.0,
}

ROUTINE_SECONDS_MAX = 60.0
ROUTINE = {
    f"workers.tasks.{name}"
    for name, seconds in INTERVAL_SECONDS.items()
    if seconds <= ROUTINE_SECONDS_MAX
}


def configure() -> dict[str, Any]:
    """Return the configuration; Celery asks for it when it is first needed, not at the import."""
    return {
        "broker_url": read_settings().celery_broker_url,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,  # a worker that gives up looks alive and is not
        "broker_transport_options": {
            "visibility_timeout": VISIBILITY_TIMEOUT_SECONDS,
            # kombu looks for a dead worker's tasks only every 100 seconds by itself.
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "socket_timeout": 30,
            "socket_connect_timeout": 3,
            "socket_keepalive": True,
            "health_check_interval": 5,
        },
        "accept_content": ["json"],
        "task_serializer": "json",
        "task_ignore_result": True,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_create_missing_queues": True,
        "task_default_queue": "tokenward",
        "worker_prefetch_multiplier": 1,
        "worker_pool": "threads",  # a task waits for the loop of its process and uses no CPU
        "worker_concurrency": 4,
        "worker_soft_shutdown_timeout": 10.0,
        "timezone": "UTC",
        "enable_utc": True,
        "beat_schedule": schedule(),
    }


def schedule() -> dict[str, dict[str, Any]]:
    """Return when each task runs.

    A beat expires with the next one, so that a worker that comes back does not find hours of them;
    not below ten seconds, because it is two machines' clocks that are compared.
    """
    return {
        name: {
            "task": f"workers.tasks.{name}",
            "schedule": seconds,
            "options": {"expires": max(seconds, EXPIRY_SECONDS_MIN)},
        }
        for name, seconds in INTERVAL_SECONDS.items()
    }


app = Celery("tokenward", include=["workers.tasks"])
app.add_defaults(configure)


@setup_logging.connect
def log_like_the_service(**_: Any) -> None:
    """Keep Celery from setting up logs of its own, which know no redaction."""
    configure_logs(read_settings())
    quieten()


def quieten() -> None:
    """Log what goes wrong, retries among it, but no successes of what runs all the time.

    Three lines a task would bury the rest, and in a terminal the addresses that a start tells. At
    DEBUG all of it is there.
    """
    if logging.getLogger().level > logging.DEBUG:
        for name in ("celery.beat", "celery.worker.strategy"):
            logging.getLogger(name).setLevel(logging.WARNING)
        logging.getLogger("celery.app.trace").addFilter(_is_worth_a_line)


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    if record.msg is not LOG_SUCCESS or not isinstance(record.args, Mapping):
        return True
    return record.args["name"] not in ROUTINE
