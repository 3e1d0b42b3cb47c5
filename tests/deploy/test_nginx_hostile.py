"""Nothing that a client writes, and nothing that stands in Tokenward's place, opens the edge."""

import asyncio
import posixpath
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx2
import pytest
from nginx_scene import IDENTITY, Edge, address_of, listen, opened_edge, running_nginx, serving

pytestmark = pytest.mark.needs("nginx")

GOOD = {"Authorization": "Bearer good"}
TRUE_IDENTITY = {name.lower(): value for name, value in IDENTITY.items()}
ANSWER_SECONDS_MAX = 5
REFUSED = {400, 401, 403, 404, 405, 413, 414, 431, 494, 501, 503, 505}


@pytest.fixture(scope="module")
async def running_edge(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    async with opened_edge(tmp_path_factory.mktemp("hostile")) as edge:
        yield edge


@pytest.fixture
def edge(running_edge: Edge) -> Edge:
    """Give the edge with an empty memory."""
    running_edge.asked.clear()
    running_edge.arrived.clear()
    return running_edge


async def sent(edge: Edge, request: str) -> list[int]:
    """Send bytes over a connection of their own; return the status of each answer."""
    parts = urlsplit(str(edge.client.base_url))
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write((request + LAST).encode("latin-1"))
    answers = b""
    try:
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            while part := await reader.read(65_536):
                answers += part
    except ConnectionError:
        pass  # what it had to say, it has said
    finally:
        writer.close()
    statuses = [int(line[:3]) for line in answers.split(b"HTTP/1.1 ")[1:]]
    return statuses[:-1] if statuses[-1:] == [404] else statuses


LAST = "GET /_tokenward HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
"""It is answered by nginx alone, after which the connection is closed: nobody need wait."""


async def assert_is_well(edge: Edge) -> None:
    """Fail if the next request of somebody with a token does not pass, as who they are."""
    edge.arrived.clear()
    assert (await edge.client.get("/dns/a", headers=GOOD)).status_code == 200
    assert identities(edge) == [TRUE_IDENTITY]


def identities(edge: Edge) -> list[dict[str, str]]:
    """Return whom each request that arrived was said to be of."""
    return [
        {name: value for name, value in seen.headers.items() if "tokenward" in name}
        for seen in edge.arrived
    ]


PATHS = [
    "/dns/../mail/a",
    "/dns/%2e%2e/mail/a",
    "/dns/..%2fmail/a",
    "/dns/%2e%2e%2fmail/a",
    "/dns/%2E%2E%2Fmail/a",
    "/dns//../../mail/a",
    "/dns/a/..;/../../mail/a",
    "/dns/./../mail/a",
    "/dns/a/%2e%2e/%2e%2e/mail/a",
    "//mail/a",
    "/%6dail/a",
    "/dns/..\\mail/a",
    "/dns/..%5cmail/a",
    "/dns/a%3f/../../mail/a",
    "/dns/a%00/../../mail/a",
    "/../mail/a",
    "mail/a",
    "http://elsewhere/mail/a",
    "http://elsewhere/dns/../mail/a",
]


async def test_no_way_of_writing_a_path_asks_for_the_scope_of_another(edge: Edge) -> None:
    for path in PATHS:
        edge.asked.clear()
        edge.arrived.clear()

        await sent(edge, f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer good\r\n\r\n")

        questions = [question for question in edge.asked if "scope=" in question.target]
        assert len(edge.arrived) <= len(questions), path
        for question, seen in zip(questions, edge.arrived, strict=False):
            place = posixpath.normpath("/" + unquote(seen.target).lstrip("/"))
            assert f"scope={place.split('/')[1]}:read" in question.target, path
    await assert_is_well(edge)


INNER = {"/validate", "/readyz", "/metrics", "/_tokenward"}
INNER_PATHS = [
    "/validate?scope=dns:read",
    "//validate",
    "/./validate",
    "/dns/../validate",
    "/%76alidate",
    "/%2fvalidate",
    "/readyz?x=1",
    "/%72eadyz",
    "/metrics",
    "/%6detrics",
    "/_tokenward",
    "/%5ftokenward",
    "http://elsewhere/validate",
]


async def test_an_inner_address_is_not_published_however_it_is_written(edge: Edge) -> None:
    for path in INNER_PATHS:
        answers = await sent(edge, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answers in ([400], [404]), path

    assert [seen.target for seen in edge.asked if seen.target.partition("?")[0] in INNER] == []
    await assert_is_well(edge)


async def test_what_a_client_says_of_itself_and_its_request_is_not_believed(edge: Edge) -> None:
    told = ["192.0.2.1", "198.51.100.1"]
    lies = [("X-Forwarded-For", address) for address in told]
    lies += [
        (name, "192.0.2.1")
        for name in ("X-Real-IP", "True-Client-IP", "X-Client-IP", "Forwarded", "Via")
    ]
    lies += [
        (name, "/mail/a?scope=*")
        for name in ("X-Original-URI", "X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Uri")
    ]
    lies += [(name, "DELETE") for name in ("X-Original-Method", "X-Forwarded-Method")]
    lies += [("X-Forwarded-Host", "elsewhere"), ("X-Forwarded-Proto", "https")]
    lies += [("Connection", f"keep-alive, {', '.join(IDENTITY)}, X-Forwarded-For")]

    answered = await edge.client.get("/dns/a", headers=[*GOOD.items(), *lies])

    [question], [seen] = edge.asked, edge.arrived
    assert answered.status_code == 200
    assert (question.method, question.target) == ("GET", "/validate?scope=dns:read")
    assert set(question.headers) == {"authorization", "host", "x-forwarded-for"}
    for request in (question, seen):
        assert request.headers["x-forwarded-for"] == "127.0.0.1"
    assert (seen.headers["x-real-ip"], seen.headers["x-forwarded-proto"]) == ("127.0.0.1", "http")
    assert identities(edge) == [TRUE_IDENTITY]


HEAD = "Host: x\r\nAuthorization: Bearer good\r\n"
NARROW_HEAD = "Host: x\r\nAuthorization: Bearer narrow\r\n"
HIDDEN = "GET /mail/hidden HTTP/1.1\r\nHost: x\r\nX-Tokenward-Account: forged\r\n\r\n"
MANY = "".join(f"X-{number}: 1\r\n" for number in range(10_000))
CHUNKED = "Transfer-Encoding: chunked\r\n"

REQUESTS: dict[str, tuple[str, set[int]]] = {
    "HTTP/1.0": (f"GET /dns/a HTTP/1.0\r\n{HEAD}\r\n", {200}),
    "HTTP/1.0 without a host": ("GET /dns/a HTTP/1.0\r\nAuthorization: Bearer good\r\n\r\n", {200}),
    "HTTP/1.0 without a token": ("GET /dns/a HTTP/1.0\r\n\r\n", {401}),
    "HTTP/0.9": ("GET /dns/a\r\n", set()),
    "HTTP/2 in the clear": ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", REFUSED),
    "HTTP of tomorrow": (f"GET /dns/a HTTP/4.2\r\n{HEAD}\r\n", REFUSED),
    "an absolute address": (f"GET http://elsewhere/dns/a HTTP/1.1\r\n{HEAD}\r\n", {200}),
    "another's host": (f"GET /dns/a HTTP/1.1\r\n{HEAD.replace('x', 'tokenward', 1)}\r\n", {200}),
    "no host": ("GET /dns/a HTTP/1.1\r\nAuthorization: Bearer good\r\n\r\n", REFUSED),
    "two hosts": (f"GET /dns/a HTTP/1.1\r\nHost: y\r\n{HEAD}\r\n", REFUSED),
    "a host that is none": ("GET /dns/a HTTP/1.1\r\nHost: x/../y\r\n\r\n", REFUSED),
    "a refused one": (f"GET /dns/a HTTP/1.1\r\n{NARROW_HEAD}\r\n", {403}),
    "two tokens": (f"GET /dns/a HTTP/1.1\r\n{HEAD}Authorization: Bearer bare\r\n\r\n", REFUSED),
    "a length and chunks": (
        f"POST /dns/a HTTP/1.1\r\n{HEAD}Content-Length: 4\r\n{CHUNKED}\r\n0\r\n\r\n{HIDDEN}",
        REFUSED,
    ),
    "chunks and a length": (
        f"POST /dns/a HTTP/1.1\r\n{HEAD}{CHUNKED}Content-Length: 4\r\n\r\n0\r\n\r\n{HIDDEN}",
        REFUSED,
    ),
    "chunks in HTTP/1.0": (
        f"POST /dns/a HTTP/1.0\r\n{HEAD}{CHUNKED}\r\n0\r\n\r\n{HIDDEN}",
        REFUSED,
    ),
    "chunks twice": (f"POST /dns/a HTTP/1.1\r\n{HEAD}{CHUNKED * 2}\r\n0\r\n\r\n{HIDDEN}", REFUSED),
    "unknown chunks": (
        f"POST /dns/a HTTP/1.1\r\n{HEAD}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{HIDDEN}",
        REFUSED,
    ),
    "a space before the colon": (
        f"POST /dns/a HTTP/1.1\r\n{HEAD}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{HIDDEN}",
        REFUSED,
    ),
    "a folded header": (f"GET /dns/a HTTP/1.1\r\n{HEAD}X: 1\r\n Y: 2\r\n\r\n", REFUSED | {200}),
    "two lengths": (
        f"POST /dns/a HTTP/1.1\r\n{HEAD}Content-Length: 0\r\nContent-Length: 9\r\n\r\n{HIDDEN}",
        REFUSED,
    ),
    "a negative length": (
        f"POST /dns/a HTTP/1.1\r\n{HEAD}Content-Length: -1\r\n\r\n{HIDDEN}",
        REFUSED,
    ),
    "a chunk without end": (
        f"POST /dns/a HTTP/1.1\r\n{HEAD}{CHUNKED}\r\nffffffffffffffffff\r\n{HIDDEN}",
        REFUSED,
    ),
    "a chunk that is none": (
        f"POST /dns/a HTTP/1.1\r\n{HEAD}{CHUNKED}\r\n0x0\r\n\r\n{HIDDEN}",
        REFUSED,
    ),
    "a request in a body": (
        f"POST /dns/a HTTP/1.1\r\n{HEAD}Content-Length: {len(HIDDEN)}\r\n\r\n{HIDDEN}",
        {200},
    ),
    "a request behind one": (f"GET /dns/a HTTP/1.1\r\n{HEAD}\r\n{HIDDEN}", {200, 401}),
    "a trailer": (
        f"POST /dns/a HTTP/1.1\r\nHost: x\r\n{CHUNKED}\r\n0\r\nAuthorization: Bearer good\r\n\r\n",
        REFUSED,
    ),
    "a lone LF": ("GET /dns/a HTTP/1.1\nHost: x\nAuthorization: Bearer good\n\n", {200, 400}),
    "a NUL": (f"GET /dns/a HTTP/1.1\r\n{HEAD}X: a\0b\r\n\r\n", REFUSED),
    "a NUL in the path": (f"GET /dns/a\0 HTTP/1.1\r\n{HEAD}\r\n", REFUSED),
    "a space in the path": (f"GET /dns/a b HTTP/1.1\r\n{HEAD}\r\n", REFUSED),
    "TRACE": (f"TRACE /dns/a HTTP/1.1\r\n{HEAD}\r\n", REFUSED),
    "CONNECT": (f"CONNECT /dns/a HTTP/1.1\r\n{HEAD}\r\n", REFUSED),
    "a method that is none": (f"G@T /dns/a HTTP/1.1\r\n{HEAD}\r\n", REFUSED),
    "a hundred kilobytes": (f"GET /dns/a HTTP/1.1\r\n{HEAD}X: {'x' * 100_000}\r\n\r\n", REFUSED),
    "a long address": (f"GET /dns/{'a' * 100_000} HTTP/1.1\r\n{HEAD}\r\n", REFUSED),
    "ten thousand headers": (
        f"GET /dns/a HTTP/1.1\r\n{HEAD}{MANY}\r\n",
        REFUSED,
    ),
    "a long token": (
        f"GET /dns/a HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {'x' * 100_000}\r\n\r\n",
        REFUSED,
    ),
    "TLS": ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", REFUSED),
}
"""Bytes, and the statuses that are right; silence is right wherever a refusal is."""


async def test_a_hostile_request_is_refused_or_is_one_request_of_its_caller(edge: Edge) -> None:
    wrong = {}

    for name, (request, statuses) in REQUESTS.items():
        edge.asked.clear()
        edge.arrived.clear()
        answers = await sent(edge, request)
        is_right = set(answers) <= statuses if answers else 200 not in statuses
        is_hidden = any("hidden" in seen.target for seen in edge.arrived)
        if not is_right or is_hidden or identities(edge) != [TRUE_IDENTITY] * answers.count(200):
            wrong[name] = (answers, edge.arrived[:])

    assert wrong == {}
    await assert_is_well(edge)


OK = b"HTTP/1.1 200 OK\r\n"
IDENTIFIED = b"X-Tokenward-Account: account-1\r\n"

ANSWERS: dict[str, bytes] = {
    "nothing": b"",
    "half a status": b"HTTP/1.1 2",
    "half a head": OK + IDENTIFIED,
    "half a header": OK + b"X-Tokenward-Acc",
    "another program": b"-ERR wrong number of arguments for 'get' command\r\n",
    "a greeting": b"220 mail.example.com ESMTP\r\n",
    "TLS": b"\x15\x03\x03\x00\x02\x02\x46",
    "a page without a head": b"<html>200 OK</html>",
    "another protocol": b"ICY 200 OK\r\n\r\n",
    "a status that is none": b"HTTP/1.1 abc OK\r\n\r\n",
    "a status of zero": b"HTTP/1.1 000 OK\r\n\r\n",
    "a long status": b"HTTP/1.1 2000 OK\r\n\r\n",
    "go on": b"HTTP/1.1 100 Continue\r\n\r\n",
    "another protocol from now on": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    "elsewhere": b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
    "not modified": b"HTTP/1.1 304 Not Modified\r\n\r\n",
    "asked wrongly": b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
    "not found": b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    "too many": b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n",
    "broken": b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
    "a head without end": OK + b"X: " + b"x" * 100_000 + b"\r\n\r\n",
}
"""What may stand where Tokenward's yes should be, after which the connection is closed."""


@asynccontextmanager
async def answering(answers: list[bytes]) -> AsyncIterator[socket.socket]:
    """Stand for Tokenward on a socket: the last of the answers, whatever is asked."""
    listener = listen()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answers[-1])
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, sock=listener):
        yield listener


async def test_nothing_but_a_whole_yes_of_tokenwards_is_a_yes(tmp_path: Path) -> None:
    upstream, answers = listen(), [b""]
    edge = Edge(httpx2.AsyncClient())
    passed = []
    async with (
        answering(answers) as web,
        running_nginx(tmp_path, address_of(web), upstream) as url,
        serving(edge.application, upstream),
        edge.client as client,
    ):
        for name, answer in ANSWERS.items():
            answers.append(answer)
            answered = await client.get(f"{url}/dns/a", headers=GOOD)
            if answered.status_code != 503 or edge.arrived:
                passed.append((name, answered.status_code))
                edge.arrived.clear()
        answers.append(OK + IDENTIFIED + b"Content-Length: 0\r\n\r\n")
        control = await client.get(f"{url}/dns/a", headers=GOOD)

    assert passed == []
    assert control.status_code == 200
    assert [seen.headers["x-tokenward-account"] for seen in edge.arrived] == ["account-1"]
