"""A record and a moment of use decide alone; an end is before a pause, a pause before a request."""

from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import product
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import CUSTOMER, RESELLER, instants, record, records

from service.addresses import Address, parse_address
from service.verdict import (
    ANSWERS_MAX,
    UNAVAILABLE,
    UNKNOWN,
    AccountKind,
    CredentialKind,
    Record,
    Status,
    Verdict,
    judge,
)

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
TICK = timedelta(microseconds=1)
HERE = parse_address("192.0.2.1")
ELSEWHERE = parse_address("198.51.100.1")

# In the order of precedence: what makes a record refused, and how it is then told.
FAULTS: tuple[tuple[Status, dict[str, Any]], ...] = (
    (Status.REVOKED, {"revoked": True}),
    (Status.EXPIRED, {"expires_at": NOW}),
    (Status.SUSPENDED, {"suspended": True}),
    (Status.NOT_YET_VALID, {"not_before": NOW + TICK}),
    (Status.AUDIENCE_NOT_ALLOWED, {"audiences": ("other-api",)}),
    (Status.IP_NOT_ALLOWED, {"ranges": ("198.51.100.0/24",)}),
    (Status.INSUFFICIENT_SCOPE, {"scopes": ("mail:*", "dns:read")}),
)

ROW: dict[str, Any] = {
    "token_id": UUID(int=1),
    "secret_id": UUID(int=2),
    "kind": "API_TOKEN",
    "account_id": UUID(int=3),
    "account_kind": "CUSTOMER",
    "reseller_id": UUID(int=4),
    "member_id": None,
    "token_scopes": ["mail:*", "dns:read"],
    "account_scopes": ["*"],
    "reseller_scopes": ["*"],
    "allowed_ip_ranges": ["192.0.2.0/24"],
    "audiences": ["dns-api"],
    "created_at": NOW - timedelta(days=1),
    "not_before": None,
    "expires_at": None,
    "retires_at": None,
    "revoked": False,
    "suspended": False,
}


@pytest.mark.parametrize("faulty", list(product((False, True), repeat=len(FAULTS))))
def test_the_first_of_several_faults_is_told(faulty: tuple[bool, ...]) -> None:
    faults = [fault for fault, present in zip(FAULTS, faulty, strict=True) if present]
    subject = record()
    for _, fields in faults:
        subject = replace(subject, **fields)

    verdict = judge(subject, NOW, address=HERE, scope="dns:write", audience="dns-api")

    assert verdict.status is next((status for status, _ in faults), Status.VALID)
    assert verdict.is_valid is (not faults)
    assert verdict.record is subject


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"expires_at": NOW}, Status.EXPIRED),
        ({"expires_at": NOW - TICK}, Status.EXPIRED),
        ({"expires_at": NOW + TICK}, Status.VALID),
        ({"not_before": NOW}, Status.VALID),
        ({"not_before": NOW - TICK}, Status.VALID),
        ({"not_before": NOW + TICK}, Status.NOT_YET_VALID),
        ({"not_before": NOW, "expires_at": NOW}, Status.EXPIRED),
        ({"not_before": NOW, "expires_at": NOW + TICK}, Status.VALID),
        ({"expires_at": NOW.astimezone(timezone(timedelta(hours=14)))}, Status.EXPIRED),
        ({"expires_at": (NOW + TICK).astimezone(timezone(-timedelta(hours=12)))}, Status.VALID),
        ({"retires_at": NOW}, Status.EXPIRED),
        ({"retires_at": NOW + TICK}, Status.VALID),
        ({"retires_at": NOW, "expires_at": NOW + TICK}, Status.EXPIRED),
        ({"retires_at": NOW + TICK, "expires_at": NOW}, Status.EXPIRED),
        ({"expires_at": datetime.min.replace(tzinfo=UTC)}, Status.EXPIRED),
        ({"expires_at": datetime.max.replace(tzinfo=UTC)}, Status.VALID),
    ],
)
def test_an_instant_counts_to_the_microsecond(fields: dict[str, Any], status: Status) -> None:
    assert judge(replace(record(), **fields), NOW).status is status


@given(instants(), instants(), instants())
def test_a_record_is_valid_from_its_beginning_until_before_its_end(
    now: datetime, not_before: datetime, expires_at: datetime
) -> None:
    subject = replace(record(), not_before=not_before, expires_at=expires_at)

    assert judge(subject, now).is_valid is (not_before <= now < expires_at)


@pytest.mark.parametrize(
    ("ranges", "address", "status"),
    [
        ((), None, Status.VALID),
        ((), ELSEWHERE, Status.VALID),
        (("192.0.2.0/24",), HERE, Status.VALID),
        (("2001:db8::/32", "192.0.2.1/32"), HERE, Status.VALID),
        (("192.0.2.0/24",), parse_address("::ffff:192.0.2.1"), Status.VALID),
        (("192.0.2.0/24",), ELSEWHERE, Status.IP_NOT_ALLOWED),
        (("::/0",), HERE, Status.IP_NOT_ALLOWED),
        (("192.0.2.0/24",), None, Status.IP_NOT_ALLOWED),
        (("0.0.0.0/0", "::/0"), None, Status.IP_NOT_ALLOWED),
    ],
)
def test_a_limited_token_is_refused_elsewhere_and_where_the_address_is_unknown(
    ranges: tuple[str, ...], address: Address | None, status: Status
) -> None:
    assert judge(replace(record(), ranges=ranges), NOW, address=address).status is status


