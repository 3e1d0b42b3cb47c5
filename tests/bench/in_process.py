"""Checks in process, beside the least that they could be: a keyed hash and a dictionary."""

import time
from collections.abc import Awaitable, Callable
from functools import partial
from hashlib import blake2b
from statistics import median

from bench_scene import LEASE_SECONDS_MAX, Scene
from measured import Measured

from service.addresses import parse_address
from service.validator import Validator, open_validator

GOAL_PER_SECOND = 500_000
ROUNDS_EACH = 3

Run = Callable[[int], Awaitable[None]]


async def measure_checks(scene: Scene) -> list[Measured]:
    """Measure one hot secret: asked as barely as it goes, and with all that a request may ask."""
    # No lease may end within a round, in which nothing else runs.
    settings = scene.settings.model_copy(update={"lease_seconds": LEASE_SECONDS_MAX})
    secret = scene.secrets[0]
    async with open_validator(settings) as validator:
        assert (await validator.check(secret)).is_valid
        bare = partial(_run_bare, secret, next(iter(settings.pepper_keys.values())))
        return [
            await _measure(scene, what, run, bare)
            for what, run in {
                "check in process": partial(_run_check, validator, secret),
                "the same with scope and address": partial(_run_full_check, validator, secret),
            }.items()
        ]


async def _measure(scene: Scene, what: str, run: Run, bare: Run) -> Measured:
    rates, bounds = [], []
    for _ in range(scene.sizes.rounds * ROUNDS_EACH):
        bounds.append(await _rate(bare, scene.sizes.checks))
        rates.append(await _rate(run, scene.sizes.checks))
    rate, bound = median(rates), median(bounds)
    return Measured(
        what,
        f"{rate:,.0f}/s a core",
        f"keyed BLAKE2b and a dict: {bound:,.0f}/s",
        rate / bound,
        f"≥ {GOAL_PER_SECOND:,}/s a core",
        rate >= GOAL_PER_SECOND,
    )


async def _rate(run: Run, checks: int) -> float:
    """Return checks per second of this process's CPU: a busy machine takes none of it."""
    began = time.process_time()
    await run(checks)
    return checks / (time.process_time() - began)


async def _run_bare(secret: str, pepper: bytes, checks: int) -> None:
    found = {blake2b(secret.encode(), key=pepper, digest_size=32).digest(): secret}
    for _ in range(checks):
        found[blake2b(secret.encode(), key=pepper, digest_size=32).digest()]


async def _run_check(validator: Validator, secret: str, checks: int) -> None:
    check = validator.check
    for _ in range(checks):
        await check(secret)


async def _run_full_check(validator: Validator, secret: str, checks: int) -> None:
    check, address = validator.check, parse_address("192.0.2.7")
    for _ in range(checks):
        await check(secret, address=address, scope="dns:read")
