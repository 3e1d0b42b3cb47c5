"""What the documents say is true: settings, error codes, commands, and the tests they point to."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from strategies import labels

from schema.results import EXPECTED
from service.secret_format import SCANNER_PATTERN, checksum, make_secret
from service.settings import DEVELOPMENT_PEPPER, Settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "DECISIONS.md", "deploy/README.md"]


PEPPERS = {1: b"p" * 32}


def published_pattern() -> str:
    """Return the expression by which the README has people search for leaked secrets."""
    [told] = re.findall(r"Secrets match `(tws\S+)`, and the last six characters", README)
    return str(told)


def settings_table() -> str:
    """Return the README's table of settings; ``python tests/test_docs.py`` prints it."""
    lines = ["| variable | default | meaning |", "| --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        value = field.default
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        if value == DEVELOPMENT_PEPPER:
            value = "(for development)"
        if isinstance(value, tuple):
            value = ",".join(str(part) for part in value)
        shown = "" if value in (None, "") else f"`{value}`"
        lines.append(f"| `TOKENWARD_{name.upper()}` | {shown} | {field.description} |")
    return "\n".join(lines)


def error_table() -> str:
    """Return the README's table of error codes."""
    lines = ["| code | when |", "| --- | --- |"]
    lines += [f"| `{kind.code}` | {(kind.__doc__ or '').splitlines()[0]} |" for kind in EXPECTED]
    return "\n".join(lines)


def test_the_readme_lists_every_setting_as_it_is() -> None:
    assert settings_table() in README


def test_the_readme_lists_every_error_code_as_it_is() -> None:
    assert error_table() in README


def test_every_test_that_a_document_points_to_exists() -> None:
    inside = re.compile(r"`((?:tests|service|schema|workers|deploy)/(?!tls)[\w./-]+)`")
    named = {
        (document, path)
        for document in DOCUMENTS
        for path in inside.findall((ROOT / document).read_text())
    }

    assert named
    assert {(document, path) for document, path in named if not (ROOT / path).exists()} == set()


def test_every_promise_of_the_readme_names_a_test_that_exists() -> None:
    promises = README.partition("## What is promised")[2].partition("\n## ")[0]
    rows = [line for line in promises.splitlines() if line.startswith("| ") and "---" not in line][
        1:
    ]

    missing = []
    for row in rows:
        tests = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
        assert tests, row
        missing += [
            f"{path}::{name}"
            for path, name in tests
            if f"def {name}(" not in (ROOT / path).read_text()
        ]

    assert rows
    assert missing == []


def test_every_make_target_that_a_document_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = {
        target
        for document in DOCUMENTS
        for target in re.findall(r"`make ([a-z-]+)", (ROOT / document).read_text())
    }

    assert named
    assert {
        target for target in named if not re.search(rf"^{target}:", makefile, re.MULTILINE)
    } == set()


@given(labels(), st.booleans())
def test_the_published_expression_finds_each_secret_whole_and_its_end_is_the_checksum(
    label: str,
    session: bool,  # noqa: FBT001 - drawn
) -> None:
    text = make_secret(label, PEPPERS, session=session).text

    for line in (text, f'Authorization: Bearer {text}"', f"?key={text}&x=1", f"TOKEN={text}\n"):
        assert re.findall(published_pattern(), line) == [text]
    assert text[-6:] == checksum(text[:-6])


@pytest.mark.parametrize(
    "text",
    [
        f"tw_live_{'a' * 35}",
        f"tw_live_{'a' * 35}-",
        f"tw_live_{'a' * 35}é",
        f"tw_live_{'a' * 18}_{'a' * 17}",
        f"tw_Live_{'a' * 36}",
        f"tw_live2_{'a' * 36}",
        f"tw_{'a' * 13}_{'a' * 36}",
        f"tw__{'a' * 36}",
        f"tw_{'a' * 36}",
        f"tx_live_{'a' * 36}",
        f"twss_live_{'a' * 36}",
        f"TW_live_{'a' * 36}",
    ],
)
def test_the_published_expression_finds_nothing_that_is_none(text: str) -> None:
    assert re.search(published_pattern(), text) is None


def test_the_published_expression_is_the_one_that_secrets_are_read_by() -> None:
    assert rf"\b{published_pattern()}\b" == SCANNER_PATTERN


if __name__ == "__main__":
    print(error_table(), settings_table(), sep="\n\n")  # noqa: T201 - that is its purpose