@pytest.mark.parametrize(
    ("audiences", "audience", "status"),
    [
        ((), None, Status.VALID),
        ((), "dns-api", Status.VALID),
        (("dns-api",), "dns-api", Status.VALID),
        (("mail-api", "dns-api"), "dns-api", Status.VALID),
        (("dns-api",), "mail-api", Status.AUDIENCE_NOT_ALLOWED),
        (("dns-api",), None, Status.AUDIENCE_NOT_ALLOWED),
        (("dns-api",), "", Status.AUDIENCE_NOT_ALLOWED),
        (("dns-api",), "dns-api ", Status.AUDIENCE_NOT_ALLOWED),
        (("dns-api",), "dns", Status.AUDIENCE_NOT_ALLOWED),
        (("dns-api",), "DNS-API", Status.AUDIENCE_NOT_ALLOWED),
    ],
)
def test_a_token_for_some_audiences_is_refused_by_others_and_where_none_is_told(
    audiences: tuple[str, ...], audience: str | None, status: Status
) -> None:
    subject = replace(record(), audiences=audiences)

    assert judge(subject, NOW, audience=audience).status is status


@pytest.mark.parametrize(
    ("scopes", "scope", "status"),
    [
        ((), None, Status.VALID),
        ((), "dns:read", Status.INSUFFICIENT_SCOPE),
        (("dns:read",), "dns:read", Status.VALID),
        (("dns:*",), "dns:read", Status.VALID),
        (("*",), "dns:read", Status.VALID),
        (("dns:read",), "dns:write", Status.INSUFFICIENT_SCOPE),
        (("dns:read",), "dns:*", Status.INSUFFICIENT_SCOPE),
        (("dns:*",), "*", Status.INSUFFICIENT_SCOPE),
        (("dns:*", "mail:read"), "dns:read mail:read", Status.VALID),
        (("dns:*", "mail:read"), "dns:read mail:write", Status.INSUFFICIENT_SCOPE),
    ],
)
def test_a_scope_that_is_asked_for_must_be_covered(
    scopes: tuple[str, ...], scope: str | None, status: Status
) -> None:
    assert judge(replace(record(), scopes=scopes), NOW, scope=scope).status is status


def test_an_answer_about_scopes_is_the_same_the_second_time_and_of_its_own_record() -> None:
    narrow, wide = replace(record(), scopes=("dns:read",)), replace(record(), scopes=("*",))

    for _ in range(2):
        assert [narrow.allows("dns:read"), narrow.allows("dns:write")] == [True, False]
        assert [wide.allows("dns:read"), wide.allows("dns:write")] == [True, True]
    assert narrow == replace(narrow)
    assert not replace(wide, scopes=("dns:read",)).allows("dns:write")


def test_what_a_record_remembers_of_questions_is_bounded() -> None:
    subject = replace(record(), scopes=("dns:*",))

    for number in range(2 * ANSWERS_MAX):
        assert subject.allows(f"dns:verb{number}")
        assert not subject.allows(f"mail:verb{number}")

    assert len(subject._answers) <= ANSWERS_MAX  # noqa: SLF001 - what is bounded


@given(records(), instants(), st.sampled_from([None, HERE, ELSEWHERE]))
def test_what_has_ended_is_never_valid_again(
    subject: Record, now: datetime, address: Address | None
) -> None:
    if subject.has_ended(now):
        later = judge(subject, now + timedelta(days=1), address=address)

        assert judge(subject, now, address=address).status in {Status.REVOKED, Status.EXPIRED}
        assert later.status in {Status.REVOKED, Status.EXPIRED}


@pytest.mark.parametrize(
    ("fields", "ended"),
    [
        ({}, False),
        ({"revoked": True}, True),
        ({"expires_at": NOW}, True),
        ({"expires_at": NOW + TICK}, False),
        ({"retires_at": NOW}, True),
        ({"retires_at": NOW + TICK}, False),
        ({"suspended": True}, False),
        ({"not_before": NOW + TICK}, False),
    ],
)
def test_only_a_revoke_an_expiry_and_a_retirement_end_a_record(
    fields: dict[str, Any],
    ended: bool,  # noqa: FBT001 - a table
) -> None:
    assert replace(record(), **fields).has_ended(NOW) is ended


@given(records(), st.none() | instants(), st.lists(st.text(max_size=9), max_size=3))
def test_a_record_comes_back_from_the_shared_cache_as_it_went(
    subject: Record, retires_at: datetime | None, audiences: list[str]
) -> None:
    subject = replace(subject, retires_at=retires_at, audiences=tuple(audiences))

    decoded = Record.decode(subject.encode())

    assert decoded == subject
    assert type(decoded.kind) is CredentialKind
    assert type(decoded.account_kind) is AccountKind
    assert (decoded.networks, decoded.chain) == (subject.networks, subject.chain)


