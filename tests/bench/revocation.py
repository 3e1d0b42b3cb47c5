"""From the call of a revoke to the last validator that refuses, beside a bare PUBLISH."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from uuid import UUID

from bench_scene import Scene
from fleet_process import BARE
from measured import Measured
from redis.asyncio import Redis

from service.clock import boottime
from service.receipts import PropagationState, PropagationWait

PROGRAM = Path(__file__).with_name("fleet_process.py")
PROCESSES_MAX = 4
GOAL_MILLIS = 50
GOAL_VALIDATORS = 100


@dataclass(frozen=True, slots=True)
class Spans:
    """Milliseconds from the call of one revoke, or one PUBLISH, on.

    Attributes:
        dropped: Until no validator accepts it out of its memory.
        refused: Until those who asked each validator right then had their refusal.
        applied: Until the receipt said so.
        heard: From a bare PUBLISH to the last bare subscriber.
    """

    dropped: float
    refused: float
    applied: float
    heard: float


class Fleet:
    """The processes of a fleet."""

    def __init__(self, processes: Sequence[asyncio.subprocess.Process]) -> None:
        self._processes = processes

    async def say(self, word: str) -> None:
        """Tell every process a word, and return once all are ready for what comes."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(f"{word}\n".encode())
        await self.ready()

    async def ready(self) -> None:
        """Return once all are ready."""
        for words in await self._lines():
            assert words == ["ready"], words

    async def last(self) -> list[float]:
        """Return the latest of the instants that each process tells."""
        told = [list(map(float, words)) for words in await self._lines()]
        return [max(instants) for instants in zip(*told, strict=True)]

    async def _lines(self) -> list[list[str]]:
        return [
            (await process.stdout.readline()).decode().split()
            for process in self._processes
            if process.stdout is not None
        ]


async def measure_revocations(scene: Scene) -> list[Measured]:
    """Measure fleets of every size."""
    tokens = zip(scene.secrets, scene.token_ids, strict=True)
    lines = []
    for validators in scene.sizes.validators:
        async with _fleet(scene, validators) as fleet:
            lines += _lines(validators, await _measure(scene, fleet, tokens))
    return lines


async def _measure(scene: Scene, fleet: Fleet, tokens: Iterator[tuple[str, UUID]]) -> list[Spans]:
    redis = Redis.from_url(scene.settings.redis_url.get_secret_value())
    measured = []
    for _ in range(scene.sizes.revocations):
        secret, token_id = next(tokens)
        await fleet.say(secret)
        began = boottime()
        changed = await scene.service.tokens.revoke(
            scene.actor, token_id, wait_for=PropagationWait.ALL_VALIDATORS
        )
        applied = boottime()
        assert changed.propagation is not None
        assert changed.propagation.state is PropagationState.APPLIED
        dropped, refused = await fleet.last()
        await fleet.say(BARE)
        published = boottime()
        await redis.publish(BARE, secret)
        [heard] = await fleet.last()
        spans = (dropped - began, refused - began, applied - began, heard - published)
        measured.append(Spans(*(seconds * 1000 for seconds in spans)))
    await redis.aclose()
    return measured


def _lines(validators: int, measured: list[Spans]) -> list[Measured]:
    dropped = [spans.dropped for spans in measured]
    heard = [spans.heard for spans in measured]
    has_goal = validators == GOAL_VALIDATORS
    of = f"the last of {validators}"
    return [
        Measured(
            f"revoke → dropped by {of}",
            _told(dropped),
            f"bare PUBLISH: {_told(heard)}",
            median(dropped) / median(heard),
            f"p99 ≤ {GOAL_MILLIS} ms" if has_goal else "",
            _p99(dropped) <= GOAL_MILLIS if has_goal else None,
        ),
        Measured(f"revoke → asked then, refused by {of}", _told([s.refused for s in measured])),
        Measured(f"revoke → receipt APPLIED by {validators}", _told([s.applied for s in measured])),
    ]


def _told(millis: list[float]) -> str:
    return f"p50 {median(millis):.1f}, p99 {_p99(millis):.1f} ms"


def _p99(millis: list[float]) -> float:
    return quantiles(millis, n=100, method="inclusive")[-1]


@asynccontextmanager
async def _fleet(scene: Scene, validators: int) -> AsyncIterator[Fleet]:
    """Start validators, spread over some processes."""
    count = min(PROCESSES_MAX, validators)
    shares = [validators // count + (number < validators % count) for number in range(count)]
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, str(PROGRAM), str(share)),
            env=scene.environment(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for share in shares
    ]
    async with AsyncExitStack() as stack:
        for process in processes:
            stack.push_async_callback(_end, process)
        fleet = Fleet(processes)
        await fleet.ready()
        yield fleet


async def _end(process: asyncio.subprocess.Process) -> None:
    """Let a process close its validators in good order, so that no receipt counts them again."""
    process.stdin.close()  # type: ignore[union-attr] # it was started with a pipe
    await process.wait()
