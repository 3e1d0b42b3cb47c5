"""Rules for every file that no linter knows. Each rule is also shown to fire."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("service", "schema", "workers")
TABLES = (
    "account|member|password_reset|api_token|secret|replay|notice|"
    "audit_event|outbox_event|policy|scope_template|job|job_item|token_count|token_total"
)
TENANT_SQL = re.compile(rf"\b(FROM|JOIN|INTO|UPDATE|TABLE)\s+({TABLES})\b")

# The queries that no actor asks. One more is a decision, made here.
SYSTEM_QUERIES = {
    "system_chain_heads",
    "system_claim_crossings",
    "system_claim_digest",
    "system_claim_link",
    "system_claim_outbox",
    "system_end_canary",
    "system_find_due_jobs",
    "system_find_due_secrets",
    "system_find_linked_member",
    "system_find_member",
    "system_find_operator",
    "system_find_person",
    "system_find_platform_thresholds",
    "system_find_wide_schedules",
    "system_forget_canaries",
    "system_forget_jobs",
    "system_forget_links",
    "system_forget_outbox",
    "system_forget_replays",
    "system_has_operator",
    "system_insert_canary",
    "system_jobs_lag",
    "system_judge",
    "system_lapse_members",
    "system_mark_failed",
    "system_mark_sent",
    "system_misjudged",
    "system_newest_position",
    "system_note_commits",
    "system_note_deliveries",
    "system_note_link_failed",
    "system_note_link_sent",
    "system_outbox_lag",
    "system_places_behind",
    "system_position",
    "system_postpone",
    "system_postpone_job",
    "system_record_reuses",
    "system_record_uses",
    "system_recount",
    "system_revoke_held",
    "system_sweep",
    "system_unsealed",
    "system_unsealed_events",
    "system_update_password_hash",
    "system_use_link",
    "system_wait_to_seal",
    "system_want_password_reset",
    "system_write_seals",
    "system_wrong_accounts",
    "system_wrong_fleets",
}

# Who may begin a transaction that sees every tenant, outside service/access.
SEES_EVERYTHING = {
    "service/accounts.py",
    "service/canary.py",
    "service/holders.py",
    "service/members.py",
    "service/outbox.py",
    "service/password_changes.py",
    "service/refusals.py",
    "service/rotation.py",
    "service/sealer.py",
    "service/sessions.py",
    "service/trail_export.py",
    "service/trail_replay.py",
}

LINES_MAX = 400
FUNCTION_LINES_MAX = 45
DRAWERS = {"utils", "helpers", "common", "base", "manager", "misc"}


def source_files(*packages: str) -> list[Path]:
    return [path for package in packages for path in sorted((ROOT / package).rglob("*.py"))]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def strings_of(tree: ast.AST) -> Iterator[str]:
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield "" if id(node) in documentation else node.value


def goes_round_the_door(source: str) -> bool:
    """Return whether code names a tenant table in SQL, or reaches for the models themselves."""
    tree = ast.parse(source)
    if any(TENANT_SQL.search(text) for text in strings_of(tree)):
        return True
    imported = {
        node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module
    }
    return "service.models" in imported


def calls_bare_save(source: str) -> bool:
    """Return whether code calls ``.save()``, which writes every column and un-revokes."""
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "save"
        for node in ast.walk(ast.parse(source))
    )


def long_functions(source: str) -> list[str]:
    """Return the functions of more lines than are read at a glance."""
    return [
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno >= FUNCTION_LINES_MAX
    ]


def test_tenant_rows_are_reached_through_the_door_alone() -> None:
    outside = [
        path
        for path in source_files(*PACKAGES)
        if not name_of(path).startswith(("service/access/", "service/migrations/"))
    ]

    around = [name_of(path) for path in outside if goes_round_the_door(path.read_text())]

    assert around == []


@pytest.mark.parametrize(
    "bypass",
    [
        'await query("SELECT * FROM api_token")',
        'sql = f"UPDATE api_token SET name = {name}"',
        "from service.models import ApiToken",
    ],
)
def test_a_way_round_the_door_is_seen(bypass: str) -> None:
    assert goes_round_the_door(bypass)


def test_a_docstring_about_a_table_is_no_way_round() -> None:
    assert not goes_round_the_door('"""Rows come FROM api_token."""')


def public_functions(path: Path) -> set[str]:
    return {
        node.name
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name[0] != "_"
    }


def test_queries_across_tenants_are_the_listed_ones() -> None:
    asked_by_nobody = {
        "canary.py",
        "holders.py",
        "job_queue.py",
        "system.py",
        "notices.py",
        "password_resets.py",
        "recounts.py",
        "refusals.py",
        "seals.py",
    }
    functions = {
        path.name: public_functions(path)
        for path in (ROOT / "service/access").iterdir()
        if path.suffix == ".py"
    }

    across = set().union(*(functions[name] for name in asked_by_nobody))
    asked_by_actors = set().union(
        *(names for name, names in functions.items() if name not in asked_by_nobody)
    )

    assert across == SYSTEM_QUERIES
    assert {name for name in asked_by_actors if name.startswith("system_")} == set()


def test_only_listed_modules_open_a_door_to_everything() -> None:
    users = {
        name_of(path)
        for path in source_files(*PACKAGES)
        if "EVERYTHING" in path.read_text()
        and "from service.access.actor import EVERYTHING" in path.read_text()
        and not name_of(path).startswith("service/access/")
    }

    assert users == SEES_EVERYTHING


def test_nobody_writes_every_column_of_a_row() -> None:
    assert [name_of(p) for p in source_files(*PACKAGES) if calls_bare_save(p.read_text())] == []


def test_a_bare_save_is_seen() -> None:
    assert calls_bare_save("await token.save()")


def test_a_file_can_be_read_in_one_sitting() -> None:
    files = source_files(*PACKAGES, "tests")

    long = {name_of(path): len(path.read_text().splitlines()) for path in files}

    assert {name: lines for name, lines in long.items() if lines > LINES_MAX} == {}


def test_a_function_can_be_read_at_a_glance() -> None:
    long = {name_of(path): long_functions(path.read_text()) for path in source_files(*PACKAGES)}

    assert {name: functions for name, functions in long.items() if functions} == {}


def test_a_long_function_is_seen() -> None:
    assert long_functions("def f():\n" + "    x = 1\n" * FUNCTION_LINES_MAX) == ["f"]


def test_no_module_is_a_drawer() -> None:
    names = {part for path in source_files(*PACKAGES) for part in path.with_suffix("").parts}

    assert names & DRAWERS == set()
