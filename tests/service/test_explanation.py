"""An explanation says what a validator says, why, and nothing to whoever may not see the token."""

import io
import json
import logging
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from conftest import FrozenClock
from factories import Platform, make_token
from hypothesis import given
from hypothesis import strategies as st
from rotation_scene import rotate
from stores import everything, keys_and_values
from strategies import instants, records, scope_texts

from service.access.actor import Actor
from service.addresses import Address, parse_address
from service.composition import Service
from service.errors import InsufficientScope, InvalidInput, NotFound
from service.explanation import Check, Explanation, Question, checks
from service.secret_format import make_secret
from service.validator import Validator
from service.verdict import Record, Status, judge

AUDIENCES = ("dns", "mail", "urn:x")
ADDRESSES = ["10.0.0.1", "10.0.0.14", "fd00::1", "fd00::f", "192.0.2.7"]


@st.composite
def judged(draw: st.DrawFn) -> tuple[Record, datetime, Question]:
    """Draw a record in any state, a moment near its instants, and a question."""
    audiences = draw(st.lists(st.sampled_from(AUDIENCES), max_size=2, unique=True))
    record = replace(
        draw(records()), audiences=tuple(audiences), retires_at=draw(st.none() | instants())
    )
    near = [
        instant
        for instant in (record.not_before, record.expires_at, record.retires_at, record.issued_at)
        if instant is not None
    ]
    shift = timedelta(microseconds=draw(st.sampled_from([-1, 0, 1])))
    now = draw(st.sampled_from(near).map(lambda instant: instant + shift) | instants())
    question = Question(
        token_id=record.token_id,
        address=draw(st.none() | st.sampled_from(ADDRESSES)),
        scope=draw(st.none() | st.lists(scope_texts(), max_size=3).map(" ".join)),
        audience=draw(st.none() | st.sampled_from([*AUDIENCES, "", "files"])),
    )
    return record, now, question


@given(judged())
def test_the_first_failure_is_what_a_validator_says(
    drawn: tuple[Record, datetime, Question],
) -> None:
    record, now, question = drawn
    address: Address | None = parse_address(question.address or "")

    found = list(checks(record, now, question, address))

    verdict = judge(record, now, address=address, scope=question.scope, audience=question.audience)
    failed = [check.status for check in found if not check.passed]
    assert (failed[0] if failed else Status.VALID) is verdict.status
    order = [check.status for check in found]
    assert len(order) == len(set(order)) == 7
    assert set(order) == set(Status) - {Status.VALID, Status.UNKNOWN, Status.UNAVAILABLE}


@given(judged())
def test_a_detail_is_one_sentence_of_the_token_alone(
    drawn: tuple[Record, datetime, Question],
) -> None:
    """Whatever is asked, nothing of the question and of nobody else's stands in it."""
    record, now, question = drawn
    other = Question(token_id=question.token_id, scope="files:read", audience="elsewhere")

    told = [check.detail for check in checks(record, now, question, None)]

    assert told == [check.detail for check in checks(record, now, other, None)]
    for detail in told:
        assert detail.endswith(".")
        assert "\n" not in detail
        for hidden in (record.account_id, record.secret_id, record.reseller_id, record.member_id):
            assert str(hidden) not in detail or hidden is None


async def explain(service: Service, actor: Actor, **fields: Any) -> Explanation:
    return await service.explanations.explain(actor, Question(**fields))


def failures(explanation: Explanation) -> list[Status]:
    return [check.status for check in explanation.checks if not check.passed]


