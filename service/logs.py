"""Structured logs: one line an event, with the request's id, and never a secret."""

import logging
import re
import sys
from contextlib import suppress
from typing import TextIO

import structlog

from service.secret_format import SCANNER_PATTERN
from service.settings import Settings

# Without the boundaries: in JSON a secret may follow the letter of an escape, as in `\ntw_live_…`.
_SECRET = re.compile(SCANNER_PATTERN.replace(r"\b", ""), re.ASCII)
_URL_PASSWORD = re.compile(r"(?<=://)([^:/@\s]*):[^/\s\"']+@")


def redact(text: str) -> str:
    """Return a line without secrets and passwords of addresses.

    Nothing here logs one; this is the net under libraries that log what they were given.
    """
    return _URL_PASSWORD.sub(r"\1:…@", _SECRET.sub("tw_…", text))


class RedactingFormatter(structlog.stdlib.ProcessorFormatter):
    """Renders a record, from structlog or a library, and redacts the whole line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return redact(super().format(record))


class RedactingHandler(logging.StreamHandler[TextIO]):
    """Writes to standard error, and never what it could not format."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Tell where the line came from; the standard library would print its arguments as is."""
        place = f"{record.pathname}:{record.lineno}"
        lost = {"name": record.name, "levelname": "ERROR", "msg": f"log.line_lost at {place}"}
        with suppress(Exception):  # the stream itself may be what fails
            self.stream.write(self.format(logging.makeLogRecord(lost)) + self.terminator)


def configure_logs(settings: Settings) -> None:
    """Send every log of this process through one handler to standard error."""
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer()
        if settings.log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,  # what nobody will see is not rendered either
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = RedactingHandler()
    handler.setFormatter(
        RedactingFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level)
    # Statements and their values at DEBUG are more than a log may hold; the rest is chatter.
    for name in ("tortoise", "asyncpg"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
