"""What every edge promises beside nginx.

A module of tests imports all of this and gives two fixtures, ``run_edge`` and ``odd_answers``; the
promises are then its own tests.
"""

import posixpath
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import unquote

import httpx2
import pytest
from forward_auth_scene import (
    GOOD,
    TRUE_IDENTITY,
    ForwardAuth,
    RunEdge,
    identity_in,
    opened,
    running_child,
)
from nginx_scene import IDENTITY, INVALID, NARROW, listen, serving
from stores import eventually

SILENCE_SECONDS_MAX = 3
WEB_SOCKET = {"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}


@pytest.fixture(scope="module")
async def running_edge(
    run_edge: RunEdge, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ForwardAuth]:
    async with opened(run_edge, tmp_path_factory.mktemp("edge")) as edge:
        yield edge


@pytest.fixture
def edge(running_edge: ForwardAuth) -> ForwardAuth:
    """Give the edge with an empty memory."""
    running_edge.asked.clear()
    running_edge.arrived.clear()
    return running_edge


async def test_a_valid_token_reaches_the_application_as_an_identity(edge: ForwardAuth) -> None:
    answered = await edge.client.get("/dns/zones?page=2", headers=GOOD)

    assert (answered.status_code, answered.headers["X-Application"]) == (200, "yes")
    [seen] = edge.arrived
    assert seen.target == "/dns/zones?page=2"
    assert identity_in(seen) == TRUE_IDENTITY
    assert "authorization" not in seen.headers


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/dns/a", "dns:read"),
        ("HEAD", "/dns/a", "dns:read"),
        ("POST", "/dns/a", "dns:write"),
        ("DELETE", "/dns/a?scope=dns:read", "dns:write"),
        ("PUT", "/mail/a", "mail:write"),
        ("GET", "/mail/a", "mail:read"),
    ],
)
async def test_the_validator_is_asked_for_the_scope_of_the_place_and_the_method(
    edge: ForwardAuth, method: str, path: str, scope: str
) -> None:
    answered = await edge.client.request(method, path, headers=GOOD, content=b"a body")

    assert answered.status_code == 200
    [question], [seen] = edge.asked, edge.arrived
    assert question.target == f"/validate?scope={scope}"
    assert (question.body, seen.body) == (b"", b"a body")
    assert (seen.method, seen.target) == (method, path)


async def test_the_true_address_is_handed_on_and_never_what_a_client_says(
    edge: ForwardAuth,
) -> None:
    lies = dict.fromkeys(["X-Forwarded-For", "X-Real-IP"], "192.0.2.1")
    lies["X-Forwarded-Proto"] = "https"

    await edge.client.get("/dns/a", headers=GOOD | lies)

    [question], [seen] = edge.asked, edge.arrived
    for request in (question, seen):
        assert request.headers["x-forwarded-for"] == "127.0.0.1"
    assert seen.headers["x-real-ip"] == "127.0.0.1"
    assert seen.headers["x-forwarded-proto"] == "http"


async def test_a_client_cannot_take_its_address_away(edge: ForwardAuth) -> None:
    lies = {"X-Forwarded-For": "192.0.2.1", "Connection": "keep-alive, X-Forwarded-For"}

    answered = await edge.client.get("/dns/a", headers=GOOD | lies)

    told = [request.headers["x-forwarded-for"] for request in edge.asked + edge.arrived]
    # Envoy takes it for a broken request.
    assert (answered.status_code, told) in [(200, ["127.0.0.1"] * 2), (400, [])]


async def test_the_validator_hears_no_cookie(edge: ForwardAuth) -> None:
    await edge.client.get("/dns/a", headers=GOOD | {"Cookie": "a=b"})

    [question], [seen] = edge.asked, edge.arrived
    assert "cookie" not in question.headers
    assert seen.headers["cookie"] == "a=b"


