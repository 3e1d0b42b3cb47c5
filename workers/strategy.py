"""How a message becomes a task: Celery's way, with unreadable ones thrown away.

What cannot be unpacked would end the worker, come back to the queue, and end the next one.
"""

from collections.abc import Callable
from typing import Any

from celery.exceptions import InvalidTaskError
from celery.worker.strategy import default


def careful(*arguments: Any, **options: Any) -> Callable[..., Any]:
    """Return Celery's own handler of messages, which then tells what it cannot read as invalid."""
    handle = default(*arguments, **options)

    def take(*message: Any, **more: Any) -> Any:
        try:
            return handle(*message, **more)
        except (ValueError, TypeError, LookupError, AttributeError) as failure:
            raise InvalidTaskError(f"unreadable: {type(failure).__name__}") from failure

    return take
