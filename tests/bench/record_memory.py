"""What the records of a near-cache weigh. Run as a program, in which nothing else comes and goes.

    record_memory.py redis|database <records>

It prints the bytes by which the process grew, as the system counts them.
"""

import asyncio
import gc
import resource
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import click
from asyncpg.pgproto.pgproto import UUID

from service.clock import SystemClock, boottime
from service.near_cache import NearCache
from service.settings import read_settings
from service.verdict import Record, judge

BATCH = 1_000
QUERY = (
    "SELECT s.digest AS digest_of_it, c.* FROM secret s, credential_by_digest(s.digest) c"
    " ORDER BY s.digest LIMIT $1"
)


async def weigh(source: str, records: int) -> int:
    """Fill a near-cache as a validator does, have each record judged once, and weigh it."""
    near = NearCache(records)
    connection = await asyncpg.connect(read_settings().database_url.get_secret_value())
    # What the query and Redis' payloads take is taken before.
    payloads = {digest: record.encode() async for digest, record in _read(connection, records)}
    gc.collect()
    weighed_before = _resident_bytes()
    if source == "redis":
        for digest, payload in payloads.items():
            # A copy: in a validator nobody else holds the key.
            _keep(near, bytes(bytearray(digest)), Record.decode(payload, identifier=UUID))
    else:
        async for digest, record in _read(connection, records):
            _keep(near, digest, record)
    gc.collect()
    grown_by = _resident_bytes() - weighed_before
    assert len(near) == len(payloads) == records
    await connection.close()
    return grown_by


async def _read(connection: asyncpg.Connection, count: int) -> AsyncIterator[tuple[bytes, Record]]:
    async with connection.transaction():
        async for row in connection.cursor(QUERY, count, prefetch=BATCH):
            fields = dict(row)
            yield fields.pop("digest_of_it"), Record.from_row(fields)


def _keep(near: NearCache, digest: bytes, record: Record) -> None:
    near.store(digest, record, asked_at=boottime(), lease=60)
    judge(record, SystemClock().now(), scope="dns:read")


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


if __name__ == "__main__":
    click.echo(asyncio.run(weigh(sys.argv[1], int(sys.argv[2]))))
