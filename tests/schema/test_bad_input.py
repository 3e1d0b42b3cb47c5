"""What nobody should send: each answer is typed, tells nothing of us, and changes nothing."""

import base64
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import asyncpg
import httpx2
import pytest
from conftest import GraphQL
from edge_scene import People, assert_leaks_nothing, fingerprint
from factories import make_token

from schema import node_ids
from service.composition import Service

JSON = {"Content-Type": "application/json"}
VIEWER = '{"query": "{ viewer { email } }"'
OPERATION = f"{VIEWER}}}"

CREATE = (
    "mutation($input: CreateTokenInput!) { createToken(input: $input)"
    " { token { name expiresAt } userErrors { code field message } } }"
)


@pytest.fixture
async def people(service: Service) -> People:
    return await People.make(service)


@pytest.fixture
async def unchanged(people: People, owner: asyncpg.Connection) -> AsyncIterator[None]:
    """Whatever the test sends must leave every row as it is."""
    before = await fingerprint(owner)
    yield
    assert people is not None
    assert await fingerprint(owner) == before


BODIES: dict[str, tuple[bytes | str, int]] = {
    "empty": ("", 400),
    "null": ("null", 400),
    "string": ('"x"', 400),
    "list": ("[]", 400),
    "batch": (f"[{OPERATION}, {OPERATION}]", 400),
    "number": ("1", 400),
    "brackets": ("[" * 50_000, 400),
    "braces": ('{"query":' * 5_000, 400),
    "cut short": (OPERATION[:-1], 400),
    "two values": (OPERATION * 2, 400),
    "no query": ("{}", 400),
    "null query": ('{"query": null}', 400),
    "object for a query": ('{"query": {}}', 400),
    "list for a query": ('{"query": ["{ viewer { email } }"]}', 400),
    "empty query": ('{"query": ""}', 400),
    "list of variables": (f'{VIEWER}, "variables": []}}', 400),
    "string of variables": (f'{VIEWER}, "variables": "x"}}', 400),
    "number for an operation's name": (f'{VIEWER}, "operationName": 1}}', 400),
    "unknown operation": (f'{VIEWER}, "operationName": "Nope"}}', 400),
    "list of extensions": (f'{VIEWER}, "extensions": []}}', 400),
    "NaN": (f'{VIEWER}, "variables": {{"a": NaN}}}}', 400),
    "Infinity": (f'{VIEWER}, "variables": {{"a": -Infinity}}}}', 400),
    "a number of 5000 digits": (f'{VIEWER}, "variables": {{"a": {"9" * 5_000}}}}}', 400),
    "lone surrogate": ('{"query": "{ viewer { email } } # \\ud800"}', 400),
    "lone surrogate in a variable": (f'{VIEWER}, "variables": {{"a": "\\udfff"}}}}', 400),
    "lone surrogate in a key": (f'{VIEWER}, "variables": {{"\\ud800": 1}}}}', 400),
    "lone surrogate in a name": (f'{VIEWER}, "operationName": "\\ud800"}}', 400),
    "surrogate in UTF-8": (b'{"query": "{ viewer { email } } # \xed\xa0\x80"}', 400),
    "broken UTF-8": (b'{"query": "\xff"}', 400),
    "UTF-7": (OPERATION.replace("{", "+AHs-"), 400),
    "gzip": (gzip.compress(OPERATION.encode()), 400),
    "byte order mark": (b"\xef\xbb\xbf" + OPERATION.encode(), 400),
    "UTF-16": (OPERATION.encode("utf-16"), 400),
    "UTF-16 without a mark": (OPERATION.encode("utf-16-le"), 400),
    "UTF-32": (OPERATION.encode("utf-32"), 400),
    "a key twice": (f'{{"query": "{{ nope }}", {OPERATION[1:]}', 400),
    "a variable twice": (f'{VIEWER}, "variables": {{"a": 1, "a": 2}}}}', 400),
    "a key twice, once escaped": (f'{{"\\u0071uery": "{{ nope }}", {OPERATION[1:]}', 400),
    "65537 bytes": (OPERATION.ljust(64 * 1024 + 1), 413),
    # Understood, and harmless.
    "65536 bytes": (OPERATION.ljust(64 * 1024), 200),
    "1e400": (f'{VIEWER}, "variables": {{"a": 1e400}}}}', 200),
    "nulls": (f'{VIEWER}, "variables": null, "operationName": null, "extensions": null}}', 200),
}


