"""The set-up of a fresh checkout: quiet when all is there, one sentence when not."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Stands for uv: it makes an environment without packages and tells what it was asked for.
UV = """#!/bin/sh
case "$1" in
venv) "{python}" -m venv --without-pip .venv ;;
pip) echo "$@" >>asked ;;
esac
"""


class Checkout:
    """A fresh checkout whose PATH holds the system's tools and those of the test."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "a checkout"
        (self.directory / ".ci").mkdir(parents=True)
        shutil.copy(ROOT / ".ci" / "bootstrap", self.directory / ".ci")
        for name in ("requirements.lock", "requirements-dev.lock"):
            (self.directory / name).touch()
        self._tools = directory / "tools"
        self._tools.mkdir()
        for name in ("sh", "cat", "chmod", "dirname", "rm"):
            (self._tools / name).symlink_to(shutil.which(name) or name)

    def add_tool(self, name: str, script: str) -> None:
        tool = self._tools / name
        tool.write_text(script)
        tool.chmod(0o755)

    def bootstrap(self, selection: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - our own script
            [self.directory / ".ci" / "bootstrap", selection],
            env={"PATH": str(self._tools)},
            capture_output=True,
            text=True,
            check=False,
        )

    def installed(self) -> list[str]:
        asked = self.directory / "asked"
        return [line.split()[-1] for line in asked.read_text().splitlines()]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


@pytest.fixture
def ready_checkout(checkout: Checkout) -> Checkout:
    checkout.add_tool("python3", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    checkout.add_tool("uv", UV.format(python=sys.executable))
    return checkout


def test_an_old_python_is_one_clear_sentence(checkout: Checkout) -> None:
    checkout.add_tool("python3", "#!/bin/sh\nexit 1\n")

    result = checkout.bootstrap("run")

    assert result.returncode == 1
    assert result.stderr == (
        "Tokenward needs Python 3.11 or later, and there is none on the PATH.\n"
    )
    assert not (checkout.directory / ".venv").exists()


def test_a_python_without_ensurepip_names_the_package_and_leaves_nothing(
    checkout: Checkout,
) -> None:
    checkout.add_tool(
        "python3",
        f'#!/bin/sh\ncase "$*" in *ensurepip*) exit 1 ;; esac\nexec "{sys.executable}" "$@"\n',
    )

    result = checkout.bootstrap("run")

    version = "{}.{}".format(*sys.version_info[:2])
    assert result.returncode == 1
    assert f"apt install python{version}-venv" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (checkout.directory / ".venv").exists()


def test_a_second_call_installs_nothing(ready_checkout: Checkout) -> None:
    first = ready_checkout.bootstrap("run")
    second = ready_checkout.bootstrap("run")

    assert first.returncode == second.returncode == 0
    assert second.stdout == second.stderr == ""
    assert ready_checkout.installed() == ["requirements.lock"]


def test_the_set_for_development_serves_to_run(ready_checkout: Checkout) -> None:
    ready_checkout.bootstrap("dev")
    ready_checkout.bootstrap("run")

    assert ready_checkout.installed() == ["requirements-dev.lock"]


def test_a_changed_lock_is_installed(ready_checkout: Checkout) -> None:
    ready_checkout.bootstrap("run")
    (ready_checkout.directory / "requirements.lock").write_text("# changed\n")

    ready_checkout.bootstrap("run")

    assert ready_checkout.installed() == ["requirements.lock"] * 2


def test_the_code_runs_from_the_checkout(ready_checkout: Checkout) -> None:
    package = ready_checkout.directory / "service"
    package.mkdir()
    (package / "command.py").write_text("import sys; print(*sys.argv[1:])")

    ready_checkout.bootstrap("run")

    command = [str(ready_checkout.directory / ".venv" / "bin" / "tokenward"), "one", "two"]
    output = subprocess.check_output(command, text=True, cwd="/")  # noqa: S603 - our own script
    assert output == "one two\n"