@pytest.mark.parametrize("bearer", ["good", "bare"])
async def test_an_identity_that_a_client_sends_is_stripped(edge: ForwardAuth, bearer: str) -> None:
    forged = [(name, "forged") for name in IDENTITY]
    forged += [(name.lower(), "forged again") for name in IDENTITY]
    forged += [(name.replace("-", "_"), "forged otherwise") for name in IDENTITY]
    forged += [("X-Tokenward-Other", "forged too")]

    await edge.client.get("/dns/a", headers=[("Authorization", f"Bearer {bearer}"), *forged])

    assert len(edge.asked) == 1
    told = [identity_in(seen) for seen in edge.arrived]
    # An edge may take a yes that names nobody for none.
    assert told == [TRUE_IDENTITY] if bearer == "good" else told in ([], [{}])


@pytest.mark.parametrize("other", [{}, {"Upgrade": "websocket", **WEB_SOCKET}])
async def test_a_client_cannot_take_the_identity_away(
    edge: ForwardAuth, other: dict[str, str]
) -> None:
    named = ", ".join(["Upgrade" if other else "keep-alive", *IDENTITY])

    await edge.client.get("/dns/a", headers=GOOD | other | {"Connection": named})

    assert [identity_in(seen) for seen in edge.arrived] == [TRUE_IDENTITY]


@pytest.mark.parametrize(
    "target",
    [
        "/dns/../mail/a",
        "/dns/%2e%2e/mail/a",
        "/dns/..%2fmail/a",
        "/dns/%2e%2e%2fmail/a",
        "/dns//../../mail/a",
        "/dns/a/..;/../../mail/a",
        "//mail/a",
    ],
)
async def test_no_way_of_writing_a_path_asks_for_the_scope_of_another(
    edge: ForwardAuth, target: str
) -> None:
    await edge.client.get("/", headers=GOOD, extensions={"target": target.encode()})

    for question, seen in zip(edge.asked, edge.arrived, strict=False):
        place = posixpath.normpath("/" + unquote(seen.target).lstrip("/"))
        assert place.split("/")[1] in question.target
    assert len(edge.arrived) <= len(edge.asked)


@pytest.mark.parametrize(
    ("headers", "status", "told"),
    [
        ({}, 401, {"WWW-Authenticate": ["Bearer"]}),
        ({"Authorization": "Bearer unknown"}, 401, {"WWW-Authenticate": [INVALID]}),
        ({"Authorization": "Bearer narrow"}, 403, {"WWW-Authenticate": [NARROW]}),
    ],
)
async def test_a_refusal_is_passed_on_with_its_challenge_and_the_application_sees_nothing(
    edge: ForwardAuth, headers: dict[str, str], status: int, told: dict[str, list[str]]
) -> None:
    answered = await edge.client.post("/dns/a", headers=headers, content=b"a body")

    assert answered.status_code == status
    assert {name: answered.headers.get_list(name) for name in told} == told
    assert len(edge.asked) == 1
    assert edge.arrived == []


async def test_unavailability_is_passed_on_with_the_time_to_try_again(edge: ForwardAuth) -> None:
    answered = await edge.client.get("/dns/a", headers={"Authorization": "Bearer unavailable"})

    assert answered.status_code == 503
    assert int(answered.headers["Retry-After"]) > 0
    assert len(answered.headers.get_list("Retry-After")) == 1
    assert edge.arrived == []


@pytest.mark.parametrize("bearer", ["broken", "lost", "hanging"])
async def test_a_validator_that_does_not_know_is_never_a_yes(
    edge: ForwardAuth, bearer: str, odd_answers: dict[str, int]
) -> None:
    answered = await edge.client.get("/dns/a", headers={"Authorization": f"Bearer {bearer}"})

    assert answered.status_code == odd_answers[bearer]
    assert answered.elapsed.total_seconds() < SILENCE_SECONDS_MAX
    assert edge.arrived == []


