"""The lives of tokens, in any order: what a validator says always follows from what was done."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar, TypeVar

import asyncpg
from conftest import FrozenClock
from factories import Platform, make_token
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from stores import eventually, keep_signed_in

from service import scopes
from service.access.tokens import TokenFilter
from service.composition import Service
from service.errors import NameTaken, ServiceError, TokenEnded
from service.paging import PageRequest
from service.sweep import sweep_expired
from service.tokens import Created, TokenChanges
from service.validator import Validator
from service.verdict import Status

Result = TypeVar("Result")

NAMES = ("deploy", "backup", "ci")
SCOPES = ("*", "dns:*", "dns:read", "dns:write", "mail:read")
SOON = 1.0  # well below the lease


@dataclass
class Life:
    """What the model knows of a token."""

    created: Created
    name: str
    scopes: frozenset[str]
    not_before: datetime | None
    expires_at: datetime
    suspended: bool = False
    revoked: bool = False

    def status(self, now: datetime) -> Status:
        if self.revoked:
            return Status.REVOKED
        if now >= self.expires_at:
            return Status.EXPIRED
        if self.suspended:
            return Status.SUSPENDED
        if self.not_before is not None and now < self.not_before:
            return Status.NOT_YET_VALID
        return Status.VALID

    def has_ended(self, now: datetime) -> bool:
        return self.status(now) in {Status.REVOKED, Status.EXPIRED}


class Lives(RuleBasedStateMachine):
    """Synchronous rules over the suite's event loop, which runs in another thread."""

    loop: ClassVar[asyncio.AbstractEventLoop]
    service: ClassVar[Service]
    validator: ClassVar[Validator]
    platform: ClassVar[Platform]
    clock: ClassVar[FrozenClock]

    tokens = Bundle("tokens")

    def __init__(self) -> None:
        super().__init__()
        self.lives: list[Life] = []
        self.run(self.end_all())

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout=20)

    async def end_all(self) -> None:
        """Free the names that an earlier example took."""
        page = await self.service.tokens.page(self.platform.customer, PageRequest(100))
        for token in page.items:
            await self.service.tokens.revoke(self.platform.customer, token.id)

    @property
    def now(self) -> datetime:
        return self.clock.now()

    def is_taken(self, name: str, besides: Life | None = None) -> bool:
        return any(
            life.name == name and not life.has_ended(self.now)
            for life in self.lives
            if life is not besides
        )

    def attempt(self, work: Coroutine[Any, Any, Result]) -> Result | ServiceError:
        try:
            return self.run(work)
        except ServiceError as refused:
            return refused

    @rule(
        target=tokens,
        name=st.sampled_from(NAMES),
        wanted=st.sets(st.sampled_from(SCOPES), min_size=1, max_size=3),
        begins=st.sampled_from([None, None, 30]),
        minutes=st.sampled_from([60, 120, 600]),
    )
    def create(self, name: str, wanted: set[str], begins: int | None, minutes: int) -> Any:
        fields: dict[str, Any] = {
            "name": name,
            "scopes": tuple(wanted),
            "not_before": begins and self.now + timedelta(minutes=begins),
            "expires_at": self.now + timedelta(minutes=minutes),
        }
        outcome = self.attempt(make_token(self.service, self.platform.customer, **fields))
        if self.is_taken(name):
            assert isinstance(outcome, NameTaken)
            return multiple()
        assert isinstance(outcome, Created)
        life = Life(outcome, name, frozenset(wanted), fields["not_before"], fields["expires_at"])
        self.lives.append(life)
        return life

    @rule(life=tokens, name=st.sampled_from(NAMES))
    def rename(self, life: Life, name: str) -> None:
        token = life.created.token.id
        outcome = self.attempt(self.service.tokens.rename(self.platform.customer, token, name))
        if life.has_ended(self.now):
            assert isinstance(outcome, TokenEnded)
        elif self.is_taken(name, besides=life):
            assert isinstance(outcome, NameTaken)
        else:
            assert not isinstance(outcome, ServiceError)
            life.name = name

    @rule(
        life=tokens,
        wanted=st.sets(st.sampled_from(SCOPES), min_size=1, max_size=3),
        sooner=st.sampled_from([None, 10, 90, 1000]),
    )
    def update(self, life: Life, wanted: set[str], sooner: int | None) -> None:
        expires_at = None if sooner is None else self.now + timedelta(minutes=sooner)
        outcome = self.attempt(
            self.service.tokens.update(
                self.platform.reseller,
                life.created.token.id,
                TokenChanges(scopes=tuple(wanted), expires_at=expires_at),
            )
        )
        narrows = scopes.covers_all(life.scopes, wanted) and (
            expires_at is None
            or (
                expires_at <= life.expires_at
                and (life.not_before is None or expires_at > life.not_before)
            )
        )
        if life.has_ended(self.now):
            assert isinstance(outcome, TokenEnded)
        elif not narrows:
            assert isinstance(outcome, ServiceError)
            assert outcome.code in {"WIDENING_REFUSED", "INVALID_INPUT"}
        else:
            assert not isinstance(outcome, ServiceError)
            life.scopes = frozenset(wanted)
            life.expires_at = expires_at or life.expires_at

    @rule(life=tokens, suspended=st.booleans())
    def suspend_or_resume(self, life: Life, suspended: bool) -> None:  # noqa: FBT001 - drawn by Hypothesis
        use = self.service.tokens.suspend if suspended else self.service.tokens.resume
        outcome = self.attempt(use(self.platform.customer, life.created.token.id))
        if life.has_ended(self.now):
            assert isinstance(outcome, TokenEnded)
        else:
            assert not isinstance(outcome, ServiceError)
            life.suspended = suspended

    @rule(life=tokens)
    def revoke(self, life: Life) -> None:
        self.run(self.service.tokens.revoke(self.platform.customer, life.created.token.id))
        life.revoked = life.revoked or not life.has_ended(self.now)

    @rule(minutes=st.sampled_from([1, 15, 45, 200]))
    def pass_time(self, minutes: int) -> None:
        self.clock.advance(minutes=minutes)

    @rule()
    def sweep(self) -> None:
        self.run(sweep_expired(self.clock))

    @rule(life=tokens)
    def check(self, life: Life) -> None:
        """Whatever has come in between, the validator says what the model says."""
        expected = life.status(self.now)

        async def agrees() -> bool:
            verdict = await self.validator.check(life.created.secret)
            assert verdict.record is not None
            if life.has_ended(self.now):
                # A drop may be under way for milliseconds; an expiry needs none.
                assert verdict.status is not Status.VALID or life.revoked
            return verdict.status is expected and frozenset(verdict.record.scopes) == (
                scopes.intersect(life.scopes, ["*"])
            )

        self.run(eventually(agrees, seconds=SOON))

    @rule(life=tokens, scope=st.sampled_from(SCOPES))
    def use(self, life: Life, scope: str) -> None:
        async def agrees() -> bool:
            verdict = await self.validator.check(life.created.secret, scope=scope)
            granted = scopes.covers(life.scopes, scope)
            status = life.status(self.now)
            if status is Status.VALID and not granted:
                status = Status.INSUFFICIENT_SCOPE
            return verdict.status is status

        self.run(eventually(agrees, seconds=SOON))

    @invariant()
    def names_are_unique_among_what_has_not_ended(self) -> None:
        living = [life.name for life in self.lives if not life.has_ended(self.now)]
        assert len(set(living)) == len(living)

    def teardown(self) -> None:
        """At the end of each life the rows say what the model says."""

        async def rows() -> Mapping[object, Any]:
            page = await self.service.tokens.page(
                self.platform.customer, PageRequest(100), only=TokenFilter()
            )
            return {token.id: token for token in page.items}

        found = self.run(rows())
        for life in self.lives:
            token = found[life.created.token.id]
            expected = life.status(self.now).value
            status = token.status(self.now).value
            assert {"ACTIVE": "VALID", "PENDING": "NOT_YET_VALID"}.get(status, status) == expected
            assert (token.name, frozenset(token.scopes)) == (life.name, life.scopes)


async def test_whatever_is_done_in_whatever_order_the_verdict_follows(
    service: Service,
    platform: Platform,
    validator: Validator,
    clock: FrozenClock,
    owner: asyncpg.Connection,
) -> None:
    """Never VALID after its end, never more than it was given, never two of one name."""
    await keep_signed_in(owner)
    Lives.loop = asyncio.get_running_loop()
    Lives.service, Lives.validator, Lives.clock = service, validator, clock
    Lives.platform = platform
    few = settings(
        max_examples=60,
        stateful_step_count=25,
        deadline=None,
        database=None,
        # Each wrong answer is awaited for a second: shrinking would outlast the test's own time.
        phases=[Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    run: Callable[..., None] = run_state_machine_as_test

    await asyncio.to_thread(run, Lives, settings=few)