async def test_an_explanation_says_what_a_validator_says_by_id_and_by_secret(
    service: Service, platform: Platform, validator: Validator, clock: FrozenClock
) -> None:
    actor, now = platform.customer, clock.now()
    minute = now + timedelta(minutes=1)
    made = [
        await make_token(service, actor),
        await make_token(service, actor, expires_at=minute),
        await make_token(service, actor, not_before=now + timedelta(days=1)),
        await make_token(service, actor, allowed_ip_ranges=("198.51.100.0/24",)),
        await make_token(service, actor, audiences=("dns",)),
        await make_token(service, actor, scopes=("mail:read",)),
    ]
    revoked, suspended = await make_token(service, actor), await make_token(service, actor)
    await service.tokens.revoke(actor, revoked.token.id)
    await service.tokens.suspend(actor, suspended.token.id)
    clock.advance(minutes=1)
    seen = []

    for created in (*made, revoked, suspended):
        for address, scope, audience in (
            (None, None, None),
            ("198.51.100.7", "dns:read", "dns"),
            ("198.51.101.7", "dns:read dns:write", "mail"),
        ):
            verdict = await validator.check(
                created.secret,
                address=parse_address(address or ""),
                scope=scope,
                audience=audience,
            )
            fields = {"address": address, "scope": scope, "audience": audience}
            by_id = await explain(service, actor, token_id=created.token.id, **fields)
            by_secret = await explain(service, actor, secret=created.secret, **fields)

            assert by_id == by_secret
            assert by_id.status is verdict.status
            assert by_id.token.id == created.token.id
            first = by_id.first_failure
            assert (first.status if first else Status.VALID) is verdict.status
            seen.append(verdict.status)

    assert set(seen) == set(Status) - {Status.UNKNOWN, Status.UNAVAILABLE}


async def test_every_reason_is_told_and_not_the_first_alone(
    service: Service, platform: Platform
) -> None:
    created = await make_token(
        service,
        platform.customer,
        allowed_ip_ranges=("198.51.100.0/24",),
        audiences=("dns", "mail"),
        scopes=("dns:read",),
    )
    await service.tokens.suspend(platform.customer, created.token.id)

    explained = await explain(
        service, platform.customer, token_id=created.token.id, scope="mail:read"
    )

    assert failures(explained) == [
        Status.SUSPENDED,
        Status.AUDIENCE_NOT_ALLOWED,
        Status.IP_NOT_ALLOWED,
        Status.INSUFFICIENT_SCOPE,
    ]
    details = {check.status: check.detail for check in explained.checks}
    assert details[Status.AUDIENCE_NOT_ALLOWED] == "It is for dns, mail."
    assert details[Status.IP_NOT_ALLOWED] == "It may be used from 198.51.100.0/24."
    assert explained.first_failure == Check(
        Status.SUSPENDED,
        passed=False,
        detail="It, its account or its reseller is suspended or closed.",
    )


async def test_a_secret_that_was_replaced_is_explained_beside_the_current_one(
    service: Service, platform: Platform, validator: Validator
) -> None:
    actor = platform.customer
    created = await make_token(service, actor)
    rotated = await rotate(service, actor, created.token.id, 0)
    assert rotated.secret is not None

    old = await explain(service, actor, secret=created.secret)
    new = await explain(service, actor, secret=rotated.secret)
    by_id = await explain(service, actor, token_id=created.token.id)

    assert old.first_failure == Check(
        Status.EXPIRED, passed=False, detail="This secret was replaced by a rotation."
    )
    assert (await validator.check(created.secret)).status is Status.EXPIRED
    assert new.status is by_id.status is Status.VALID
    assert old.token == new.token == by_id.token


async def test_in_its_grace_an_old_secret_is_told_with_its_end(
    service: Service, platform: Platform, clock: FrozenClock
) -> None:
    created = await make_token(service, platform.customer)
    await rotate(service, platform.customer, created.token.id, 3600)

    explained = await explain(service, platform.customer, secret=created.secret)

    ends_at = clock.now() + timedelta(hours=1)
    assert explained.status is Status.VALID
    assert f"It ends at {ends_at.isoformat()}." in [check.detail for check in explained.checks]


@pytest.mark.parametrize("above", ["account", "reseller"])
async def test_what_was_done_above_is_told_without_saying_to_whom(
    service: Service, platform: Platform, above: str
) -> None:
    created = await make_token(service, platform.customer)
    whom = platform.customer if above == "account" else platform.reseller
    await service.accounts.suspend(platform.operator, whom.account_id)

    explained = await explain(service, platform.operator, token_id=created.token.id)

    assert failures(explained) == [Status.SUSPENDED]
    assert explained.first_failure is not None
    assert explained.first_failure.detail == (
        "It, its account or its reseller is suspended or closed."
    )


