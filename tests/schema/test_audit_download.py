"""``GET /audit/export``: within reach, for who may, as a file that can be checked."""

import asyncio
import csv
import io
import json

import httpx2
import pytest
from conftest import FrozenClock
from edge_scene import People, assert_leaks_nothing, bearer
from factories import make_token
from starlette.types import Message, Send
from stores import eventually

from service import streams
from service.app import create_app
from service.auth import session_cookie
from service.composition import Service
from service.edge import Edge
from service.errors import Unauthenticated, Unavailable
from service.settings import Settings
from service.token_changes import TokenChanges
from service.trail_export import CELLS, verify_lines
from service.validator import Validator
from service.verdict import CredentialKind

EXPORT = "/audit/export"


@pytest.fixture
async def people(service: Service) -> People:
    people = await People.make(service)
    await make_token(service, people.customer.actor)
    await service.sealer.seal()
    return people


async def test_a_person_gets_the_trail_within_reach_as_lines_that_can_be_verified(
    people: People, http: httpx2.AsyncClient
) -> None:
    answer = await http.get(EXPORT, headers=bearer(people.reseller.secret))

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/jsonl; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-disposition"] == 'attachment; filename="audit.jsonl"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    walk, broken = verify_lines(answer.text.splitlines(), {})
    assert broken is None
    fleet = (people.reseller, people.customer, people.sibling)
    assert set(walk.heads) == {str(person.actor.account_id) for person in fleet}


async def test_a_cookie_of_our_own_page_counts_and_anothers_does_not(
    people: People, http: httpx2.AsyncClient, service: Service
) -> None:
    cookie = f"{session_cookie(service.settings)}={people.customer.secret}"

    own = await http.get(EXPORT, headers={"cookie": cookie, "sec-fetch-site": "same-origin"})
    foreign = await http.get(EXPORT, headers={"cookie": cookie, "sec-fetch-site": "cross-site"})

    assert (own.status_code, foreign.status_code) == (200, 401)
    assert "access-control-allow-origin" not in foreign.headers


async def test_csv_an_account_and_a_span_can_be_asked_for(
    people: People, http: httpx2.AsyncClient, service: Service, clock: FrozenClock
) -> None:
    clock.advance(hours=1)
    created = await make_token(service, people.customer.actor)
    await service.sealer.seal()
    asked = {
        "format": "csv",
        "account": people.customer.account_id,
        "since": clock.now().isoformat(),
        "until": clock.now().replace(hour=23).isoformat(),
    }

    answer = await http.get(EXPORT, params=asked, headers=bearer(people.operator.secret))

    assert answer.headers["content-type"].startswith("text/csv; charset=utf-8")
    header, *rows = csv.reader(io.StringIO(answer.text, newline=""))
    assert header == list(CELLS)
    [row] = rows
    assert row[header.index("subject_id")] == str(created.token.id)


async def test_a_foreign_account_and_a_missing_one_are_an_empty_file(
    people: People, http: httpx2.AsyncClient
) -> None:
    for account in (people.stranger.account_id, people.sibling.account_id):
        answer = await http.get(
            EXPORT, params={"account": account}, headers=bearer(people.customer.secret)
        )
        assert (answer.status_code, answer.text) == (200, "")


