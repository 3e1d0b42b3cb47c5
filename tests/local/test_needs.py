"""Where a program is missing a test is skipped; on a build server that did not say so it fails."""

from typing import cast

import pytest
from conftest import CI, WITHOUT, pytest_runtest_setup

MISSING = "no-such-program"


class Needing:
    def iter_markers(self, name: str) -> list[pytest.Mark]:
        return [getattr(pytest.mark, name)(MISSING).mark]


def set_up() -> None:
    pytest_runtest_setup(cast(pytest.Item, Needing()))


def test_here_it_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CI, raising=False)

    with pytest.raises(pytest.skip.Exception, match=MISSING):
        set_up()


@pytest.mark.parametrize("named", ["", "another", f"{MISSING}-2"])
def test_on_a_build_server_it_fails(named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CI, "true")
    monkeypatch.setenv(WITHOUT, named)

    with pytest.raises(pytest.fail.Exception, match=MISSING):
        set_up()


def test_what_a_build_server_said_that_it_could_not_install_is_skipped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(CI, "true")
    monkeypatch.setenv(WITHOUT, f" nginx {MISSING}")

    with pytest.raises(pytest.skip.Exception, match=MISSING):
        set_up()