@pytest.mark.parametrize(("body", "status"), BODIES.values(), ids=BODIES.keys())
async def test_a_body_is_one_operation_or_a_typed_refusal(
    body: bytes | str,
    status: int,
    unchanged: None,  # noqa: ARG001 - compares afterwards
    http: httpx2.AsyncClient,
) -> None:
    answer = await http.post("/graphql", content=body, headers=JSON)

    assert answer.status_code == status, answer.text
    assert_leaks_nothing(answer.text)
    if status == 200:
        assert answer.json()["data"] == {"viewer": None}
    elif status == 400:
        [error] = answer.json()["errors"]
        assert error["extensions"] == {"code": "BAD_REQUEST"}


async def test_a_body_that_grows_beyond_the_limit_without_telling_its_length_is_refused(
    unchanged: None,  # noqa: ARG001 - compares afterwards
    http: httpx2.AsyncClient,
) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 1_000_000:
            sent += 1_000
            yield b" " * 1_000

    answer = await http.post("/graphql", content=endless(), headers=JSON)

    assert answer.status_code == 413
    assert_leaks_nothing(answer.text)


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        (None, 415),
        ("", 415),
        ("text/plain", 415),
        ("application/graphql", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("application/json5", 415),
        ("text/plain; application/json", 415),
        ("application/json; charset=utf-16", 415),
        ("application/json; charset=latin-1", 415),
        ("application/json; charset*=utf-8''utf-16; charset=utf-16", 415),
        ("application/JSON", 200),
        ("application/json; charset=utf-8", 200),
        ('application/json; charset="UTF-8"', 200),
    ],
)
async def test_only_json_is_taken_so_that_no_form_of_another_page_can_call(
    content_type: str | None, status: int, people: People, http: httpx2.AsyncClient
) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    http.cookies.set("tokenward", people.customer.secret)

    answer = await http.post("/graphql", content=OPERATION, headers=headers)

    assert answer.status_code == status
    assert_leaks_nothing(answer.text)
    if status == 415:
        assert answer.json()["errors"][0]["extensions"] == {"code": "UNSUPPORTED_MEDIA_TYPE"}


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
async def test_only_post_is_taken(
    method: str,
    unchanged: None,  # noqa: ARG001 - compares afterwards
    people: People,
    http: httpx2.AsyncClient,
) -> None:
    query = "mutation { signOut { userErrors { code } } }"
    http.cookies.set("tokenward", people.customer.secret)

    answer = await http.request(method, "/graphql", params={"query": query})

    assert answer.status_code == 405
    assert "set-cookie" not in answer.headers
    assert_leaks_nothing(answer.text)


TODAY = "2030-01-15T12:00:00Z"  # as the frozen clock has it
NAMES: dict[str, tuple[str, str | None]] = {
    "empty": ("", None),
    "spaces": ("   ", None),
    "50 characters": ("x" * 50, "x" * 50),
    "51 characters": ("x" * 51, None),
    "60 kB": ("x" * 60_000, None),
    "50 beyond the basic plane": ("😀" * 50, "😀" * 50),
    "NUL": ("a\0b", None),
    "header injection": ("ok\r\nBcc: evil@example.com", None),
    "encoded word": ("=?utf-8?q?ok=0ABcc:_evil@x?=", None),
    "vertical tab": ("a\x0bb", None),
    "next line": ("a\x85b", None),
    "line separator": ("a\u2028b", None),
    "right to left override": ("a\u202eb", None),
    "zero width joiner": ("a\u200db", None),
    "no-break space": ("a\u00a0b", None),
    "private use": ("a\ue000b", None),
    "unassigned": ("a\U000e0080b", None),
    "combining flood": ("a" + "\u0301" * 51, None),
    "outer spaces": ("  deploy  ", "deploy"),
    "NFD": ("nai\u0308ve", "naïve"),
    "HTML": ("<script>alert(1)</script>", "<script>alert(1)</script>"),
    "template": ("{{7*7}} ${jndi:} %s%n", "{{7*7}} ${jndi:} %s%n"),
    "SQL": ("'; DROP TABLE api_token; --", "'; DROP TABLE api_token; --"),
    "formula": ("=cmd|' /C calc'!A0", "=cmd|' /C calc'!A0"),
    "patterns": ("100%_\\", "100%_\\"),
    "Arabic": ("رمز", "رمز"),
}


