"""A validator that may not see the database asks the service for what is behind a digest.

The secret itself never leaves the validator. The service says for how long its answer may still be
used, so that the two tiers share one lease (DECISIONS, D-001).
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import httpx2
import structlog
from pydantic import Field, TypeAdapter

from service.access.system import READ_SECONDS_MAX
from service.errors import Unavailable
from service.settings import Settings
from service.verdict import Leased, Record

ANSWER_BYTES_MAX = 64 * 1024
LEASE_SECONDS_MAX = 60.0  # no service can be set to more

log = structlog.get_logger()


class Upstream:
    """Asks ``POST /introspect`` of the service, with a token of the scope ``tokens:introspect``."""

    def __init__(self, client: httpx2.AsyncClient, timeout_seconds: float) -> None:
        self._client = client
        self._timeout_seconds = timeout_seconds

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings) -> AsyncIterator["Upstream"]:
        """Open the connections, and close them at the end."""
        secret = settings.service_token.get_secret_value()
        async with httpx2.AsyncClient(
            base_url=settings.service_url,
            headers={"Authorization": f"Bearer {secret}", "Accept-Encoding": "identity"},
            follow_redirects=False,
            trust_env=False,
        ) as client:
            yield cls(client, min(READ_SECONDS_MAX, settings.lease_seconds / 4))

    async def find(self, digest: bytes) -> Leased:
        """Return what the service knows behind a digest, and for how long that may be used.

        Raises:
            Unavailable: If it does not answer in time, or not with an answer.
        """
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return _read(await self._ask(digest))
        except (TimeoutError, httpx2.HTTPError, ValueError) as failure:
            log.warning("upstream.unreachable", reason=type(failure).__name__)
            raise Unavailable from None

    async def _ask(self, digest: bytes) -> bytes:
        """Return the body of an answer."""
        question = {"digests": [digest.hex()]}
        async with self._client.stream("POST", "/introspect", json=question) as answer:
            if answer.status_code != httpx2.codes.OK:
                log.warning("upstream.refused", status=answer.status_code)
                raise Unavailable
            body = bytearray()
            async for part in answer.aiter_raw():
                body += part
                if len(body) > ANSWER_BYTES_MAX:
                    raise ValueError("a record is never so long")
            return bytes(body)


@dataclass(frozen=True, slots=True)
class _Told:
    record: dict[str, Any] | None
    # Compared positively, so that NaN does not pass.
    lease_seconds: Annotated[float, Field(ge=0, le=LEASE_SECONDS_MAX, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class _Answer:
    records: Annotated[list[_Told], Field(min_length=1, max_length=1)]


_ANSWER = TypeAdapter(_Answer)
_RECORD = TypeAdapter(Record)


def tell(leased: Leased) -> dict[str, Any]:
    """Return a lease as JSON can hold it, for another process; :class:`Upstream` reads it."""
    record = leased.record
    return {
        "record": None if record is None else json.loads(record.encode()),
        "lease_seconds": leased.seconds,
    }


def _read(body: bytes) -> Leased:
    """Return what an answer tells.

    Raises:
        ValueError: If it is malformed, or of a version whose records limit a token by more or by
            less than ours: what it leaves out, or what we do not know, may be what refuses.
    """
    [told] = _ANSWER.validate_json(body, strict=True).records
    if told.record is None:
        return Leased(None, told.lease_seconds)
    if told.record.keys() != Record.__dataclass_fields__.keys():
        raise ValueError("a record of another version")
    payload = json.dumps(told.record)
    _RECORD.validate_json(payload, strict=True)
    record = Record.decode(payload.encode())
    values = (getattr(record, name) for name in told.record)
    if any(isinstance(value, datetime) and value.tzinfo is None for value in values):
        raise ValueError("an instant without a zone")
    _ = record.networks  # parsed here, where a range that is none can still be refused
    return Leased(record, told.lease_seconds)
