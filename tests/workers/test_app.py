"""What the Celery application promises before it ever runs."""

import logging
from collections.abc import Iterator

import asyncpg
import pytest
from celery.app.trace import LOG_FAILURE, LOG_RETRY, LOG_SUCCESS

from service.errors import NotFound
from workers import app as application
from workers.app import EXPIRY_SECONDS_MIN, VISIBILITY_TIMEOUT_SECONDS, app, quieten, schedule
from workers.runtime import RUN_SECONDS_MAX
from workers.tasks import TRANSIENT, Retrying


def test_every_scheduled_task_exists_and_every_task_is_scheduled() -> None:
    app.loader.import_default_modules()

    ours = {name for name in app.tasks if name.startswith("workers.")}

    assert {entry["task"] for entry in schedule().values()} == ours
    assert len(ours) == len(application.INTERVAL_SECONDS)


def test_a_beat_expires_so_that_a_worker_that_comes_back_does_not_find_hours_of_them() -> None:
    for entry in schedule().values():
        assert entry["options"]["expires"] == max(entry["schedule"], EXPIRY_SECONDS_MIN)


def test_a_task_ends_before_the_broker_hands_it_to_somebody_else() -> None:
    assert RUN_SECONDS_MAX < VISIBILITY_TIMEOUT_SECONDS


def test_a_task_lost_with_its_worker_is_handed_out_again() -> None:
    assert app.conf.task_acks_late
    assert app.conf.task_reject_on_worker_lost
    assert app.conf.worker_prefetch_multiplier == 1
    options = app.conf.broker_transport_options
    assert options["visibility_timeout"] == VISIBILITY_TIMEOUT_SECONDS
    assert options["unacked_restore_interval"] * options["unacked_restore_throttle"] == 5


def test_a_worker_never_gives_up_on_its_broker() -> None:
    assert app.conf.broker_connection_retry_on_startup
    assert app.conf.broker_connection_max_retries is None


def test_nothing_but_json_is_read() -> None:
    assert app.conf.accept_content == ["json"]
    assert app.conf.result_backend is None


@pytest.mark.parametrize(
    "failure",
    [
        ConnectionRefusedError(),
        TimeoutError(),
        asyncpg.CannotConnectNowError(),
        asyncpg.ConnectionDoesNotExistError(),
        asyncpg.DeadlockDetectedError(),
        asyncpg.LockNotAvailableError(),
        asyncpg.QueryCanceledError(),
        asyncpg.TooManyConnectionsError(),
    ],
)
def test_what_passes_by_itself_is_tried_again(failure: Exception) -> None:
    assert isinstance(failure, TRANSIENT)


@pytest.mark.parametrize(
    "failure",
    [ValueError(), asyncpg.UndefinedTableError(), asyncpg.CheckViolationError(), NotFound()],
)
def test_what_is_a_mistake_is_not_tried_again(failure: Exception) -> None:
    assert not isinstance(failure, TRANSIENT)


def test_retries_are_bounded_and_spread() -> None:
    assert (Retrying.max_retries, Retrying.retry_backoff, Retrying.retry_jitter) == (3, 1, True)


@pytest.fixture
def celery_logs() -> Iterator[dict[str, logging.Logger]]:
    """Celery's loggers, which are left as they were."""
    names = ("celery.beat", "celery.worker.strategy", "celery.app.trace")
    loggers = {name: logging.getLogger(name) for name in names}
    kept = [(logger, logger.level, list(logger.filters)) for logger in loggers.values()]
    yield loggers
    for logger, level, filters in kept:
        logger.setLevel(level)
        logger.filters = filters


@pytest.mark.parametrize(("level", "is_routine_told"), [("INFO", False), ("DEBUG", True)])
def test_what_runs_all_the_time_is_logged_where_it_goes_wrong(
    level: str,
    celery_logs: dict[str, logging.Logger],
    caplog: pytest.LogCaptureFixture,
    *,
    is_routine_told: bool,
) -> None:
    caplog.set_level(level)
    quieten()
    trace = celery_logs["celery.app.trace"]
    task = {"name": "workers.tasks.run_jobs", "id": "1", "runtime": 1, "return_value": None}

    celery_logs["celery.beat"].info("Sending due task")
    celery_logs["celery.worker.strategy"].info("received")
    trace.info(LOG_SUCCESS, task)
    routine = list(caplog.messages)
    trace.info(LOG_RETRY, task | {"exc": "lost"})
    trace.error(LOG_FAILURE, task | {"description": "raised", "exc": "lost"})
    trace.info(LOG_SUCCESS, task | {"name": "workers.tasks.send_expiry_notices"})

    assert len(routine) == (3 if is_routine_told else 0)
    assert len(caplog.messages) == len(routine) + 3