@pytest.mark.parametrize(("name", "stored"), NAMES.values(), ids=NAMES.keys())
async def test_a_name_is_stored_exactly_or_refused(
    name: str,
    stored: str | None,
    people: People,
    graphql: GraphQL,
    owner: asyncpg.Connection,
) -> None:
    wanted = {"name": name, "scopes": ["dns:read"]}

    answer = await graphql(CREATE, secret=people.customer.secret, input=wanted)

    made = answer["data"]["createToken"]
    rows = await owner.fetch("SELECT name FROM api_token WHERE kind = 'API_TOKEN'")
    assert_leaks_nothing(json.dumps(answer))
    if stored is None:
        assert [(error["code"], error["field"]) for error in made["userErrors"]] == [
            ("INVALID_INPUT", "name")
        ]
        assert rows == []
    else:
        assert made["token"]["name"] == stored
        assert [row["name"] for row in rows] == [stored]


async def test_two_spellings_of_the_same_letters_are_one_name(
    people: People, graphql: GraphQL
) -> None:
    codes = []
    for name in ("naïve", "nai\u0308ve"):
        wanted = {"name": name, "scopes": ["dns:read"]}
        answer = await graphql(CREATE, secret=people.customer.secret, input=wanted)
        codes.append([error["code"] for error in answer["data"]["createToken"]["userErrors"]])

    assert codes == [[], ["NAME_TAKEN"]]


INSTANTS: dict[str, tuple[Any, str | None]] = {
    "naive": ("2031-01-15T12:00:00", "INVALID_INPUT"),
    "a date": ("2031-01-15", "INVALID_INPUT"),
    "year 1": ("0001-01-01T00:00:00Z", "INVALID_INPUT"),
    "before year 1": ("0001-01-01T00:00:00+14:00", "INVALID_INPUT"),
    "past": ("2030-01-15T11:59:59.999999Z", "INVALID_INPUT"),
    "now": (TODAY, "INVALID_INPUT"),
    "beyond year 9999": ("9999-12-31T23:59:59-14:00", "INVALID_INPUT"),
    "year 10000": ("10000-01-01T00:00:00Z", "INVALID_OPERATION"),
    "no such day": ("2031-02-30T00:00:00Z", "INVALID_OPERATION"),
    "leap second": ("2031-06-30T23:59:60Z", "INVALID_OPERATION"),
    "empty": ("", "INVALID_OPERATION"),
    "number": (5, "INVALID_OPERATION"),
    "boolean": (True, "INVALID_OPERATION"),
    "list": ([TODAY], "INVALID_OPERATION"),
    "object": ({}, "INVALID_OPERATION"),
    "a microsecond from now": ("2030-01-15T12:00:00.000001Z", None),
    "another offset": ("2031-01-15T12:00:00+05:30", None),
    "the last": ("9999-12-31T23:59:59Z", None),
}
NORMALISED = {
    "2030-01-15T12:00:00.000001Z": "2030-01-15T12:00:00.000001+00:00",
    "2031-01-15T12:00:00+05:30": "2031-01-15T06:30:00+00:00",
    "9999-12-31T23:59:59Z": "9999-12-31T23:59:59+00:00",
}


@pytest.mark.parametrize(("instant", "code"), INSTANTS.values(), ids=INSTANTS.keys())
async def test_an_instant_is_told_in_utc_or_refused(
    instant: Any, code: str | None, people: People, graphql: GraphQL, owner: asyncpg.Connection
) -> None:
    before = await fingerprint(owner)
    wanted = {"name": "deploy", "scopes": ["dns:read"], "expiresAt": instant}

    answer = await graphql(CREATE, secret=people.customer.secret, input=wanted)

    assert_leaks_nothing(json.dumps(answer))
    if code == "INVALID_OPERATION":
        assert [error["extensions"]["code"] for error in answer["errors"]] == [code]
    elif code is not None:
        [error] = answer["data"]["createToken"]["userErrors"]
        assert (error["code"], error["field"]) == (code, "expiresAt")
    else:
        assert answer["data"]["createToken"]["token"]["expiresAt"] == NORMALISED[instant]
    assert (await fingerprint(owner) == before) is (code is not None)


