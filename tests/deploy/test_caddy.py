"""Caddy, with its file of ``deploy/``, keeps what every edge promises."""

import socket
import subprocess
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
from nginx_scene import address_of

CADDY = find_program("caddy")

pytestmark = pytest.mark.needs("caddy")


@asynccontextmanager
async def running_caddy(
    directory: Path, web: socket.socket, upstream: socket.socket, *, without: str = ""
) -> AsyncIterator[str]:
    with held_port() as port:
        configuration = fill(
            "Caddyfile.template",
            directory,
            without=without,
            SITE=f"http://127.0.0.1:{port}",
            BIND="127.0.0.1",
            TOKENWARD_WEB=address_of(web),
            UPSTREAM=address_of(upstream),
        )
        command = (CADDY, "run", "--adapter", "caddyfile", "--config", configuration)
        async with running(command, directory, port) as url:
            yield url


@pytest.fixture(scope="module")
def run_edge() -> RunEdge:
    return running_caddy


@pytest.fixture
def odd_answers() -> dict[str, int]:
    return dict.fromkeys(["broken", "lost", "hanging", "gone"], 503)


def test_caddy_accepts_the_file_as_it_is_written(tmp_path: Path) -> None:
    configuration = fill(
        "Caddyfile.template",
        tmp_path,
        SITE="tokens.example.com",
        BIND="127.0.0.1",
        TOKENWARD_WEB="127.0.0.1:1",
        UPSTREAM="127.0.0.1:2",
    )

    checked = subprocess.run(  # noqa: S603 - our own configuration
        [CADDY, "validate", "--adapter", "caddyfile", "--config", configuration],
        env={"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stderr
    assert "not formatted" not in checked.stderr


@pytest.mark.parametrize("bearer", ["broken", "lost", "hanging", "bare"])
async def test_what_is_not_known_to_be_a_yes_may_be_tried_again(
    edge: ForwardAuth, bearer: str
) -> None:
    answered = await edge.client.get("/dns/a", headers={"Authorization": f"Bearer {bearer}"})

    assert (answered.status_code, answered.headers["Retry-After"]) == (503, "1")
    assert answered.json() == {"error": "temporarily_unavailable"}
    assert edge.arrived == []


async def test_a_protected_place_without_a_noun_lets_nobody_through(tmp_path: Path) -> None:
    async with opened(running_caddy, tmp_path, without="vars noun dns") as edge:
        answered = await edge.client.get("/dns/a", headers=GOOD)

        assert answered.status_code == 503
        assert edge.arrived == []
