"""What an operator copies from ``deploy/`` is true of the code."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.command import tokenward
from service.settings import Settings

DEPLOY = Path(__file__).parents[2] / "deploy"


# The settings ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """One variable of env.example and the comment above it."""

    name: str
    value: str
    comment: str
    is_default: bool


def lines_of_example() -> list[Line]:
    lines, comment = [], ""
    for text in (DEPLOY / "env.example").read_text().splitlines():
        if found := re.fullmatch(r"(#?)([A-Z_]+)=(.*)", text):
            lines.append(Line(found[2], found[3], comment.strip(), is_default=bool(found[1])))
            comment = ""
        else:
            comment = f"{comment} {text.removeprefix('#').strip()}" if text else ""
    return lines


def variable(field_name: str) -> str:
    return f"TOKENWARD_{field_name.upper()}"


def test_the_example_tells_every_setting_in_the_words_of_the_code() -> None:
    told = {
        line.name: line.comment for line in lines_of_example() if line.name.startswith("TOKENWARD_")
    }

    assert told == {
        variable(name): setting.description for name, setting in Settings.model_fields.items()
    }


def test_the_example_tells_the_true_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = {line.name: line.value for line in lines_of_example() if line.is_default}

    for name, value in defaults.items():
        monkeypatch.setenv(name, value)
    read = Settings()

    for name, setting in Settings.model_fields.items():
        if variable(name) in defaults:
            assert getattr(read, name) == setting.default, name


def test_the_example_does_not_start_before_it_is_filled_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for line in lines_of_example():
        if not line.is_default:
            monkeypatch.setenv(line.name, line.value)

    with pytest.raises(ValueError, match="TOKENWARD_PEPPERS needs secrets of 32"):
        Settings()
    monkeypatch.setenv("TOKENWARD_PEPPERS", "1:" + "0" * 64)
    assert Settings().environment == "production"


# Compose --------------------------------------------------------------------------------------


def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return document


SERVICES: dict[str, dict[str, Any]] = compose()["services"]

OURS = sorted(name for name, service in SERVICES.items() if "build" in service)


def test_compose_has_each_part_once() -> None:
    assert set(SERVICES) == {
        *("postgres", "cache", "broker", "migrate", "web", "worker", "beat", "nginx")
    }
    assert set(OURS) == {"migrate", "web", "worker", "beat"}


@pytest.mark.parametrize("name", OURS)
def test_our_services_run_known_commands_and_know_known_settings(name: str) -> None:
    service = SERVICES[name]

    assert service["command"] == [name]
    assert name in tokenward.commands
    known = {variable(setting) for setting in Settings.model_fields}
    assert set(service["environment"]) - {"POSTGRES_PASSWORD"} <= known
    assert service["env_file"] == ".env"


@pytest.mark.parametrize("name", OURS)
def test_only_the_migration_knows_the_owner_and_nobody_the_superuser(name: str) -> None:
    environment = SERVICES[name]["environment"]

    assert environment["POSTGRES_PASSWORD"] == ""
    assert bool(environment["TOKENWARD_DATABASE_OWNER_URL"]) == (name == "migrate")


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_is_hardened(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == ("no" if name == "migrate" else "unless-stopped")
    assert "build" in service or service["user"] != "root"


@pytest.mark.parametrize("name", sorted(set(SERVICES) - set(OURS)))
def test_foreign_images_are_pinned_to_a_major_version(name: str) -> None:
    assert re.fullmatch(r"[a-z/]+:\d+", SERVICES[name]["image"])


def test_only_nginx_publishes_a_port_and_only_to_this_machine() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}

    assert published == {"nginx": ["${EDGE:-127.0.0.1:8080}:8080"]}


def test_what_is_waited_for_can_be_waited_for() -> None:
    for name, service in SERVICES.items():
        for other, wait in service.get("depends_on", {}).items():
            if wait["condition"] == "service_healthy":
                checked = other == "web" or "test" in SERVICES[other]["healthcheck"]
                assert checked, f"{name} waits for {other}"
            else:
                assert wait["condition"] == "service_completed_successfully"
                assert SERVICES[other]["restart"] == "no"


def test_the_service_trusts_the_network_of_the_edge_alone() -> None:
    networks = compose()["networks"]
    trusted = SERVICES["web"]["environment"]["TOKENWARD_TRUSTED_PROXIES"]

    assert networks["edge"]["ipam"]["config"] == [{"subnet": trusted}]
    assert {name for name in SERVICES if "edge" in SERVICES[name]["networks"]} == {"web", "nginx"}
    assert networks["inside"] == {"internal": True}


def test_the_example_tells_every_variable_of_compose() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    used = set(re.findall(r"\$\{([A-Z_]+)", text))
    told = {line.name: line for line in lines_of_example()}

    assert used <= set(told)
    assert {name for name in told if not name.startswith("TOKENWARD_")} <= used
    for name, default in re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", text):
        assert told[name].value == default


# The image ------------------------------------------------------------------------------------


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE)
    logical = text.replace("\\\n", " ").splitlines()
    pairs = [line.split(maxsplit=1) for line in logical if line.strip()]
    return [(word, rest.strip()) for word, rest in pairs]


def test_the_image_runs_tokenward_and_nobody_is_root() -> None:
    last = dict(instructions())

    assert json.loads(last["ENTRYPOINT"]) == ["tokenward"]
    assert json.loads(last["CMD"]) == ["web"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last["USER"])
    assert instructions()[-1][0] == "CMD"


def test_the_image_installs_the_lock_and_nothing_else() -> None:
    runs = " ".join(rest for word, rest in instructions() if word == "RUN")
    installs = re.findall(r"(?:pip|apt-get|apt) install[^&]*", runs)

    assert len(installs) == 1
    assert {"--require-hashes", "--only-binary", "/tmp/requirements.lock"} <= set(  # noqa: S108
        installs[0].split()
    )
    bases = [rest for word, rest in instructions() if word == "FROM"]
    assert bases == ["python:3.13-slim AS build", "python:3.13-slim"]


def test_the_image_gets_only_what_it_copies() -> None:
    copied = {
        rest.split()[0].strip("/")
        for word, rest in instructions()
        if word == "COPY" and not rest.startswith("--from")
    }
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()

    assert lines[1] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == copied


# The units and the documents ------------------------------------------------------------------


def test_the_units_and_the_documents_run_known_commands() -> None:
    unit = (DEPLOY / "systemd" / "tokenward@.service").read_text()
    readme = (DEPLOY / "README.md").read_text()
    told = re.findall(r"tokenward@([a-z]+)", unit) + re.findall(r"`tokenward ([a-z-]+)", readme)
    told += re.findall(r"docker compose run --rm web ([a-z-]+)", readme)

    assert {"web", "worker", "beat", "migrate", "create-operator"} <= set(told)
    assert set(told) <= set(tokenward.commands)


def test_the_documents_name_known_settings_and_files() -> None:
    known = {line.name for line in lines_of_example()}
    for document in DEPLOY.glob("*.md"):
        text = document.read_text()
        assert set(re.findall(r"TOKENWARD_[A-Z_]+", text)) <= known, document.name
    table = re.findall(r"^\| `([^`]+)` \|", (DEPLOY / "README.md").read_text(), re.MULTILINE)
    assert table
    assert all((DEPLOY / name).exists() for name in table)
