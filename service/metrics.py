"""What an operator's monitoring reads, in the text form of Prometheus.

Every value is a gauge of the whole platform, read when it is asked for; a part that cannot be read
is left out, and an alert on its absence tells.
"""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from math import isfinite

from service import canary, heartbeat
from service.access.job_queue import system_jobs_lag
from service.access.seals import system_unsealed
from service.access.system import system_outbox_lag
from service.cache import Failed
from service.composition import Service
from service.errors import Unavailable
from service.receipts import LIVE_SECONDS_MAX

READ_SECONDS_MAX = 2.0  # each part; Prometheus waits for ten seconds by itself
SENSELESS = (KeyError, ValueError)  # what stands in Redis and none of us wrote

_MEANINGS = {
    "staleness_bound_seconds": "The published bound.",
    "outbox_lag_seconds": "For how long the oldest unconfirmed drop has been waiting.",
    "trail_unsealed_events": "Audit events that wait for their seal.",
    "trail_unsealed_seconds": "For how long the oldest of them has been waiting.",
    "jobs_lag_seconds": "For how long the job whose turn it is has been waiting.",
    "worker_heartbeat_seconds": "How long ago a worker last ran a task.",
    "validators_known": "Validators heard within the bound.",
    "validators_silent": "Those of them that have gone silent.",
    "validators_beyond_lease": "Those with a longer lease than the bound is told for.",
    "canary_probed_at_seconds": "When our own token was last revoked, since 1970.",
    "canary_refused_seconds": "How long after the call of that the prober's validator accepted it.",
    "canary_applied_seconds": "How long after the call every known validator had applied it.",
    "canary_held": "1 where that was within the bound, 0 where it was not.",
}


async def exposition(service: Service) -> str:
    """Return the metrics as Prometheus reads them."""
    values = {"staleness_bound_seconds": service.settings.staleness_bound_seconds}
    for read in (_outbox, _trail, _jobs, _worker, _validators, _canary):
        with suppress(Unavailable, *Failed, *SENSELESS):
            async with asyncio.timeout(READ_SECONDS_MAX):
                values |= await read(service)
    return "".join(_lines(values))


async def _outbox(service: Service) -> dict[str, float]:
    return {"outbox_lag_seconds": await system_outbox_lag(service.clock.now())}


async def _trail(service: Service) -> dict[str, float]:
    unsealed = await system_unsealed(service.clock.now())
    return {
        "trail_unsealed_events": float(unsealed.count),
        "trail_unsealed_seconds": unsealed.oldest_seconds,
    }


async def _jobs(service: Service) -> dict[str, float]:
    return {"jobs_lag_seconds": await system_jobs_lag(service.clock.now())}


async def _worker(service: Service) -> dict[str, float]:
    seconds = await heartbeat.seconds_since_beat(service.cache.redis, service.clock)
    return {} if seconds is None else {"worker_heartbeat_seconds": seconds}


async def _validators(service: Service) -> dict[str, float]:
    bound = service.settings.staleness_bound_seconds
    fleet = await service.cache.fleet(silent_seconds_max=bound)
    if fleet is None:
        return {}
    silent = [report for report in fleet.reports if report.silent_seconds > LIVE_SECONDS_MAX]
    ours = service.settings.lease_seconds
    return {
        "validators_known": len(fleet.reports),
        "validators_silent": len(silent),
        "validators_beyond_lease": len([one for one in fleet.reports if one.lease_seconds > ours]),
    }


async def _canary(service: Service) -> dict[str, float]:
    probe = await canary.last_probe(service.cache.redis)
    if not probe:
        return {}
    return {
        "canary_probed_at_seconds": float(probe["probed_at_seconds"]),
        "canary_refused_seconds": float(probe["refused_seconds"]),
        "canary_applied_seconds": float(probe["applied_seconds"]),
        "canary_held": float(probe["held"] == "True"),
    }


def _lines(values: dict[str, float]) -> Iterator[str]:
    for name, value in values.items():
        full = f"tokenward_{name}"
        if isfinite(value):
            yield f"# HELP {full} {_MEANINGS[name]}\n# TYPE {full} gauge\n{full} {value}\n"
