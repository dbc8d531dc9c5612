"""Sizes, words and habits that a reader relies on."""

from __future__ import annotations

import ast
import re

import pytest

from schemas import errors
from tests.architecture.source import ROOT, calls, imports, modules, nodes, tracked

MODULE_LINES_MAX = 400
TEST_LINES_MAX = 500
FUNCTION_LINES_MAX = 80
TRACKED_BYTES_MAX = 2 << 20
TEXT = {".py", ".md", ".toml", ".txt", ".in", ".yml", ".yaml", ".json", ".cfg", ".sh", ".service", ""}
MACHINE_PATH = re.compile(r"(^|[^A-Za-z0-9_.])/(root|home|work|farm)/[A-Za-z.]")
INDEX_ADDRESS = re.compile(r"index[-]url|find-links|:/{2}[^ ]*/simple")
BUILTIN_ERRORS = {"Exception", "ValueError", "RuntimeError", "BaseException", "OSError"}
EXEMPT = {"tests/architecture/test_style.py", ".gitignore"}


def _texts() -> list[tuple[str, str]]:
    return [
        (name, path.read_text(encoding="utf-8", errors="replace"))
        for path in tracked()
        if path.suffix in TEXT and (name := path.relative_to(ROOT).as_posix()) not in EXEMPT
    ]


def test_modules_are_short() -> None:
    long = [
        (name, lines)
        for path in tracked()
        if path.suffix == ".py"
        for name in (path.relative_to(ROOT).as_posix(),)
        if (lines := len(path.read_bytes().splitlines()))
        > (TEST_LINES_MAX if name.startswith("tests/") else MODULE_LINES_MAX)
    ]
    assert long == []


def test_functions_are_short() -> None:
    long = [
        (path, node.name, length)
        for path, tree in modules().items()
        for node in nodes(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if (length := (node.end_lineno or 0) - node.lineno + 1 - _docstring_lines(node)) > FUNCTION_LINES_MAX
    ]
    assert long == []


def _docstring_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return (first.end_lineno or 0) - first.lineno + 1
    return 0


def test_no_file_names_a_place_on_somebodys_machine() -> None:
    found = [
        (name, number)
        for name, text in _texts()
        for number, line in enumerate(text.splitlines(), 1)
        if MACHINE_PATH.search(line)
    ]
    assert found == []


def test_no_file_names_a_package_index() -> None:
    found = [
        (name, number)
        for name, text in _texts()
        for number, line in enumerate(text.splitlines(), 1)
        if INDEX_ADDRESS.search(line)
    ]
    assert found == []


@pytest.mark.parametrize(
    "line", ["see {}home/someone/x".format("/"), "--index{}url x".format("-"), "https:{}host/simple/".format("//")]
)
def test_those_searches_find_what_they_look_for(line: str) -> None:
    assert MACHINE_PATH.search(line) or INDEX_ADDRESS.search(line)


def test_no_tracked_file_is_large() -> None:
    assert [path.name for path in tracked() if path.stat().st_size > TRACKED_BYTES_MAX] == []


def test_the_program_never_prints() -> None:
    assert [
        (path, call.lineno)
        for path, tree in modules().items()
        for name, call in calls(tree)
        if name in {"print", "pprint"}
    ] == []


def test_nothing_is_left_to_do() -> None:
    words = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|for now\b")
    found = [
        (name, number)
        for name, text in _texts()
        if name.endswith(".py")
        for number, line in enumerate(text.splitlines(), 1)
        if words.search(line)
    ]
    assert found == []


def test_the_error_tree_is_the_one_that_is_drawn() -> None:
    drawn = set(re.findall(r"[├└]── (\w+)", errors.__doc__ or "")) | {"LagrumError"}
    real = {
        name for name, item in vars(errors).items() if isinstance(item, type) and issubclass(item, errors.LagrumError)
    }
    assert drawn == real
    assert all(
        cls.__bases__ == (errors.LagrumError,) for name in drawn - {"LagrumError"} if (cls := getattr(errors, name))
    )


def test_no_error_of_another_root_leaves_its_package() -> None:
    own = {
        (path.partition("/")[0], node.name)
        for path, tree in modules().items()
        if path != "schemas/errors.py"
        for node in nodes(tree)
        if isinstance(node, ast.ClassDef)
        for base in node.bases
        if isinstance(base, ast.Name) and base.id in BUILTIN_ERRORS
    }
    crossing = [
        (path, name)
        for path, tree in modules().items()
        for name in imports(tree)
        for package, error in own
        if name.endswith(f".{error}") and name.startswith(f"{package}.") and not path.startswith(f"{package}/")
    ]
    assert crossing == []
