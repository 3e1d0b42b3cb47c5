"""Whatever the service answers, however late: no crash, no yes of its making, no longer lease."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from strategies import record, records
from web_scene import Liar, served

from service.addresses import RANGES_MAX
from service.cache import open_cache
from service.clock import SystemClock, boottime
from service.errors import Unavailable
from service.secret_format import digest_of, make_secret
from service.settings import Settings, read_settings
from service.token_rules import AUDIENCES_MAX, SCOPES_MAX
from service.upstream import ANSWER_BYTES_MAX, LEASE_SECONDS_MAX, Upstream, tell
from service.validator import Validator
from service.verdict import CredentialKind, Leased, Status

LEASE = 4.0
DIGEST = bytes(32)
SETTINGS = read_settings(redis_url="redis://127.0.0.1:9/0", lease_seconds=LEASE)
SECRET = make_secret("live", SETTINGS.pepper_keys).text


def answer(lease_seconds: object = 1.0, **changes: object) -> dict[str, Any]:
    """Return a true answer but for what is changed in its record."""
    told = tell(Leased(record(), 0.0))
    return {"records": [{"record": told["record"] | changes, "lease_seconds": lease_seconds}]}


def asking(liar: Liar) -> AbstractAsyncContextManager[Upstream]:
    """Return what asks a service without a socket between."""

    @asynccontextmanager
    async def opening() -> AsyncIterator[Upstream]:
        transport = httpx2.ASGITransport(app=liar)
        async with httpx2.AsyncClient(transport=transport, base_url="http://x") as client:
            yield Upstream(client, 0.5)

    return opening()


@asynccontextmanager
async def far(settings: Settings) -> AsyncIterator[Validator]:
    """Open a validator without the database and without Redis."""
    async with open_cache(settings) as cache, Upstream.open(settings) as source:
        yield Validator(
            cache,
            source.find,
            settings.pepper_keys,
            clock=SystemClock(),
            lease_seconds=settings.lease_seconds,
        )


@asynccontextmanager
async def facing(liar: Liar) -> AsyncIterator[Validator]:
    """Open a validator that asks a service over a socket."""
    async with served(liar) as url:
        changes = {"service_url": url, "service_token": SecretStr("x")}
        async with far(SETTINGS.model_copy(update=changes)) as validator:
            yield validator


def deadline_of(validator: Validator) -> float | None:
    entry = validator.near.find(digest_of(SECRET, SETTINGS.pepper_keys[1]))
    return None if entry is None else entry.deadline


@given(records(), st.floats(0, LEASE_SECONDS_MAX))
async def test_a_true_answer_comes_as_it_went(one: object, seconds: float) -> None:
    liar = Liar()
    leased = Leased(one, seconds)  # type: ignore[arg-type] # Hypothesis draws a record
    liar.says({"records": [tell(leased)]})

    async with asking(liar) as upstream:
        assert await upstream.find(DIGEST) == leased


NUMBERS = ["NaN", "Infinity", "-Infinity", "1e309", "-1e309", "-1", "-0.001", "60.001", "1e300"]
WORDS = ['"4"', '""', "true", "null", "[]", "{}", "[4]", "1" + "0" * 400, "4,", "0x4", "4e", ""]


@pytest.mark.parametrize("lease", NUMBERS + WORDS)
async def test_a_lease_that_is_none_is_no_answer(lease: str) -> None:
    told = json.dumps(answer("HERE")).replace('"HERE"', lease)

    async with asking(Liar([told.encode()])) as upstream:
        with pytest.raises(Unavailable):
            await upstream.find(DIGEST)


BODIES = {
    "nothing": b"",
    "no JSON": b"<html>",
    "half": json.dumps(answer()).encode()[:-9],
    "no object": b"[]",
    "a text": b'"x"',
    "null": b"null",
    "no records": b"{}",
    "null records": b'{"records": null}',
    "none": b'{"records": []}',
    "two": json.dumps({"records": answer()["records"] * 2}).encode(),
    "a text in it": b'{"records": ["x"]}',
    "an empty record": b'{"records": [{"record": {}, "lease_seconds": 1}]}',
    "a list for a record": b'{"records": [{"record": [], "lease_seconds": 1}]}',
    "a text for a record": b'{"records": [{"record": "x", "lease_seconds": 1}]}',
    "no lease": json.dumps({"records": [{"record": answer()["records"][0]["record"]}]}).encode(),
    "no UTF-8": b'{"records": "\xff"}',
    "deep": b"[" * 20_000,
    "deep within": b'{"records": [{"record": {"kind": ' + b"[" * 20_000,
    "gzip": gzip.compress(json.dumps(answer()).encode()),
    "introspection's": b'{"active": true}',
}


@pytest.mark.parametrize("name", BODIES)
async def test_a_body_that_is_no_answer_is_none(name: str) -> None:
    async with asking(Liar([BODIES[name]])) as upstream:
        with pytest.raises(Unavailable):
            await upstream.find(DIGEST)


NO_IDS: list[object] = [None, "", 5, "x", [], {"hex": "x"}, True]
CHANGES: list[dict[str, object]] = [
    {name: value} for name in ("token_id", "secret_id", "account_id") for value in NO_IDS
]
CHANGES += [
    {"reseller_id": 5},
    {"reseller_id": ""},
    {"member_id": [1]},
    {"kind": None},
    {"kind": "ROOT"},
    {"account_kind": "api_token"},
    {"scopes": None},
    {"scopes": "*"},
    {"scopes": [1]},
    {"scopes": [None]},
    {"scopes": {"*": 1}},
    {"ranges": ["anywhere"]},
    {"ranges": ["10.0.0.1/8"]},
    {"ranges": [10]},
    {"ranges": None},
    {"audiences": [None]},
    {"audiences": "dns"},
    {"issued_at": None},
    {"issued_at": "soon"},
    {"issued_at": 5},
    {"issued_at": "2026-01-01T00:00:00"},
    {"not_before": "2026-01-01T00:00:00"},
    {"expires_at": "2030-01-01"},
    {"expires_at": True},
    {"retires_at": 1e300},
    {"revoked": None},
    {"revoked": "false"},
    {"revoked": 0},
    {"suspended": "no"},
    {"suspended": []},
    {"limited_to": "the moon"},
]


@pytest.mark.parametrize("changes", CHANGES, ids=repr)
async def test_a_record_that_is_none_is_no_answer(changes: dict[str, object]) -> None:
    liar = Liar()
    liar.says(answer(**changes))

    async with asking(liar) as upstream:
        with pytest.raises(Unavailable):
            await upstream.find(DIGEST)


@pytest.mark.parametrize("name", tell(Leased(record(), 0.0))["record"])
async def test_a_record_that_leaves_anything_out_is_no_answer(name: str) -> None:
    """What is missing may be what limits the token."""
    liar, told = Liar(), answer()
    del told["records"][0]["record"][name]
    liar.says(told)

    async with asking(liar) as upstream:
        with pytest.raises(Unavailable):
            await upstream.find(DIGEST)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(st.sampled_from(sorted(answer()["records"][0]["record"])), json_values, json_values)
async def test_whatever_stands_in_a_record_a_validator_answers(
    name: str, value: object, lease: object
) -> None:
    """Nothing but a verdict comes out of it, and no lease longer than ours."""
    liar = Liar()
    liar.says(answer(lease, **{name: value}))
    async with asking(liar) as upstream, open_cache(SETTINGS) as cache:
        validator = Validator(
            cache, upstream.find, SETTINGS.pepper_keys, clock=SystemClock(), lease_seconds=LEASE
        )

        verdict = await validator.check(SECRET, scope="dns:read", kind=CredentialKind.API_TOKEN)

        assert verdict.status in Status
        deadline = deadline_of(validator)
        assert deadline is None or deadline <= liar.asked_at[0] + LEASE


@pytest.mark.parametrize("lease", [0, 0.05, 1, 3.999, 4, 4.001, 60])
async def test_a_lease_is_what_the_service_says_and_never_more_than_our_own(lease: float) -> None:
    liar = Liar()
    liar.says(answer(lease))
    async with facing(liar) as validator:
        verdict = await validator.check(SECRET)

        deadline = deadline_of(validator)
        by = liar.asked_at[0] + min(lease, LEASE)
        assert deadline is None or deadline <= by
        assert verdict.status is (Status.UNAVAILABLE if lease == 0 else Status.VALID)


async def test_an_answer_that_was_on_its_way_for_longer_than_its_lease_is_none() -> None:
    liar = Liar(delay_seconds=0.1)
    liar.says(answer(0.15))
    async with facing(liar) as validator:
        assert (await validator.check(SECRET)).status is Status.UNAVAILABLE
        assert deadline_of(validator) is None


@pytest.mark.parametrize("status", [201, 204, 206, 304, 400, 401, 403, 404, 429, 500, 502, 503])
async def test_another_status_is_no_answer_whatever_its_body_says(status: int) -> None:
    liar = Liar(status=status)
    liar.says(answer())

    async with asking(liar) as upstream:
        with pytest.raises(Unavailable):
            await upstream.find(DIGEST)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_nobody_is_followed_elsewhere_with_the_credential(status: int) -> None:
    target = Liar()
    target.says(answer())
    async with served(target) as url:
        liar = Liar(status=status, headers={"location": f"{url}/introspect"})

        async with facing(liar) as validator:
            assert (await validator.check(SECRET)).status is Status.UNAVAILABLE

    assert target.asked_at == []


async def test_a_service_that_hangs_is_given_up_within_a_quarter_of_the_lease() -> None:
    async with facing(Liar(delay_seconds=30)) as validator:
        began_at = boottime()

        assert (await validator.check(SECRET)).status is Status.UNAVAILABLE

        assert boottime() - began_at < LEASE / 4


async def test_a_service_that_sends_drop_by_drop_is_given_up_too() -> None:
    liar = Liar([b" "] * 1000, delay_seconds=0.05)
    async with facing(liar) as validator:
        began_at = boottime()

        assert (await validator.check(SECRET)).status is Status.UNAVAILABLE

        assert boottime() - began_at < LEASE / 4


async def test_a_body_without_end_is_not_read_to_its_end() -> None:
    sent = bytearray()
    ended = asyncio.Event()

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        with suppress(ConnectionError):
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                writer.write(b" " * 65_536)
                sent.extend(b" " * 65_536)
                await writer.drain()
        writer.close()
        ended.set()

    async with await asyncio.start_server(pour, "127.0.0.1", 0) as server:
        url = "http://{}:{}".format(*server.sockets[0].getsockname())
        changes = {"service_url": url, "service_token": SecretStr("x")}
        async with far(SETTINGS.model_copy(update=changes)) as validator:
            assert (await validator.check(SECRET)).status is Status.UNAVAILABLE
        await ended.wait()

    assert len(sent) < 32 * 2**20  # what fits into the sockets on the way, and no more


def test_the_longest_record_there_is_fits_into_an_answer() -> None:
    longest = replace(
        record(),
        scopes=("n" * 50 + ":write",) * SCOPES_MAX,
        audiences=("a" * 100,) * AUDIENCES_MAX,
        ranges=("fd00:1111:2222:3333:4444:5555:6666:7777/128",) * RANGES_MAX,
    )

    assert len(json.dumps(tell(Leased(longest, LEASE)))) < ANSWER_BYTES_MAX
