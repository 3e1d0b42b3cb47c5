"""Requests per second of ``/validate``, each beside a bare handler under the same server."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench_scene import LEASE_SECONDS_MAX, Scene
from load import load
from measured import Measured
from redis.asyncio import Redis
from web_process import CPU_SECONDS_MIN, WebProcess, serving

from service.near_cache import UNKNOWN_ENTRIES
from service.secret_format import make_secret

WARM_SECRETS = 2_000
PAYLOAD_BYTES = 500  # a record's

AMISS_SHARE_MAX = 0.01

Prepare = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Side:
    """A handler, and with what it is asked.

    Attributes:
        is_refused: Whether no secret of the file opens anything.
    """

    web: WebProcess
    path: str
    secrets: Path
    is_refused: bool = False


@dataclass(frozen=True, slots=True)
class Rate:
    """Requests per second, of one round or several.

    Attributes:
        a_core: Of the server's own CPU: what it serves where nobody else wants the machine.
        by_clock: As many as came, from this machine that also makes the load.
        amiss: How many had another answer than they should.
    """

    a_core: float
    by_clock: float
    amiss: int


@dataclass(frozen=True, slots=True)
class Stage:
    """The processes, and files of secrets.

    Attributes:
        near: The product as it is.
        far: The product with no memory of its own, and with records that stay in Redis.
    """

    bare: WebProcess
    near: WebProcess
    far: WebProcess
    redis: Redis
    hot: Path
    warm: Path
    known: Path
    unknown: Path

    async def forget(self) -> None:
        """Empty Redis, but for what the bare handler gets."""
        await self.redis.flushdb()
        await self.redis.set("bench", b"x" * PAYLOAD_BYTES)


async def measure_http(scene: Scene) -> list[Measured]:
    """Measure the near-cache, Redis and misses."""
    async with _stage(scene) as stage:
        bare = Side(stage.bare, "/", stage.hot)
        same = Side(stage.bare, "/same", stage.hot)
        get = Side(stage.bare, "/get", stage.hot)
        select = Side(stage.bare, "/select", stage.hot)
        hit = Side(stage.near, "/validate", stage.hot)
        far = Side(stage.far, "/validate", stage.warm)
        known = Side(stage.far, "/validate", stage.known)
        unknown = Side(stage.far, "/validate", stage.unknown, is_refused=True)
        await stage.forget()
        await _round(scene, far)
        return [
            # First, while Redis still has what the warming put there.
            await _measure(scene, "/validate, Redis hit", far, ("one redis-py GET", get), 1.0),
            await _measure(scene, "/validate, near-cache hit", hit, ("204", bare), 0.85),
            await _measure(scene, "the same", hit, ("200, same headers", same)),
            await _measure(
                scene, "/validate, miss", known, ("one SELECT", select), prepare=stage.forget
            ),
            await _measure(scene, "/validate, unknown secret", unknown, ("one SELECT", select)),
            await _measure(scene, "(one redis-py GET)", get, ("204", bare)),
        ]


async def _measure(
    scene: Scene,
    what: str,
    side: Side,
    beside: tuple[str, Side],
    goal: float | None = None,
    prepare: Prepare | None = None,
) -> Measured:
    """Measure two sides in turn, so that whatever else the machine does hurts both."""
    rates, bounds = [], []
    for _ in range(scene.sizes.rounds):
        bounds.append(await _round(scene, beside[1]))
        if prepare is not None:
            await prepare()
        rates.append(await _round(scene, side))
    ratio = median(rate.a_core / bound.a_core for rate, bound in zip(rates, bounds, strict=True))
    return Measured(
        what,
        _told(rates),
        f"{beside[0]}: {_told(bounds)}",
        ratio,
        "" if goal is None else f"≥ {goal:g}",
        None if goal is None else ratio >= goal,
    )


async def _round(scene: Scene, side: Side) -> Rate:
    sizes = scene.sizes
    cpu_before = side.web.cpu_seconds()
    done = await load(
        side.web.url(side.path),
        side.secrets,
        connections=sizes.connections,
        seconds=sizes.round_seconds,
    )
    cpu_seconds = max(CPU_SECONDS_MIN, side.web.cpu_seconds() - cpu_before)
    amiss = abs(done.refused - (done.answers if side.is_refused else 0))
    # A machine that stalls makes a validator say 503; more than a few would be another measurement.
    assert amiss <= done.answers * AMISS_SHARE_MAX, (side.path, done)
    return Rate(done.answers / cpu_seconds, done.answers / done.seconds, amiss)


def _told(rates: list[Rate]) -> str:
    a_core = median(rate.a_core for rate in rates)
    by_clock = median(rate.by_clock for rate in rates)
    amiss = sum(rate.amiss for rate in rates)
    return f"{a_core:,.0f}/s a core ({by_clock:,.0f}/s)" + (f", {amiss} amiss" if amiss else "")


@asynccontextmanager
async def _stage(scene: Scene) -> AsyncIterator[Stage]:
    # More than a validator remembers, so that each is unknown anew.
    unknown = [
        make_secret(scene.settings.token_label, scene.settings.pepper_keys).text
        for _ in range(UNKNOWN_ENTRIES * 5 // 4)
    ]
    async with Redis.from_url(scene.settings.redis_url.get_secret_value()) as redis:
        with (
            serving(scene, bare=True) as bare,
            serving(scene) as near,
            serving(scene, near_cache_entries=1, lease_seconds=LEASE_SECONDS_MAX) as far,
        ):
            for web in (bare, near, far):
                await web.starts()
            yield Stage(
                bare=bare,
                near=near,
                far=far,
                redis=redis,
                hot=_write(scene, "hot", scene.secrets[:1]),
                warm=_write(scene, "warm", scene.secrets[:WARM_SECRETS]),
                known=_write(scene, "known", scene.secrets),
                unknown=_write(scene, "unknown", unknown),
            )


def _write(scene: Scene, name: str, secrets: Sequence[str]) -> Path:
    path = scene.directory / name
    path.write_text("".join(f"{secret}\n" for secret in secrets))
    return path
