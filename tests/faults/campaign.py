"""A campaign: create, warm and revoke tokens while everything breaks, then judge what was seen."""

import asyncio
import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path

from api import EMAIL, PASSWORD, Api, Failed
from crashing_web import POINTS
from evidence import FOREVER, Evidence, Token, judge, read_decisions, table
from fault_proxy import proxying
from faults import PAUSE_SECONDS, Fault, Faults
from naive_validator import cache_key, forget_naively
from processes import environment
from redis.asyncio import Redis
from stack import (
    LEASE_SECONDS,
    OUTAGE_SECONDS_MAX,
    WEBS,
    Stack,
    opened_stack,
    run_command,
    wait_until,
)
from stores import eventually

from service.clock import boottime
from service.local.servers import PostgresServer

RESULTS = Path(__file__).parents[2] / "build"
CHECKERS = ("rule-0", "rule-1", "naive-0", "naive-1")

LIVE_TOKENS = 20
REVOKE_PAUSE_SECONDS = 0.15
WARM_SECONDS = 0.6
SETTLE_SECONDS = 30.0
DEATH_SECONDS = 1.0


class Campaign:
    """One seeded run.

    Args:
        stack: Running nothing yet.
        seed: Of every choice; what the processes make of it is never twice the same.
        seconds: How long everything breaks.
        stop_seconds_max: How long one thing may stand still.
    """

    def __init__(self, stack: Stack, *, seed: int, seconds: float, stop_seconds_max: float) -> None:
        self._stack = stack
        self._seed = seed
        self._seconds = seconds
        self._stop_seconds_max = stop_seconds_max
        self._ends_at = FOREVER
        self._random = self._chance("revokes")
        self._api = Api(stack)
        self._names = (f"t{number}" for number in count(1))
        self._tokens: dict[str, Token] = {}
        self._live: list[Token] = []
        self._pepper = next(iter(stack.settings.pepper_keys.values()))
        # A naive revoke goes the way of the web process' own.
        self._naive_redis = Redis.from_url(
            stack.redis.primary.url(stack.redis_links["web"].port),
            socket_timeout=1,
            socket_connect_timeout=1,
        )
        self.bound_seconds = stack.settings.staleness_bound_seconds
        self.crashes: dict[str, bool] = {}

    async def run(self) -> tuple[Evidence, Evidence]:
        """Run it, and return what the rule's and the naive validators' decisions prove."""
        try:
            await self._open()
            self._ends_at = boottime() + self._seconds
            async with asyncio.TaskGroup() as group:
                for lane in PAUSE_SECONDS:
                    group.create_task(self._break(lane), name=lane)
                group.create_task(self._revoke_often(group))
                group.create_task(self._crash_revokes(group))
            await self._settle()
        finally:
            await self._api.close()
            await self._naive_redis.aclose()
        return self._judge("rule"), self._judge("naive")

    def table(self, rule: Evidence, naive: Evidence) -> str:
        """Return the result for people."""
        return table(rule, naive, self._tokens, self._stack.windows, self.bound_seconds)

    @property
    def revoked(self) -> list[Token]:
        """The tokens whose owner knows that they are revoked."""
        return [token for token in self._tokens.values() if token.revoked_at is not None]

    @property
    def live(self) -> list[Token]:
        """The tokens that must work."""
        return [
            token
            for token in self._tokens.values()
            if token.lives and token.lives[-1][1] == FOREVER
        ]

    async def _open(self) -> None:
        owner_url = self._stack.postgres.owner_url()
        given = self._stack.environment("web")
        await run_command(given | environment(database_owner_url=owner_url), "migrate")
        self._stack.start_all()
        await run_command(given, "create-operator", "--email", EMAIL, "--password", PASSWORD)
        for web in WEBS:
            await eventually(partial(self._is_up, web), seconds=SETTLE_SECONDS)
        await self._api.sign_in()
        while len(self._live) < LIVE_TOKENS:
            await self._create()
        await self._wait_for({token.name: "VALID" for token in self._live}, self._stack.checkers)

    def _chance(self, purpose: str) -> random.Random:
        """Return a source of choices that no other task draws from, so that a seed repeats them."""
        return random.Random(f"{self._seed} {purpose}")  # noqa: S311 - no secret

    async def _break(self, lane: str) -> None:
        """Take faults of a lane in a random order, each once before any comes twice."""
        chance = self._chance(lane)
        faults = Faults(self._stack, chance, self._stop_seconds_max).of_lane(lane)
        first, *others = faults
        deck: list[Fault] = [*chance.sample(others, len(others)), first]
        while boottime() < self._ends_at:
            if not deck:
                deck = chance.sample(faults, len(faults))
            await deck.pop()()
            await asyncio.sleep(chance.uniform(*PAUSE_SECONDS[lane]))

    async def _create(self) -> None:
        try:
            token = await self._api.create(self._random.choice(WEBS), next(self._names))
        except Failed:
            return
        self._tokens[token.name] = token
        self._live.append(token)
        self._tell("+", token)

    def _tell(self, sign: str, token: Token) -> None:
        """Have the checkers begin or end to watch a token."""
        with self._stack.tokens.open("a") as file:
            file.write(f"{sign} {token.name} {token.secret}\n")

    def _take(self) -> Token | None:
        """Take a token that the checkers know by now, to revoke it."""
        warm = [token for token in self._live if token.lives[-1][0] < boottime() - WARM_SECONDS]
        if not warm:
            return None
        token = self._random.choice(warm)
        self._live.remove(token)
        return token

    async def _revoke_often(self, group: asyncio.TaskGroup) -> None:
        while boottime() < self._ends_at:
            self._stack.start("web")
            if len(self._live) < LIVE_TOKENS:
                group.create_task(self._create())
            if token := self._take():
                group.create_task(self._revoke(token))
            await asyncio.sleep(REVOKE_PAUSE_SECONDS)

    async def _revoke(self, token: Token) -> None:
        """Revoke a token until its owner knows that it is; what fails may have happened."""
        _end_life(token)
        while token.revoked_at is None:
            try:
                await self._api.revoke("web", token)
                token.revoked_at = boottime()
                await self._forget_naively(token)
            except Failed:
                if await self._is_revoked(token):
                    token.revoked_at = boottime()
                self._stack.start("web")
                await asyncio.sleep(REVOKE_PAUSE_SECONDS)
        await self._watch_out(token)

    async def _watch_out(self, token: Token) -> None:
        """Watch a revoked token until the bound is over."""
        watched_seconds = self.bound_seconds + LEASE_SECONDS
        await asyncio.sleep(min(watched_seconds, max(0.0, self._ends_at - boottime())))
        if boottime() < self._ends_at:
            self._tell("-", token)

    async def _crash_revokes(self, group: asyncio.TaskGroup) -> None:
        """Have the second web process die between every two steps of a revoke, in turn."""
        deck: list[str] = []
        while boottime() < self._ends_at or set(self.crashes) != set(POINTS):
            if not deck:
                deck = self._random.sample(list(POINTS), len(POINTS))
            await eventually(partial(self._is_up, "crashing"), seconds=OUTAGE_SECONDS_MAX)
            if (token := self._take()) is None:
                if not self._live:
                    await self._create()
                await asyncio.sleep(REVOKE_PAUSE_SECONDS)
                continue
            if await self._crash(deck[-1], token):
                deck.pop()
            # What lives on after a crash is in the pool again; of what was refused or has not come
            # so far, nobody knows yet.
            if token.revoked_at is not None:
                group.create_task(self._watch_out(token))
            elif token.lives[-1][1] != FOREVER:
                group.create_task(self._revoke(token))

    async def _crash(self, point: str, token: Token) -> bool:
        """Revoke a token in a process that dies on the way; return whether it got there."""
        self._stack.armed.write_text(point)
        _end_life(token)
        try:
            await self._api.revoke("crashing", token)
            token.revoked_at = boottime()
        except Failed:
            died_at = boottime()
            if not await self._has_died("crashing"):
                return False
        else:
            return False
        finally:
            self._stack.armed.unlink()
        with self._stack.during(f"web: crash {point}"):
            committed = await self._is_revoked(token)
        self.crashes[point] = self.crashes.get(point, True) and committed is POINTS[point]
        if committed:
            token.revoked_at = died_at
        else:
            token.lives.append((boottime(), FOREVER))
            self._live.append(token)
        return True

    async def _has_died(self, web: str) -> bool:
        """Return whether a process that gave no answer is gone; its end may take a moment."""
        with suppress(AssertionError):
            await wait_until(lambda: not self._stack.is_alive(web), seconds=DEATH_SECONDS)
        return not self._stack.is_alive(web)

    async def _is_up(self, web: str) -> bool:
        """Start a web process that has ended, which it also does where its servers are down."""
        self._stack.start(web)
        return await self._api.is_ready(web)

    async def _is_revoked(self, token: Token) -> bool:
        query = "SELECT revoked_at IS NOT NULL FROM api_token WHERE name = $1"
        return bool(await self._stack.owner_says(query, token.name))

    async def _forget_naively(self, token: Token) -> None:
        await forget_naively(self._naive_redis, cache_key(token.secret, self._pepper))

    async def _settle(self) -> None:
        """Wait until all is well: every process up, nothing left to deliver, every answer true.

        Raises:
            AssertionError: If that takes too long.
        """
        for name in self._stack.checkers:
            assert self._stack.exit_code(name) in {None, -signal.SIGKILL}, f"{name} ended by itself"
        for name in (*WEBS, *self._stack.checkers):
            self._stack.start(name)
        for token in self.revoked:
            self._tell("+", token)
        await eventually(self._has_delivered, seconds=SETTLE_SECONDS)
        expected = {token.name: "VALID" for token in self.live}
        expected |= {token.name: "REVOKED" for token in self.revoked}
        await self._wait_for(expected, self._stack.rules)

    async def _has_delivered(self) -> bool:
        query = "SELECT count(*) FROM outbox_event WHERE done_at IS NULL"
        return await self._stack.owner_says(query) == 0

    async def _wait_for(self, expected: dict[str, str], checkers: tuple[str, ...]) -> None:
        """Wait until each checker's latest decision on each token is the expected one."""
        sizes = {name: self._stack.record_bytes(name) for name in checkers}

        def agree() -> bool:
            for name in checkers:
                decisions = read_decisions(self._stack.record(name), after_bytes=sizes[name])
                last = {decision.token: decision.status for decision in decisions}
                if not expected.items() <= last.items():
                    return False
            return True

        await wait_until(agree, seconds=SETTLE_SECONDS)

    def _judge(self, kind: str) -> Evidence:
        records = [
            self._stack.record(name) for name in self._stack.checkers if name.startswith(kind)
        ]
        return judge(
            [record for record in records if record.exists()], self._tokens, self._stack.windows
        )


