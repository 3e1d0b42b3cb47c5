"""Envoy, with its file of ``deploy/``, keeps what every edge promises."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from forward_auth_promises import *  # noqa: F403 - its promises are this module's tests
from forward_auth_scene import (
    GOOD,
    ForwardAuth,
    RunEdge,
    fill,
    find_program,
    held_port,
    opened,
    running,
)

ENVOY = find_program("envoy")

FORGOTTEN = """
                          typed_per_filter_config:
                            envoy.filters.http.ext_authz:
                              "@type": *per_route
                              check_settings:
                                http_service: { server_uri: *tokenward, path_override: "/validate?scope=dns:write", authorization_response: *told }"""  # noqa: E501 - as the file has it

pytestmark = pytest.mark.needs("envoy")


@asynccontextmanager
async def running_envoy(
    directory: Path, web: socket.socket, upstream: socket.socket, *, without: str = ""
) -> AsyncIterator[str]:
    with held_port() as port:
        configuration = fill(
            "envoy.yaml.template",
            directory,
            without=without,
            LISTEN_HOST="127.0.0.1",
            LISTEN_PORT=str(port),
            TOKENWARD_HOST="127.0.0.1",
            TOKENWARD_PORT=str(web.getsockname()[1]),
            UPSTREAM_HOST="127.0.0.1",
            UPSTREAM_PORT=str(upstream.getsockname()[1]),
        )
        command = (ENVOY, "-c", configuration, "--disable-hot-restart", "--concurrency", "1")
        async with running(command, directory, port) as url:
            yield url


@pytest.fixture(scope="module")
def run_edge() -> RunEdge:
    return running_envoy


@pytest.fixture
def odd_answers() -> dict[str, int]:
    return dict.fromkeys(["broken", "lost", "hanging", "gone"], 503)


@pytest.mark.parametrize("bearer", ["broken", "lost", "hanging", "unavailable"])
async def test_what_is_not_known_to_be_a_yes_may_be_tried_again(
    edge: ForwardAuth, bearer: str
) -> None:
    answered = await edge.client.get("/dns/a", headers={"Authorization": f"Bearer {bearer}"})

    assert (answered.status_code, answered.headers["Retry-After"]) == (503, "1")
    assert answered.json() == {"error": "temporarily_unavailable"}
    assert edge.arrived == []


async def test_a_protected_route_without_a_scope_lets_nobody_through(tmp_path: Path) -> None:
    async with opened(running_envoy, tmp_path, without=FORGOTTEN) as edge:
        answered = await edge.client.post("/dns/a", headers=GOOD)

        assert answered.status_code == 503
        assert edge.arrived == []