def cursor(*parts: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


LIST = "tokens:CREATED_AT:DESC"
ID = "01900000-0000-7000-8000-000000000000"
CURSORS = [
    "",
    "x",
    "%%%",
    "é",
    "[" * 3_000,
    base64.urlsafe_b64encode(b"[" * 30_000).decode(),
    cursor(),
    cursor(LIST, "2030-01-01 00:00:00+00"),
    cursor("accounts", "x", ID),
    cursor("tokens:NAME:ASC", "x", ID),
    cursor("tokens:CREATED_AT:ASC", "2030-01-01 00:00:00+00", ID),
    *(
        cursor(LIST, key, ID)
        for key in (
            "",
            "x",
            5,
            None,
            "now",
            "tomorrow",
            "2030-W03-2",
            "20300101T000000",
            "--infinity",
            "infinity ",
            "2030-02-30 00:00:00+00",
            "2030-01-01 00:00:00+00:00:01.5",
            "2030-01-01 00:00:00\0+00",
            "2030-01-01\ud80000:00:00+00",
            "٢٠٣٠-01-01 00:00:00+00",
            "2030-01-01 00:00:00+00'; --",
        )
    ),
    cursor(LIST, "2030-01-01 00:00:00+00", 5),
    cursor(LIST, "2030-01-01 00:00:00+00", "x"),
]


@pytest.mark.parametrize("after", CURSORS, ids=range(len(CURSORS)))
async def test_a_tampered_cursor_is_refused(
    after: str,
    unchanged: None,  # noqa: ARG001 - compares afterwards
    people: People,
    graphql: GraphQL,
) -> None:
    answer = await graphql(
        "query($after: String) { tokens(first: 1, after: $after) { edges { cursor } } }",
        secret=people.customer.secret,
        after=after,
    )

    [error] = answer["errors"]
    assert error["extensions"] == {"code": "INVALID_INPUT", "field": "after"}
    assert_leaks_nothing(json.dumps(answer))


async def test_another_tenants_cursor_opens_nothing(
    people: People, service: Service, graphql: GraphQL
) -> None:
    for person in (people.stranger, people.stranger, people.customer):
        await make_token(service, person.actor)
    query = (
        "query($after: String) { tokens(first: 1, after: $after)"
        " { edges { cursor node { account { id } } } } }"
    )
    theirs = await graphql(query, secret=people.stranger.secret)

    stolen = theirs["data"]["tokens"]["edges"][0]["cursor"]
    answer = await graphql(query, secret=people.customer.secret, after=stolen)

    seen = {edge["node"]["account"]["id"] for edge in answer["data"]["tokens"]["edges"]}
    assert seen <= {people.customer.account_id}


async def test_an_id_that_is_none_reads_like_a_missing_object(
    unchanged: None,  # noqa: ARG001 - compares afterwards
    people: People,
    graphql: GraphQL,
) -> None:
    query = (
        "mutation($id: ID!) { revokeToken(input: {id: $id})"
        " { token { id } userErrors { code message field } } }"
    )
    secret = people.customer.secret
    missing = await graphql(query, secret=secret, id=node_ids.encode(node_ids.TOKEN, uuid4()))
    assert missing["data"]["revokeToken"]["userErrors"][0]["code"] == "NOT_FOUND"

    for text in (
        "",
        "x",
        "é",
        "QXBpVG9rZW4",
        5,
        people.customer.account_id,
        str(people.customer.actor.account_id),
        node_ids.encode("apitoken", uuid4()),
        node_ids.encode(node_ids.TOKEN, uuid4())[:-4],
        base64.urlsafe_b64encode(b"ApiToken:\xff").decode(),
        "A" * 60_000,
    ):
        answer = await graphql(query, secret=secret, id=text)
        assert answer == missing, text