def _end_life(token: Token) -> None:
    """Note that a revoke is about to be sent: from here on either answer is right."""
    began_at, ended_at = token.lives.pop()
    token.lives.append((began_at, min(ended_at, boottime())))


@contextmanager
def opened_postgres(directory: Path) -> Iterator[PostgresServer]:
    """Run a PostgreSQL that keeps what it has committed; enter it outside of an event loop."""
    server = PostgresServer(directory / "postgres")
    server.start()
    try:
        yield server
    finally:
        server.delete()


async def failures_of_a_campaign(
    directory: Path,
    postgres: PostgresServer,
    *,
    seed: int,
    seconds: float,
    stop_seconds_max: float,
) -> list[str]:
    """Run a campaign, tell its result, and return what was promised and did not hold."""
    with proxying() as proxies:
        async with opened_stack(directory, postgres, proxies, CHECKERS) as stack:
            campaign = Campaign(
                stack, seed=seed, seconds=seconds, stop_seconds_max=stop_seconds_max
            )
            rule, naive = await campaign.run()
    told = f"seed {seed}\n{campaign.table(rule, naive)}\n"
    print(f"\n{told}")  # noqa: T201 - the result is for people
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"campaign-{seed}.txt").write_text(told)

    failures = {
        "accepted beyond the bound": rule.worst_seconds > campaign.bound_seconds,
        f"accepted beyond a lease: {rule.beyond_lease[:3]}": rule.beyond_lease,
        f"refused, though live: {rule.false_refusals[:3]}": rule.false_refusals,
        f"slow: {rule.slow[:3]}": rule.slow,
        f"a crash left something else: {campaign.crashes}": not all(campaign.crashes.values()),
        "the naive validator holds the bound: this proves nothing": (
            naive.worst_seconds <= campaign.bound_seconds
        ),
    }
    return [failure for failure, is_so in failures.items() if is_so]