async def refusal_of(service: Service, actor: Actor, **fields: Any) -> str:
    with pytest.raises(NotFound) as refused:
        await explain(service, actor, **fields)
    return f"{refused.value.message} {refused.value.field}"


@pytest.mark.parametrize("stranger", ["sibling", "stranger", "other_reseller"])
async def test_a_foreign_token_reads_exactly_like_a_missing_one(
    service: Service, platform: Platform, owner: asyncpg.Connection, stranger: str
) -> None:
    created = await make_token(service, platform.customer)
    missing = make_secret("live", service.settings.pepper_keys).text
    actor = getattr(platform, stranger)
    before = await everything(owner), await keys_and_values(service.cache.redis)

    words = {
        await refusal_of(service, actor, token_id=created.token.id),
        await refusal_of(service, actor, token_id=uuid4()),
        await refusal_of(service, actor, secret=created.secret),
        await refusal_of(service, actor, secret=missing),
        await refusal_of(service, actor, secret="junk"),
        await refusal_of(service, actor, secret=""),
        await refusal_of(service, actor, secret=created.secret, scope="dns:read", address="::1"),
    }

    assert words == {"There is no such token. None"}
    assert (await everything(owner), await keys_and_values(service.cache.redis)) == before


async def test_a_session_is_no_token(service: Service, platform: Platform) -> None:
    session = platform.customer.token_id

    assert await refusal_of(service, platform.operator, token_id=session)


@pytest.mark.parametrize("actor", ["customer", "reseller", "operator"])
async def test_whoever_reaches_a_token_has_it_explained(
    service: Service, platform: Platform, actor: str
) -> None:
    created = await make_token(service, platform.customer)

    explained = await explain(service, getattr(platform, actor), secret=created.secret)

    assert explained.token.id == created.token.id
    assert explained.status is Status.VALID


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, None),
        ({"token_id": UUID(int=1), "secret": "x"}, None),
        ({"token_id": UUID(int=1), "address": "nowhere"}, "address"),
        ({"token_id": UUID(int=1), "address": ""}, "address"),
        ({"token_id": UUID(int=1), "address": "10.0.0.0/8"}, "address"),
        ({"secret": "x", "address": "nowhere"}, "address"),
    ],
)
async def test_a_question_of_another_form_is_refused_before_anything_is_looked_up(
    service: Service, platform: Platform, fields: dict[str, Any], field: str | None
) -> None:
    with pytest.raises(InvalidInput) as refused:
        await explain(service, platform.customer, **fields)

    assert refused.value.field == field


async def test_explaining_needs_a_scope_and_tells_nothing_without_it(
    service: Service, platform: Platform
) -> None:
    created = await make_token(service, platform.customer)
    narrow = replace(platform.customer, scopes=("dns:read", "tokens:write"))

    for fields in ({"token_id": created.token.id}, {"token_id": uuid4()}, {}):
        with pytest.raises(InsufficientScope) as refused:
            await explain(service, narrow, **fields)
        assert refused.value.message == "This needs the scope `tokens:read`."


async def test_explaining_is_no_use(
    service: Service, platform: Platform, owner: asyncpg.Connection
) -> None:
    created = await make_token(service, platform.customer)
    before = await everything(owner), await keys_and_values(service.cache.redis)

    await explain(service, platform.customer, secret=created.secret)

    assert (await everything(owner), await keys_and_values(service.cache.redis)) == before


async def test_a_secret_that_was_asked_about_is_in_no_log_and_no_repr(
    service: Service, platform: Platform
) -> None:
    created = await make_token(service, platform.customer)
    written, root = io.StringIO(), logging.getLogger()
    handler, level = logging.StreamHandler(written), root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        explained = await explain(service, platform.customer, secret=created.secret)
    finally:
        root.setLevel(level)
        root.removeHandler(handler)

    random = created.secret.rpartition("_")[2]
    question = Question(secret=created.secret, scope="dns:read")
    for text in (written.getvalue(), repr(question), str(question), repr(explained)):
        assert random[:8] not in text
    assert random[:8] not in json.dumps([check.detail for check in explained.checks])
