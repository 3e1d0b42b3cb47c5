"""Whether this process is alive, and whether what it stands on is well."""

import asyncio
from collections.abc import Awaitable
from typing import Any

from service import database, heartbeat
from service.access.system import system_outbox_lag
from service.cache import Failed
from service.composition import Service

CHECK_TIMEOUT_SECONDS = 2.0
HEARTBEAT_SECONDS_MAX = 30.0


async def readiness(service: Service) -> tuple[bool, dict[str, Any]]:
    """Return whether requests can be served, and each part's state.

    Only the database decides, and one in recovery is none: nothing can be changed there, and no
    credential is read. Without Redis validators read it directly, and without workers sweeps and
    notices are late, so that neither is a reason to take this process out of service. Both are
    told, as ``degraded``.
    """
    parts: dict[str, Any] = {
        "database": await _told(_database(service)),
        "redis": await _told(_redis(service)),
        "worker": await _told(_worker(service)),
    }
    ready = parts["database"]["state"] == "ok"
    return ready, {"ready": ready, **parts}


async def _told(check: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
            return await check
    except Exception as failure:  # noqa: BLE001 - whatever is wrong, this page must tell it
        return {"state": "unreachable", "reason": type(failure).__name__}


async def _database(service: Service) -> dict[str, Any]:
    [row] = await database.query("SELECT pg_is_in_recovery() AS is_standby")
    if row["is_standby"]:
        return {"state": "standby", "reason": "in recovery"}
    lag = await system_outbox_lag(service.clock.now())
    return {"state": "ok", "outboxLagSeconds": round(lag, 3)}


async def _redis(service: Service) -> dict[str, Any]:
    try:
        await service.cache.redis.ping()
    except Failed as failure:
        return {"state": "degraded", "reason": type(failure).__name__}
    return {"state": "ok"}


async def _worker(service: Service) -> dict[str, Any]:
    seconds = await heartbeat.seconds_since_beat(service.cache.redis, service.clock)
    if seconds is None or seconds > HEARTBEAT_SECONDS_MAX:
        return {"state": "degraded", "reason": "no heartbeat"}
    return {"state": "ok", "heartbeatSeconds": round(seconds, 1)}