async def test_a_stopped_validator_is_never_a_yes_and_is_asked_again_when_it_goes_on(
    run_edge: RunEdge, tmp_path: Path, odd_answers: dict[str, int]
) -> None:
    upstream = listen()
    edge = ForwardAuth(httpx2.AsyncClient())
    with listen() as web:
        async with (
            running_child(web) as child,
            serving(edge.application, upstream),
            run_edge(tmp_path, web, upstream) as url,
            edge.client as client,
        ):

            async def passes() -> bool:
                return (await client.get(f"{url}/dns/a", headers=GOOD)).status_code == 200

            await eventually(passes, seconds=20)
            edge.arrived.clear()

            child.send_signal(signal.SIGSTOP)
            refused = [await client.get(f"{url}/dns/a", headers=GOOD) for _ in range(2)]

            assert [answered.status_code for answered in refused] == [odd_answers["hanging"]] * 2
            assert all(a.elapsed.total_seconds() < SILENCE_SECONDS_MAX for a in refused)
            assert edge.arrived == []

            child.send_signal(signal.SIGCONT)
            await eventually(passes, seconds=5)


async def test_a_validator_that_is_gone_is_never_a_yes(
    run_edge: RunEdge, tmp_path: Path, odd_answers: dict[str, int]
) -> None:
    upstream = listen()
    edge = ForwardAuth(httpx2.AsyncClient())
    with socket.socket() as gone:
        gone.bind(("127.0.0.1", 0))  # the port is ours and refuses, for nobody listens
        async with (
            serving(edge.application, upstream),
            run_edge(tmp_path, gone, upstream) as url,
            edge.client as client,
        ):
            answered = await client.get(f"{url}/dns/a", headers=GOOD)

    assert answered.status_code == odd_answers["gone"]
    assert edge.arrived == []


async def test_an_application_that_is_gone_is_not_taken_for_tokenward(
    run_edge: RunEdge, tmp_path: Path
) -> None:
    web = listen()
    edge = ForwardAuth(httpx2.AsyncClient())
    with socket.socket() as gone:
        gone.bind(("127.0.0.1", 0))
        async with (
            serving(edge.tokenward, web),
            run_edge(tmp_path, web, gone) as url,
            edge.client as client,
        ):
            answered = await client.get(f"{url}/dns/a", headers=GOOD)

    assert answered.status_code in {502, 503}
    assert "Retry-After" not in answered.headers
    assert "temporarily_unavailable" not in answered.text


@pytest.mark.parametrize("status", [302, 401, 403, 404, 500, 503])
async def test_what_the_application_answers_is_left_alone(edge: ForwardAuth, status: int) -> None:
    answered = await edge.client.get(f"/dns/{status}", headers=GOOD)

    assert (answered.status_code, answered.headers["X-Application"]) == (status, "yes")
    assert "WWW-Authenticate" not in answered.headers
    assert "Retry-After" not in answered.headers


@pytest.mark.parametrize("path", ["/", "/graphql", "/introspect", "/healthz"])
async def test_tokenward_itself_is_reached_with_the_credential(
    edge: ForwardAuth, path: str
) -> None:
    headers = GOOD | {"X-Forwarded-For": "192.0.2.1", "Cookie": "a=b"}

    answered = await edge.client.post(path, headers=headers, content=b"{}")

    assert (answered.status_code, answered.headers["X-Page"]) == (200, path)
    [seen] = edge.asked
    assert (seen.method, seen.body) == ("POST", b"{}")
    assert seen.headers["authorization"] == "Bearer good"
    assert seen.headers["cookie"] == "a=b"
    assert seen.headers["x-forwarded-for"] == "127.0.0.1"


@pytest.mark.parametrize("path", ["/graphql", "/dns/a"])
async def test_an_upgrade_to_a_web_socket_is_passed_on_but_not_to_the_question(
    edge: ForwardAuth, path: str
) -> None:
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", **WEB_SOCKET}

    await edge.client.get(path, headers=GOOD | headers)

    *questions, seen = edge.asked + edge.arrived
    assert len(questions) == (path == "/dns/a")
    assert (seen.headers["connection"].lower(), seen.headers["upgrade"]) == ("upgrade", "websocket")
    assert not any("upgrade" in question.headers for question in questions)


@pytest.mark.parametrize("path", ["/validate", "/validate?scope=dns:read", "/readyz", "/metrics"])
async def test_inner_addresses_are_not_published(edge: ForwardAuth, path: str) -> None:
    answered = await edge.client.get(path, headers=GOOD)

    assert answered.status_code == 404
    assert edge.asked == []
