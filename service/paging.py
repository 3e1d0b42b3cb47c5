"""Keyset pages: how a list is ordered and where it goes on. Pure."""

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar
from uuid import UUID

from service.errors import InvalidInput

PAGE_SIZE_MAX = 100

_quoted = json.JSONEncoder(ensure_ascii=False).encode

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Cursor:
    """The place behind one item: its sort key as PostgreSQL prints it, and its id."""

    order: str
    key: str
    id: UUID

    def encode(self) -> str:
        """Return it as an opaque string."""
        # As JSON, written by hand for each row of a page: the order is a word of ours.
        text = f'["{self.order}",{_quoted(self.key)},"{self.id}"]'
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str, order: str) -> "Cursor":
        """Read a cursor that a list in the same order handed out.

        Raises:
            InvalidInput: If it is anything else.
        """
        try:
            raw = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
            told, key, identifier = json.loads(raw)
            if told != order or not isinstance(key, str) or "\0" in key.encode().decode():
                raise ValueError("of another list")
            return cls(order, key, UUID(identifier))
        except (ValueError, TypeError, AttributeError, binascii.Error, RecursionError):
            raise InvalidInput(
                "This cursor is not from a list in this order.", field="after"
            ) from None

    @property
    def instant(self) -> datetime:
        """The key, where that is an instant.

        Raises:
            InvalidInput: If it is none, which no list of ours has handed out.
        """
        try:
            instant = datetime.fromisoformat(self.key)
            if instant.tzinfo is None:
                raise ValueError("without its time zone")
            return instant.astimezone(UTC)
        except (ValueError, OverflowError):
            raise InvalidInput("This cursor is not from this list.", field="after") from None


@dataclass(frozen=True, slots=True)
class PageRequest:
    """How many items, and behind which."""

    first: int
    after: str | None = None

    def __post_init__(self) -> None:
        """Refuse a size outside 1–100.

        Raises:
            InvalidInput: If it is.
        """
        if not 1 <= self.first <= PAGE_SIZE_MAX:
            raise InvalidInput(f"Ask for 1 to {PAGE_SIZE_MAX} items.", field="first")


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Items in order, the cursor of each, and whether more follow."""

    items: list[Item]
    cursors: list[str]
    has_next: bool
