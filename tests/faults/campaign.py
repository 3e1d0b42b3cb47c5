"""A campaign: tokens are made, used and narrowed while everything breaks; then it is judged."""

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import count, cycle
from typing import TypeVar

import record
from api import EMAIL, PASSWORD, RANGE, Api, Failed
from changes import (
    CHANGES,
    IS_MADE,
    IS_SUSPENDED,
    REVOKE,
    REVOKE_HELD,
    ROTATE,
    SUSPEND_ACCOUNT,
    SUSPEND_RESELLER,
    Change,
)
from crashes import Crashes
from crashing_web import crash_name
from evidence import CLOCKS_SECONDS, Account, Evidence, Token, judge, read_decisions
from faults import ALONE, PAUSE_SECONDS, Faults
from fleet import Fleet, Suspension
from naive_validator import cache_key, forget_naively
from processes import environment
from question import SCOPE
from redis.asyncio import Redis
from stack import (
    LEASE_SECONDS,
    OUTAGE_SECONDS_MAX,
    WEBS,
    WORKERS,
    Stack,
    run_command,
)
from stores import eventually

from service.clock import boottime
from service.secret_format import digest_of

CHECKERS = ("rule-0", "upstream-0", "edge-0", "naive-0", "timed-0")

LIVE_TOKENS = 20
PAUSE_BETWEEN_CHANGES_SECONDS = 0.15
SUSPENSION_PAUSE_SECONDS = 1.0
RACE_SECONDS_MAX = 0.02
SETTLE_SECONDS = 30.0
POLL_SECONDS = 0.1
BETWEEN_TOKENS_SECONDS = 0.01
LATE = 3
"""How many times as long as asked for a run may take, before what it still owes is a failure."""

UNKNOWN_TRUTH = {"VALID", "UNAVAILABLE"}
CRASHED = {"revoke": REVOKE, "/revoke": REVOKE_HELD, "rotate": ROTATE}


Answer = TypeVar("Answer")