@given(records(), instants(), st.sampled_from([None, HERE]), st.sampled_from([None, "dns:read"]))
def test_the_shared_cache_cannot_change_a_verdict(
    subject: Record, now: datetime, address: Address | None, scope: str | None
) -> None:
    told = judge(subject, now, address=address, scope=scope)
    remembered = judge(Record.decode(subject.encode()), now, address=address, scope=scope)

    assert remembered == told


def test_an_instant_of_another_zone_is_kept_as_the_same_instant() -> None:
    subject = replace(record(), expires_at=NOW.astimezone(timezone(timedelta(hours=5, minutes=45))))

    assert b'"expires_at":"2026-07-01T12:00:00+00:00"' in subject.encode()
    assert Record.decode(subject.encode()) == subject


def test_a_record_is_cached_in_json_after_its_addresses_were_parsed_too() -> None:
    subject = replace(record(), ranges=("192.0.2.0/24",))
    before = subject.encode()

    assert subject.networks
    assert subject.encode() == before


@pytest.mark.parametrize(
    ("account_scopes", "reseller_scopes", "effective"),
    [
        (["*"], ["*"], ("dns:read", "mail:*")),
        (None, None, ("dns:read", "mail:*")),
        (["mail:read"], ["*"], ("mail:read",)),
        (["*"], ["dns:*"], ("dns:read",)),
        (["mail:*"], ["mail:write"], ("mail:write",)),
        (["mail:*"], None, ("mail:*",)),
        (["mail:*"], ["dns:*"], ()),
        ([], ["*"], ()),
        (["*"], [], ()),
    ],
)
def test_an_account_and_its_reseller_cap_a_token(
    account_scopes: list[str] | None, reseller_scopes: list[str] | None, effective: tuple[str, ...]
) -> None:
    row = ROW | {"account_scopes": account_scopes, "reseller_scopes": reseller_scopes}

    assert Record.from_row(row).scopes == effective


@pytest.mark.parametrize(
    ("expires_at", "retires_at", "end"),
    [
        (None, None, None),
        (NOW, None, NOW),
        (None, NOW, NOW),
        (NOW, NOW + TICK, NOW),
        (NOW + TICK, NOW, NOW),
    ],
)
def test_the_earlier_of_expiry_and_retirement_ends_a_secret(
    expires_at: datetime | None, retires_at: datetime | None, end: datetime | None
) -> None:
    subject = Record.from_row(ROW | {"expires_at": expires_at, "retires_at": retires_at})

    assert subject.ends_at == end
    assert (subject.expires_at, subject.retires_at) == (expires_at, retires_at)


@pytest.mark.parametrize(
    ("fields", "retired"),
    [
        ({}, False),
        ({"expires_at": NOW}, False),
        ({"retires_at": NOW + TICK}, False),
        ({"retires_at": NOW}, True),
        ({"retires_at": NOW - TICK, "expires_at": NOW + TICK}, True),
        ({"retires_at": NOW - TICK, "expires_at": NOW}, False),
        ({"retires_at": NOW, "revoked": True}, False),
        ({"retires_at": NOW, "suspended": True}, True),
    ],
)
def test_a_secret_is_retired_only_while_its_token_lives_on(
    fields: dict[str, Any],
    retired: bool,  # noqa: FBT001 - a table
) -> None:
    assert replace(record(), **fields).is_retired(NOW) is retired


def test_a_row_becomes_a_record_with_every_field() -> None:
    assert Record.from_row(ROW) == replace(
        record(),
        scopes=("dns:read", "mail:*"),
        ranges=("192.0.2.0/24",),
        audiences=("dns-api",),
        issued_at=NOW - timedelta(days=1),
    )


@pytest.mark.parametrize(
    ("reseller_id", "chain"),
    [(None, (CUSTOMER,)), (CUSTOMER, (CUSTOMER,)), (RESELLER, (CUSTOMER, RESELLER))],
)
def test_a_record_ends_with_its_account_and_its_reseller(
    reseller_id: UUID | None, chain: tuple[UUID, ...]
) -> None:
    assert record(reseller_id=reseller_id).chain == chain


@pytest.mark.parametrize("status", Status)
def test_only_valid_opens_anything(status: Status) -> None:
    assert Verdict(status).is_valid is (status is Status.VALID)


def test_a_verdict_without_a_record_is_a_refusal() -> None:
    assert (UNKNOWN.status, UNKNOWN.record) == (Status.UNKNOWN, None)
    assert (UNAVAILABLE.status, UNAVAILABLE.record) == (Status.UNAVAILABLE, None)


@pytest.mark.parametrize("field", ["revoked", "scopes", "expires_at"])
def test_a_record_cannot_be_changed(field: str) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(record(), field, None)
