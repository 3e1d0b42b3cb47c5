"""What an installation brings to those who check tokens in their own programs."""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]

# As somebody writes it who has installed the package and never seen its code.
STRANGER = """
from typing import assert_type

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.types import ASGIApp

from service.blocking import open_blocking_validator
from service.guard import TokenBackend, TokenGuard, answer_refused
from service.settings import read_settings
from service.validator import Validator, open_validator
from service.verdict import Record, Status


async def check(secret: str) -> bool:
    async with open_validator(read_settings()) as validator:
        verdict = await validator.check(secret, scope="dns:write")
    assert_type(verdict.is_valid, bool)
    assert_type(verdict.status, Status)
    assert_type(verdict.record, Record | None)
    return verdict.is_valid


def check_in_a_thread(secret: str) -> bool:
    with open_blocking_validator(read_settings()) as validator:
        assert_type(validator.check(secret, address="192.0.2.1").is_valid, bool)
        return validator.check(secret).is_valid


def guarded(app: ASGIApp, validator: Validator) -> Starlette:
    return Starlette(
        middleware=[
            Middleware(TokenGuard, lambda: validator, scope="dns:read", audience="dns-api"),
            Middleware(
                AuthenticationMiddleware,
                backend=TokenBackend(lambda: validator),
                on_error=answer_refused,
            ),
        ]
    )


def wrapped(app: ASGIApp, validator: Validator) -> ASGIApp:
    return TokenGuard(app, validator, scope="dns:read")
"""

MISTAKE = "TokenGuard(app, validator, scope=1)"


def mypy(directory: Path, source: str) -> str:
    """Check a file outside the tree, without its configuration; return what is wrong with it."""
    (directory / "stranger.py").write_text(source, encoding="utf-8")
    checked = subprocess.run(  # noqa: S603 - our own words
        [
            sys.executable,
            *("-m", "mypy", "--strict", "--config-file=", "--no-error-summary"),
            *(f"--cache-dir={directory / 'cache'}", "stranger.py"),
        ],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    return checked.stdout + checked.stderr


def test_whoever_checks_in_their_own_program_is_told_the_types(tmp_path: Path) -> None:
    mistaken = STRANGER.replace('TokenGuard(app, validator, scope="dns:read")', MISTAKE)

    assert mypy(tmp_path, STRANGER) == ""
    assert 'Argument "scope" to "TokenGuard" has incompatible type' in mypy(tmp_path, mistaken)


def test_a_wheel_holds_everything_of_the_service_that_is_not_python() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = declared["tool"]["setuptools"]["package-data"]["service"]
    service = ROOT / "service"

    held = {path for pattern in patterns for path in service.glob(pattern)}

    files = {
        path
        for path in service.rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
    }
    assert service / "py.typed" in files
    assert files == held
