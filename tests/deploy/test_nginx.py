"""The edge lets through what Tokenward says yes to, and fails closed."""

import asyncio
import json
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from nginx_scene import (
    DEPLOY,
    IDENTITY,
    INVALID,
    NARROW,
    NGINX,
    Edge,
    Message,
    Receive,
    Send,
    address_of,
    answer,
    listen,
    opened_edge,
    render,
    running_nginx,
    serving,
)

from service.local.child import free_port


@pytest.fixture(scope="module")
async def running_edge(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    async with opened_edge(tmp_path_factory.mktemp("nginx")) as edge:
        yield edge


@pytest.fixture
def edge(running_edge: Edge) -> Edge:
    """Give the edge with an empty memory."""
    running_edge.asked.clear()
    running_edge.arrived.clear()
    return running_edge


@pytest.mark.needs("nginx")
def test_nginx_accepts_the_template(tmp_path: Path) -> None:
    values = {"TOKENWARD_WEB": "127.0.0.1:1", "UPSTREAM": "127.0.0.1:2"}
    configuration = render(tmp_path, **values, LISTEN=f"127.0.0.1:{free_port()}")

    checked = subprocess.run(  # noqa: S603 - our own configuration
        [NGINX, "-t", "-p", tmp_path, "-c", configuration],
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stderr
    assert "[warn]" not in checked.stderr
    assert "[emerg]" not in checked.stderr


@pytest.mark.needs("nginx")
async def test_a_valid_token_reaches_the_application_as_an_identity(edge: Edge) -> None:
    answered = await edge.client.get("/dns/zones?page=2", headers={"Authorization": "Bearer good"})

    assert (answered.status_code, answered.headers["X-Application"]) == (200, "yes")
    [seen] = edge.arrived
    assert seen.target == "/dns/zones?page=2"
    assert {name: seen.headers[name.lower()] for name in IDENTITY} == IDENTITY
    assert "authorization" not in seen.headers


@pytest.mark.needs("nginx")
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
    edge: Edge, method: str, path: str, scope: str
) -> None:
    answered = await edge.client.request(
        method, path, headers={"Authorization": "Bearer good"}, content=b"a body"
    )

    assert answered.status_code == 200
    [question], [seen] = edge.asked, edge.arrived
    assert (question.method, question.target) == ("GET", f"/validate?scope={scope}")
    assert (question.body, seen.body) == (b"", b"a body")
    assert (seen.method, seen.target) == (method, path)


@pytest.mark.needs("nginx")
async def test_the_validator_hears_the_true_address_and_nothing_else_of_the_client(
    edge: Edge,
) -> None:
    lies = {"X-Real-IP": "192.0.2.1", "X-Forwarded-For": "192.0.2.1", "Cookie": "a=b"}

    await edge.client.get("/dns/a", headers={"Authorization": "Bearer good", **lies})

    [question], [seen] = edge.asked, edge.arrived
    for request in (question, seen):
        assert request.headers["x-forwarded-for"] == "127.0.0.1"
    assert seen.headers["x-real-ip"] == "127.0.0.1"
    assert set(question.headers) == {"authorization", "host", "x-forwarded-for"}


@pytest.mark.needs("nginx")
@pytest.mark.parametrize("bearer", ["good", "bare"])
async def test_an_identity_that_a_client_sends_is_stripped(edge: Edge, bearer: str) -> None:
    forged = [(name, "forged") for name in IDENTITY]
    forged += [(name.lower(), "forged again") for name in IDENTITY]
    forged += [(name.replace("-", "_"), "forged otherwise") for name in IDENTITY]

    await edge.client.get("/dns/a", headers=[("Authorization", f"Bearer {bearer}"), *forged])

    [seen] = edge.arrived
    told = {name: value for name, value in seen.headers.items() if "tokenward" in name}
    true = {name.lower(): value for name, value in IDENTITY.items()}
    assert told == (true if bearer == "good" else {})


@pytest.mark.needs("nginx")
@pytest.mark.parametrize(
    ("headers", "status", "challenge"),
    [
        ({}, 401, "Bearer"),
        ({"Authorization": "Bearer unknown"}, 401, INVALID),
        ({"Authorization": "Bearer narrow"}, 403, NARROW),
    ],
)
async def test_a_refusal_is_passed_on_with_its_challenge_and_the_application_sees_nothing(
    edge: Edge, headers: dict[str, str], status: int, challenge: str
) -> None:
    answered = await edge.client.post("/dns/a", headers=headers, content=b"a body")

    assert answered.status_code == status
    assert answered.headers.get_list("WWW-Authenticate") == [challenge]
    assert edge.arrived == []


@pytest.mark.needs("nginx")
@pytest.mark.parametrize("bearer", ["broken", "lost", "unavailable", "hanging"])
async def test_a_validator_that_does_not_know_is_never_a_yes(edge: Edge, bearer: str) -> None:
    answered = await edge.client.get("/dns/a", headers={"Authorization": f"Bearer {bearer}"})

    assert (answered.status_code, answered.headers["Retry-After"]) == (503, "1")
    assert answered.json() == {"error": "temporarily_unavailable"}
    assert answered.elapsed.total_seconds() < 3
    assert len(edge.asked) == 1
    assert edge.arrived == []


@pytest.mark.needs("nginx")
async def test_a_validator_that_is_gone_is_never_a_yes(tmp_path: Path) -> None:
    upstream = listen()
    edge = Edge(httpx2.AsyncClient())
    with socket.socket() as gone:
        gone.bind(("127.0.0.1", 0))  # the port is ours and refuses, for nobody listens
        async with (
            running_nginx(tmp_path, address_of(gone), upstream) as url,
            serving(edge.application, upstream),
            edge.client as client,
        ):
            answered = await client.get(f"{url}/dns/a", headers={"Authorization": "Bearer good"})

    assert (answered.status_code, answered.headers["Retry-After"]) == (503, "1")
    assert edge.arrived == []


@pytest.mark.needs("nginx")
async def test_a_protected_location_without_a_scope_lets_nobody_through(tmp_path: Path) -> None:
    web, upstream = listen(), listen()
    edge = Edge(httpx2.AsyncClient())
    async with (
        running_nginx(
            tmp_path, address_of(web), upstream, without="set $required_scope dns:$verb;"
        ) as url,
        serving(edge.tokenward, web),
        serving(edge.application, upstream),
        edge.client as client,
    ):
        answered = await client.get(f"{url}/dns/a", headers={"Authorization": "Bearer good"})

    assert answered.status_code == 503
    assert (edge.asked, edge.arrived) == ([], [])


@pytest.mark.needs("nginx")
async def test_a_location_that_names_an_audience_asks_for_it_and_its_neighbours_do_not(
    tmp_path: Path,
) -> None:
    web, upstream = listen(), listen()
    edge = Edge(httpx2.AsyncClient(headers={"Authorization": "Bearer good"}))
    line = "set $required_scope dns:$verb;"
    async with (
        running_nginx(
            tmp_path,
            address_of(web),
            upstream,
            without=line,
            instead=f"{line} set $required_audience dns-api;",
        ) as url,
        serving(edge.tokenward, web),
        serving(edge.application, upstream),
        edge.client as client,
    ):
        for path in ("/dns/a", "/mail/a", "/dns/b?audience=mail&required_audience=mail"):
            answered = await client.get(f"{url}{path}")
            assert answered.status_code == 200

    assert [question.target for question in edge.asked] == [
        "/validate?scope=dns:read&audience=dns-api",
        "/validate?scope=mail:read",
        "/validate?scope=dns:read&audience=dns-api",
    ]
    assert "uninitialized" not in (tmp_path / "log").read_text()


@pytest.mark.needs("nginx")
@pytest.mark.parametrize("status", [401, 403, 404, 500, 503])
async def test_what_the_application_answers_is_left_alone(edge: Edge, status: int) -> None:
    answered = await edge.client.get(f"/dns/{status}", headers={"Authorization": "Bearer good"})

    assert (answered.status_code, answered.headers["X-Application"]) == (status, "yes")
    assert "WWW-Authenticate" not in answered.headers
    assert "Retry-After" not in answered.headers


@pytest.mark.needs("nginx")
@pytest.mark.parametrize("path", ["/", "/graphql", "/introspect", "/revoke", "/healthz"])
async def test_tokenward_itself_is_reached_with_the_credential(edge: Edge, path: str) -> None:
    headers = {"Authorization": "Bearer good", "X-Forwarded-For": "192.0.2.1", "Cookie": "a=b"}

    answered = await edge.client.post(path, headers=headers, content=b"{}")

    assert (answered.status_code, answered.headers["X-Page"]) == (200, path)
    [seen] = edge.asked
    assert (seen.method, seen.body) == ("POST", b"{}")
    assert seen.headers["authorization"] == "Bearer good"
    assert seen.headers["cookie"] == "a=b"
    assert seen.headers["x-forwarded-for"] == "127.0.0.1"


@pytest.mark.needs("nginx")
async def test_an_upgrade_to_a_web_socket_is_passed_on(edge: Edge) -> None:
    headers = {"Connection": "Upgrade", "Upgrade": "websocket"}

    await edge.client.get("/graphql", headers=headers)

    [seen] = edge.asked
    assert (seen.headers["connection"], seen.headers["upgrade"]) == ("upgrade", "websocket")


@pytest.mark.needs("nginx")
@pytest.mark.parametrize(
    "path", ["/validate", "/validate?scope=dns:read", "/readyz", "/metrics", "/_tokenward"]
)
async def test_inner_addresses_are_not_published(edge: Edge, path: str) -> None:
    answered = await edge.client.get(path, headers={"Authorization": "Bearer good"})

    assert answered.status_code == 404
    assert edge.asked == []


@pytest.mark.parametrize(("status", "exit_code"), [(200, 0), (503, 1)])
async def test_the_health_check_of_the_image_tells_well_from_ill(
    status: int, exit_code: int
) -> None:
    command = re.search(
        r"HEALTHCHECK.*?CMD (\[.*?\])\n", (DEPLOY / "Dockerfile").read_text(), re.DOTALL
    )
    assert command is not None
    program, *arguments = json.loads(command[1])
    assert program == "python"

    async def app(scope: Message, _: Receive, send: Send) -> None:
        await answer(send, status if scope["path"] == "/healthz" else 404)

    listener = listen()
    async with serving(app, listener):
        check = await asyncio.create_subprocess_exec(
            *(sys.executable, *arguments),
            env={"TOKENWARD_BIND_PORT": str(listener.getsockname()[1])},
        )
        assert await check.wait() == exit_code