async def test_what_is_refused_is_told_with_its_code(
    people: People, http: httpx2.AsyncClient, service: Service
) -> None:
    narrow = await make_token(service, people.customer.actor)
    secret = people.customer.secret
    naive = "2030-01-01T00:00:00"
    for query, credential, expected in (
        ("", "", (401, "UNAUTHENTICATED", None)),
        ("", "tw_live_nonsense", (401, "UNAUTHENTICATED", None)),
        ("", narrow.secret, (403, "INSUFFICIENT_SCOPE", None)),
        ("?format=xml", secret, (400, "INVALID_INPUT", "format")),
        ("?since=yesterday", secret, (400, "INVALID_INPUT", "since")),
        (f"?until={naive}", secret, (400, "INVALID_INPUT", "until")),
    ):
        answer = await http.get(EXPORT + query, headers=bearer(credential) if credential else {})

        told = json.loads(answer.text)["errors"][0]["extensions"]
        assert (answer.status_code, told["code"], told.get("field")) == expected, query
        assert_leaks_nothing(answer.text)
    for nobody in ("x", "%00", people.stranger.account_id):
        answer = await http.get(f"{EXPORT}?account={nobody}", headers=bearer(secret))
        assert (answer.status_code, answer.text) == (200, "")
    assert (await http.post(EXPORT, headers=bearer(secret))).status_code == 405


async def test_a_token_with_the_scope_may_take_it_elsewhere(
    people: People, http: httpx2.AsyncClient, service: Service
) -> None:
    created = await make_token(service, people.customer.actor, scopes=("audit:read",))

    answer = await http.get(EXPORT, headers=bearer(created.secret))

    assert answer.status_code == 200
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert {line["account_id"] for line in lines} == {str(people.customer.actor.account_id)}


async def begun(app: Edge, service: Service, validator: Validator, secret: str, send: Send) -> None:
    """Ask for an export, and stay."""
    app.open(service, validator)
    scope = {
        "type": "http",
        "method": "GET",
        "path": EXPORT,
        "query_string": b"",
        "client": ("192.0.2.7", 40_000),
        "headers": [(b"authorization", f"Bearer {secret}".encode())],
    }

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    await app(scope, receive, send)


async def test_an_export_ends_unfinished_when_its_credential_ends_meanwhile(
    people: People,
    service: Service,
    validator: Validator,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.trail_export.BATCH", 1)
    secret = people.customer.secret
    bodies: list[bytes] = []

    async def refused() -> bool:
        return not (await validator.check(secret, kind=CredentialKind.SESSION)).is_valid

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            bodies.append(message["body"])
            if len(bodies) == 1:
                await service.sessions.sign_out(people.customer.actor)
                await eventually(refused, seconds=5)

    with pytest.raises(Unauthenticated):
        await begun(create_app(settings), service, validator, secret, send)

    assert len(bodies) == 1  # and no empty one, which would be the end of a whole file
    assert verify_lines(bodies[0].decode().splitlines(), {})[0].count == 1


async def test_a_scope_less_ends_an_export_as_well(
    people: People,
    service: Service,
    validator: Validator,
    http: httpx2.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.trail_export.BATCH", 1)
    actor = people.customer.actor
    token = await make_token(service, actor, scopes=("audit:read", "dns:read"))
    await service.sealer.seal()
    bodies: list[bytes] = []

    async def narrowed() -> bool:
        record = (await validator.check(token.secret, kind=CredentialKind.API_TOKEN)).record
        return record is not None and "audit:read" not in record.scopes

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            bodies.append(message["body"])
            if len(bodies) == 1:
                changes = TokenChanges(scopes=("dns:read",))
                await service.tokens.update(actor, token.token.id, changes)
                await eventually(narrowed, seconds=5)

    app = http._transport.app  # type: ignore[attr-defined]  # noqa: SLF001 - a new one takes seconds
    with pytest.raises(Unavailable):
        await begun(app, service, validator, token.secret, send)

    assert len(bodies) == 1


async def test_exports_of_an_account_are_bounded_and_head_takes_none_of_it(
    people: People, http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = await http.head(EXPORT, headers=bearer(people.customer.secret))
    monkeypatch.setattr(streams, "EXPORTS_PER_ACCOUNT_MAX", 0)
    refused = await http.get(EXPORT, headers=bearer(people.customer.secret))

    assert (head.status_code, head.text) == (200, "")
    assert "content-length" not in head.headers
    assert refused.status_code == 429
    assert refused.json()["errors"][0]["extensions"]["code"] == "TOO_MANY_STREAMS"
