"""Traefik, with its files of ``deploy/``, keeps what every edge promises."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
import yaml
from forward_auth_promises import *  # noqa: F403 - its promises are this module's tests
from forward_auth_scene import GOOD, RunEdge, fill, find_program, held_port, running
from nginx_scene import address_of, listen

TRAEFIK = find_program("traefik")

pytestmark = pytest.mark.needs("traefik")


@asynccontextmanager
async def running_traefik(
    directory: Path, web: socket.socket, upstream: socket.socket, *, without: str = ""
) -> AsyncIterator[str]:
    with held_port() as port, held_port() as questions_port:
        questions = f"127.0.0.1:{questions_port}"
        routes = fill(
            "traefik-routes.yaml.template",
            directory,
            without=without,
            QUESTIONS=questions,
            TOKENWARD_WEB=address_of(web),
            UPSTREAM=address_of(upstream),
        )
        configuration = fill(
            "traefik.yaml.template",
            directory,
            LISTEN=f"127.0.0.1:{port}",
            QUESTIONS=questions,
            ROUTES=str(routes),
        )
        command = (TRAEFIK, f"--configFile={configuration}")
        async with running(command, directory, port) as url:
            yield url


@pytest.fixture(scope="module")
def run_edge() -> RunEdge:
    return running_traefik


@pytest.fixture
def odd_answers() -> dict[str, int]:
    """Traefik passes on what it is told; where it is told nothing it says so."""
    return {"broken": 500, "lost": 302, "hanging": 504, "gone": 502}


@pytest.mark.parametrize("path", ["/", "/dns/a", "/graphql", "/readyz"])
async def test_the_door_for_questions_leads_nowhere_else(questions_url: str, path: str) -> None:
    async with httpx2.AsyncClient() as client:
        answered = await client.get(f"{questions_url}{path}", headers=GOOD)

    assert answered.status_code == 404


@pytest.fixture(scope="module")
async def questions_url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    directory = tmp_path_factory.mktemp("questions")
    with listen() as web, listen() as upstream:
        async with running_traefik(directory, web, upstream):
            doors = yaml.safe_load((directory / "traefik.yaml").read_text())["entryPoints"]
            yield f"http://{doors['questions']['address']}"