class Campaign:
    """One seeded run. It goes on until the time is over and everything it owes was tried.

    Args:
        stack: Running nothing yet.
        seed: Of every choice; what the processes make of it is never twice the same.
        seconds: How long everything breaks at the least.
        stop_seconds_max: How long one thing may stand still.
        is_long: Whether every fault there is must be dealt, and not one of each kind.
    """

    def __init__(
        self, stack: Stack, *, seed: int, seconds: float, stop_seconds_max: float, is_long: bool
    ) -> None:
        self._stack = stack
        self._seed = seed
        self._seconds = seconds
        self._stop_seconds_max = stop_seconds_max
        self._is_long = is_long
        self._is_over = asyncio.Event()
        self._random = self._chance("changes")
        self._api = Api(stack)
        self._names = (f"t{number}" for number in count(1))
        self._fleet = Fleet(stack, self._random)
        self._pepper = next(iter(stack.settings.pepper_keys.values()))
        # A naive revoke goes the way of the web process' own.
        self._naive_redis = Redis.from_url(
            stack.redis.primary.url(stack.redis_links["web"].port),
            socket_timeout=1,
            socket_connect_timeout=1,
        )
        self.bound_seconds = stack.settings.staleness_bound_seconds
        self._crashes = Crashes(stack, self._chance("crashes"))
        self.owed = {change.name for change in CHANGES} | {SUSPEND_ACCOUNT, SUSPEND_RESELLER}

    async def run(self) -> dict[str, Evidence]:
        """Run it, and return what the decisions of each kind of validator prove."""
        try:
            await self._open()
            await self._break_everything()
            await self._settle()
        finally:
            await self._api.close()
            await self._naive_redis.aclose()
        records = [self._stack.record(name) for name in self._stack.checkers]
        return judge(records, self._fleet.tokens, self._stack.windows)

    def told(self, kinds: dict[str, Evidence]) -> str:
        """Return the result for people."""
        tokens = self._fleet.tokens.values()
        return record.told(kinds, tokens, self._stack.windows, self.bound_seconds)

    async def _open(self) -> None:
        owner_url = self._stack.postgres.owner_url()
        given = self._stack.environment("web")
        await run_command(given | environment(database_owner_url=owner_url), "migrate")
        self._stack.start_all()
        await run_command(given, "create-operator", "--email", EMAIL, "--password", PASSWORD)
        for web in WEBS:
            await eventually(partial(self._is_up, web), seconds=SETTLE_SECONDS)
        await self._api.sign_in()
        self._stack.service_secret = await self._api.create_service_secret()
        for name in self._stack.checkers:
            self._stack.start(name)
        await self._fleet.open(self._api)
        while len(self._fleet.live) < LIVE_TOKENS:
            await self._create(self._fleet.home())
        await self._agree(self._stack.checkers)
        self._fleet.begin()

    async def _break_everything(self) -> None:
        decks = {}
        for lane in PAUSE_SECONDS:
            faults = Faults(self._stack, self._chance(lane), self._stop_seconds_max)
            decks[lane] = faults.required(lane, all_of_them=self._is_long)
            self.owed.update(decks[lane])
        crashes = self._crashes.required(all_of_them=self._is_long)
        self.owed.update(crash_name(*crash) for crash in crashes)
        alone = Faults(self._stack, self._chance(ALONE), self._stop_seconds_max)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._end_in_time())
            group.create_task(self._change_often(group))
            group.create_task(self._suspend_often(group))
            await alone.lose_drops(ALONE)
            group.create_task(self._crash_often(group, crashes))
            for lane, deck in decks.items():
                group.create_task(self._break(lane, deck), name=lane)

    @property
    def crashes(self) -> dict[str, bool]:
        """For each crash, whether it left what it should."""
        return self._crashes.left_as_expected

    @property
    def _goes_on(self) -> bool:
        return not self._is_over.is_set()

    async def _end_in_time(self) -> None:
        """End the run once the time is over and nothing is owed any more, or much too late."""
        await asyncio.sleep(self._seconds)

        async def owes_nothing() -> bool:
            return not self.owed

        with suppress(AssertionError):
            await eventually(owes_nothing, seconds=(LATE - 1) * self._seconds)
        self._is_over.set()

    async def _while_it_goes_on(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._is_over.wait()

    def _chance(self, purpose: str) -> random.Random:
        """Return a source of choices that no other task draws from, so that a seed repeats them."""
        return random.Random(f"{self._seed} {purpose}")  # noqa: S311 - no secret

    async def _break(self, lane: str, deck: list[str]) -> None:
        """Deal what a lane owes first, then draw from all of it, each once before any again."""
        chance = self._chance(f"{lane} drawn")
        dealing = Faults(self._stack, chance, self._stop_seconds_max)
        faults = dealing.of_lane(lane)
        while self._goes_on:
            if not deck:
                deck = chance.sample(list(faults), len(faults))
            name = deck.pop()
            await faults[name](name)
            self.owed.discard(name)
            await asyncio.sleep(chance.uniform(*PAUSE_SECONDS[lane]))
        await dealing.settle()

    async def _create(self, account: Account | None) -> None:
        if account is not None:
            with suppress(Failed):
                web = self._random.choice(["web", "crashing"])
                self._fleet.add(await self._api.create(web, next(self._names), account))

    async def _change_often(self, group: asyncio.TaskGroup) -> None:
        deck: list[Change] = []
        while self._goes_on:
            self._stack.start("web")
            if len(self._fleet.live) < LIVE_TOKENS:
                group.create_task(self._create(self._fleet.home()))
            if token := self._fleet.take():
                deck = deck or self._random.sample(CHANGES, len(CHANGES))
                group.create_task(self._change(token, deck.pop()))
            await asyncio.sleep(PAUSE_BETWEEN_CHANGES_SECONDS)

    async def _change(self, token: Token, change: Change) -> None:
        """Change a token until its owner knows that it is; what fails may have happened."""
        if change.allowed_seconds:
            self._fleet.outlive(token, seconds=change.allowed_seconds - CLOCKS_SECONDS)
        send = partial(change.send, self._api, "web", token)
        known_at, successor = await self._until_known(send, partial(self._is_changed, token))
        await self._know(token, change, known_at)
        while change.is_rotation and successor is None and self._goes_on:
            # Its answer was lost, and can be asked for again.
            with suppress(Failed):
                successor = await send()
            await asyncio.sleep(PAUSE_BETWEEN_CHANGES_SECONDS)
        if successor is not None:
            await self._while_it_goes_on(change.allowed_seconds)
            self._fleet.add(successor)
        await self._watch_out(token, change)

    async def _until_known(
        self, send: Callable[[], Awaitable[Answer]], is_made: Callable[[], Awaitable[bool]]
    ) -> tuple[float, Answer | None]:
        """Send a change until it is answered or seen; return when, and the answer if there is."""
        while True:
            try:
                answer = await send()
            except Failed:
                if await is_made():
                    return boottime(), None
                self._stack.start("web")
                await asyncio.sleep(PAUSE_BETWEEN_CHANGES_SECONDS)
            else:
                return boottime(), answer

    async def _know(self, token: Token, change: Change, known_at: float) -> None:
        token.refuse(change.name, known_at, allowed_seconds=change.allowed_seconds)
        self.owed.discard(change.name)
        await self._forget_naively(token)

    async def _watch_out(self, token: Token, change: Change) -> None:
        """Watch a token until what was promised of its change is over."""
        await self._while_it_goes_on(change.allowed_seconds + self.bound_seconds + LEASE_SECONDS)
        if self._goes_on:
            self._fleet.tell("-", token)

    async def _suspend_often(self, group: asyncio.TaskGroup) -> None:
        """Suspend accounts and resellers in turn, each while a token is being made below it."""
        for reseller in cycle((False, True)):
            await self._while_it_goes_on(SUSPENSION_PAUSE_SECONDS)
            if not self._goes_on:
                return
            if account := self._fleet.suspendable(reseller=reseller):
                suspension = self._fleet.suspend(account)
                group.create_task(self._create(self._fleet.home_below(account)))
                await asyncio.sleep(self._random.uniform(0, RACE_SECONDS_MAX))
                await self._suspend(suspension)

    async def _suspend(self, suspension: Suspension) -> None:
        """Suspend an account until that is known, watch its tokens, and let them be used again."""
        if suspension.known_at is None:
            send = partial(self._api.suspend, "web", suspension.account)
            known_at, _ = await self._until_known(
                send, partial(self._is_suspended, suspension.tokens[0])
            )
            suspension.know(known_at)
        self.owed.discard(suspension.change)
        for token in suspension.tokens:
            await self._forget_naively(token)
        await self._while_it_goes_on(self.bound_seconds + LEASE_SECONDS)
        if not self._goes_on:
            return
        self._fleet.resume(suspension)
        while True:
            try:
                await self._api.resume("web", suspension.account)
                break
            except Failed:
                await asyncio.sleep(PAUSE_BETWEEN_CHANGES_SECONDS)
        self._fleet.end(suspension, works_from=boottime() + self.bound_seconds)

    async def _crash_often(self, group: asyncio.TaskGroup, deck: list[tuple[str, str]]) -> None:
        """Have the second web process die between every two steps of a narrowing, in turn."""
        while self._goes_on:
            if not deck:
                deck = self._crashes.required(all_of_them=self._is_long)
            await eventually(partial(self._serves, "crashing"), seconds=OUTAGE_SECONDS_MAX)
            act, point = deck[-1]
            crash = self._crash_change if act in CRASHED else self._crash_suspension
            if await crash(group, act, point):
                self.owed.discard(crash_name(act, point))
                deck.pop()
            else:
                await asyncio.sleep(PAUSE_BETWEEN_CHANGES_SECONDS)

    async def _crash_change(self, group: asyncio.TaskGroup, act: str, point: str) -> bool:
        change = CRASHED[act]
        if (token := self._fleet.take()) is None:
            return False
        send = partial(change.send, self._api, "crashing", token)
        is_made = await self._crashes.crash(act, point, send, partial(self._is_changed, token))
        if is_made is None:
            group.create_task(self._change(token, change))
        elif is_made:
            await self._know(token, change, boottime())
            group.create_task(self._watch_out(token, change))
        else:
            self._fleet.begin_life(token)
        return is_made is not None

    async def _crash_suspension(self, group: asyncio.TaskGroup, act: str, point: str) -> bool:
        account = self._fleet.suspendable(reseller=self._random.random() < 0.5)
        if account is None:
            return False
        suspension = self._fleet.suspend(account)
        send = partial(self._api.suspend, "crashing", account)
        is_made = await self._crashes.crash(
            act, point, send, partial(self._is_suspended, suspension.tokens[0])
        )
        if is_made is False:
            self._fleet.end(suspension, works_from=boottime())
        else:
            if is_made:
                suspension.know(boottime())
            group.create_task(self._suspend(suspension))
        return is_made is not None

    async def _is_up(self, web: str) -> bool:
        return await self._serves(web) and await self._api.is_ready(web)

    async def _serves(self, web: str) -> bool:
        """Start a web process that has ended, which it also does where its servers are down."""
        self._stack.start(web)
        await asyncio.sleep(POLL_SECONDS)
        return await self._stack.is_listening(web)

    async def _is_changed(self, token: Token) -> bool:
        digest = digest_of(token.secret, self._pepper)
        return bool(await self._stack.owner_says(IS_MADE, digest, SCOPE, RANGE))

    async def _is_suspended(self, token: Token) -> bool:
        digest = digest_of(token.secret, self._pepper)
        return bool(await self._stack.owner_says(IS_SUSPENDED, digest))

    async def _forget_naively(self, token: Token) -> None:
        await forget_naively(self._naive_redis, cache_key(token.secret, self._pepper))

    async def _settle(self) -> None:
        """Wait until all is well: every process up, nothing left to deliver, every answer true.

        Raises:
            AssertionError: If that takes too long.
        """
        for name in self._stack.checkers:
            assert self._stack.exit_code(name) in {None, -signal.SIGKILL}, f"{name} ended by itself"
        for name in (*WEBS, *WORKERS, *self._stack.checkers):
            self._stack.start(name)
        for token in self._fleet.ended:
            self._fleet.tell("+", token)
            await asyncio.sleep(BETWEEN_TOKENS_SECONDS)  # all at once would be another fault
        await eventually(self._has_delivered, seconds=SETTLE_SECONDS)
        await self._agree(self._stack.ours)

    async def _has_delivered(self) -> bool:
        query = "SELECT count(*) FROM outbox_event WHERE done_at IS NULL"
        return await self._stack.owner_says(query) == 0

    async def _agree(self, checkers: tuple[str, ...]) -> None:
        """Wait until each checker's latest decision on each token is the true one."""
        sizes = {name: self._stack.record_bytes(name) for name in checkers}
        live = {token.name for token in self._fleet.live}
        ended = {token.name for token in self._fleet.ended}

        def wrong() -> Iterator[str]:
            for name in checkers:
                decisions = read_decisions(self._stack.record(name), after_bytes=sizes[name])
                last = {decision.token: decision.status for decision in decisions}
                accepted = {token for token, status in last.items() if status == "VALID"}
                refused = {t for t, status in last.items() if status not in UNKNOWN_TRUTH}
                for token in (live - accepted) | (ended - refused):
                    yield f"{name} of {token}: {last.get(token)}"

        async def agree() -> bool:
            await asyncio.sleep(POLL_SECONDS)
            return not any(wrong())

        with suppress(AssertionError):
            await eventually(agree, seconds=SETTLE_SECONDS)
        assert list(wrong()) == []
